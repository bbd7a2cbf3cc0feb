"""The one form of rpm-md: createrepo's own is left as it is, and dependencies stay in measure."""

from __future__ import annotations

import time

import createrepo_c
import pytest
import solv
from hypothesis import given
from hypothesis import strategies as st

from farm.plan.metadata.richdeps import excess
from farm.plan.metadata.rpmmd import checksums_in, owners_in, regular_filelists, regular_primary
from farm.plan.metadata.unpack import MetadataError
from tests.hostile import ROOT, checksum, document, filelists, package

_NAME = st.sampled_from(("a", "lib()(64bit)", "pkgconfig(x) >= 1", "b < 2", "/usr/bin/c"))


def written(**fields: object) -> createrepo_c.Package:
    """A package with something of everything that createrepo writes."""
    made = createrepo_c.Package()
    made.name, made.arch, made.epoch, made.version, made.release = "a+b", "noarch", "1", "2~rc", "3"
    made.pkgId, made.checksum_type = checksum("a"), "sha256"
    made.summary, made.description = 'it\'s <a> & "b"', "x\n\ty — é"
    made.url, made.rpm_packager, made.rpm_license, made.rpm_vendor = "u", "p", "MIT", "v"
    made.rpm_group, made.rpm_buildhost, made.rpm_sourcerpm = "g", "h", "s.src.rpm"
    entries = [
        ("a", "GE", "0", "1", "2"),
        ("(b >= 1 with b < 2)", None, None, None, None),
        ('c\'d "e" & <f>', "EQ", None, "1", None),
    ]
    kinds = (
        "provides", "conflicts", "obsoletes", "suggests", "enhances", "recommends", "supplements",
    )  # fmt: skip
    for kind in kinds:
        setattr(made, kind, [(*each, False) for each in entries])
    made.requires = [(*each, True) for each in entries]
    made.files = [("", "/usr/bin/", "it's&<x>"), ("dir", "/etc/", "d"), ("ghost", "/etc/", "g")]
    for name, value in ({"location_href": "a b&c.rpm"} | fields).items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize("base", [None, "https://example.org/x"])
def test_what_createrepo_writes_is_left_as_it_is(base: str | None) -> None:
    made = written(location_base=base)
    primary = (ROOT.format(1) + createrepo_c.xml_dump_primary(made) + "</metadata>\n").encode()
    assert regular_primary(primary) is primary
    listed = filelists({}, announced=1).replace(
        b"</filelists>", createrepo_c.xml_dump_filelists(made).encode() + b"</filelists>"
    )
    assert regular_filelists(listed) is listed
    assert checksums_in(primary) == owners_in(listed) == {checksum("a").encode()}


def test_a_tag_of_megabytes_is_not_read_again_and_again() -> None:
    wide = document(package("a")).replace(b"<metadata ", b"<metadata" + b" " * (20 << 20))
    started = time.monotonic()
    assert len(checksums_in(regular_primary(wide))) == 1
    assert time.monotonic() - started < 6


def test_more_packages_than_announced_are_all_there() -> None:
    content = document(package("a"), package("b"), announced=1)
    assert len(checksums_in(regular_primary(content))) == 2
    with pytest.raises(MetadataError, match="announces 3 packages and lists 2"):
        regular_primary(document(package("a"), package("b"), announced=3))


@given(
    st.recursive(
        _NAME,
        lambda inner: st.tuples(
            inner, st.sampled_from(("and", "or", "if", "unless", "with", "without")), inner
        ).map(lambda parts: f"({' '.join(parts)})"),
        max_leaves=6,
    )
)
def test_ordinary_rich_dependencies_are_not_too_much(text: str) -> None:
    assert excess(text) == ""
    if text.startswith("("):
        assert solv.Pool().parserpmrichdep(text) is not None


@pytest.mark.parametrize(("text", "within"), [
    ("(" * 100 + "a" + " or a)" * 100, True),
    ("(" * 101 + "a" + " or a)" * 101, False),
    ("(" + "lib()(64bit) or " * 200 + "a)", True),
    ("(a" + " or a" * 1000 + ")", True),
    ("(a" + " or a" * 1001 + ")", False),
    (f"({' or '.join(['(a and b)'] * 13)})", True),
    (f"({' or '.join(['(a and b)'] * 14)})", False),
    (f"({' and '.join(['(a or b)'] * 14)})", False),
    ("(" * 30 + "a" + " unless b else c)" * 30, False),
    ("(a)or (" + "b and " * 20 + "c)", False),
    ("a" * 200_000, True),
    ("(" + "a" * 200_000, False),
    ("()" * 40 + " or" * 40, False),
])  # fmt: skip
def test_dependencies_beyond_measure_are_known(text: str, within: bool) -> None:
    assert (excess(text) == "") is within
