"""What is read late is read once, wholly, whoever asks."""

from __future__ import annotations

import sys
import textwrap

import pytest

from farm.run import run


def told(program: str) -> list[str]:
    """What a fresh interpreter prints."""
    script = textwrap.dedent(program)
    return run([sys.executable, "-c", script]).stdout.split()


def test_a_module_is_executed_when_something_is_asked_of_it_and_not_before() -> None:
    assert told(
        """
        import sys
        from farm.lazily import lazily
        with lazily():
            from farm.plan import solver
        print("solv" in sys.modules)
        print(solver.resolve.__name__)
        print("solv" in sys.modules, solver.__spec__.loader.__class__.__name__)
        """
    ) == ["False", "resolve", "True", "SourceFileLoader"]


def test_who_imports_a_waiting_module_in_the_ordinary_way_gets_the_same_one_executed() -> None:
    assert told(
        """
        from farm.lazily import lazily
        with lazily():
            from farm.plan import solver
        from farm.plan.solver import resolve
        import farm.plan.solver
        print(resolve is solver.resolve, farm.plan.solver is solver)
        """
    ) == ["True", "True"]


def test_after_the_block_imports_are_ordinary_again() -> None:
    assert told(
        """
        import sys
        before = list(sys.meta_path)
        from farm.lazily import lazily
        try:
            with lazily():
                from farm.plan import nowhere
        except ImportError:
            pass
        print(sys.meta_path == before)
        from farm.plan import solver
        print("solv" in sys.modules)
        """
    ) == ["True", "True"]


def test_what_a_module_has_not_is_missed_as_in_any_other() -> None:
    assert told(
        """
        from farm.lazily import lazily
        with lazily():
            from farm.plan import solver
        for _ in range(2):
            try:
                solver.nowhere
            except AttributeError as error:
                print("nowhere" in str(error))
        """
    ) == ["True", "True"]


def test_a_module_that_fails_fails_every_time() -> None:
    assert told(
        """
        import sys
        from farm.lazily import lazily
        with lazily():
            from farm.plan import solver
        sys.modules["solv"] = None
        for _ in range(2):
            try:
                solver.resolve
            except ImportError:
                print("failed")
        del sys.modules["solv"]
        print(solver.resolve.__name__)
        """
    ) == ["failed", "failed", "resolve"]


@pytest.mark.parametrize(("name", "last"), [("solver", "resolve"), ("universe", "Universe")])
def test_threads_that_ask_at_once_all_get_it_whole(name: str, last: str) -> None:
    answers = told(
        f"""
        import sys, threading
        from farm.lazily import lazily
        with lazily():
            from farm.plan import {name} as late
        sys.setswitchinterval(1e-6)
        start = threading.Barrier(8)
        def ask():
            start.wait()
            print(late.{last}.__name__ + "\\n", end="")
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """
    )
    assert len(answers) == 8
    assert len(set(answers)) == 1
