"""Every error a user may see: what went wrong, why, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class FarmError(Exception):
    """A failure that is the user's business; `__main__` prints it and exits with `code`.

    `what` is one sentence that names the package, file or option. `why` is the evidence
    (a log excerpt, the solver's reasons). `hint` is the next thing to do.
    """

    code = 1

    def __init__(self, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join(part for part in (self.what, self.why, self.hint) if part)


class UsageError(FarmError):
    """The command line names something that does not exist or does not fit."""

    code = 2


class ConfigError(FarmError):
    """farm.toml or a chroot file is not what farm accepts."""

    code = 3


class LayerError(FarmError):
    """A spec, a `sources` file or the list of groups cannot be used."""

    code = 4


class SourceError(LayerError):
    """A source archive is missing everywhere, or has other bytes than were declared."""


class SolveError(FarmError):
    """The solver says that something cannot be installed together."""

    code = 5


class RepositoryError(SolveError):
    """A base repository cannot be reached, or its metadata or a package is not as it says."""


class MachineError(FarmError):
    """This machine lacks something (a tool, a namespace, space); `farm doctor` says more."""

    code = 6


class CommandFailed(MachineError):
    """A program that farm started did not succeed."""


class PublishError(FarmError):
    """Publishing was refused; what was published before is unchanged."""

    code = 7


class SnapshotRefused(PublishError):
    """The packages would fail their sites; `problems` has what each check found."""

    def __init__(
        self, what: str, *, why: str, hint: str, problems: Mapping[str, Sequence[object]]
    ) -> None:
        super().__init__(what, why=why, hint=hint)
        self.problems = problems


class KeyMissing(PublishError):
    """The signing key is not in farm's key ring."""


class StateError(FarmError):
    """The ledger or the store is in use, damaged, or of another version."""

    code = 8


class Busy(StateError):
    """Another farm is at work on the state directory; `process` is its id, 0 where unknown."""

    def __init__(self, what: str, *, hint: str, process: int) -> None:
        super().__init__(what, hint=hint)
        self.process = process


class Refused(FarmError):
    """What is published is not what its signatures, checksums or provenance vouch for."""

    code = 1


class Unverifiable(FarmError):
    """Whether it is what it claims to be cannot be said here; nothing was found to be wrong."""

    code = 9


class Interrupted(FarmError):
    """Ctrl-C or SIGTERM; children are stopped, the next run resumes."""

    code = 130
