"""Metadata that is damaged, lies or means harm: the right answer or clear words, never a crash."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.hostile import checksum, conflicts, document, entry, package, repodata
from tests.hostile import requires as needs
from tests.repositories import repository
from tests.verdicts import Child, Question, Verdict, child

A = package("a")
SUM = '<checksum type="sha256" pkgid="YES">{}</checksum>'


@pytest.fixture(scope="module")
def asked() -> Iterator[Child]:
    with child() as one:
        yield one


def b(*entries: str) -> str:
    """A package b that requires these."""
    return package("b", needs(*entries))


def verdict(child: Child, directory: Path, primary: bytes, *wanted: str, **more: bytes) -> Verdict:
    """What `b` gives in a repository with this primary.xml and these other files."""
    base = repodata(directory / "base", {"primary": primary, **more})
    return child.ask(Question((repository(base),), directory, wanted or ("b",)))


WELL = document(A, b(entry("a")))

REFUSED = {
    "nothing in it": (b"", "it is empty"),
    "a web page": (b"<!DOCTYPE html><HTML><body>Log in</body></html>", "it is a web page"),
    "other XML": (b'<?xml version="1.0"?><comps/>', "it is no rpm-md metadata"),
    "a package too few": (document(A, announced=2), "announces 2 packages and lists 1"),
    "cut off between packages": (WELL.replace(b"</metadata>", b""), "not well-formed"),
    "cut off in a tag": (WELL[: WELL.index(b"<location") + 5], "not well-formed"),
    "cut off in an attribute": (WELL[: WELL.index(b'ver="1') + 5], "not well-formed"),
    "cut off in an entity": (
        document(A, b(entry("a &amp; b")))[:-200] + b"&am",
        "not well-formed",
    ),
    "entities": (
        WELL.replace(b"<metadata", b'<!DOCTYPE x [<!ENTITY a "b">]><metadata', 1),
        "declares XML entities",
    ),
    "external entities": (
        WELL.replace(b"<metadata", b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><metadata', 1),
        "declares XML entities",
    ),
    "NUL in a name": (WELL.replace(b"<name>a", b"<name>a\0"), "not well-formed"),
    "no UTF-8 in a name": (WELL.replace(b"<name>a", b"<name>a\xff"), "not well-formed"),
    "no UTF-8 in a version": (WELL.replace(b'ver="1"', b'ver="1\xff"'), "not well-formed"),
    "a prefix of nothing": (WELL.replace(b"<rpm:entry", b"<r:entry"), "not well-formed"),
    "a tag that is damaged": (WELL.replace(b"<rpm:entry", b"<rpm:  "), "not well-formed"),
    "UTF-16": (WELL.decode().replace("UTF-8", "UTF-16").encode("utf-16"), "no rpm-md metadata"),
    "a blank in a name": (document(package("a b"), b()), "an impossible name, 'a b'"),
    "a line break in a name": (document(package("a\nb"), b()), "an impossible name"),
    "a path as a name": (document(package("../../x"), b()), "an impossible name, '../../x'"),
    "a shell's words as a name": (document(package("$(x)"), b()), "an impossible name, '$(x)'"),
    "an option as a name": (document(package("-a"), b()), "an impossible name, '-a'"),
    "an endless name": (document(package("a" * 5_000_000), b()), "an impossible name"),
    "no version": (document(package("a", version=""), b()), "'a' in it has no version"),
    "a dash in a version": (
        document(package("a", version='<version epoch="0" ver="1-2" rel="1"/>'), b()),
        "an impossible version, '1-2'",
    ),
    "a negative epoch": (
        document(package("a", version='<version epoch="-1" ver="1" rel="1"/>'), b()),
        "an impossible epoch, '-1'",
    ),
    "a gigantic epoch": (
        document(package("a", version=f'<version epoch="{10**30}" ver="1" rel="1"/>'), b()),
        "an impossible epoch, '1000",
    ),
    "no architecture": (document(package("a", arch=""), b()), "'a' in it has no architecture"),
    "no checksum": (document(package("a", sum="<x/>"), b()), "a checksum of the type ''"),
    "an unknown checksum": (
        document(package("a", sum='<checksum type="crc" pkgid="YES">12</checksum>'), b()),
        "a checksum of the type 'crc'",
    ),
    "a checksum that is none": (
        document(package("a", sum=SUM.format("z" * 64)), b()),
        "an impossible checksum",
    ),
    "a checksum that is cut off": (
        document(package("a", sum=SUM.format("ab" * 20)), b()),
        "invalid sha256 checksum",
    ),
    "one checksum for two packages": (
        document(A, package("b", sum=SUM.format(checksum("a")))),
        "a-1-1.x86_64 and b-1-1.x86_64 have the same checksum",
    ),
    "no location": (document(package("b", location="")), "'b' in it has no location"),
    "an empty location": (document(package("b", location='<location href=""/>')), "names no place"),
    "a location in another world": (
        document(package("b", location='<location href="gopher://x/a.rpm"/>')),
        "a place that it may not: gopher://x/a.rpm",
    ),
    "a base in another world": (
        document(package("b", location='<location xml:base="ftp://x/" href="a.rpm"/>')),
        "a place that it may not: ftp://x/",
    ),
    "only md5": (
        document(package("b", sum=f'<checksum type="md5" pkgid="YES">{"a" * 32}</checksum>')),
        "names no sha256 of b-1-1.x86_64",
    ),
    "brackets without end": (
        document(A, b(entry("(" * 100_000 + "a" + " or a)" * 100_000))),
        "more than 100 brackets",
    ),
    "brackets without end, in other quotes": (
        document(A, b("<rpm:entry name='" + "(" * 9999 + "a" + " or a)" * 9999 + "'/>")),
        "more than 100 brackets",
    ),
    "brackets without end, as references": (
        document(A, b(entry("&#40;" * 100_000 + "a" + " or a)" * 100_000))),
        "more than 100 brackets",
    ),
    "alternatives without end": (
        document(A, b(entry("(a" + " or a" * 50_000 + ")"))),
        "has more than 100000 characters",
    ),
    "too many alternatives": (
        document(A, b(entry("(a" + " or a" * 5_000 + ")"))),
        "has more than 1000 parts",
    ),
    "clauses beyond measure": (
        document(A, b(entry(f"({' or '.join(f'(a{i} and b{i})' for i in range(30))})"))),
        "stands for more than 10000 alternatives",
    ),
    "clauses beyond measure, in a conflict": (
        document(
            A,
            package("b", conflicts(entry(f"({' and '.join(f'(a{i} or c)' for i in range(30))})"))),
        ),
        "stands for more than 10000 alternatives",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_metadata_that_cannot_be_trusted_is_refused_in_words(
    asked: Child, tmp_path: Path, case: str
) -> None:
    content, said = REFUSED[case]
    answer = verdict(asked, tmp_path, content)
    assert answer.kind == "error", answer
    assert said in answer.text
    assert "'base'" in answer.text


NOT_WELL_FORMED = [
    "(a or )", "((((", "(a if)", "()", "(", "(a", "(a or b", "(a with", "(a xor b)",
    "(a and (b or ))", "(a or b) c", "(a and a or a)", "(a &gt;= )", "(a &gt;= with a)",
]  # fmt: skip


@pytest.mark.parametrize("dependency", [entry(text) for text in NOT_WELL_FORMED] + [
    entry("a", 'flags="BOGUS" ver="1"'), entry("a", 'flags="ge" ver="1"'),
    entry("a", 'flags="GE"'), "<rpm:entry/>", '<rpm:entry name=""/>', entry("a&#10;b"),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["requires", "conflicts", "obsoletes"])
def test_a_package_with_a_dependency_that_cannot_be_read_cannot_be_installed(
    asked: Child, tmp_path: Path, dependency: str, kind: str
) -> None:
    content = document(A, package("b", f"<rpm:{kind}>{dependency}</rpm:{kind}>"), package("c"))
    answer = verdict(asked, tmp_path, content)
    assert answer.kind == "problem", answer
    assert "b-1-1.x86_64 (base) has a dependency that is not well-formed" in answer.text
    assert verdict(asked, tmp_path, content, "a", "c").packages == ["a-1-1.x86_64", "c-1-1.x86_64"]


def test_a_recommendation_that_cannot_be_read_is_as_good_as_none(
    asked: Child, tmp_path: Path
) -> None:
    content = document(package("b", f"<rpm:recommends>{entry('(a or')}</rpm:recommends>"))
    assert verdict(asked, tmp_path, content).packages == ["b-1-1.x86_64"]


OTHER_WORDS: Mapping[str, Callable[[str], str]] = {
    "single quotes": lambda text: text.replace('name="gone"', "name='gone'"),
    "references": lambda text: text.replace('name="gone"', 'name="&#103;on&#x65;"'),
    "blanks": lambda text: text.replace('name="gone"', 'name = "gone"'),
    "another prefix": lambda text: text.replace("rpm:", "r:").replace("xmlns:rpm", "xmlns:r"),
    "no prefix": lambda text: text.replace("<rpm:", "<").replace("</rpm:", "</"),
    "a prefix of its own": lambda text: text.replace(
        '<rpm:requires><rpm:entry name="gone"/></rpm:requires>',
        '<q:requires xmlns:q="http://linux.duke.edu/metadata/rpm"><q:entry name="gone"/>'
        "</q:requires>",
    ),
    "attributes in another order": lambda text: text.replace(
        'epoch="0" ver="1" rel="1"', 'rel="1" ver="1" epoch="0"'
    ),
    "elements in another order": lambda text: text.replace(
        "<arch>x86_64</arch>", ""
    ).replace("<format>", "<arch>x86_64</arch><format>"),
    "line breaks in tags": lambda text: text.replace("<package type", "<package\n\ttype"),
    "CDATA": lambda text: text.replace(">d<", "><![CDATA[ <package type='rpm'> ]]><"),
    "comments": lambda text: text.replace("<format>", "<!-- <package > --><format>"),
    "a second list": lambda text: text.replace(
        "</rpm:requires>", f"</rpm:requires>{needs(entry('a'))}"
    ),
    "Latin 1": lambda text: text.replace("UTF-8", "ISO-8859-1"),
    "a byte order mark": lambda text: "\ufeff" + text,
    "checksums in capitals": lambda text: text.replace(checksum("b"), checksum("b").upper()),
    "checksums with blanks": lambda text: text.replace(checksum("b"), f" {checksum('b')}\n"),
    "no count": lambda text: text.replace(' packages="2"', ""),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHER_WORDS)
def test_the_same_xml_in_other_words_has_the_same_meaning(
    asked: Child, tmp_path: Path, case: str
) -> None:
    def said(text: bytes) -> bytes:
        return OTHER_WORDS[case](text.decode()).encode()

    broken = document(A, b(entry("gone")))
    assert said(broken) != broken
    answer = verdict(asked, tmp_path, said(broken))
    assert answer.kind == "problem", answer
    assert "b-1-1.x86_64 (base) requires gone, which nothing provides" in answer.text
    mended = said(broken.replace(b"<name>a<", b"<name>gone<").replace(b'"a"', b'"gone"'))
    if case == "a second list":
        mended = mended.replace(b"</rpm:provides>", b'<rpm:entry name="a"/></rpm:provides>')
    answer = verdict(asked, tmp_path / "mended", mended)
    assert answer.packages == ["b-1-1.x86_64", "gone-1-1.x86_64"]


def test_odd_versions_epochs_and_flags_mean_what_rpm_means(asked: Child, tmp_path: Path) -> None:
    odd = package("odd", version='<version epoch="" ver="1~rc^2+b.0" rel="0.fc%"/>')
    content = document(
        A, odd,
        b(entry("a", 'flags="LE" epoch="0" ver="1" rel="1"'), entry("a", 'pre="1"'),
          entry("odd", 'flags="LT" ver="1"')),
    )  # fmt: skip
    found = ["a-1-1.x86_64", "b-1-1.x86_64", "odd-1~rc^2+b.0-0.fc%.x86_64"]
    assert verdict(asked, tmp_path, content).packages == found


@pytest.mark.parametrize("content", [
    document(package("a", needs(entry("b"))), b(entry("a"))),
    document(package("a", conflicts(entry("a"))), b(entry("a"))),
    document(package("a", f"<rpm:obsoletes>{entry('a')}</rpm:obsoletes>"), b(entry("a"))),
    document(
        package("a"),
        package("p", needs(*(entry(f"p{i}") for i in range(0)))).replace(
            "</rpm:provides>", "".join(entry(f"p{i}") for i in range(100_000)) + "</rpm:provides>"
        ),
        b(entry("a")),
    ),
    document(A, b(entry("a"), entry("(" * 90 + "a" + " if a)" * 90))),
    document(A, b(entry("(a" + " or a" * 900 + ")"))),
])  # fmt: skip
def test_what_is_odd_but_allowed_is_installed(asked: Child, tmp_path: Path, content: bytes) -> None:
    assert verdict(asked, tmp_path, content).packages == ["a-1-1.x86_64", "b-1-1.x86_64"]


def test_of_two_packages_with_one_name_in_a_repository_always_the_same_is_taken(
    asked: Child, tmp_path: Path
) -> None:
    twins = [package("b"), package("b", sum=SUM.format("f" * 64))]
    first = verdict(asked, tmp_path / "1", document(*twins))
    assert first.packages == ["b-1-1.x86_64"]
    assert verdict(asked, tmp_path / "2", document(*reversed(twins))) == first
