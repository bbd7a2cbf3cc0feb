"""comps.xml: the layer's groups, so that `dnf group install cluster-master` works."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from farm.model import Group

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">
<comps>
"""


def comps_xml(groups: Sequence[Group], *, title: str = "Cluster software") -> str:
    """The text of comps.xml: each group, and one category that lists them all.

    A group whose metapackage is published installs it too, so that a later release of the
    metapackage brings in what the group has gained.
    """
    ordered = sorted(groups, key=lambda group: group.id)
    return _HEAD + "".join(map(_group, ordered)) + _category(ordered, title) + "</comps>\n"


def _group(group: Group) -> str:
    mandatory = sorted({*group.packages, *((group.id,) if group.metapackage else ())})
    optional = sorted({*group.optional} - {*mandatory})
    return (
        "  <group>\n"
        f"    <id>{escape(group.id)}</id>\n"
        f"    <name>{escape(group.name)}</name>\n"
        f"    <description>{escape(group.description)}</description>\n"
        "    <default>false</default>\n"
        "    <uservisible>true</uservisible>\n"
        "    <packagelist>\n"
        + "".join(_requests("mandatory", mandatory))
        + "".join(_requests("optional", optional))
        + "    </packagelist>\n"
        "  </group>\n"
    )


def _requests(kind: str, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        yield f"      <packagereq type={quoteattr(kind)}>{escape(name)}</packagereq>\n"


def _category(groups: Sequence[Group], title: str) -> str:
    if not groups:
        return ""
    return (
        "  <category>\n"
        "    <id>farm</id>\n"
        f"    <name>{escape(title)}</name>\n"
        "    <description></description>\n"
        "    <grouplist>\n"
        + "".join(f"      <groupid>{escape(group.id)}</groupid>\n" for group in groups)
        + "    </grouplist>\n"
        "  </category>\n"
    )
