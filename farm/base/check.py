"""Whether a base is whole, and nothing of the layer's is in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from farm.errors import StateError


@dataclass(frozen=True)
class Contents:
    """What one package provides (its files among it) and requires, by name."""

    name: str
    provides: frozenset[str]
    requires: frozenset[str]


def check(packages: Sequence[Contents], layer_owned: Sequence[str]) -> None:
    """Raises StateError for a requirement that nobody meets or a name that is the layer's."""
    provided = frozenset[str]().union(*(package.provides for package in packages))
    missing = [
        f"{package.name} needs {name}"
        for package in packages
        for name in sorted(package.requires - provided)
        if not name.startswith("rpmlib(")
    ]
    if missing:
        raise StateError(
            "the base would not be whole",
            why="\n".join(missing[:20]),
            hint="The archive has changed in a way that farm's list of packages does not know yet.",
        )
    for package in packages:
        for name in sorted(package.provides):
            if _is_of(name, layer_owned):
                raise StateError(
                    f"{package.name} would bring {name} into the base, which is the layer's own",
                    hint="Add the package to left_out in farm/base/data/packages.toml.",
                )


def _is_of(provided: str, owned: Sequence[str]) -> bool:
    """munge, munge-libs, libmunge.so.2()(64bit), libmunge2, python3dist(clustershell), …"""
    names = "|".join(re.escape(name) for name in owned)
    return re.match(rf"(?:lib|python3dist\()?(?:{names})\d*(?:$|[-.()])", provided) is not None
