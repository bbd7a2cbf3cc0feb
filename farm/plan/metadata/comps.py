"""Groups of a base repository (comps.xml): which packages `@name` stands for."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree

from farm.plan.metadata import rpmmd
from farm.plan.metadata.unpack import MetadataError

Groups = Mapping[str, tuple[str, ...]]


def parse_groups(content: bytes) -> dict[str, tuple[str, ...]]:
    """Group id → its mandatory and default packages; `^id` for environments.

    Like dnf, optional packages are left out, and conditional ones too: in an empty root nothing
    that they depend on is installed beforehand. Raises MetadataError.
    """
    try:
        root = rpmmd.parse(content)
    except MetadataError as error:
        raise MetadataError(f"the list of groups is damaged: {error}") from error
    groups: dict[str, tuple[str, ...]] = {}
    for group in root.iterfind("group"):
        names = [
            (request.text or "").strip()
            for request in group.iterfind("packagelist/packagereq")
            if request.get("type", "mandatory") in ("mandatory", "default")
        ]
        groups[_id(group)] = tuple(sorted({name for name in names if name}))
    for environment in root.iterfind("environment"):
        members = [(m.text or "").strip() for m in environment.iterfind("grouplist/groupid")]
        names = [name for member in members for name in groups.get(member, ())]
        groups["^" + _id(environment)] = tuple(sorted(set(names)))
    return groups


def _id(element: ElementTree.Element) -> str:
    return (element.findtext("id") or "").strip()
