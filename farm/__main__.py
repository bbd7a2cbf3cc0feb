"""Entry: a FarmError becomes a message and an exit code. The only place that exits."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from types import FrameType

from farm.errors import FarmError, Interrupted, MachineError


def main() -> None:
    """The `farm` command."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(argv: list[str]) -> int:
    """Run one command line; its exit code (README, "Exit codes")."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means it
        signal.signal(signal.SIGHUP, _interrupt)
    try:
        # one attempt: started often, so without the command line library
        if argv[:1] == ["work"] and len(argv) == 2 and not argv[1].startswith("-"):
            from farm.rebuild.remote import work_at  # noqa: PLC0415

            work_at(argv[1])
            return 0
        from farm.cli import command  # noqa: PLC0415

        return command(argv)
    except FarmError as error:
        _explain(error)
        return error.code
    except KeyboardInterrupt:
        _explain(Interrupted("interrupted", hint="Run the same command again: it resumes."))
        return Interrupted.code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "farm":
            raise
        _explain(_not_installed(error.name or str(error)))
        return MachineError.code
    except OSError as error:
        _explain(_refused(error))
        return MachineError.code


_REMEDIES = {
    errno.ENOSPC: "Free some space (`farm doctor` says where) and run the command again.",
    errno.EDQUOT: "Free some space, or have the quota raised, and run the command again.",
    errno.EACCES: "Run farm as the user whom it belongs to, or choose another directory.",
    errno.EPERM: "Run farm as the user whom it belongs to, or choose another directory.",
    errno.EROFS: "Choose a directory that can be written to (`[paths]` in farm.toml).",
}


def _refused(error: OSError) -> MachineError:
    """What the operating system would not do, which is seldom farm's own mistake."""
    told = {
        errno.ENOSPC: "there is no space left",
        errno.EACCES: "farm is not allowed to use it",
        errno.EPERM: "farm is not allowed to change it",
        errno.EROFS: "its file system is read-only",
    }
    names = " → ".join(str(name) for name in (error.filename, error.filename2) if name)
    why = told.get(error.errno or 0) or error.strerror or str(error)
    return MachineError(
        f"{names}: {why}" if names else why,
        hint=_REMEDIES.get(error.errno or 0)
        or "`farm config` says which directories farm uses, `farm doctor` what they lack.",
    )


def _not_installed(name: str) -> MachineError:
    """As after an update of farm that wants one library more."""
    return MachineError(
        f"the Python package {name} is not installed, which this farm needs",
        hint="Run `ci/setup` in farm's own directory: it brings what is missing.",
    )


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _explain(error: FarmError) -> None:
    able = sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", None)
    colour = able and not os.environ.get("NO_COLOR")
    red, dim, off = ("\033[1;31m", "\033[2m", "\033[0m") if colour else ("", "", "")
    lines = [f"{red}farm: {error.what}{off}"]
    lines += [f"  {dim}{line}{off}" for line in error.why.splitlines()]
    lines += [f"  -> {line}" for line in error.hint.splitlines()]
    with contextlib.suppress(OSError):  # a terminal that was closed reads no more
        print("\n".join(lines), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
