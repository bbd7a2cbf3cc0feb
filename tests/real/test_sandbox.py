"""The sandbox as it is: real namespaces, mounts and users."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import farm.sandbox
from farm.errors import MachineError
from farm.run import run
from farm.sandbox import (
    BUILDER,
    Bind,
    Collect,
    Overlay,
    Sandbox,
    execute,
    host_tool,
    id_map,
    own,
    remove,
    scratch,
)
from tests.processes import descendants, parents

pytestmark = pytest.mark.real

PROGRAMS = (
    "sh", "setpriv", "grep", "sleep", "touch", "ls", "cat", "dd", "ln", "mkdir", "id", "env",
    "hostname", "rm", "readlink", "stat",
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A root of the host's own few programs, owned by the sandbox's root."""
    place = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path_factory.mktemp("root")
    tree = place / f"farm-test-root-{os.getpid()}"
    tree.mkdir(mode=0o755)
    own(tree)
    script = (
        "cd /r; mkdir -p usr/bin usr/lib usr/lib64 etc tmp var builddir/out root; chmod 700 root; "
        "for d in bin lib lib64; do ln -s usr/$d $d; done; "
        f"for p in {' '.join(PROGRAMS)}; do cp -L /usr/bin/$p usr/bin/; "
        "for l in $(ldd /usr/bin/$p | grep -o '/[^ ]*'); do "
        "mkdir -p .$(dirname $l); cp -L $l .$l; done; done; "
        "chown -R 1000:135 builddir; chmod 1777 tmp"
    )
    host_tool(["sh", "-ec", script], binds=(Bind(tree, "/r", writable=True),))
    yield tree
    remove(tree)


def inside(root: Path, script: str, **how: object) -> tuple[int, str]:
    sandbox = Sandbox((Bind(Overlay((root,)), "/", writable=True),), user=BUILDER, **how)  # type: ignore[arg-type]
    done = execute(sandbox, ["/bin/sh", "-c", script]).completed
    return done.code, done.stdout + done.stderr


def test_the_build_user_has_no_capability_left(root: Path) -> None:
    _, said = inside(root, "grep -E '^(Cap|NoNewPrivs)' /proc/self/status; id -u; id -g")
    sets = dict(line.split(":\t") for line in said.splitlines() if ":\t" in line)
    assert {name: int(value, 16) for name, value in sets.items() if name != "NoNewPrivs"} == {
        "CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0,
    }  # fmt: skip
    assert sets["NoNewPrivs"] == "1"
    assert said.split()[-2:] == ["1000", "135"]


def test_owners_in_the_root_are_as_they_were_made(root: Path) -> None:
    _, said = inside(root, "stat -c '%u %g' /root /builddir")
    assert said.splitlines() == ["0 0", "1000 135"]


def test_the_build_user_owns_its_directory_and_nothing_else(root: Path) -> None:
    assert inside(root, "touch /builddir/x")[0] == 0
    assert inside(root, "touch /etc/x")[0] != 0
    assert inside(root, "ls /root")[0] != 0


def test_there_is_no_network_but_a_loopback(root: Path) -> None:
    _, said = inside(root, "ls /proc/sys/net/ipv4/conf; cat /proc/net/route")
    assert "eth" not in said
    assert set(said.split("Iface")[0].split()) == {"all", "default", "lo"}


def test_the_name_of_the_host_and_its_processes_are_hidden(root: Path) -> None:
    _, said = inside(root, "hostname; ls /proc")
    assert said.splitlines()[0] == "localhost"
    assert len([line for line in said.split() if line.isdigit()]) < 6


def test_nothing_of_the_hosts_environment_leaks_in(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "somebody-of-the-host")
    monkeypatch.setenv("TERM", "strange")
    _, said = inside(root, "env; ls /proc/self/fd", environment={"FLAVOUR": "sweet"})
    assert "FLAVOUR=sweet" in said
    assert "HOME=/builddir" in said
    assert "somebody" not in said
    assert "strange" not in said
    assert [line for line in said.splitlines() if line.isdigit()] == ["0", "1", "2", "3"]


def test_changes_vanish_with_the_sandbox(root: Path) -> None:
    assert inside(root, "touch /builddir/gone")[0] == 0
    assert not (root / "builddir/gone").exists()
    assert inside(root, "ls /builddir/gone")[0] != 0


def test_root_inside_is_not_root_outside(root: Path, tmp_path: Path) -> None:
    """Foreign scriptlets run as the sandbox's root: what they own is nobody's outside."""
    there = own(_made(scratch() / f"test-{os.getpid()}"))
    try:
        sandbox = Sandbox(
            (Bind(Overlay((root,)), "/", True), Bind(there, "/mine", True))  # who they are
        )
        done = execute(sandbox, ["/bin/sh", "-c", "id -u; touch /mine/x; cat /proc/self/uid_map"])
        assert done.completed.stdout.splitlines()[0] == "0"
        assert (there / "x").stat().st_uid == id_map().root[0]
        if os.getuid() == 0:
            assert id_map().root[0] != 0
    finally:
        remove(there)


def test_results_are_collected_and_traps_are_left_alone(root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.rpm"
    secret.write_text("of the host")
    out = own(_made(scratch() / f"test-out-{os.getpid()}"))
    script = (
        f"echo good >/builddir/out/a.rpm; ln -s {secret} /builddir/out/b.rpm; "
        "echo no >/builddir/out/c.txt"
    )
    overlay = Bind(Overlay((root,)), "/", True)
    try:
        sandbox = Sandbox(
            (overlay,), user=BUILDER, collect=(Collect("/builddir/out", "*.rpm", out),)
        )
        execute(sandbox, ["/bin/sh", "-c", script])
        assert {path.name for path in out.iterdir()} == {"a.rpm"}
        assert (out / "a.rpm").read_text() == "good\n"
        assert (out / "a.rpm").stat().st_uid == os.getuid()
        (out / "a.rpm").unlink()
        trap = f"rm -rf /builddir/out; ln -s {tmp_path} /builddir/out"
        execute(sandbox, ["/bin/sh", "-c", trap])
        assert list(out.iterdir()) == []
    finally:
        remove(out)


def test_results_are_collected_from_where_the_sandboxs_root_may_not_be(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    monkeypatch.chdir(private)
    out = own(_made(tmp_path / "out"))
    overlay = Bind(Overlay((root,)), "/", writable=True)
    sandbox = Sandbox((overlay,), user=BUILDER, collect=(Collect("/builddir/out", "*.rpm", out),))
    done = execute(sandbox, ["sh", "-c", "touch /builddir/out/a.rpm"])
    assert (done.completed.stderr, done.ok) == ("", True)
    assert [path.name for path in out.iterdir()] == ["a.rpm"]


def test_what_a_failed_program_left_is_kept(root: Path) -> None:
    kept = own(_made(scratch() / f"test-kept-{os.getpid()}"))
    try:
        sandbox = Sandbox((Bind(Overlay((root,)), "/", True),), user=BUILDER, keep=kept)
        ended = execute(sandbox, ["/bin/sh", "-c", "echo here >/builddir/clue; exit 3"])
        assert ended.completed.code == 3
        assert (kept / "upper/builddir/clue").read_text() == "here\n"
    finally:
        remove(kept)


def test_the_disk_limit_is_the_tmpfs_own(root: Path) -> None:
    sandbox = Sandbox((Bind(Overlay((root,), size=8 << 20), "/", True),), user=BUILDER)
    done = execute(sandbox, ["/bin/dd", "if=/dev/zero", "of=/builddir/big", "bs=1M", "count=20"])
    assert "No space left on device" in done.completed.stderr


def test_a_program_over_its_memory_is_ended_and_the_limit_is_named(
    root: Path, tmp_path: Path
) -> None:
    """tmpfs is memory as well."""
    sandbox = Sandbox((Bind(Overlay((root,)), "/", True),), user=BUILDER)
    script = "dd if=/dev/zero of=/builddir/big bs=1M count=80 2>/dev/null; sleep 60"
    started = time.monotonic()
    ended = execute(sandbox, ["/bin/sh", "-c", script], log=tmp_path / "log", memory=40 << 20)
    assert ended.completed.reason.startswith("memory: ")
    assert time.monotonic() - started < 20


def test_a_silent_program_is_ended(root: Path, tmp_path: Path) -> None:
    sandbox = Sandbox((Bind(Overlay((root,)), "/", True),), user=BUILDER)
    log = tmp_path / "log"
    ended = execute(sandbox, ["/bin/sh", "-c", "echo word; sleep 60"], log=log, silence=1)
    assert ended.completed.reason.startswith("silence: ")
    assert log.read_text().splitlines()[0] == "word"


def test_an_interrupt_ends_every_process(root: Path, tmp_path: Path) -> None:
    """Also one that left its session and ignores signals."""
    sandbox = Sandbox((Bind(Overlay((root,)), "/", True),), user=BUILDER)
    script = "trap '' TERM INT; sleep 4242 & sleep 4243"
    seen: list[set[int]] = []

    def interrupt() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not _named("sleep", "4243"):
            time.sleep(0.05)
        seen.append(descendants(os.getpid(), parents()) - {os.getpid()})
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        execute(sandbox, ["/bin/sh", "-c", script], log=tmp_path / "log")
    thread.join()
    assert len(seen[0]) >= 3
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and (_named("sleep", "4242") or _named("sleep", "4243")):
        time.sleep(0.05)
    assert not _named("sleep", "4242")
    assert not _named("sleep", "4243")


def test_a_worker_that_is_killed_takes_its_sandbox_along(root: Path, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom farm.sandbox import *\n"
        f"execute(Sandbox((Bind(Overlay((Path({str(root)!r}),)), '/', True),), user=BUILDER), "
        f"['/bin/sleep', '4244'], log=Path({str(tmp_path / 'log')!r}))\n"
    )
    parent = (
        "import os, signal, sys, time\n"
        f"pid = os.posix_spawn(sys.executable, [sys.executable, '-c', {code!r}], os.environ)\n"
        "time.sleep(1.5)\nos.kill(pid, signal.SIGKILL)\nos.waitpid(pid, 0)\n"
    )
    repository = str(Path(__file__).parents[2])
    run([sys.executable, "-c", parent], env={"PYTHONPATH": repository})
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _named("sleep", "4244"):
        time.sleep(0.05)
    assert not _named("sleep", "4244")


def test_a_machine_without_user_namespaces_is_told_at_once(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "unshare"
    broken.write_text("#!/bin/sh\necho unshare: Operation not permitted >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    started = time.monotonic()
    with pytest.raises(MachineError, match="sandbox could not be made") as caught:
        inside(root, ":")
    assert "Operation not permitted" in caught.value.why
    assert time.monotonic() - started < 10


def test_where_memory_takes_no_overlay_the_disk_does(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux before 6.6: a tmpfs without user attributes."""
    monkeypatch.setattr(farm.sandbox, "memory_holds_overlays", lambda: False)
    script = "touch /builddir/x; rm -r /tmp; ls -d /tmp; grep ' / ' /proc/mounts"
    _, said = inside(root, script)
    on_disk = scratch(on_disk=True)
    assert f"upperdir={on_disk}" in said
    assert list(on_disk.iterdir()) == []


def test_a_host_tool_sees_only_what_it_is_given(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "file").write_text("x")
    given = host_tool(["ls", "/given"], binds=(Bind(tmp_path, "/given"),)).stdout.split()
    assert given == ["file"]
    seen = host_tool(["ls", "-A", "/", "/etc"]).stdout
    assert "home" not in seen
    assert "passwd" not in seen
    with pytest.raises(MachineError, match="touch failed"):
        host_tool(["touch", "/given/y"], binds=(Bind(tmp_path, "/given"),))


def test_paths_that_the_sandboxs_root_cannot_walk_to_are_reached(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "tree").mkdir()
    (closed / "tree/file").write_text("reached")
    (closed / "tree").chmod(0o755)
    closed.chmod(0o700)
    done = host_tool(["cat", "/t/file"], binds=(Bind(closed / "tree", "/t"),))
    assert done.stdout == "reached"


def test_a_root_with_a_missing_layer_is_this_machines_fault() -> None:
    with pytest.raises(MachineError, match="/nowhere/tree is not there"):
        execute(Sandbox((Bind(Overlay((Path("/nowhere/tree"),)), "/"),)), ["true"])


def test_files_of_mapped_owners_can_be_removed(root: Path) -> None:
    there = own(_made(scratch() / f"test-remove-{os.getpid()}"))
    script = "mkdir -p /t/a/b; chown 1000:135 /t/a/b; chmod 700 /t/a/b; chown 4000 /t/a"
    host_tool(["sh", "-ec", script], binds=(Bind(there, "/t", writable=True),))
    remove(there)
    assert not there.exists()


def test_entering_is_cheap(root: Path) -> None:
    """Some 25 ms where nothing else runs; the bound leaves room for a busy machine."""
    times = []
    for _ in range(5):
        started = time.monotonic()
        assert inside(root, ":")[0] == 0
        times.append(time.monotonic() - started)
    assert min(times) < 0.5, json.dumps(times)


def _made(path: Path) -> Path:
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.chmod(0o755)
    return path


def _named(*words: str) -> bool:
    """Whether a process with this command line runs, its program by name."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
            except OSError:
                continue
            program, *rest = text.rstrip("\0").split("\0")
            if (Path(program).name, *rest) == words:
                return True
    return False
