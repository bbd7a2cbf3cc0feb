"""Bars on a terminal."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from farm.progress.events import Event, Quiet
from farm.progress.lines import plain

if TYPE_CHECKING:
    from rich.progress import BarColumn, Progress, TaskID


class Bars(Quiet):
    """A bar for each running step, finished ones as lines above."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console  # noqa: PLC0415 - 60 ms that a worker does not need
        from rich.progress import Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

        self._tasks: dict[str, TaskID] = {}
        self._progress: Progress = Progress(
            TextColumn("{task.fields[mark]} [bold]{task.description:<28}"),
            TextColumn("{task.fields[phase]:<14}"),
            _time_bar(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[expected]}"),
            console=Console(file=stream, highlight=False),
            transient=True,
        )
        self._whole: TaskID | None = None

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def see(self, event: Event) -> None:
        if event.total:
            if self._whole is None:
                self._whole = self._progress.add_task(
                    "all steps", total=event.total, mark=" ", phase="", expected=""
                )
            self._progress.update(self._whole, total=event.total, completed=event.done)
        if event.state == "running" and event.step:
            self._run(event)
            return
        if event.step in self._tasks:
            self._progress.remove_task(self._tasks.pop(event.step))
        line = plain(event)
        if line:
            self._progress.console.print(line, markup=False, highlight=False)

    def _run(self, event: Event) -> None:
        if event.step not in self._tasks:
            expected = f"of about {event.expected:.0f} s" if event.expected else ""
            self._tasks[event.step] = self._progress.add_task(
                event.step,
                total=event.expected or None,
                mark=">",
                phase=event.phase,
                expected=expected,
                timed=True,
            )
        self._progress.update(self._tasks[event.step], phase=event.phase)


def _time_bar() -> BarColumn:
    """A bar that fills by time against expectation, and is never full before the end."""
    from rich.progress import BarColumn, Task  # noqa: PLC0415
    from rich.progress_bar import ProgressBar  # noqa: PLC0415

    class TimeBar(BarColumn):
        def render(self, task: Task) -> ProgressBar:
            bar = super().render(task)
            if task.fields.get("timed") and task.total:
                bar.completed = min(task.elapsed or 0.0, task.total * 0.97)
            return bar

    return TimeBar(bar_width=24)
