"""Keys, and why two of them differ: the rules that need nothing but the nouns and the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from farm.ledger import Ledger
from farm.model import (
    Built,
    Chroot,
    Evaluation,
    Former,
    Lock,
    Manifest,
    Recipe,
    Result,
    digest_of,
    to_json,
)
from farm.rebuild.changes import Change, of_chroot, of_lock, of_recipe, summed_up
from farm.steps import chroot_of

# Raised only when a change of ours changes what comes out of a build; shared by all builders.
RECIPE_NUMBER = 1


def manifest_of(recipe: Recipe, lock: Lock, chroot: Chroot) -> Manifest:
    """What the key of a job is the hash of; the rebuild counter is not in it."""
    return Manifest(recipe.digest, lock.digest, chroot.digest, RECIPE_NUMBER)


def changed_inputs(
    standing: Result, recipe: Recipe, chroot: Chroot, lock: Lock
) -> tuple[Change, ...]:
    """Everything that is not as it was when the standing result was made, first things first."""
    before = standing.manifest
    found: tuple[Change, ...] = ()
    if before.recipe != recipe.digest:
        found += of_recipe(standing, recipe) or (Change("recipe", "", "its sources changed"),)
    if before.chroot != chroot.digest:
        found += of_chroot(standing, chroot)
    if before.recipe_number != RECIPE_NUMBER:
        numbers = (str(before.recipe_number), str(RECIPE_NUMBER))
        text = f"farm's way of building was number {numbers[0]}, is {numbers[1]}"
        found += (Change("farm", "recipe number", text, *numbers),)
    return found + of_lock(standing.lock, lock)


def changed_input(
    standing: Result,
    recipe: Recipe,
    chroot: Chroot,
    lock: Lock,
    first_level: frozenset[str],
    policy: str,
) -> str:
    """The first changed input that this policy rebuilds for, in words, or "".

    `first_level` names the packages of the layer that its own BuildRequires resolve to.
    """
    own = changed_of_itself(standing, recipe, chroot)
    if own:
        return own
    if policy == "broken":
        return ""
    names = first_level if policy == "direct" else None
    changes = of_lock(standing.lock, lock, names, gone=policy == "full")
    return summed_up(changes, most=1)


def changed_of_itself(standing: Result, recipe: Recipe, chroot: Chroot) -> str:
    """The first changed input for which every policy rebuilds, whatever its needs bring, or ""."""
    before = standing.manifest
    if before.recipe != recipe.digest:
        changes = of_recipe(standing, recipe)
        told = (replace(c, text=c.text.removesuffix(" changed")) for c in changes)
        return _because("its recipe changed", tuple(told))
    if before.chroot != chroot.digest:
        return _because("the chroot's settings changed", of_chroot(standing, chroot))
    if before.recipe_number != RECIPE_NUMBER:
        return "farm's way of building changed"
    return ""


def _because(what: str, changes: Sequence[Change]) -> str:
    return f"{what}: {summed_up(changes)}" if changes else what


def bare_vr(evaluation: Evaluation, chroot: Chroot) -> str:
    """version-release without the %dist part: what a contributor wrote."""
    source = evaluation.source
    return f"{source.version}-{source.release.replace(chroot.dist, '')}"


def restore(
    ledger: Ledger,
    chroots: Mapping[str, Chroot],
    results: Sequence[Result],
    formers: Sequence[Former] = (),
) -> None:
    """Record published results again, with their counters and canonical source packages; of
    `formers`, whose records are gone, the counters only.

    Results are to come oldest first: the newest version-release's counter is the one that counts,
    and a source package belongs to the recipe that it was first published for.
    """
    sources: set[str] = set()
    for result in results:
        ledger.record(result, stands=False)
        package, chroot = result.built.srpm, chroots.get(chroot_of(result.step))
        if chroot is not None and package.sha256 not in sources:
            sources.add(package.sha256)
            key = srpm_key(result.manifest.recipe, chroot, result.counter)
            ledger.remember_srpm(key, package.sha256, to_json(package))
    for former in sorted((*formers, *map(Former.of, results)), key=lambda each: each.finished):
        chroot = chroots.get(chroot_of(former.step))
        if chroot is None:
            continue
        name = former.step.partition("@")[0]
        full = f"{chroot.dist}.{former.counter}" if former.counter else chroot.dist
        vr = f"{former.source.version}-{former.source.release.replace(full, '')}"
        counter = max(former.counter, ledger.counter(chroot.release, name, vr))
        ledger.set_counter(chroot.release, name, vr, counter)


def srpm_key(recipe: str, chroot: Chroot, counter: int) -> str:
    """Under what the canonical source package of a recipe (its digest) is remembered.

    There is one for a recipe, release and counter: a base that moves on between the builds of
    two architectures must not make a second one with other bytes.
    """
    return digest_of((recipe, chroot.release, chroot.dist, counter))


def bytes_of(built: Built) -> tuple[tuple[str, str], ...]:
    """What makes two results the same: the binary packages and their bytes."""
    return tuple(sorted((str(p.nevra), p.sha256) for p in built.packages))
