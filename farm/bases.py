"""Where the known states of base repositories are kept, and bases that stand in for a chroot's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from farm.config import Config
from farm.errors import UsageError
from farm.lazily import lazily
from farm.model import Chroot, Repository, digest_of
from farm.plan.metadata.pins import Pin, read_pin

with lazily():  # where a base is pinned already, nothing is fetched
    from farm.plan.metadata import repodata

PINNED, PRESENT = "pinned", "present"


def pin_directory(state: Path, chroot: Chroot, repository: Repository) -> Path:
    """Where the known state of a base repository is kept."""
    return state / "pins" / chroot.name / repository.id


def other_base(config: Config, chroot: Chroot, addresses: Sequence[str]) -> tuple[Pin, ...]:
    """Repositories that stand in for a chroot's base: addresses, directories, or a word.

    `pinned` stands for the chroot's own repositories as builds are locked against them, `present`
    for what their mirrors have now. An address may hold `$basearch`; of a directory without
    repodata, the subdirectory named after the architecture is taken. Fetched anew when it has
    changed, kept below the state directory. Raises UsageError and RepositoryError.
    """
    state = config.path("state")
    pins: list[Pin] = []
    for number, address in enumerate(addresses):
        if address in (PINNED, PRESENT):
            for repository in chroot.repositories:
                home = pin_directory(state, chroot, repository)
                known = read_pin(home, repository) if address == PINNED else None
                pins.append(known or repodata.fetch_pin(repository, home))
            continue
        url = _base_address(address, chroot.arch)
        repository = Repository(id=f"base-{number + 1}" if number else "base", baseurl=(url,))
        home = state / "bases" / chroot.arch / digest_of(url)[:16]
        kept = read_pin(home, repository)
        if kept is None or repodata.moved_on(kept):
            kept = repodata.pin_repository(repository, home)
            repodata.prune(home)
        pins.append(kept)
    return tuple(pins)


def _base_address(address: str, arch: str) -> str:
    for variable in ("$basearch", "$arch"):
        address = address.replace(variable, arch)
    if "://" in address:
        return address.rstrip("/")
    directory = Path(address).resolve()
    for place in (directory, directory / arch, directory / arch / "os"):
        if (place / "repodata" / "repomd.xml").is_file():
            return place.as_uri()
    raise UsageError(
        f"{address or repr(address)} is no repository",
        why=f"there is no repodata/repomd.xml in {directory}, nor in {directory / arch}",
        hint="`createrepo_c DIR` makes one of a directory of packages; `present` and `pinned` "
        "stand for the release's own base.",
    )
