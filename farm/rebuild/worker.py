"""`farm work JOB.json`: one attempt, on any machine, from a job file.

Beside the job file appear `claim.json` (which worker has the attempt), `phases` and `notes` (one a
line), `build.log`, `results/`, `kept.json` (where a failed build is kept) and at last, written in
one piece, `outcome.json`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from farm.errors import FarmError, Interrupted, StateError
from farm.model import Failed, Outcome, WorkOrder, from_json, to_json
from farm.rebuild import claim, kept
from farm.rebuild.attempts import COORDINATOR
from farm.rebuild.builder import Builder, EmbeddedBuilder, Workspace
from farm.rebuild.roots import RootCache
from farm.rebuild.space import roots_directory
from farm.rebuild.usage import Reading, with_usage
from farm.sandbox.limits import adopt_orphans
from farm.store import Store, write_atomic

# In the environment: where this machine has build roots, whatever the job says.
ROOTS = "FARM_PATHS_ROOTS"


def end_with(coordinator: int) -> None:
    """Have this process end, as SIGTERM ends it, once its parent is not `coordinator` any more.

    A coordinator that was killed cannot stop its workers, and what they make counts for nothing.
    """

    def watch() -> None:
        while os.getppid() == coordinator:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def work(job_file: Path) -> Outcome:
    """Do the attempt that `job_file` (a WorkOrder) describes and write its outcome.

    A failure of any kind is an outcome. Raises StateError for a job file that cannot be read and
    for an attempt that a worker began before, and Interrupted on a KeyboardInterrupt (Ctrl-C, or
    SIGTERM as `__main__` takes it): then nothing is written, and nothing runs any more.
    """
    directory = job_file.resolve().parent
    order = read_order(job_file)
    claim.take(directory)
    if COORDINATOR in os.environ:
        end_with(int(os.environ[COORDINATOR]))
    try:
        outcome = attempt(order, directory)
    except KeyboardInterrupt:
        raise Interrupted(f"{order.job.step}: the build was stopped") from None
    write_atomic(directory / "outcome.json", to_json(outcome))
    return outcome


def read_order(job_file: Path) -> WorkOrder:
    """Raises StateError when the job file is missing or not one."""
    try:
        text = job_file.read_bytes()
    except OSError as error:
        raise StateError(
            f"the job file {job_file} cannot be read",
            why=error.strerror or "",
            hint="Build the package again.",
        ) from error
    return from_json(WorkOrder, text, where=str(job_file))


def attempt(order: WorkOrder, directory: Path) -> Outcome:
    """Build, and turn every error into an outcome; what it used is in it."""
    adopt_orphans()
    before = Reading.now()
    return with_usage(_attempt(order, directory), before, directory)


def _attempt(order: WorkOrder, directory: Path) -> Outcome:
    job = order.job
    phases: list[str] = []
    with (directory / "phases").open("a", encoding="utf-8") as noted:

        def on_phase(name: str) -> None:
            phases.append(name)
            noted.write(f"{name}\n")
            noted.flush()

        try:
            workspace = workspace_of(order, directory)
            # another builder brings no variation about, and gives the same bytes
            builder = EmbeddedBuilder() if order.variations else builder_named(job.builder)
            outcome = builder.build(job, workspace, on_phase)
            if isinstance(outcome, Failed) and workspace.keep:
                roots = workspace.roots
                mocks = roots.directory / "mock" / job.attempt
                kept.record(directory, roots.kept(job.attempt) / "upper", mocks)
            return outcome
        except Interrupted:
            raise
        except FarmError as error:
            # A LayerError is about the recipe; anything else is this machine's affair.
            return Failed(
                "package" if error.code == 4 else "infrastructure",
                error.what,
                tuple(error.why.splitlines()),
                phase=phases[-1] if phases else "start",
                hint=error.hint,
            )
        except OSError as error:
            return Failed(
                "infrastructure",
                f"{job.recipe.name} could not be built: {error.strerror or error}",
                (str(error),),
                phase=phases[-1] if phases else "start",
                hint="`farm doctor` checks this machine.",
            )


def workspace_of(order: WorkOrder, directory: Path) -> Workspace:
    """The places of an attempt; the roots are where this machine wants them."""
    store = Store(Path(order.store))
    roots = roots_directory(os.environ.get(ROOTS, order.roots), store.root.parent)
    cache = RootCache(roots, store, report=lambda text: note(directory, text))
    return Workspace(directory, store, cache, order.keep, order.variations, order.compilers)


def note(directory: Path, text: str) -> None:
    """Something that the coordinator's user should hear, whatever becomes of the attempt."""
    with (directory / "notes").open("a", encoding="utf-8") as notes:
        notes.write(f"{text}\n")


def builder_named(name: str) -> Builder:
    """The builder of that name. mock's is loaded only when it is wanted."""
    if name == "mock":
        from farm.rebuild.mock import MockBuilder  # noqa: PLC0415 - start-up time

        return MockBuilder()
    return EmbeddedBuilder()
