"""Events as plain lines for logs, and as JSON lines for programs."""

from __future__ import annotations

from typing import IO

import msgspec

from farm.progress.events import Event, Quiet

_MARKS = {
    "built": "built", "kept": "kept", "failed": "FAILED", "skipped": "skipped",
    "same": "same", "differs": "DIFFERS", "unverified": "cannot",
}  # fmt: skip


class JsonLines(Quiet):
    """One JSON object a line, for programs."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def see(self, event: Event) -> None:
        self._stream.write(msgspec.json.encode(event).decode() + "\n")
        self._stream.flush()


class Lines(Quiet):
    """One plain line for each change of state, for logs."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def see(self, event: Event) -> None:
        line = plain(event)
        if line:
            print(line, file=self._stream, flush=True)


def plain(event: Event) -> str:
    """An event as one line, or nothing when it is not worth one."""
    if event.state in _MARKS:
        took = f" in {event.seconds:.1f} s" if event.seconds and event.state != "kept" else ""
        text = f": {event.text}" if event.text else ""
        return f"{_MARKS[event.state]:<8} {event.step}{took}{text}"
    if event.state == "running":
        if event.phase == "start":
            where = f" on {event.place}" if event.place else ""
            return f"{'start':<8} {event.step}{where}"
        if event.phase == "goes on":
            return f"{'goes on':<8} {event.step}" + (f": {event.text}" if event.text else "")
        if event.phase.startswith("retry "):
            return ""  # a warning has said so, and why
        return f"{'':<8} {event.step}: {event.phase}" if " " in event.phase else ""
    if event.state in ("note", "warning") and event.text:
        return f"warning: {event.text}" if event.state == "warning" else event.text
    return ""
