"""The known state of a base repository, as it is kept and read again."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from farm.errors import StateError
from farm.model import Noun, Repository, from_json, to_json
from farm.store import write_atomic


def local_path(address: str) -> Path | None:
    """The path of a `file://` address; None for the network's, and for what is no address."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


class PinnedFile(Noun, frozen=True):
    """A metadata file: `kind` as repomd.xml calls it; sizes in bytes, 0 where not declared."""

    kind: str
    name: str
    checksum: str  # type:hex
    size: int = 0
    open_size: int = 0
    open_checksum: str = ""  # type:hex of what it unpacks to, "" where not declared


class Pin(Noun, frozen=True):
    """One known state of a base repository.

    `revision` is the sha256 of its repomd.xml; `addresses` are the base addresses that had it,
    with the links of a local one resolved. `directory` holds the files.
    """

    repository: Repository
    revision: str
    addresses: tuple[str, ...]
    files: tuple[PinnedFile, ...]
    directory: str = ""

    def file(self, kind: str) -> PinnedFile | None:
        return next((file for file in self.files if file.kind == kind), None)

    def path(self, file: PinnedFile) -> Path:
        return Path(self.directory) / file.name

    @property
    def gone(self) -> bool:
        """Whether the packages lay on this machine and are there no more."""
        paths = [local_path(address) for address in self.addresses]
        return all(path is not None and not path.is_dir() for path in paths)


def keep_pin(pin: Pin, directory: Path) -> None:
    """Make a state that `fetch_pin` brought into `directory` the one that is pinned there."""
    write_atomic(directory / "pin.json", to_json(msgspec.structs.replace(pin, directory="")))


def read_pin(directory: Path, repository: Repository | None = None) -> Pin | None:
    """The pin kept in `directory`. Raises StateError when it is damaged.

    None where there is none, or where its packages lay on this machine and are there no more:
    then nothing can be locked against that state.
    What a chroot file now says of the repository (priority, excludes, keys) is `repository`;
    it takes the place of what it said when the state was pinned.
    """
    record = directory / "pin.json"
    try:
        text = record.read_bytes()
    except FileNotFoundError:
        return None
    pin = from_json(Pin, text, where=str(record))
    pin = msgspec.structs.replace(
        pin,
        directory=str(directory / pin.revision[:16]),
        repository=repository or pin.repository,
    )
    if pin.gone:
        return None
    missing = [file.name for file in pin.files if not pin.path(file).is_file()]
    if missing:
        raise StateError(
            f"the pin of repository {pin.repository.id!r} has lost {missing[0]}",
            why=f"in {pin.directory}",
            hint="`farm base update` makes it again from the repository's present state.",
        )
    return pin
