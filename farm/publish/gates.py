"""What a package has to pass before it may be published, and which copy of it is.

Two different packages never share a name-epoch:version-release.arch: what was published once
under a name is the only thing that may ever be published under it. A noarch package is built
on every architecture and published once, after the copies were found the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from farm import rpmheader
from farm.errors import PublishError
from farm.model import Nevra, Package, Result
from farm.steps import BOOTSTRAP

# The header's notes about the machine that built it: the platform and flags do differ between
# architectures, the cookie is host and time.
_BUILD_PLATFORM = frozenset(
    {rpmheader.PLATFORM, rpmheader.OPTFLAGS, rpmheader.COOKIE, rpmheader.IMMUTABLE}
)
_TAG_NAMES = {
    1000: "NAME", 1001: "VERSION", 1002: "RELEASE", 1003: "EPOCH", 1004: "SUMMARY",
    1005: "DESCRIPTION", 1006: "BUILDTIME", 1007: "BUILDHOST", 1009: "SIZE", 1020: "URL",
    1023: "PREIN", 1024: "POSTIN", 1025: "PREUN", 1026: "POSTUN", 1028: "FILESIZES",
    1030: "FILEMODES", 1034: "FILEMTIMES", 1035: "FILEDIGESTS", 1044: "SOURCERPM",
    1047: "PROVIDENAME", 1049: "REQUIRENAME", 1050: "REQUIREVERSION", 1064: "RPMVERSION",
    1080: "CHANGELOGTIME", 1081: "CHANGELOGNAME", 1082: "CHANGELOGTEXT", 1113: "PROVIDEVERSION",
    1117: "BASENAMES", 1118: "DIRNAMES", 1146: "SOURCEPKGID", 5092: "PAYLOADDIGEST",
    5097: "PAYLOADDIGESTALT",
}  # fmt: skip
_LONGEST_VALUE = 70

Locate = Callable[[Package], Path]


@dataclass(frozen=True)
class Contents:
    """What a snapshot is going to hold: packages by repository ("x86_64", "x86_64/debug",
    "source"), and what is worth saying about the choice."""

    repositories: Mapping[str, tuple[Package, ...]]
    notes: tuple[str, ...] = ()

    @property
    def packages(self) -> tuple[Package, ...]:
        """Each package once, sorted."""
        every = {p.sha256: p for packages in self.repositories.values() for p in packages}
        return tuple(sorted(every.values(), key=lambda package: (package.nevra, package.sha256)))


def same_noarch(path_a: Path, path_b: Path) -> tuple[str, ...]:
    """How two copies of one noarch package differ, one sentence each; () when they do not.

    The header's notes about the build platform (PLATFORM, OPTFLAGS, COOKIE) do not count,
    nor do signatures.
    """
    a, b = rpmheader.read(path_a).header, rpmheader.read(path_b).header
    tags = sorted({*a.tags, *b.tags} - _BUILD_PLATFORM)
    differences = [
        f"{_TAG_NAMES.get(tag, f'tag {tag}')}: {_short(a.value(tag))} / {_short(b.value(tag))}"
        for tag in tags
        if a.value(tag) != b.value(tag)
    ]
    if rpmheader.identity(path_a).payload != rpmheader.identity(path_b).payload:
        differences.append("the payloads have different bytes")
    return tuple(differences)


def choose(
    results: Mapping[str, Sequence[Result]],
    published: Mapping[Nevra, Package],
    locate: Locate,
    *,
    debug: bool = True,
) -> Contents:
    """Which package goes into which repository.

    `results` has the results that make up the release for each architecture; the first one's
    copies are preferred. `published` is everything that was ever published, `locate` finds a
    package's bytes (signed or not). Raises PublishError that names every package which must
    not be published, and why.
    """
    notes: list[str] = []
    refused: list[str] = []
    scratch = [r.step for rs in results.values() for r in rs if r.scratch]
    if scratch:
        raise PublishError(
            f"{', '.join(sorted(scratch))}: a scratch build is never published",
            hint="Commit the spec to the layer and build it again.",
        )
    bootstraps = {r.step for rs in results.values() for r in rs if _is_bootstrap(r)}
    if bootstraps:
        raise PublishError(
            f"{', '.join(sorted(bootstraps))}: a bootstrap is never published",
            hint="Run `farm build --all`: it builds the package once more without that condition.",
        )
    chosen: dict[Nevra, Package] = {}
    built_on: dict[Nevra, list[str]] = {}
    for arch, package in _binaries(results):
        built_on.setdefault(package.nevra, []).append(arch)
        earlier = chosen.get(package.nevra) or published.get(package.nevra)
        if earlier is None or earlier.sha256 == package.sha256:
            chosen[package.nevra] = earlier or package
            continue
        first = built_on[package.nevra][0]
        where = f"built on {first}" if package.nevra in chosen else "published before"
        if package.nevra.arch == "noarch":
            differences = same_noarch(locate(earlier), locate(package))
            if not differences:
                chosen[package.nevra] = earlier
                continue
            refused.append(
                f"{package.nevra}: the copy built on {arch} is not the same as the one {where}\n"
                + "\n".join(f"    {line}" for line in differences)
            )
        else:
            refused.append(_reused(package, earlier, where))
    sources, source_notes, source_refused = _sources(results, published, chosen)
    notes += _lonely(results, built_on)
    if refused or source_refused:
        raise _refusal(refused + source_refused)
    return Contents(_placed(results, chosen, sources, debug), (*notes, *source_notes))


def _is_bootstrap(result: Result) -> bool:
    packages = (result.built.srpm, *result.built.packages)
    return result.bootstrap or any(f"~{BOOTSTRAP}" in p.nevra.release for p in packages)


def _binaries(results: Mapping[str, Sequence[Result]]) -> Iterable[tuple[str, Package]]:
    for arch, some in results.items():
        for result in some:
            for package in result.built.packages:
                yield arch, package


def _sources(
    results: Mapping[str, Sequence[Result]],
    published: Mapping[Nevra, Package],
    binaries: Mapping[Nevra, Package],
) -> tuple[dict[Nevra, Package], list[str], list[str]]:
    """One source package for each result; it stays the published one while the binaries do."""
    chosen: dict[Nevra, Package] = {}
    notes: list[str] = []
    refused: list[str] = []
    for some in results.values():
        for result in some:
            source = result.built.srpm
            earlier = chosen.get(source.nevra) or published.get(source.nevra)
            if earlier is None or earlier.sha256 == source.sha256:
                chosen.setdefault(source.nevra, source)
                continue
            if all(
                p.nevra in published and published[p.nevra] == binaries.get(p.nevra)
                for p in result.built.packages
            ):
                chosen[source.nevra] = earlier
                notes.append(f"{source.nevra}: the earlier copy stays, its packages are the same")
            else:
                where = "published before" if source.nevra in published else "of another build"
                refused.append(_reused(source, earlier, where))
    return chosen, list(dict.fromkeys(notes)), refused


def _lonely(
    results: Mapping[str, Sequence[Result]], built_on: Mapping[Nevra, Sequence[str]]
) -> list[str]:
    return [
        f"{nevra}: built on {archs[0]} only, this copy is published for "
        f"{', '.join(arch for arch in results if arch not in archs)} as well"
        for nevra, archs in sorted(built_on.items())
        if nevra.arch == "noarch" and len(archs) < len(results)
    ]


def _placed(
    results: Mapping[str, Sequence[Result]],
    chosen: Mapping[Nevra, Package],
    sources: Mapping[Nevra, Package],
    debug: bool,
) -> dict[str, tuple[Package, ...]]:
    """noarch packages go to every architecture, except where its own result has others."""
    recipes = {arch: {r.built.srpm.source for r in some} for arch, some in results.items()}
    repositories: dict[str, dict[Nevra, Package]] = {}
    for arch in results:
        repositories[arch] = {}
        if debug:
            repositories[f"{arch}/debug"] = {}
    for arch, package in _binaries(results):
        place = f"{arch}/debug" if package.debug else arch
        if place in repositories:
            repositories[place][package.nevra] = chosen[package.nevra]
    for arch, package in _binaries(results):
        if package.nevra.arch == "noarch" and not package.debug:
            for other in results:
                if other != arch and package.source not in recipes[other]:
                    repositories[other].setdefault(package.nevra, chosen[package.nevra])
    repositories["source"] = dict(sources)
    return {
        name: tuple(sorted(packages.values(), key=lambda package: package.nevra))
        for name, packages in repositories.items()
    }


def _reused(package: Package, earlier: Package, where: str) -> str:
    return (
        f"{package.nevra}: it has other bytes than the one {where}\n"
        f"    the earlier sha256 {earlier.sha256}\n"
        f"    now built   sha256 {package.sha256}"
    )


def _refusal(refused: Sequence[str]) -> PublishError:
    names = ", ".join(dict.fromkeys(text.split(": ", 1)[0] for text in refused))
    return PublishError(
        f"refused to publish {names}",
        why="\n".join(refused),
        hint="Nothing was published. A package with other bytes needs a new release in its spec "
        "or a new rebuild\ncounter; a noarch package must come out the same on every "
        "architecture, or not be noarch.",
    )


def _short(value: object) -> str:
    text = value.hex() if isinstance(value, bytes) else repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
