"""dnf's files and words: repositories as it wants them, errors as it tells them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from farm.errors import FarmError, MachineError, PublishError, SolveError, UsageError
from farm.model import Repository

_EXCERPT_LINES = 20
_TELLING = re.compile(
    r"^(Error|Problem| Problem|  [- ] |\[(FAILED|MIRROR)\]|Failed|No match|Unable to)"
    r"|GPG (check|signature|verification)|not signed|hecksum|No space|rror (in|un)|scriptlet"
)
# What dnf says when a site's own checks refuse what was published.
_REFUSED = (
    "GPG check FAILED", "is not signed", "GPG signature verification error", "Bad GPG signature",
    "Signing key not found", "not correct for the package", "does not match", "Checksum",
    "checksum", "DIGESTS NOT OK", "No approved signing keys", "GPG verification",
)  # fmt: skip


def base_section(repository: Repository) -> str:
    """A base repository of a chroot as a section of a `.repo` file."""
    options = {
        "name": repository.id,
        "baseurl": " ".join(repository.baseurl),
        "metalink": repository.metalink,
        "mirrorlist": repository.mirrorlist,
        "gpgkey": " ".join(repository.gpgkeys),
        "gpgcheck": str(int(repository.gpgcheck)),
        "repo_gpgcheck": str(int(repository.repo_gpgcheck)),
        "priority": str(repository.priority),
        "excludepkgs": " ".join(repository.excludes),
        "module_hotfixes": str(int(repository.module_hotfixes)),
        "sslverify": str(int(repository.sslverify)),
        "enabled": "1",
    }
    lines = [f"{name}={value}" for name, value in options.items() if value]
    return "\n".join([f"[{repository.id}]", *lines]) + "\n"


def explain(output: str, packages: Sequence[str]) -> FarmError:
    """The error that dnf's words mean."""
    text = _telling(output)
    missing = re.findall(r"(?:No match for argument|Unable to find a match): *(.+)", output)
    if missing:
        names = sorted({name for line in missing for name in line.split()})
        return UsageError(
            f"a site finds no package called {', '.join(names)}",
            why=text,
            hint="`farm status` shows what is published; `farm publish` publishes what was built.",
        )
    if any(word in output for word in _REFUSED):
        return PublishError(
            f"a site would refuse to install {', '.join(packages)}: a signature or checksum is "
            "not what it should be",
            why=text,
            hint="Publish again; if it stays, the published files were changed on the disk.",
        )
    if "Problem" in output or "nothing provides" in output:
        return SolveError(
            f"a site cannot install {', '.join(packages)}: the packages do not fit together",
            why=text,
            hint="The base repositories may have moved on: rebuild what needs them and publish.",
        )
    return MachineError(
        f"dnf could not install {', '.join(packages)}",
        why=text,
        hint="Is the mirror served? `farm serve` does, at the address in publish.address.",
    )


def _telling(output: str) -> str:
    """What went wrong, without dnf's tables and progress."""
    lines = [line.rstrip() for line in output.strip().splitlines() if line.strip()]
    told = [line for line in lines if _TELLING.search(line)]
    return "\n".join(list(dict.fromkeys(told))[-_EXCERPT_LINES:] or lines[-_EXCERPT_LINES:])
