"""What rpm says of a spec, as text, and how it becomes an Evaluation."""

from __future__ import annotations

import re

from farm.model import Evaluation, Nevra, Problem

# Raised when rpm is asked for more, or its answer is read in another way.
READING_NUMBER = 3

# Tab-separated lines; the first field says what a line is.
SOURCE_QUERY = (
    r"source\t%{NAME}\t%{EPOCHNUM}\t%{VERSION}\t%{RELEASE}\n"
    r"[needs\t%{REQUIRENEVRS}\n][conflicts\t%{CONFLICTNEVRS}\n]"
    r"[only\t%{EXCLUSIVEARCH}\n][never\t%{EXCLUDEARCH}\n]"
    r"[file\t%{SOURCE}\n][file\t%{PATCH}\n]"
    r"[changed\t%{CHANGELOGTIME}\n]"
)
BINARY_QUERY = (
    r"package\t%{NAME}\t%{EPOCHNUM}\t%{VERSION}\t%{RELEASE}\t%{ARCH}\n"
    r"[provides\t%{PROVIDENEVRS}\n][requires\t%{REQUIRENEVRS}\n]"
    r"[excludes\t%{CONFLICTNEVRS}\n][obsoletes\t%{OBSOLETENEVRS}\n]"
)
DYNAMIC = "dynamic"
BOOTSTRAPS = "bootstraps"
_OF_BINARIES = ("provides", "requires", "excludes", "obsoletes")

_NOON = 43200


def parse(text: str, dist: str) -> Evaluation:
    """The Evaluation in the output of the two queries. Raises ValueError when there is none."""
    source: Nevra | None = None
    single: dict[str, list[str]] = {}
    packages: list[tuple[Nevra, dict[str, list[str]]]] = []
    for line in text.splitlines():
        kind, *fields = line.split("\t")
        if kind == "source" and len(fields) == 4:
            source = Nevra(fields[0], int(fields[1]), fields[2], fields[3], "src")
        elif kind == "package" and len(fields) == 5:
            nevra = Nevra(fields[0], int(fields[1]), fields[2], fields[3], fields[4])
            packages.append((nevra, {}))
        elif kind in _OF_BINARIES and packages and fields:
            packages[-1][1].setdefault(kind, []).append(fields[0])
        elif fields or kind in (DYNAMIC, BOOTSTRAPS):
            single.setdefault(kind, []).extend(fields[:1])
    if source is None:
        raise ValueError("rpm named no source package")
    return Evaluation(
        source=source,
        packages=tuple((nevra, tuple(says.get("provides", ()))) for nevra, says in packages),
        build_requires=tuple(dict.fromkeys(_real(single.get("needs", ())))),
        build_conflicts=tuple(_real(single.get("conflicts", ()))),
        exclusive_arch=tuple(_real(single.get("only", ()))),
        exclude_arch=tuple(_real(single.get("never", ()))),
        dynamic=DYNAMIC in single,
        epoch_seconds=source_date(int((single.get("changed") or ["0"])[0])),
        has_dist=dist in source.release,
        requires=_said(packages, "requires"),
        files=tuple(dict.fromkeys(_real(single.get("file", ())))),
        conflicts=_said(packages, "excludes"),
        obsoletes=_said(packages, "obsoletes"),
        bootstrap=BOOTSTRAPS in single,
    )


def _said(
    packages: list[tuple[Nevra, dict[str, list[str]]]], kind: str
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What each binary package declares of one kind; those that declare nothing are left out."""
    texts = ((nevra.name, tuple(_real(says.get(kind, ())))) for nevra, says in packages)
    return tuple((name, found) for name, found in texts if found)


def source_date(newest_change: int) -> int:
    """SOURCE_DATE_EPOCH as rpmbuild takes it from the newest changelog entry.

    An entry without a time of day stands for noon, which may be in the future: rpm takes
    midnight then.
    """
    return newest_change - _NOON if newest_change % 86400 == _NOON else newest_change


def refusal(name: str, spec: str, errors: str) -> Problem:
    """rpm's complaint about a spec as a problem that names file and line."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("error:")] or lines[-3:]
    # that the file as a whole cannot be read follows from what was said before
    told = [line for line in told if "query of specfile" not in line] or told
    facts = tuple(
        dict.fromkeys(located(line.removeprefix("error:").strip(), spec) for line in told)
    )
    return Problem(
        kind="bad-spec",
        subject=name,
        facts=facts[:6] or (f"{spec}: rpm cannot read it and does not say why",),
        remedy=f"Correct {spec}; `rpmspec -P` shows what rpm makes of it.",
    )


def located(message: str, spec: str) -> str:
    """`line 12: …` → `x.spec:12: …`, so that an editor finds the place."""
    match = re.match(r"(?:.*?\.spec: )?line (\d+): (.*)", message)
    return f"{spec}:{match[1]}: {match[2]}" if match else f"{spec}: {message}"


def _real(values: list[str] | tuple[str, ...]) -> list[str]:
    return [v for v in values if v and v != "(none)" and not v.startswith("rpmlib(")]
