"""What may have been meant by a requirement that nobody fulfils."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from farm.model import LAYER
from farm.plan.universe import Universe

_ISA = re.compile(r"\((?:x86|aarch|ppc|s390|riscv|arm)-?\w*\)$")
_NAMESPACED = re.compile(r"([\w+.-]+)\(([^()]+)\)$")
_SONAME = re.compile(r"(\S+?\.so)\b[.0-9]*")


def suggestion(universe: Universe, text: str, names: Iterable[str] | None = None) -> str:
    """What to write in place of a capability that nobody has, or "".

    `names` are the words that may have been meant, all that is provided unless they are given.
    """
    name, _, rest = text.partition(" ")
    if text.startswith("(") or not name:
        return ""
    pool = universe.pool
    if rest and pool.whatprovides(pool.Dep(name)):
        return _other_version(text)
    learn_spellings(universe, [text])
    for other in _spellings(name):
        having = sorted(pool.whatprovides(pool.Dep(other)), key=str)
        if having:
            return f"{name!r} is not there, but {other!r} is{_whose(having[0], other)}."
    known = universe.provided_names if names is None else names
    if _SONAME.match(name):
        return _other_soname(universe, name, known)
    close = [word for word in known if abs(len(word) - len(name)) <= 3]
    close = [word for word in close if word[:1] == name[:1] or word[1:3] == name[1:3]]
    nearest = difflib.get_close_matches(name, close, 1, 0.8)
    namespace = _NAMESPACED.match(name)
    if namespace:  # alike has to be what is in it
        before, inner = namespace[1], namespace[2]
        words = {word[len(before) + 1 : -1]: word for word in close
                 if word.startswith(f"{before}(") and word.endswith(")")}  # fmt: skip
        nearest = [words[word] for word in difflib.get_close_matches(inner, words, 1, 0.8)]
    if not nearest:
        return ""
    having = sorted(pool.whatprovides(pool.Dep(nearest[0])), key=str)
    whose = _whose(having[0], nearest[0]) if having else ""
    return f"Perhaps {nearest[0]!r} is meant by {name!r}{whose}."


def _other_version(text: str) -> str:
    """What to do where the name is there, in another version."""
    operator = text.split()[1]
    if operator.startswith("<"):
        return "Raise the limit if what is there will do as well."
    what = "Write the version that is there" if operator == "=" else "Lower the version"
    return f"{what}, or wait for the package that has {text}."


def _other_soname(universe: Universe, name: str, known: Iterable[str]) -> str:
    """The same library under another soname: any other name is another library."""
    library = _SONAME.match(name)
    assert library is not None
    isa = name.endswith("(64bit)")
    others = sorted(
        word
        for word in known
        if (found := _SONAME.match(word)) and found[1] == library[1]
        and word.endswith("(64bit)") == isa and word != name and "(" not in word.split("()")[0]
    )  # fmt: skip
    if not others:
        return ""
    having = sorted(universe.pool.whatprovides(universe.pool.Dep(others[-1])), key=str)
    whose = _whose(having[0], others[-1]) if having else ""
    return (
        f"The library is there as {others[-1]!r}{whose}: what needs it has to be built with that."
    )


def learn_spellings(universe: Universe, texts: Iterable[str]) -> None:
    """Prepare `suggestion` for these capabilities: for many at once it takes no longer."""
    names = {text.partition(" ")[0] for text in texts}
    universe.learn(o for name in names for o in _spellings(name) if o.startswith("/"))


def _whose(solvable: Any, name: str) -> str:
    """Which package has something, in which repository."""
    where = "the layer" if solvable.repo.name == LAYER else f"repository {solvable.repo.name}"
    return f" (in {where})" if solvable.name == name else f" ({solvable.name} of {where})"


def _spellings(name: str) -> list[str]:
    """Other names under which the same thing is often provided."""
    bare = name.removesuffix("-dev").removesuffix("-devel").removeprefix("lib")
    module = name.removeprefix("python3-").removeprefix("python-")
    names = [
        _ISA.sub("", name),
        f"{name}-devel", f"{name.removesuffix('-dev')}-devel", f"{bare}-devel", f"lib{bare}-devel",
        f"/usr/bin/{name}", f"/usr/sbin/{name}", f"pkgconfig({name})", f"pkgconfig({bare})",
        f"python3-{module}", f"python3dist({module})", f"perl({name})", f"perl-{name}",
        name.lower(), name.replace("_", "-"),
    ]  # fmt: skip
    if _SONAME.fullmatch(name):
        names.append(f"{name}()(64bit)")
    return [other for other in dict.fromkeys(names) if other != name]
