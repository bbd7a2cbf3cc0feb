"""What is read when it is first used: most commands need little of farm."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType
from typing import Any


@contextmanager
def lazily() -> Iterator[None]:
    """Modules of farm that are imported within are executed when something is first asked of them.

    Only whole modules can wait, `from farm.publish import snapshot`: importing a name from one
    asks for it.
    """
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith("farm."):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Lazily(spec.loader)
        return spec


class _Module(ModuleType):
    """Asked for what it has not: before it is executed, that is everything."""

    def __getattr__(self, name: str) -> Any:
        loader = self.__spec__ and self.__spec__.loader
        if isinstance(loader, _Lazily):
            loader.execute(self)
        return super().__getattribute__(name)


class _Lazily(Loader):
    """importlib.util.LazyLoader does the same, but fails where two threads ask at once (Python
    before 3.11.8: bugs.python.org, gh-114763)."""

    def __init__(self, real: Loader) -> None:
        self._real, self._begun, self._lock = real, False, RLock()

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Not yet."""
        module.__class__ = _Module

    def execute(self, module: ModuleType) -> None:
        """Once; whoever asks meanwhile waits, but for the module's own code."""
        with self._lock:
            if self._begun:
                return
            self._begun = True
            try:
                self._real.exec_module(module)
            except BaseException:
                self._begun = False
                raise
            assert module.__spec__ is not None
            module.__spec__.loader = module.__loader__ = self._real
