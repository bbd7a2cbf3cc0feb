"""The groups of the layer as comps.xml."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from farm.model import Group
from farm.publish.comps import comps_xml

_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=20)
_NAME = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)


def _requested(group: ElementTree.Element, kind: str) -> list[str | None]:
    return [node.text for node in group.iter("packagereq") if node.get("type") == kind]


def test_a_group_installs_its_packages_and_its_own_metapackage() -> None:
    text = comps_xml(
        [Group("cluster-master", "Head node", "What it wants", "1", ("pdsh", "munge"))]
    )
    group = ElementTree.fromstring(text).find("group")
    assert group is not None
    assert group.findtext("id") == "cluster-master"
    assert _requested(group, "mandatory") == ["cluster-master", "munge", "pdsh"]


def test_a_group_without_metapackage_asks_for_its_packages_only() -> None:
    text = comps_xml([Group("extra", "Extra", "", "1", ("pdsh",), metapackage=False)])
    group = ElementTree.fromstring(text).find("group")
    assert group is not None
    assert _requested(group, "mandatory") == ["pdsh"]


def test_optional_packages_are_offered_not_installed() -> None:
    text = comps_xml([Group("g", "G", "", "1", ("pdsh",), ("pdsh", "hpcc"), metapackage=False)])
    group = ElementTree.fromstring(text).find("group")
    assert group is not None
    assert (_requested(group, "mandatory"), _requested(group, "optional")) == (["pdsh"], ["hpcc"])


def test_a_category_lists_every_group() -> None:
    groups = [Group(name, name, "", "1", ()) for name in ("b", "a")]
    category = ElementTree.fromstring(comps_xml(groups)).find("category")
    assert category is not None
    assert [node.text for node in category.iter("groupid")] == ["a", "b"]


@given(_NAME, _TEXT, _TEXT, st.lists(_NAME, max_size=4))
def test_whatever_a_group_says_comes_back_from_the_xml(
    id: str, name: str, description: str, packages: list[str]
) -> None:
    text = comps_xml([Group(id, name, description, "1", tuple(packages), metapackage=False)])
    group = ElementTree.fromstring(text.encode()).find("group")
    assert group is not None
    assert group.findtext("id") == id
    assert group.findtext("name") == name
    assert group.findtext("description") == description
    assert _requested(group, "mandatory") == sorted(set(packages))


def test_the_order_in_which_groups_are_given_does_not_matter() -> None:
    a, b = (Group(name, name, "", "1", ("x", "y")) for name in ("a", "b"))
    assert comps_xml([a, b]) == comps_xml([b, a])
