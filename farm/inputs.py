"""What a run starts from: the chroots of a release, the layer, the pinned state of the base."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from farm.config import Config, nearest
from farm.errors import KeyMissing, UsageError
from farm.layer.repository import ReleaseTexts, read_layer
from farm.model import Chroot, Layer
from farm.plan.chroots import read_chroot
from farm.publish.keys import key_ring
from farm.site.repofile import repo_file

_READ: dict[Path, Layer] = {}


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
    layer = _READ[config.path("specs")] = read_layer(config, release=texts)
    return layer


def layer_as_read(config: Config) -> Layer | None:
    """The layer as this process has read it last, for whoever need not look at the disk again."""
    return _READ.get(config.path("specs"))


def check_names(layer: Layer, names: Iterable[str]) -> None:
    """Raises UsageError for a package that the layer does not have, not even a broken one."""
    known = {recipe.name for recipe in layer.recipes} | {p.subject for p in layer.problems}
    for name in names:
        if name not in known:
            raise UsageError(
                f"no package of the layer is called {name!r}",
                hint=nearest(name, sorted(known)) or "`farm status` lists them.",
            )
