"""Phases and failures are read from logs as rpmbuild writes them."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest

from farm.errors import MachineError
from farm.model import Chroot, Failed, Job, Limits, Lock, Nevra, Recipe, Usage
from farm.rebuild.builder import Clock, refuse_foreign_options, take_results
from farm.rebuild.diagnosis import diagnose, last_lines, ran_out, telling
from farm.rebuild.phases import phase_of
from farm.store import sha256_of
from tests.rpms import Spec, build, needs_rpmbuild

PRELUDE = ["Executing(%build): /bin/sh -e /var/tmp/rpm-tmp.x", "+ umask 022", "+ make -j2"]


@pytest.mark.parametrize(
    ("line", "phase"),
    [
        ("Executing(%prep): /bin/sh -e /var/tmp/rpm-tmp.abc", "%prep"),
        ("Executing(%generate_buildrequires): /bin/sh", "%generate_buildrequires"),
        ("Executing(%check): /bin/sh -e /var/tmp/rpm-tmp.abc", "%check"),
        ("Executing(rmbuild): /bin/sh -e /var/tmp/rpm-tmp.abc", ""),
        ("Executing(%clean): /bin/sh -e /var/tmp/rpm-tmp.abc", ""),
        ("Processing files: tiny-1.0-1.x86_64", "packaging"),
        ("+ echo Executing(%prep): no", ""),
        ("gcc -c tiny.c", ""),
    ],
)
def test_a_phase_begins_with_rpmbuilds_own_line(line: str, phase: str) -> None:
    assert phase_of(line) == phase


def test_a_compilers_error_names_file_and_line() -> None:
    log = [
        *PRELUDE,
        "tiny.c:1:1: warning: unused",
        "src/tiny.c:3:46: error: 'b' undeclared",
        "make: *** [Makefile:2: tiny.o] Error 1",
        "error: Bad exit status from /var/tmp/rpm-tmp.x (%build)",
        "RPM build errors:",
        "    Bad exit status from /var/tmp/rpm-tmp.x (%build)",
    ]
    failed = diagnose(log, package="tiny", phase="%build")
    assert (failed.kind, failed.phase, failed.where) == ("package", "%build", "src/tiny.c:3")
    assert "src/tiny.c:3:46: error: 'b' undeclared" in failed.excerpt
    assert "tiny.c:1:1: warning: unused" not in [line for line in failed.excerpt if "3:46" in line]
    assert "tiny" in failed.message
    assert "%build" in failed.message


def test_a_failing_test_is_told_by_what_was_said_last() -> None:
    log = ["Executing(%check): /bin/sh", "+ ./test", "x = 3, wanted 4", "+ exit 1",
           "error: Bad exit status from /var/tmp/rpm-tmp.x (%check)"]  # fmt: skip
    failed = diagnose(log, package="tiny", phase="%check")
    assert failed.phase == "%check"
    assert "fails its tests" in failed.message
    assert "x = 3, wanted 4" in failed.excerpt
    assert not any(line.startswith("+") for line in failed.excerpt)


def test_a_full_disk_is_not_the_packages_fault() -> None:
    log = [*PRELUDE, "cc1: fatal error: write failed: No space left on device",
           "error: Bad exit status from /var/tmp/rpm-tmp.x (%build)"]  # fmt: skip
    assert diagnose(log, package="tiny", phase="%build").kind == "infrastructure"


def test_a_full_file_system_of_the_size_allowed_is_the_limit_on_disk_space() -> None:
    log = [*PRELUDE, "cc1: fatal error: write failed: No space left on device"]
    tell = partial(diagnose, log, package="tiny", phase="%build", limited_in_memory=True)
    limited = tell(limits=Limits(disk=7 << 20))
    assert (limited.kind, limited.limit) == ("limit", "disk")
    assert limited.message.endswith("the limit on disk space in %build: 7 MiB allowed")
    assert "disk" in limited.hint and "[limits.tiny]" in limited.hint
    assert tell(limits=Limits(disk=0)).kind == "infrastructure"
    assert tell(limits=Limits(disk=7), limited_in_memory=False).kind == "infrastructure"


@pytest.mark.parametrize("name", ["time", "silence", "memory", "disk"])
def test_a_limit_is_named_with_its_phase_and_the_option_to_change(name: str) -> None:
    failed = diagnose(PRELUDE, package="tiny", phase="%build", reason=f"{name}: detail")
    assert (failed.kind, failed.limit) == ("limit", name)
    assert f"limit on {name}{' space' * (name == 'disk')} in %build: detail" in failed.message
    assert f"Raise {name if name != 'time' else 'timeout'} in farm.toml" in failed.hint
    assert "[limits.tiny]" in failed.hint


def test_no_option_is_named_to_somebody_whose_build_starts_processes_without_end() -> None:
    reason = "memory: more than 4096 processes at once"
    failed = diagnose(PRELUDE, package="tiny", phase="%build", reason=reason)
    assert failed.limit == "memory" and "without an end" in failed.hint


def test_no_option_is_named_to_somebody_whose_build_says_the_same_without_end() -> None:
    reason = "disk: more than 512 MiB of log"
    failed = diagnose([*PRELUDE, *["again"] * 9], package="tiny", phase="%build", reason=reason)
    assert failed.limit == "disk" and "without an end" in failed.hint
    assert failed.message.endswith("more than 512 MiB of log")


def test_what_is_no_text_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(
        b"tiny.c:3: error: no\n" + random.Random(1).randbytes(200_000) + b"\n"
        b"the caf\xe9 is closed\nerror: Bad exit status from /var/tmp/rpm-tmp.x (%check)\n"
    )  # fmt: skip
    told = telling(last_lines(tmp_path / "log"))
    assert told[0] == "tiny.c:3: error: no"
    assert told[-2:] == (
        "the caf\ufffd is closed",
        "error: Bad exit status from /var/tmp/rpm-tmp.x (%check)",
    )
    assert not [line for line in told if line.count("\ufffd") > max(3, len(line) // 8)]
    assert telling(["b\ufffd", "error: x"]) == ("b\ufffd", "error: x"), "an odd name is one"


def test_of_a_large_log_the_end_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as file:
        file.writelines(f"line {n}\n" for n in range(10))
    assert last_lines(log) == [f"line {n}" for n in range(10)]
    assert last_lines(log, most=15) == ["line 8", "line 9"], "none of which only a part was read"
    log.write_text("x" * 100)
    assert last_lines(log, most=10) == ["x" * 10], "there is nothing else"
    log.write_bytes(b"\xff\xfe\nlast\n")
    assert last_lines(log)[-1] == "last"
    assert last_lines(tmp_path / "none") == []


def test_a_killed_compiler_is_a_matter_of_memory_not_of_the_package() -> None:
    log = [*PRELUDE, "g++: fatal error: Killed signal terminated program cc1plus"]
    killed = diagnose(log, package="tiny", phase="%build")
    assert killed.kind == "infrastructure" and ran_out(killed)
    assert ran_out(diagnose(PRELUDE, package="tiny", phase="%build", signal=9))
    assert not ran_out(Failed("infrastructure", "the worker ended without a word"))


def test_what_is_killed_near_its_limit_was_killed_for_that() -> None:
    log = [*PRELUDE, "g++: fatal error: Killed signal terminated program cc1plus"]
    tell = partial(diagnose, log, package="tiny", phase="%build", limits=Limits(memory=100 << 20))
    near = tell(used=Usage(memory=90 << 20))
    assert (near.kind, near.limit) == ("limit", "memory")
    assert "90 MiB in use, 100 MiB allowed" in near.message
    assert tell(used=Usage(memory=9 << 20)).kind == "infrastructure"


def test_missing_build_requirements_are_named() -> None:
    log = ["error: Failed build dependencies:", "\tfoo-devel is needed by tiny-1.0-1.x86_64"]
    failed = diagnose(log, package="tiny", phase="unpack")
    assert "foo-devel is needed by" in failed.message


def test_unpackaged_files_are_listed() -> None:
    log = ["Processing files: tiny-1.0-1.x86_64",
           "error: Installed (but unpackaged) file(s) found:", "   /usr/extra",
           "RPM build errors:", "    Installed (but unpackaged) file(s) found:"]  # fmt: skip
    failed = diagnose(log, package="tiny", phase="packaging")
    assert "no %files section" in failed.message
    assert "   /usr/extra" in failed.excerpt


def test_a_spec_error_names_the_line() -> None:
    log = ["error: /builddir/build/SPECS/tiny.spec: line 33: Unknown tag: Foo"]
    assert diagnose(log, package="tiny", phase="unpack").where == "tiny.spec:33"


def test_an_endless_log_gives_a_short_excerpt_with_the_first_and_the_last_error() -> None:
    log = [f"a.c:{n}:1: error: number {n}" for n in range(1000)]
    shown = telling(log)
    assert len(shown) <= 24
    assert shown[0] == log[0]
    assert shown[-1] == log[-1]


def test_an_empty_log_is_no_reason_to_fall_over() -> None:
    assert diagnose([], package="tiny", phase="").kind == "package"


def test_the_clock_tells_each_phase_once_and_adds_up() -> None:
    told: list[str] = []
    clock = Clock(told.append)
    clock.enter("root")
    for line in ("Executing(%prep): x", "noise", "Processing files: a", "Processing files: b"):
        clock.hear(line)
    assert told == ["root", "%prep", "packaging"]
    assert [phase.name for phase in clock.phases()] == told
    assert sum(phase.seconds for phase in clock.phases()) <= clock.seconds + 0.01


def test_an_option_that_only_mock_honours_is_refused_by_name() -> None:
    chroot = Chroot(
        name="c", release="r", arch="x86_64", repositories=(), setup=(), dist=".d",
        refused=("plugin_conf.bind_mount_enable",),
    )  # fmt: skip
    job = Job(
        attempt="a", step="s", recipe=Recipe("n", "n.spec", "/", ()), chroot=chroot,
        lock=Lock(()), setup_lock=Lock(()), counter=0, key="k", epoch_seconds=0,
    )  # fmt: skip
    with pytest.raises(MachineError, match="does not honour") as caught:
        refuse_foreign_options(job)
    assert "plugin_conf.bind_mount_enable" in caught.value.why


@needs_rpmbuild
def test_results_are_described_from_their_headers(tmp_path: Path) -> None:
    binary, source = build(tmp_path, Spec(name="tiny"))
    binary.rename(tmp_path / binary.name)
    source.rename(tmp_path / source.name)
    found = take_results(tmp_path)
    assert [each.sha256 for each in found] == [sha256_of(tmp_path / binary.name)]
    assert found[0].nevra == Nevra("tiny", 0, "1.0", "1", "x86_64")
    assert found[0].source == "tiny"
    assert not found[0].debug


def test_a_log_cannot_write_on_the_terminal() -> None:
    log = ["\x1b]0;owned\x07\x1b[31mtool: error: \x1b[0mno\x00pe\x9b2J", "made\tof\ttabs"]
    shown = "\n".join(telling(log))
    assert "error: " in shown and "made\tof\ttabs" in shown
    assert not any(
        (ord(sign) < 32 and sign not in "\n\t") or 127 <= ord(sign) < 160 for sign in shown
    )


def test_a_spec_that_rpm_refuses_after_all_is_not_blamed_on_its_last_phase() -> None:
    log = ["Executing(%install): /bin/sh -e /var/tmp/rpm-tmp.x",
           "error: Package has no %description: tiny", "error: parsing failed"]  # fmt: skip
    failed = diagnose(log, package="tiny", phase="%install")
    assert "tiny.spec" in failed.message and "no %description" in failed.message


def test_a_macro_that_rpm_does_not_know_is_named_as_the_likely_cause() -> None:
    log = [*PRELUDE, "/var/tmp/rpm-tmp.ETF4eQ: line 35: fg: no job control",
           "error: Bad exit status from /var/tmp/rpm-tmp.ETF4eQ (%build)"]  # fmt: skip
    failed = diagnose(log, package="tiny", phase="%build")
    assert "macro" in failed.hint
