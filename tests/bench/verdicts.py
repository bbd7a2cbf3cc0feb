"""What dose and farm say of each package, and where they differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Package = tuple[str, str]  # Debian's name and version


@dataclass(frozen=True)
class Comparison:
    """How many packages both were asked about, and those they do not agree on."""

    asked: int
    broken: int  # for both
    only_farm: dict[Package, str]  # broken for farm alone, with its reasons
    only_dose: dict[Package, str]  # broken for dose alone, with its reasons
    not_asked: tuple[Package, ...]  # by one of the two

    @property
    def same(self) -> bool:
        return not (self.only_farm or self.only_dose or self.not_asked)


def compare(dose: Path, farm: Path, names: Path) -> Comparison:
    """dose's report (--failures --successes --explain), farm's (--json), the conversion's names."""
    theirs = dict(dose_verdicts(dose))
    known = {nevra: (name, version) for nevra, name, version in json.loads(names.read_bytes())}
    (closure,) = json.loads(farm.read_bytes())["closures"]
    ours = {
        known[broken["package"]]: "; ".join(broken["problem"]["facts"])
        for broken in closure["broken"]
        if broken["package"] in known  # not the conversion's own
    }
    broken = {package: why for package, why in theirs.items() if why is not None}
    everything = set(known.values())
    return Comparison(
        asked=len(everything & theirs.keys()),
        broken=len(ours.keys() & broken.keys()),
        only_farm={package: ours[package] for package in sorted(ours.keys() - broken.keys())},
        only_dose={package: broken[package] for package in sorted(broken.keys() - ours.keys())},
        not_asked=tuple(sorted(everything ^ theirs.keys())),
    )


def dose_verdicts(report: Path) -> Iterator[tuple[Package, str | None]]:
    """Each package of a dose report with None when it is fine, or else what dose says of it."""
    name = version = ""
    reasons: list[str] | None = None
    with report.open(encoding="utf-8") as lines:
        for line in lines:
            key, _, value = line.strip().partition(": ")
            if line.startswith("  package:"):
                if name:
                    yield (name, version), None if reasons is None else " ".join(reasons)
                name, reasons = value, None
            elif line.startswith("  version:"):
                version = value.strip('"').replace("%3a", ":")
            elif line.startswith("  status:"):
                reasons = [] if value == "broken" else None
            elif reasons is not None and line.startswith("   ") and value:
                reasons.append(f"{key}: {value}")
    if name:
        yield (name, version), None if reasons is None else " ".join(reasons)
