"""What the sandbox's script says, and what its limits count."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import MachineError
from farm.run import start
from farm.sandbox import limits
from farm.sandbox.identity import IdMap, _below_own, subordinate_ranges
from farm.sandbox.limits import (
    Allowed,
    Meter,
    occupied,
    tree,
)
from farm.sandbox.memory import exactly, look
from farm.sandbox.script import (
    BUILDER,
    Bind,
    Emulator,
    Overlay,
    Sandbox,
    inner_script,
    outer_script,
    registration,
)
from tests.processes import descendants, parents

AREA = Path("/run/area")
IDS = IdMap(((0, 5000, 1), (1, 100000, 65535)), ((0, 5000, 1), (1, 100000, 65535)), helped=True)


def inner(sandbox: Sandbox, *argv: str) -> str:
    return inner_script(sandbox, argv or ("true",), AREA, lambda path: path, ("--host-view",))


def bubblewrap(sandbox: Sandbox, *argv: str) -> list[str]:
    text = inner(sandbox, *argv)
    return shlex.split(text[text.index("env -i ") :])


ROOTED = (Bind(Overlay((Path("/a"), Path("/b"))), "/", writable=True),)


def test_nothing_has_a_network_unless_it_asks_for_one() -> None:
    assert "--unshare-net" in bubblewrap(Sandbox(ROOTED))
    assert "--unshare-net" not in bubblewrap(Sandbox(ROOTED, network=True))


def test_a_build_user_has_shared_memory_as_large_as_what_it_may_write() -> None:
    rooted = (Bind(Overlay((Path("/a"), Path("/b")), size=99), "/", writable=True),)
    sandbox = Sandbox(rooted, user=BUILDER)
    assert "mount -t tmpfs -o size=99,mode=1777 farm $A/shm" in inner(sandbox)
    words = bubblewrap(sandbox)
    at = words.index("/dev/shm")
    assert words[at - 2 : at] == ["--bind", "$A/shm"] and at > words.index("/dev")
    assert "/dev/shm" not in bubblewrap(Sandbox(rooted)), "the sandbox's root needs none"


def test_a_root_of_its_own_hides_the_hosts_programs() -> None:
    assert "--host-view" not in bubblewrap(Sandbox(ROOTED))
    assert "--host-view" in bubblewrap(Sandbox((Bind(Path("/x"), "/x"),)))


def test_binds_are_read_only_unless_they_say_otherwise() -> None:
    words = bubblewrap(Sandbox((Bind(Path("/x"), "/x"), Bind(Path("/y"), "/y", writable=True))))
    assert words[words.index("/x") - 1] == "--ro-bind"
    assert words[words.index("/y") - 1] == "--bind"


def test_the_build_user_gets_no_capability_but_those_to_become_it() -> None:
    words = bubblewrap(Sandbox(ROOTED, user=BUILDER))
    added = {words[n + 1] for n, word in enumerate(words) if word == "--cap-add"}
    assert added == {"CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_SYS_CHROOT"}
    assert words.index("ALL") < words.index("CAP_SETUID")


def test_the_build_user_is_dropped_to_by_a_program_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    with_none = bubblewrap(Sandbox((Bind(Overlay((tmp_path,)), "/", True),), user=BUILDER), "make")
    assert "--userspec=1000:135" in with_none
    (tmp_path / "usr/bin/setpriv").touch()
    words = bubblewrap(Sandbox((Bind(Overlay((tmp_path,)), "/", True),), user=BUILDER), "make")
    assert words[words.index("--") + 1] == "/usr/bin/setpriv"
    assert {"--reuid=1000", "--regid=135", "--bounding-set=-all"} <= set(words)
    assert words[-1] == "make"


@given(st.lists(st.text(st.characters(blacklist_characters="\0", codec="utf-8")), min_size=1))
def test_every_word_of_a_command_reaches_the_program_as_it_was(argv: list[str]) -> None:
    words = bubblewrap(Sandbox(ROOTED), *argv)
    assert words[-len(argv) :] == argv


def test_layers_are_given_topmost_first() -> None:
    assert "lowerdir=/a:/b," in inner(Sandbox(ROOTED))


def test_a_directory_that_overlayfs_would_misread_is_refused() -> None:
    with pytest.raises(MachineError, match="cannot hold build roots"):
        inner(Sandbox((Bind(Overlay((Path("/a:b"),)), "/"),)))


def test_the_id_maps_are_written_by_newuidmap_for_an_ordinary_user() -> None:
    script = outer_script("true", AREA, IDS, {})
    assert "newuidmap $0 0 5000 1 1 100000 65535" in script
    assert "newgidmap $0 0 5000 1 1 100000 65535" in script


def test_root_writes_the_id_maps_itself_and_never_maps_itself() -> None:
    high = IdMap(((0, 1_880_000_000, 65536),), ((0, 1_880_000_000, 65536),), helped=False)
    script = outer_script("true", AREA, high, {})
    assert "newuidmap" not in script
    assert "0 1880000000 65536" in script


def test_subordinate_ranges_are_found_by_name_or_number() -> None:
    text = "# comment\nada:100000:65536\nbob:165536:65536\n1001:300000:1000\nada:nonsense\n"
    assert subordinate_ranges(text, "ada", 1001) == ((0, 100000, 65536), (0, 300000, 1000))
    assert subordinate_ranges(text, "eve", 1002) == ()


@given(st.lists(st.tuples(st.just(0), st.integers(1, 2**31), st.integers(1, 70000)), max_size=5))
def test_the_map_counts_up_from_root_without_a_hole(ranges: list[tuple[int, int, int]]) -> None:
    made = _below_own(1000, tuple(ranges))
    assert made[0] == (0, 1000, 1)
    expected = 0
    for inside, _, count in made:
        assert inside == expected
        expected += count
    assert expected <= 65536


def test_the_registered_pattern_matches_a_real_executable_of_this_machine() -> None:
    machine = os.uname().machine
    line = registration(Emulator(machine, Path("/qemu")), "/qemu")
    _, name, kind, offset, magic, mask, interpreter, flags = line.split(":")
    assert (name, kind, offset, interpreter) == (f"farm-{machine}", "M", "", "/qemu")
    assert set(flags) == {"F", "P"}
    wanted, bits = (
        each.encode().decode("unicode_escape").encode("latin1") for each in (magic, mask)
    )
    head = Path("/proc/self/exe").read_bytes()[: len(wanted)]
    assert bytes(a & b for a, b in zip(head, bits, strict=True)) == wanted
    other = registration(
        Emulator("riscv64" if machine != "riscv64" else "aarch64", Path("/q")), "/q"
    )
    wanted = other.split(":")[4].encode().decode("unicode_escape").encode("latin1")
    assert bytes(a & b for a, b in zip(head, bits, strict=True)) != wanted


def test_an_architecture_that_nobody_can_emulate_is_named() -> None:
    with pytest.raises(MachineError, match="vax"):
        registration(Emulator("vax", Path("/q")), "/q")


def test_our_own_memory_is_counted() -> None:
    ours = os.getpid()
    before = look([ours]).own
    ballast = bytearray(os.urandom(1) * (64 << 20))
    after = look([ours])
    assert after.own[ours] > before[ours] + (48 << 20)
    assert exactly(after, {}, 0) > before[ours] + (48 << 20)
    assert len(ballast) == 64 << 20


def watching(
    allowed: Allowed, log: Path | None = None, after: float = 10.0, used: int | None = None
) -> tuple[str, Meter, list[bool]]:
    """What is said of this very process, so many seconds after its start."""
    asked: list[bool] = []
    meter = Meter(
        allowed,
        log=log,
        on_disk=(lambda _: used) if used is not None else None,
        on_limit=lambda: asked.append(True),
    )
    meter._started -= after
    meter._heard -= after
    meter._next_disk -= after
    return meter.watch(os.getpid()), meter, asked


def test_each_limit_is_named_when_it_is_hit_and_by_how_much(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    assert watching(Allowed(time=5))[0] == "time: it ran for more than 5 s"
    assert watching(Allowed(time=50))[0] == ""
    assert watching(Allowed(silence=5), log)[0] == "silence: no output for 5 s"
    assert watching(Allowed(memory=1 << 20))[0].endswith(" MiB in use, 1 MiB allowed")
    assert watching(Allowed(memory=1 << 40))[0] == ""
    written = watching(Allowed(disk=5 << 20), used=7 << 20)[0]
    assert written == "disk: 7 MiB written, 5 MiB allowed"
    assert watching(Allowed(disk=5 << 20), used=4 << 20)[0] == ""


def test_a_log_that_grows_without_end_is_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_LOG", 1 << 20)
    log = tmp_path / "log"
    log.write_bytes(b"x" * (1 << 20))
    assert watching(Allowed(), log)[0] == ""
    log.write_bytes(b"x" * ((1 << 20) + 1))
    assert watching(Allowed(), log)[0] == "disk: more than 1 MiB of log"


def test_what_a_limit_ends_may_be_kept_and_nothing_else() -> None:
    assert watching(Allowed(time=5))[2] == [True]
    assert watching(Allowed(time=50))[2] == []


def test_a_log_that_grows_breaks_the_silence(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("a line\n")
    assert watching(Allowed(silence=5), log)[0] == ""


def test_time_in_which_nobody_could_look_counts_for_no_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("farm.sandbox.limits.time.monotonic", lambda: clock[0])
    log = tmp_path / "log"
    log.touch()
    meter = Meter(Allowed(time=50, silence=20), log=log)

    def seconds_pass(seconds: int) -> list[str]:
        said = []
        for _ in range(seconds):
            clock[0] += 1.0
            said.append(meter.watch(os.getpid()))
        return said

    assert not any(seconds_pass(15))
    clock[0] += 3600.0  # suspended, with all that runs in the sandbox
    assert not any(seconds_pass(5))
    assert seconds_pass(2) == ["", "silence: no output for 20 s"]
    log.write_text("a line\n")
    assert not any(seconds_pass(20))
    log.write_text("two lines\n")
    assert seconds_pass(10)[-1] == "time: it ran for more than 50 s"


def test_what_is_used_is_measured_without_any_limit() -> None:
    _, meter, _ = watching(Allowed(), used=3 << 20)
    ballast = bytearray(os.urandom(1) * (64 << 20))
    before = meter.peak.memory
    meter._next_memory = 0.0
    assert meter.watch(os.getpid()) == ""
    assert meter.peak.memory > before + (48 << 20) and meter.peak.disk == 3 << 20
    assert len(ballast) == 64 << 20


def test_more_processes_than_any_build_has_are_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "most_processes", lambda: 0)
    assert watching(Allowed())[0] == "memory: more than 0 processes at once"


def test_a_look_at_a_tree_of_processes_finds_what_a_look_at_all_finds() -> None:
    with start(["sh", "-c", "sleep 60 & sleep 60 & wait"]) as child:
        deadline = time.monotonic() + 10
        while len(descendants(child.pid, parents())) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert set(tree(child.pid, 100)) == descendants(child.pid, parents())
        assert len(tree(child.pid, 1)) == 2


def test_a_look_that_takes_long_is_taken_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("farm.sandbox.limits.time.monotonic", lambda: clock[0])

    def slow(_: int) -> int:
        clock[0] += 2.0
        return 0

    meter = Meter(Allowed(disk=1 << 40), on_disk=slow)
    meter.watch(os.getpid())
    assert clock[0] == 0.0, "at first there is nothing to see"
    clock[0] = 1.0
    meter.watch(os.getpid())
    assert clock[0] == 3.0
    for clock[0] in (10.0, 62.9):
        meter.watch(os.getpid())
    assert clock[0] == 62.9
    clock[0] = 63.1
    meter.watch(os.getpid())
    assert clock[0] == pytest.approx(65.1)


def test_what_is_on_disk_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(5 << 20))
    found = occupied(tmp_path)
    assert found is not None and 5 << 20 <= found < 6 << 20
    assert occupied(tmp_path / "missing") is None


def test_who_builds_is_the_first_that_the_kernel_ends_where_memory_runs_out() -> None:
    assert "/proc/self/oom_score_adj" in inner(Sandbox(ROOTED))


def test_a_sandbox_may_not_have_tasks_without_an_end() -> None:
    text = inner_script(Sandbox(ROOTED), ("true",), AREA, lambda path: path, (), None, 77)
    assert "ulimit -u 77 " in text
