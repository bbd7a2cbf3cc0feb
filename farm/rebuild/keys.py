"""Keys, and why two of them differ: the rules that need nothing but the nouns and the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from farm.ledger import Ledger
from farm.model import (
    Built,
    Chroot,
    Evaluation,
    Lock,
    LockedPackage,
    Manifest,
    Recipe,
    Result,
    digest_of,
    to_json,
)

# Raised only when a change of ours changes what comes out of a build; shared by all builders.
RECIPE_NUMBER = 1


def manifest_of(recipe: Recipe, lock: Lock, chroot: Chroot) -> Manifest:
    """What the key of a job is the hash of; the rebuild counter is not in it."""
    return Manifest(recipe.digest, lock.digest, chroot.digest, RECIPE_NUMBER)


def changed_input(
    standing: Result, manifest: Manifest, lock: Lock, first_level: frozenset[str], policy: str
) -> str:
    """The first changed input that this policy rebuilds for, in words, or "".

    `first_level` names the packages of the layer that its own BuildRequires resolve to.
    """
    before = standing.manifest
    if before.recipe != manifest.recipe:
        return "its recipe changed"
    if before.chroot != manifest.chroot:
        return "the chroot's settings changed"
    if before.recipe_number != manifest.recipe_number:
        return "farm's way of building changed"
    if policy == "broken":
        return ""
    old = {p.nevra.name: p for p in standing.lock.packages}
    for package in lock.packages:
        if policy == "direct" and package.nevra.name not in first_level:
            continue
        known = old.get(package.nevra.name)
        if known is None or known.sha256 != package.sha256:
            return difference(known, package)
    if policy == "full":
        now = {p.nevra.name for p in lock.packages}
        gone = next((p for p in standing.lock.packages if p.nevra.name not in now), None)
        if gone is not None:
            return f"{gone.nevra} is no longer in its build root"
    return ""


def difference(old: LockedPackage | None, new: LockedPackage) -> str:
    """Why two packages of a lock are not the same, in words."""
    if old is None:
        return f"{new.nevra} is new in its build root"
    if old.nevra == new.nevra:
        return f"{new.nevra} has other bytes"
    return f"{old.nevra} became {new.nevra.evr}"


def bare_vr(evaluation: Evaluation, chroot: Chroot) -> str:
    """version-release without the %dist part: what a contributor wrote."""
    source = evaluation.source
    return f"{source.version}-{source.release.replace(chroot.dist, '')}"


def restore(ledger: Ledger, chroots: Mapping[str, Chroot], results: Sequence[Result]) -> None:
    """Record published results again, with their counters and canonical source packages.

    They are to come oldest first: the newest version-release's counter is the one that counts,
    and a source package belongs to the recipe that it was first published for.
    """
    sources: set[str] = set()
    for result in results:
        ledger.record(result, stands=False)
        name, _, where = result.step.partition("@")
        chroot = chroots.get(where)
        if chroot is None:
            continue
        package = result.built.srpm
        full = f"{chroot.dist}.{result.counter}" if result.counter else chroot.dist
        vr = f"{package.nevra.version}-{package.nevra.release.replace(full, '')}"
        counter = max(result.counter, ledger.counter(chroot.release, name, vr))
        ledger.set_counter(chroot.release, name, vr, counter)
        if package.sha256 not in sources:
            sources.add(package.sha256)
            key = srpm_key(result.manifest.recipe, chroot, result.counter)
            ledger.remember_srpm(key, package.sha256, to_json(package))


def srpm_key(recipe: str, chroot: Chroot, counter: int) -> str:
    """Under what the canonical source package of a recipe (its digest) is remembered.

    There is one for a recipe, release and counter: a base that moves on between the builds of
    two architectures must not make a second one with other bytes.
    """
    return digest_of((recipe, chroot.release, chroot.dist, counter))


def bytes_of(built: Built) -> tuple[tuple[str, str], ...]:
    """What makes two results the same: the binary packages and their bytes."""
    return tuple(sorted((str(p.nevra), p.sha256) for p in built.packages))
