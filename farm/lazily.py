"""What is read when it is first used: most commands need little of farm."""

from __future__ import annotations

import importlib
import importlib.util
import operator
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def lazily(name: str) -> ModuleType:
    """The module `name`, executed when the first thing is asked of it."""
    known = sys.modules.get(name)
    if known is not None:
        return known
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module named {name!r}", name=name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    package, _, own = name.rpartition(".")
    if package:  # as an import does
        setattr(sys.modules[package], own, module)
    return module


def later(place: str) -> Callable[..., Any]:
    """The function, class or class's method `module:name`, read when it is first called."""
    module, _, name = place.partition(":")
    find = operator.attrgetter(name)

    def call(*positional: Any, **named: Any) -> Any:
        return find(importlib.import_module(module))(*positional, **named)

    return call
