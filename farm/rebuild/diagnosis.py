"""Reads a build log: which phase it is in, and what in it tells why the build failed."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from farm.model import Failed, Limits, Usage
from farm.rebuild.phases import PACKAGING

_EXCERPT = 20  # lines
_LONGEST = 400  # characters of a line that are worth showing
_TAIL = 4000  # lines of the log's end that are looked at
_READ = 8 << 20  # bytes of it that are read
_NEARLY = 0.7  # of the memory allowed: what is killed then was killed for that
_NONE = Limits(0, 0)
_UNMEASURED = Usage()
_SPACE_RAN_OUT = "this machine's disk or memory is full"
_MEMORY_RAN_OUT = "a process was killed, as when memory runs out"

_BAD_EXIT = re.compile(r"^error: Bad exit status from \S+ \((%\w+)\)")
# file:line[:column]: error: …, as compilers, linkers and most tools write it
_LOCATED = re.compile(r"^(?P<where>[^\s:]+:\d+)(?::\d+)?:\s+(?:fatal )?(?:error|Error)\b")
_SPEC_LINE = re.compile(r"^error: (?:\S*/)?(?P<spec>[^/\s]+\.spec): line (?P<line>\d+):|"
                        r"^error: line (?P<bare>\d+):")  # fmt: skip
_TELLING = (
    _LOCATED,
    re.compile(r"^error:", re.IGNORECASE),
    re.compile(r"\b(?:fatal error|undefined reference|ld returned|cannot find -l)"),
    re.compile(r"^configure: error:"),
    re.compile(r"^CMake Error"),
    re.compile(r"^meson\.build:\d+:\d+: ERROR"),
    re.compile(r"^(?:FAIL|ERROR|XPASS)(?::| )"),
    re.compile(r"^FAILED\b|^E   |^not ok \d+"),
    re.compile(r"\*\*\* .*(?:Error \d+|Stop\.|No rule)"),
    re.compile(r"^Traceback \(most recent call last\)"),
    re.compile(r"^\w*(?:Error|Exception): "),
    re.compile(r": command not found|: not found$|No such file or directory"),
    re.compile(r"\b\d+ of \d+ tests? failed|^# (?:FAIL|ERROR): +[1-9]|tests? failed"),
    re.compile(r"Segmentation fault|core dumped|Illegal instruction|Aborted"),
    re.compile(r"^\s+(?:Installed \(but unpackaged\)|File not found)"),
)
_HARMLESS = re.compile(r"\bwarning:|^checking for |setlocale|^Terminated$", re.IGNORECASE)
_UNPACKAGED = "Installed (but unpackaged) file(s) found"
_FULL = re.compile(r"No space left on device|Disk quota exceeded")
_KILLED = re.compile(
    r"Killed signal terminated program|signal: killed|\(Killed\)|Cannot allocate memory|"
    r"virtual memory exhausted|std::bad_alloc|MemoryError"
)
# Colours, titles and other orders to a terminal, and whatever else is no text.
_CONTROLS = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)|[^\t\x20-\x7e\xa0-\U0010ffff]"
)
_LINE_END = re.compile(r"\r?\n|\r")  # a form feed and the like are within a line
_REFUSED = "error: parsing failed"
_NOT_A_MACRO = re.compile(r": fg: no job control$")
_BUILD_DEPENDENCIES = "error: Failed build dependencies:"


def diagnose(
    lines: Sequence[str],
    *,
    package: str,
    phase: str,
    reason: str = "",
    signal: int = 0,
    limits: Limits = _NONE,
    used: Usage = _UNMEASURED,
    limited_in_memory: bool = False,
    seconds: float = 0.0,
    remedy: str = "",
) -> Failed:
    """Why a build failed, from the end of its log.

    `reason` is the limit that ended it ("time: …"), `signal` the one that killed it. `limits` it
    ran under, and `used` so much. `limited_in_memory`: what it wrote went to a file system in
    memory of the size that its limit on disk space allows. `remedy` is the hint where nothing
    better is known.
    """
    tail = [_CONTROLS.sub("", line) for line in lines[-_TAIL:]]
    ended_in = next((m[1] for m in map(_BAD_EXIT.match, reversed(tail)) if m), phase)

    def failed(kind: str, message: str, hint: str = "", where: str = "", limit: str = "") -> Failed:
        return Failed(
            kind,  # type: ignore[arg-type]
            message,
            telling(tail),
            phase=ended_in,
            where=where,
            hint=hint or remedy,
            seconds=seconds,
            usage=used,
            limit=limit,  # type: ignore[arg-type]
        )

    def over(limit: str, detail: str) -> Failed:
        what = f"{package} hit the limit on {_LIMITED[limit]} in {ended_in or 'the build'}"
        return failed("limit", f"{what}: {detail}", _raise(limit, detail, package), limit=limit)

    name, _, detail = reason.partition(": ")
    if name in _LIMITED:
        return over(name, detail)
    if any(_FULL.search(line) for line in tail):
        if limits.disk and limited_in_memory:
            return over("disk", f"{limits.disk >> 20} MiB allowed")
        return failed(
            "infrastructure",
            f"{package} could not be built: {_SPACE_RAN_OUT}",
            "Free some space (`farm doctor` says where) and run the build again.",
        )
    if signal or any(_KILLED.search(line) for line in tail):
        if limits.memory and used.memory > limits.memory * _NEARLY:
            used_up = f"{used.memory >> 20} MiB in use, {limits.memory >> 20} MiB allowed"
            return over("memory", f"a process was killed with {used_up}")
        return failed(
            "infrastructure",
            f"{package} could not be built: {_MEMORY_RAN_OUT}",
            "Give the build more memory, or run fewer at a time (--jobs).",
        )
    if _BUILD_DEPENDENCIES in tail:
        missing = [line.strip() for line in tail[tail.index(_BUILD_DEPENDENCIES) + 1 :]]
        return failed(
            "package",
            f"{package}: rpmbuild misses {missing[0] if missing else 'a BuildRequires'}",
            "A %generate_buildrequires asks for it; name it as a BuildRequires.",
        )
    where = _where(tail)
    if _REFUSED in tail:
        told = [line for line in tail[: tail.index(_REFUSED)] if line.startswith("error: ")]
        why = told[-1].removeprefix("error: ") if told else "rpm cannot read it"
        spec = f"{package}.spec"
        return failed("package", f"{spec}: {why}", f"Correct {spec}.", where)
    what = _WHAT.get(ended_in, f"failed in {ended_in}" if ended_in else "failed")
    if any(_UNPACKAGED in line for line in tail):
        what = "installs files that no %files section names"
    hint = _UNKNOWN_MACRO if any(map(_NOT_A_MACRO.search, tail)) else ""
    return failed("package", f"{package} {what}", hint, where)


_WHAT = {
    "%prep": "could not be unpacked and patched (%prep)",
    "%build": "does not compile (%build)",
    "%install": "cannot be installed (%install)",
    "%check": "fails its tests (%check)",
    PACKAGING: "could not be packed",
    "srpm": "could not be unpacked",
}
_LIMITED = {"time": "time", "silence": "silence", "memory": "memory", "disk": "disk space"}
_OPTIONS = {"time": "timeout"}  # of farm.toml, where they are not called as the limit is
_IF = {
    "time": "if it really takes that long",
    "silence": "if it does not hang",
    "memory": "if it really needs that much (fewer processes at a time need less: cores)",
    "disk": "if it really writes that much",
}
_PROCESSES, _LOG = "processes at once", "MiB of log"  # as farm.sandbox.limits says it


def _raise(limit: str, detail: str, package: str) -> str:
    """Which option to change."""
    if detail.endswith(_PROCESSES):
        return "No build needs as many: something in it starts processes without an end."
    if detail.endswith(_LOG):
        return "No build has as much to say: something in it repeats itself without an end."
    option = _OPTIONS.get(limit, limit)
    return (
        f"Raise {option} in farm.toml, for it alone below [limits.{package}] or for all below "
        f"[build], {_IF[limit]}."
    )


def last_lines(log: Path, most: int = _READ) -> list[str]:
    """The lines in the last `most` bytes of a log, which may be larger than memory; none where
    there is no log."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - most)
        file.seek(max(0, start - 1))
        content = file.read(most + 1)
        if start:  # a line of which only a part would be read
            _, end, whole = content.partition(b"\n")
            content = whole if end and whole else content[1:]
        text = content.decode("utf-8", "replace").removesuffix("\n")
        return _LINE_END.split(text) if text else []
    return []


def ran_out(failed: Failed) -> bool:
    """Whether it failed for want of memory, or of room, on the machine that it ran on."""
    return failed.kind == "infrastructure" and failed.message.endswith(
        (_SPACE_RAN_OUT, _MEMORY_RAN_OUT)
    )


_UNKNOWN_MACRO = (
    "The spec uses a macro that is not defined there: rpm handed it to the shell as it stands "
    "(%name). Correct it, or name the package that brings the macro as a BuildRequires."
)


def telling(lines: Sequence[str]) -> tuple[str, ...]:
    """The lines of a log that a person would look for, in their order, as plain text."""
    lines = [_CONTROLS.sub("", line) for line in lines]
    end = next((n for n, line in enumerate(lines) if line == "RPM build errors:"), len(lines))
    said = [n for n in range(end) if _is_text(lines[n]) and not lines[n].startswith("+")]
    chosen = {n for n in said if any(each.search(lines[n]) for each in _TELLING)}
    chosen -= {n for n in chosen if _HARMLESS.search(lines[n])}
    for number in [n for n in chosen if _UNPACKAGED in lines[n]]:
        chosen |= set(range(number + 1, min(number + 6, end)))
    last = max((n for n in said if _BAD_EXIT.match(lines[n])), default=end)
    # What was said last is often all there is.
    chosen |= set([n for n in said if n < last][-(4 if chosen - {last} else 12) :])
    shown = sorted(chosen)
    if len(shown) > _EXCERPT:  # the first error is the cause of many others, the last ends it
        shown = shown[: _EXCERPT // 2] + shown[-_EXCERPT // 2 :]
    return tuple(dict.fromkeys(lines[n][:_LONGEST] for n in shown))


def _is_text(line: str) -> bool:
    """Whether a line says something, and what it says could be read."""
    return bool(line.strip()) and line.count("\ufffd") <= max(3, len(line) // 8)


def _where(lines: Sequence[str]) -> str:
    """file:line of the first error that has one."""
    for line in lines:
        match = _LOCATED.match(line)
        if match:
            return match["where"]
        match = _SPEC_LINE.match(line)
        if match:
            return f"{match['spec'] or 'spec'}:{match['line'] or match['bare']}"
    return ""
