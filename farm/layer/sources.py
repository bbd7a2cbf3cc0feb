"""`sources` checksums → verified files, from the cache or from several origins."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from farm.config import Config
from farm.errors import LayerError, MachineError, SourceError
from farm.layer import static, tarball
from farm.layer.origins import Offer, Origin, Refusal, Wanted, compression
from farm.layer.origins.debian import Debian
from farm.layer.origins.lookaside import Lookaside
from farm.layer.origins.pypi import PyPI
from farm.layer.origins.upstream import Upstream
from farm.layer.origins.web import Web
from farm.layer.recipe import SOURCES
from farm.model import Recipe, RecipeFile, digest_of
from farm.store import atomic, sha512_of, write_atomic

Say = Callable[[str], None]

_MAGIC = {
    "gz": b"\x1f\x8b",
    "bz2": b"BZh",
    "xz": b"\xfd7zXZ\0",
    "zst": b"\x28\xb5\x2f\xfd",
    "lz": b"LZIP",
    "zip": b"PK",
}


class SourceCache:
    """Source files by their SHA512, and the origins that are asked for missing ones.

    One object serves a whole run, also from several threads: it remembers which hosts are dead.
    """

    def __init__(self, config: Config) -> None:
        self.directory = config.path("cache") / "sources"
        web = Web(config.sources.timeout)
        every: dict[str, Origin] = {
            "upstream": Upstream(web),
            "lookaside": Lookaside(config.sources.lookaside, config.root, web),
            "debian": Debian(config.path("cache") / "debian-sources"),
            "pypi": PyPI(config.sources.timeout),
        }
        self.origins = tuple(every[name] for name in config.sources.origins)

    def path(self, sha512: str, name: str) -> Path:
        """Where a file is or would be."""
        return self.directory / sha512[:2] / sha512 / name

    def cached(self, sha512: str, name: str) -> Path | None:
        """The file, its checksum verified now; a damaged one is thrown away."""
        path = self.path(sha512, name)
        if not path.is_file():
            return None
        if sha512_of(path) == sha512:
            return path
        path.unlink(missing_ok=True)
        return None

    def take(self, offered: Path, sha512: str, name: str) -> Path:
        """Copy a file of that checksum in."""
        target = self.path(sha512, name)
        with atomic(target) as draft:
            shutil.copyfile(offered, draft)
        return target

    def fetch(self, wanted: Wanted, near: Path | None = None, say: Say | None = None) -> Path:
        """The file with the declared checksum: cached, lying in `near`, or from an origin.

        Raises SourceError that says what each origin had to say.
        """
        with _writable(self.directory):
            found = self.cached(wanted.sha512, wanted.file)
            if found is not None:
                return found
            if near is not None and (near / wanted.file).is_file():
                local = near / wanted.file
                if sha512_of(local) == wanted.sha512:
                    return self.take(local, wanted.sha512, wanted.file)
            said: list[str] = []
            for name, answer in self.answers(wanted):
                if isinstance(answer, Refusal):
                    said.append(f"{name}: {answer.where}: {answer.why}")
                    continue
                actual = sha512_of(answer.path)
                if actual == wanted.sha512:
                    if say is not None:
                        say(f"{wanted.package}: {wanted.file} from {name} ({answer.where})")
                    return self.take(answer.path, actual, wanted.file)
                said.append(f"{name}: {answer.where}: {_other_bytes(answer.path, wanted, actual)}")
        raise SourceError(
            f"{wanted.package}: no origin has {wanted.file} with the declared checksum",
            why="\n".join([f"declared: sha512 {wanted.sha512[:32]}…", *said]),
            hint="Put the file into a lookaside directory (sources.lookaside in farm.toml). If"
            f" upstream's bytes have changed for a reason: farm sources --update {wanted.package}",
        )

    def answers(self, wanted: Wanted) -> Iterator[tuple[str, Offer | Refusal]]:
        """What each origin says, in the configured order; files are gone at the next answer."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for origin in self.origins:
            with tempfile.TemporaryDirectory(dir=self.directory, prefix=".draft-") as draft:
                for answer in origin.offers(wanted, Path(draft)):
                    yield origin.name, answer


def fetch(
    recipe: Recipe, config: Config, cache: SourceCache | None = None, say: Say | None = None
) -> tuple[tuple[str, Path], ...]:
    """Everything that belongs below SOURCES, and the spec: (name, verified file), sorted.

    These are the files of the recipe's own directory, those of its `sources` file, and archives
    made of its directories. `say` hears where a file was fetched from. Raises SourceError when
    a file is missing everywhere, or is missing from `sources`.
    """
    cache = cache or SourceCache(config)
    directory = Path(recipe.directory)
    look = look_at(recipe)
    found = {file.path: _own(recipe, file) for file in recipe.files if "/" not in file.path}
    found.pop(SOURCES, None)
    for source in recipe.sources:
        if source.name in found:
            if sha512_of(found[source.name]) != source.sha512:
                raise SourceError(
                    f"{recipe.name}: {source.name} lies in the recipe's directory, but `sources`"
                    " declares other bytes",
                    hint="Remove the file, or its line.",
                )
            continue
        found[source.name] = cache.fetch(wanted(recipe, config, look, source.name), directory, say)
    for declared in look.sources:
        if declared.file and declared.file not in found:
            stem = directory_behind(recipe, declared.file)
            if stem is not None:
                found[declared.file] = _made(recipe, stem, declared.file, look, config)
            elif declared.sure:
                raise SourceError(
                    f"{recipe.name}: {recipe.spec}:{declared.line}: {declared.file} is neither in"
                    " the recipe's directory nor in its `sources`",
                    hint=f"farm sources --update {recipe.name} fetches and declares it.",
                )
    return tuple(sorted(found.items()))


def wanted(recipe: Recipe, config: Config, look: static.Look, file: str) -> Wanted:
    """A file of a recipe as origins are asked for it, with its declared checksum if any."""
    declared = {source.name: source.sha512 for source in recipe.sources}
    addresses = (source.address for source in look.sources if source.file == file)
    return Wanted(
        package=recipe.name,
        file=file,
        sha512=declared.get(file, ""),
        addresses=tuple(dict.fromkeys(a for a in addresses if "://" in a)),
        alias=config.sources.names.get(recipe.name, ""),
        version=look.version,
    )


def look_at(recipe: Recipe) -> static.Look:
    """The static look at a recipe's spec. Raises LayerError when it cannot be read."""
    path = Path(recipe.directory) / recipe.spec
    try:
        return static.look(path.read_text("utf-8", "replace"))
    except OSError as error:
        raise LayerError(
            f"{recipe.name}: {path} cannot be read", why=error.strerror or ""
        ) from error


def directory_behind(recipe: Recipe, file: str) -> str | None:
    """The directory of the recipe that `Source: <directory>.tar.gz` stands for, if there is one."""
    for ending in (".tar.gz", ".tgz"):
        stem = file.removesuffix(ending)
        if stem != file and any(known.path.startswith(f"{stem}/") for known in recipe.files):
            return stem
    return None


def differs_from_its_name(path: Path, file: str) -> str:
    """Why a file cannot be the archive that its name says, "" when it can."""
    magic = _MAGIC.get(compression(file), b"")
    with path.open("rb") as stream:
        begin = stream.read(512)
    if begin.startswith(magic):
        return ""
    if begin.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "a web page, not the file"
    return f"not a {compression(file)} archive"


def _other_bytes(path: Path, wanted: Wanted, actual: str) -> str:
    return differs_from_its_name(path, wanted.file) or f"other bytes, sha512 {actual[:32]}…"


def _own(recipe: Recipe, file: RecipeFile) -> Path:
    path = Path(recipe.directory) / file.path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LayerError(
            f"{recipe.name}: {path} cannot be read", why=error.strerror or ""
        ) from error
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise LayerError(
            f"{recipe.name}: {file.path} was changed while farm was at work", hint="Run it again."
        )
    return path


def _made(recipe: Recipe, stem: str, name: str, look: static.Look, config: Config) -> Path:
    """The archive of a directory: its members are the recipe's files, its time the changelog's."""
    inside: Sequence[RecipeFile] = [f for f in recipe.files if f.path.startswith(f"{stem}/")]
    digest = digest_of((1, name, look.epoch_seconds, tuple(inside)))
    target = config.path("cache") / "sources" / "made" / digest / name
    if target.is_file():
        return target
    members = [
        tarball.Member(file.path, _own(recipe, file).read_bytes(), file.executable)
        for file in inside
    ]
    try:
        content = tarball.tar_gz(members, look.epoch_seconds)
    except ValueError as error:
        raise LayerError(f"{recipe.name}: {name} cannot be made", why=str(error)) from error
    with _writable(target.parent):
        write_atomic(target, content)
    return target


@contextlib.contextmanager
def _writable(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MachineError(
            f"the cache of sources cannot be written: {error.strerror or error}",
            why=str(error.filename or directory),
            hint="Make room, or set paths.cache in farm.toml.",
        ) from error
