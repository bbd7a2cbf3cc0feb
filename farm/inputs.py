"""What a run starts from: the chroots of a release, the layer, the pinned state of the base."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from farm.config import Config, nearest
from farm.errors import KeyMissing, UsageError
from farm.layer.repository import ReleaseTexts, read_layer
from farm.model import Chroot, Layer, Repository, digest_of
from farm.plan.chroots import read_chroot
from farm.plan.repodata import Pin, fetch_pin, moved_on, pin_repository, prune, read_pin
from farm.plan.universe import Universe
from farm.publish.keys import key_ring
from farm.site.repofile import repo_file


def read_chroots(config: Config, release: str, archs: Sequence[str] = ()) -> tuple[Chroot, ...]:
    """The chroots of a release, in the order of its architectures, or only those of `archs`.

    Raises UsageError for an architecture that the release does not have.
    """
    name, settings = config.release(release)
    for arch in archs:
        if arch not in settings.architectures:
            raise UsageError(
                f"{name} is not built for {arch!r}",
                why=f"farm.toml gives it {', '.join(settings.architectures)}",
                hint=nearest(arch, settings.architectures),
            )
    options = {"farm_base": str(config.base_directory)} | dict(config.chroots.options)
    if not config.build.native_tools:
        options["farm_native_tools"] = ""
    directory = config.path("chroots")
    return tuple(
        read_chroot(directory / f"{name}-{arch}.cfg", options)
        for arch in settings.architectures
        if not archs or arch in archs
    )


def signing_key(config: Config) -> str:
    """The armoured public half of the key that publishes, "" when there is none yet."""
    with key_ring(config.path("state")) as ring:
        try:
            return ring.public(ring.find(config.publish.key))
        except KeyMissing:
            return ""


def layer_of(config: Config, release: str) -> Layer:
    """The layer for one release, its release package included once there is a key."""
    key = signing_key(config)
    texts = ReleaseTexts(release, repo_file(config, release), key) if key else None
    return read_layer(config, release=texts)


def pin_directory(state: Path, chroot: Chroot, repository: Repository) -> Path:
    """Where the known state of a base repository is kept."""
    return state / "pins" / chroot.name / repository.id


def move_pins(
    config: Config, release: str, *, dry_run: bool
) -> Iterator[tuple[Chroot, frozenset[str], frozenset[str]]]:
    """Bring each chroot's pins to the base's present state.

    Gives, for each chroot, the NEVRAs of the state before and of the one now.
    """
    state = config.path("state")
    for chroot in read_chroots(config, release):
        homes = [(r, pin_directory(state, chroot, r)) for r in chroot.repositories]
        old = [pin for r, home in homes if (pin := read_pin(home, r)) is not None]
        new = [(fetch_pin if dry_run else pin_repository)(r, home) for r, home in homes]
        before, after = (_everything(chroot, pins, state) for pins in (old, new))
        yield chroot, before, after


PINNED, PRESENT = "pinned", "present"


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
                pins.append(known or fetch_pin(repository, home))
            continue
        url = _base_address(address, chroot.arch)
        repository = Repository(id=f"base-{number + 1}" if number else "base", baseurl=(url,))
        home = state / "bases" / chroot.arch / digest_of(url)[:16]
        kept = read_pin(home, repository)
        if kept is None or moved_on(kept):
            kept = pin_repository(repository, home)
            prune(home)
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
        f"{address} is no repository",
        why=f"there is no repodata/repomd.xml in {directory}, nor in {directory / arch}",
        hint="`createrepo_c DIR` makes one of a directory of packages; `present` and `pinned` "
        "stand for the release's own base.",
    )


def _everything(chroot: Chroot, pins: Sequence[Pin], state: Path) -> frozenset[str]:
    universe = Universe.open(chroot, pins, state / "solv")
    return frozenset(str(solvable) for solvable in universe.pool.solvables_iter())


def check_names(layer: Layer, names: Iterable[str]) -> None:
    """Raises UsageError for a package that the layer does not have, not even a broken one."""
    known = {recipe.name for recipe in layer.recipes} | {p.subject for p in layer.problems}
    for name in names:
        if name not in known:
            raise UsageError(
                f"no package of the layer is called {name!r}",
                hint=nearest(name, sorted(known)) or "`farm status` lists them.",
            )
