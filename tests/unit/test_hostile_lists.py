"""Lists of files, groups and modules that are damaged or missing: said so, never guessed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.plan.metadata.repodata import fetch_pin
from farm.plan.metadata.unlisted import REMEDY
from farm.plan.universe import Universe
from farm.plan.why import absent
from tests.hostile import conflicts, document, entry, filelists, package, repodata
from tests.hostile import requires as needs
from tests.repositories import chroot, repository
from tests.verdicts import Child, Question, Verdict, child

A = package("a")
FILE = "/usr/share/x"


@pytest.fixture(scope="module")
def asked() -> Iterator[Child]:
    with child() as one:
        yield one


def b(*entries: str) -> str:
    return package("b", needs(*entries))


WELL = document(A, b(entry("a")))


def verdict(
    child: Child,
    directory: Path,
    primary: bytes,
    *wanted: str,
    conflicts: tuple[str, ...] = (),
    **more: bytes,
) -> Verdict:
    base = repodata(directory / "base", {"primary": primary, **more})
    return child.ask(Question((repository(base),), directory, wanted or ("b",), conflicts))


def test_a_whole_list_of_files_is_needed_and_of_this_state(asked: Child, tmp_path: Path) -> None:
    content = document(A, b(entry("/usr/share/x")))
    well = filelists({"a": "/usr/share/x", "b": ""})
    found = ["a-1-1.x86_64", "b-1-1.x86_64"]
    assert verdict(asked, tmp_path / "0", content, filelists=well).packages == found
    quoted = well.replace(b'"a"', b"'a'").replace(b"/usr/share/x", b"/usr&#x2f;share/x")
    assert verdict(asked, tmp_path / "1", content, filelists=quoted).packages == found
    for number, (damaged, said) in enumerate((
        (b"", "filelists: it is empty"),
        (b"<html></html>", "filelists: it is a web page"),
        (well[:-40], "filelists: its XML is not well-formed"),
        (filelists({"a": "/usr/share/x"}, announced=2), "announces 2 packages and lists 1"),
        (filelists({"a": "/usr/share/x"}), "1 packages of primary.xml are not in it"),
        (filelists({"x": "/usr/share/x", "y": ""}), "2 packages of primary.xml are not in it"),
    ), 2):  # fmt: skip
        answer = verdict(asked, tmp_path / str(number), content, filelists=damaged)
        assert (answer.kind, said in answer.text) == ("error", True), answer


MODULES = b"---\ndocument: modulemd\ndata:\n  name: a\n  stream: x\n"


@pytest.mark.parametrize(("kind", "content", "said"), [
    ("modules", b"\x00\xff{{{{", "list of modules is damaged"),
    ("modules", b"<html>Sorry</html>", "does not say its kind"),
    ("modules", b"--- {document: modulemd, data: {name: a}}\nx: y\n", "does not say its kind"),
    ("modules", MODULES.replace(b"  stream: x\n", b""), "no name or no stream"),
    ("modules", MODULES + b"  artifacts:\n    rpms: [a-0:1-1.x86_64]\n", "style of libmodulemd"),
    ("modules", MODULES + b"  artifacts:\n    rpms:\n    - a\n", "has the artifact 'a'"),
    ("group", b"<comps><group>", "list of groups is damaged"),
    ("group", b'<?xml version="1.0" encoding="x"?><comps/>', "list of groups is damaged"),
    ("group", b'<?xml version="1.0" encoding="utf-7"?><comps/>', "list of groups is damaged"),
    ("group", b'<!DOCTYPE c [<!ENTITY a "b">]><comps>&a;</comps>', "declares XML entities"),
])  # fmt: skip
def test_damaged_groups_and_modules_are_named(
    asked: Child, tmp_path: Path, kind: str, content: bytes, said: str
) -> None:
    base = repodata(tmp_path / "base", {"primary": WELL, kind: content})
    answer = asked.ask(Question((repository(base),), tmp_path, ("b",)))
    assert answer.kind == "error", answer
    assert f"{kind}: " in answer.text
    assert said in answer.text


UNLISTED = "repository 'base' has no filelists.xml, so who has /usr/share/x cannot be known"


@pytest.mark.parametrize(("primary", "wanted", "said"), [
    (document(A), FILE, f"BuildRequires: {FILE}: {UNLISTED}"),
    (document(A), f"(gone or {FILE})", f"BuildRequires: (gone or {FILE}): {UNLISTED}"),
    (document(A, b(entry(FILE))), "b", f"b-1-1.x86_64 (base) requires {FILE}; {UNLISTED}"),
    (document(A, b(entry(f"(gone if {FILE})"))), "b", f"requires (gone if {FILE}); {UNLISTED}"),
    (document(A, package("b", conflicts(entry(FILE)))), "b", f"conflicts with {FILE}; {UNLISTED}"),
])  # fmt: skip
def test_without_lists_of_files_it_is_said_that_nobody_can_know(
    asked: Child, tmp_path: Path, primary: bytes, wanted: str, said: str
) -> None:
    answer = verdict(asked, tmp_path, primary, wanted)
    assert answer.problem is not None, answer
    assert answer.problem.kind == "unknown"
    assert said in answer.text
    assert "Name the package in place of its file" in answer.problem.remedy
    listed = filelists({"a": "", "b": ""})
    known = verdict(asked, tmp_path / "known", primary, wanted, filelists=listed)
    assert known.problem is None or known.problem.kind == "nothing-provides"


def test_farm_why_does_not_say_that_nobody_has_a_file_that_nobody_lists(tmp_path: Path) -> None:
    base = repository(repodata(tmp_path / "base", {"primary": WELL}))
    pin = fetch_pin(base, tmp_path / "pin")
    universe = Universe.open(chroot(base), [pin], tmp_path / "solv")
    assert absent(universe, FILE) == (UNLISTED, REMEDY)
    assert absent(universe, "/usr/bin/gone")[0] == "nothing provides /usr/bin/gone"


def test_a_build_conflict_with_a_file_that_nobody_lists_is_not_all_well(
    asked: Child, tmp_path: Path
) -> None:
    answer = verdict(asked, tmp_path, WELL, conflicts=(FILE,))
    assert answer.problem is not None
    assert answer.problem.kind == "unknown"
    assert f"BuildConflicts: {FILE}: {UNLISTED}" in answer.text


def test_without_lists_of_files_what_primary_lists_is_known(asked: Child, tmp_path: Path) -> None:
    program = package("a", files="<file>/usr/bin/a</file>")
    found = ["a-1-1.x86_64", "b-1-1.x86_64"]
    answer = verdict(asked, tmp_path / "1", document(program, b(entry("/usr/bin/a"))))
    assert answer.packages == found
    answer = verdict(asked, tmp_path / "2", document(program, b(entry("/usr/bin/gone"))))
    assert answer.problem is not None
    assert answer.problem.kind == "nothing-provides"
    named = package("a").replace("</rpm:provides>", entry(FILE) + "</rpm:provides>")
    assert verdict(asked, tmp_path / "3", document(named, b(entry(FILE)))).packages == found


def test_of_two_repositories_the_one_with_lists_of_files_answers(
    asked: Child, tmp_path: Path
) -> None:
    listed = repodata(tmp_path / "1", {"primary": document(A), "filelists": filelists({"a": FILE})})
    other = repodata(tmp_path / "2", {"primary": document(b(entry(FILE)))})
    both = (repository(listed, "listed"), repository(other, "other"))
    found = ["a-1-1.x86_64", "b-1-1.x86_64"]
    assert asked.ask(Question(both, tmp_path, ("b",))).packages == found


@pytest.mark.parametrize("packages", [(), (package("b", arch="ppc64le"),)])
def test_a_base_without_packages_is_named_where_something_is_missing(
    asked: Child, tmp_path: Path, packages: tuple[str, ...]
) -> None:
    answer = verdict(asked, tmp_path, document(*packages))
    assert answer.kind == "problem"
    assert "repository 'base' has no package for x86_64" in answer.text
