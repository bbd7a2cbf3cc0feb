"""What is not as it was when a result was made, input by input, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from farm.model import Chroot, Lock, LockedPackage, Recipe, Result

_SHORT = 60  # characters of a value that fit into a sentence


@dataclass(frozen=True)
class Change:
    """One input that differs. `subject` is a file of the recipe, a setting of the chroot or a
    package of the build root; `old` and `new` are its values ("" where it was or is not there):
    the sha256 of a file, the text of a setting, NEVRA and sha256 of a package."""

    kind: Literal["recipe", "chroot", "farm", "lock"]
    subject: str
    text: str
    old: str = ""
    new: str = ""
    layer: bool = False  # a package of the layer


def of_recipe(result: Result, recipe: Recipe) -> tuple[Change, ...]:
    """Files that differ, the spec first."""
    old = {file.path: file for file in result.recipe_files}
    new = {file.path: file for file in recipe.files}
    found = []
    for path in sorted(old.keys() | new.keys(), key=lambda path: (path != recipe.spec, path)):
        before, now = old.get(path), new.get(path)
        if before is None and now is not None:
            found.append(Change("recipe", path, f"{path} is new", "", now.sha256))
        elif now is None and before is not None:
            found.append(Change("recipe", path, f"{path} is gone", before.sha256, ""))
        elif before is not None and now is not None and before != now:
            how = "changed" if before.sha256 != now.sha256 else "became executable"
            if before.sha256 == now.sha256 and not now.executable:
                how = "is no longer executable"
            found.append(Change("recipe", path, f"{path} {how}", before.sha256, now.sha256))
    return tuple(found)


def of_chroot(result: Result, chroot: Chroot) -> tuple[Change, ...]:
    """Settings that differ, of those that may change a result. An early farm did not record the
    chroot: then all that can be said is that something does."""
    before = result.chroot
    if before is None:
        told = "what they were is not known: an early farm, which built it, did not record them"
        return (Change("chroot", "", told),)
    more, less = "the set-up installs {} as well", "the set-up no longer installs {}"
    found = list(_listed(before.setup, chroot.setup, more, less, "set-up packages"))
    found += _named((("%dist", before.dist),), (("%dist", chroot.dist),), "")
    found += _named(before.macros, chroot.macros, "the macro %")
    on, no = "the build condition {} is switched on", "the build condition {} is not switched on"
    found += _listed(before.with_options, chroot.with_options, on, no, "conditions")
    off, no = "the build condition {} is switched off", "the build condition {} is not switched off"
    found += _listed(before.without_options, chroot.without_options, off, no, "conditions")
    found += _named(before.environment, chroot.environment, "the environment variable ")
    found += _named(before.files, chroot.files, "the file /")
    made, not_made = "the directory {} is made", "the directory {} is no longer made"
    found += _listed(before.directories, chroot.directories, made, not_made, "directories")
    users = (("build user", before.unprivileged_user),), (("build user", chroot.unprivileged_user),)
    found += _named(*users, "the ")
    found += _named((("architecture", before.arch),), (("architecture", chroot.arch),), "the ")
    return tuple(found)


def of_lock(
    old: Lock, new: Lock, names: frozenset[str] | None = None, *, gone: bool = True
) -> tuple[Change, ...]:
    """Packages of the build root that differ, those of the layer first; of `names` only."""
    before, now = _by_name(old), _by_name(new)
    found = []
    for key in sorted(before.keys() | now.keys()):
        was, has = before.get(key, ()), now.get(key, ())
        if was == has or (names is not None and key[0] not in names) or not (has or gone):
            continue
        for one, other in _pairs(was, has):
            package = other or one
            assert package is not None
            found.append(
                Change(
                    "lock", package.nevra.name, difference(one, other), _identity(one),
                    _identity(other), package.of_layer,
                )
            )  # fmt: skip
    return tuple(sorted(found, key=lambda change: not change.layer))


def difference(old: LockedPackage | None, new: LockedPackage | None) -> str:
    """Why two packages of a lock are not the same, in words."""
    if new is None:
        return f"{old.nevra} is no longer in its build root" if old else ""
    if old is None:
        return f"{new.nevra} is new in its build root"
    if old.nevra == new.nevra:
        return f"{new.nevra} has other bytes"
    return f"{old.nevra} became {new.nevra.evr}"


def summed_up(changes: Sequence[Change], most: int = 3) -> str:
    """The first of several changes in one line."""
    told = "; ".join(change.text for change in changes[:most])
    return f"{told} and {len(changes) - most} more" if len(changes) > most else told


def _identity(package: LockedPackage | None) -> str:
    return f"{package.nevra} {package.sha256}" if package is not None else ""


def _by_name(lock: Lock) -> Mapping[tuple[str, str], tuple[LockedPackage, ...]]:
    """By name and architecture; of a kernel, say, there may be several versions."""
    found: dict[tuple[str, str], list[LockedPackage]] = {}
    for package in lock.packages:
        found.setdefault((package.nevra.name, package.nevra.arch), []).append(package)
    return {key: tuple(some) for key, some in found.items()}


def _pairs(
    old: Sequence[LockedPackage], new: Sequence[LockedPackage]
) -> Iterator[tuple[LockedPackage | None, LockedPackage | None]]:
    """What is in one only, and what took whose place."""
    identities = {(p.nevra, p.sha256) for p in old} & {(p.nevra, p.sha256) for p in new}
    was = [p for p in old if (p.nevra, p.sha256) not in identities]
    has = [p for p in new if (p.nevra, p.sha256) not in identities]
    for place in range(max(len(was), len(has))):
        yield (
            was[place] if place < len(was) else None,
            has[place] if place < len(has) else None,
        )


def _named(
    old: Sequence[tuple[str, str]], new: Sequence[tuple[str, str]], what: str
) -> Iterator[Change]:
    before, now = dict(old), dict(new)
    for name in sorted(before.keys() | now.keys()):
        was, has = before.get(name), now.get(name)
        if was == has:
            continue
        if was is None or has is None:
            value = has if was is None else was
            state = "is new" if was is None else "is gone"
            text = f"{what}{name} {state}{_quoted(value)}"
        elif max(len(was), len(has)) <= _SHORT and "\n" not in was + has:
            text = f"{what}{name} was {was!r}, is {has!r}"
        else:
            text = f"{what}{name} changed"
        yield Change("chroot", name, text, was or "", has or "")


def _quoted(value: str | None) -> str:
    return f": {value!r}" if value and len(value) <= _SHORT and "\n" not in value else ""


def _listed(
    old: Sequence[str], new: Sequence[str], more: str, less: str, what: str
) -> Iterator[Change]:
    for name in sorted(set(old) ^ set(new)):
        if name in new:
            yield Change("chroot", name, more.format(name), "", name)
        else:
            yield Change("chroot", name, less.format(name), name, "")
    if set(old) == set(new) and tuple(old) != tuple(new):
        text = f"the {what} have another order"
        yield Change("chroot", what, text, " ".join(old), " ".join(new))
