"""What attempts use and may use, in real chroots, and what is done when a machine fails them."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import farm.sandbox
from farm.model import Built, Failed, Limits, Outcome, Usage
from farm.rebuild.claim import claimed
from farm.rebuild.usage import Reading
from farm.rebuild.worker import work
from farm.run import run
from farm.sandbox import limits, remove
from tests.builds import Ground, order, tiny
from tests.real.site import Site

pytestmark = pytest.mark.real

MIB = 1 << 20
_CHECK = "test -s libtiny.so.1"  # what %check of the tiny library does
_EATER = """\
cat >eat.c <<'END'
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void) { for (;;) { char *p = malloc(1 << 26); if (p) memset(p, 1, 1 << 26); } }
END
gcc -o eat eat.c && ./eat
"""
# 300 MiB, and children that have not begun a program of their own: they have nothing to themselves.
_BROOD = """\
cat >brood.c <<'END'
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void)
{
	char *p = malloc(300 << 20);
	memset(p, 1, 300 << 20);
	for (int n = 0; n < 4; n++)
		if (!fork()) { sleep(6); _exit(0); }
	if (!vfork()) { sleep(6); _exit(0); }
	return 0;
}
END
gcc -o brood brood.c && ./brood
"""
_BOMB = "bomb() { bomb | bomb & }; bomb; sleep 60"
_BURNER = "for n in 1 2; do (ulimit -S -t 1; while :; do :; done) & done; wait; "


def tried(
    place: Ground, directory: Path, script: str, allowed: Limits | None = None
) -> Built | Failed:
    """What came of a build whose %check is this."""
    name = f"{directory.parent.name}-{os.getpid()}"
    recipe = tiny(directory, (_CHECK, script))
    outcome: Outcome = work(order(place, recipe, name, limits=allowed))
    remove(place.cache.kept(name))
    assert isinstance(outcome, Built | Failed)
    return outcome


@pytest.mark.parametrize(
    ("name", "script", "allowed", "told", "option"),
    [
        ("time", "sleep 600", Limits(time=2), "it ran for more than 2 s", "timeout"),
        ("silence", "sleep 600", Limits(silence=2), "no output for 2 s", "silence"),
        ("memory", "dd if=/dev/zero of=big bs=1M count=300; sleep 60", Limits(memory=150 * MIB),
         "150 MiB allowed", "memory"),
        ("memory", "dd if=/dev/zero of=/dev/shm/big bs=1M count=300; sleep 60",
         Limits(memory=150 * MIB), "150 MiB allowed", "memory"),
        ("memory", "mkdir many; cd many; seq 200000 | xargs touch; sleep 60",
         Limits(memory=150 * MIB), "150 MiB allowed", "memory"),
        ("memory", _EATER, Limits(memory=300 * MIB), "300 MiB allowed", "memory"),
        ("disk", "dd if=/dev/zero of=big bs=1M count=200 || rm big; exit 1",
         Limits(disk=64 * MIB), "64 MiB allowed", "disk"),
        ("disk", "dd if=/dev/zero of=/dev/shm/big bs=1M count=200 || rm /dev/shm/big; exit 1",
         Limits(disk=64 * MIB), "64 MiB allowed", "disk"),
    ],
    ids=["time", "silence", "files in memory", "shared memory", "empty files",
         "a process that eats", "disk", "shared memory as large as the disk"],
)  # fmt: skip
def test_each_limit_is_named_with_its_figure_and_the_option_to_change(
    place: Ground, tmp_path: Path, name: str, script: str, allowed: Limits, told: str, option: str
) -> None:
    began = time.monotonic()
    failed = tried(place, tmp_path / "recipe", script, allowed)
    assert isinstance(failed, Failed), failed
    assert (failed.kind, failed.limit, failed.phase) == ("limit", name, "%check"), failed
    assert told in failed.message
    assert f"Raise {option} in farm.toml" in failed.hint and "[limits.tiny]" in failed.hint
    assert time.monotonic() - began < 40


def test_processes_that_were_forked_and_share_everything_are_not_as_many_times_as_large(
    place: Ground, tmp_path: Path
) -> None:
    outcome = tried(place, tmp_path / "recipe", _BROOD, Limits(memory=600 * MIB))
    assert isinstance(outcome, Built), outcome
    # a worker has one attempt; here the largest child of any test before counts as well
    assert 300 * MIB < outcome.usage.memory < max(450 * MIB, Reading.now().largest + MIB)


def test_what_starts_processes_without_an_end_ends_as_a_matter_of_memory(
    place: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farm.sandbox, "most_tasks", lambda: 400)
    monkeypatch.setattr(limits, "most_processes", lambda: 200)
    failed = tried(place, tmp_path / "recipe", _BOMB, Limits(time=50, silence=0))
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.limit) == ("limit", "memory"), failed
    assert "more than 200 processes at once" in failed.message


def test_what_repeats_itself_without_an_end_fills_no_disk_with_its_log(
    place: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_LOG", 20 * MIB)
    failed = tried(place, tmp_path / "recipe", "yes on and on", Limits(time=50))
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.limit) == ("limit", "disk"), failed
    assert "more than 20 MiB of log" in failed.message and "on and on" in failed.excerpt


def test_what_hears_no_signal_and_has_left_its_session_ends_with_its_build(
    place: Ground, tmp_path: Path
) -> None:
    mark = f"{100_000 + os.getpid()}"
    deaf = f"trap '' TERM INT HUP; (setsid sh -c 'sleep {mark} & sleep {mark}' &); sleep {mark}"
    failed = tried(place, tmp_path / "recipe", deaf, Limits(time=3))
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.limit) == ("limit", "time"), failed
    assert failed.seconds < 20
    assert not running("sleep", mark)


def test_what_a_build_leaves_running_keeps_nobody_waiting(place: Ground, tmp_path: Path) -> None:
    mark = f"{200_000 + os.getpid()}"
    built = tried(place, tmp_path / "recipe", f"(setsid sleep {mark} &); setsid -f sleep {mark}")
    assert isinstance(built, Built), built
    assert built.seconds < 30
    assert not running("sleep", mark)


def running(*words: str) -> list[str]:
    """The processes that have this command line."""
    wanted = b"".join(word.encode() + b"\0" for word in words)
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [path.parent.name] if path.read_bytes() == wanted else []
    return found


def test_a_file_with_holes_occupies_what_was_written(place: Ground, tmp_path: Path) -> None:
    script = "truncate -s 100G big; sleep 1.5; rm big"
    outcome = tried(place, tmp_path / "recipe", script, Limits(disk=64 * MIB))
    assert isinstance(outcome, Built), outcome


def test_the_kernel_refuses_a_sandbox_more_tasks_than_it_may_have(
    place: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farm.sandbox, "most_tasks", lambda: 60)
    many = "(for n in $(seq 100); do sleep 2 & done) 2>&1 | grep -m 1 unavailable; exit 1"
    failed = tried(place, tmp_path / "recipe", many)
    assert isinstance(failed, Failed)
    assert any("Resource temporarily unavailable" in line for line in failed.excerpt), failed


def test_a_limit_on_disk_space_counts_where_changes_go_to_disk(
    place: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farm.sandbox, "memory_holds_overlays", lambda: False)
    script = "mkdir -m 700 own; dd if=/dev/zero of=own/big bs=1M count=80; sleep 60"
    failed = tried(place, tmp_path / "recipe", script, Limits(disk=64 * MIB))
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.limit) == ("limit", "disk"), failed
    assert "MiB written, 64 MiB allowed" in failed.message
    assert failed.usage.disk > 64 * MIB


def test_an_attempt_says_what_it_used(place: Ground, tmp_path: Path) -> None:
    # an attempt has a worker to itself, where it is the first; here others came before it
    largest = Reading.now().largest
    script = f"dd if=/dev/zero of=big bs=1M count=120; {_BURNER}sleep 1"
    outcome = tried(place, tmp_path / "recipe", script)
    assert isinstance(outcome, Built)
    usage = outcome.usage
    assert usage.cpu > 1.5, "two loops of a second"
    assert 120 * MIB < usage.memory < max(400 * MIB, largest + 1)
    assert 0 < usage.disk < 10 * MIB, "of the results, where changes are in memory"


def test_what_goes_to_disk_is_counted_as_that(
    place: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farm.sandbox, "memory_holds_overlays", lambda: False)
    largest = Reading.now().largest
    outcome = tried(place, tmp_path / "recipe", "dd if=/dev/zero of=big bs=1M count=400; sleep 6")
    assert isinstance(outcome, Built)
    assert 400 * MIB < outcome.usage.disk < 450 * MIB
    assert outcome.usage.memory < max(300 * MIB, largest + 1)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A layer whose first package takes some seconds."""
    site = Site.make(tmp_path / "layer")
    site.edit("tally", "%build\n", "%build\nsleep 3\n")
    configure(site, "[build]\nretry_seconds = 1\n")
    return site


def configure(site: Site, text: str) -> None:
    with (site.root / "farm.toml").open("a") as file:
        file.write(text)
    site.commit()


def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def attempts(site: Site, wanted: str = "*") -> list[Path]:
    return sorted((site.root / ".farm" / "attempts").glob(f"*/{wanted}"))


def builds(site: Site, phase: str = "%build") -> bool:
    return any(phase in path.read_text() for path in attempts(site, "phases"))


def recorded(site: Site) -> list[tuple[str, str]]:
    """Verdict and class of every attempt, oldest first; nothing of those without an end."""
    query = "select coalesce(verdict, ''), kind from attempts order by started"
    with contextlib.closing(sqlite3.connect(site.root / ".farm" / "ledger.sqlite")) as database:
        return database.execute(query).fetchall()


_TALLY = ("tally", "--arch", "x86_64")


def test_a_worker_that_is_killed_is_a_mishap_and_the_build_succeeds(site: Site) -> None:
    child = site.begin("build", *_TALLY)
    until(lambda: builds(site), "it does not begin to build")
    there = claimed(attempts(site, "claim.json")[0].parent)
    assert there is not None
    os.kill(there.pid, signal.SIGKILL)
    until(lambda: child.poll() is not None, "it does not end")
    said = (site.root.parent / "begun.log").read_text()
    assert child.poll() == 0, said
    assert "the worker ended without a word" in said and "tried again in 1 s" in said
    assert recorded(site) == [("failed", "infrastructure"), ("built", "")]
    assert not run(["pgrep", "-f", str(attempts(site)[0].parent)], check=False).stdout


def test_what_ended_when_nobody_was_there_is_not_built_again(site: Site) -> None:
    child = site.begin("build", *_TALLY)
    until(lambda: builds(site), "it does not begin to build")
    os.kill(child.pid, signal.SIGSTOP)  # it hears nothing of the end of its worker
    until(lambda: attempts(site, "outcome.json"), "the worker does not end")
    os.kill(child.pid, signal.SIGKILL)
    until(lambda: child.poll() is not None, "it is not dead")
    assert recorded(site) == [("", "")]
    for words in (("gc",), ("check", "tally"), ("status",)):
        site.farm(*words)
    done = site.farm("build", *_TALLY)
    assert "tally@debian-13-x86_64 was built when farm was stopped: it is taken up" in done.stderr
    assert recorded(site) == [("built", "")]
    assert site.verdicts(*_TALLY) == {("tally", "x86_64"): "kept"}


def test_what_was_cut_short_is_built_once_more_and_leaves_nothing(site: Site) -> None:
    child = site.begin("build", *_TALLY)
    until(lambda: builds(site), "it does not begin to build")
    os.kill(child.pid, signal.SIGKILL)
    until(lambda: child.poll() is not None, "it is not dead")
    done = site.farm("build", *_TALLY)
    assert "was cut short when farm was stopped; it counts as none" in done.stderr
    assert recorded(site) == [("failed", "interrupted"), ("built", "")]
    assert [path.parent.name for path in attempts(site, "job.json")] == [
        path.name for path in attempts(site, "")
    ][-1:], "of the attempt that came to nothing nothing is left"


def test_a_failure_stands_until_somebody_asks_for_another_try(site: Site) -> None:
    site.edit("tally", "sleep 3", "sleep 1; false")
    site.commit()
    everything = ("--all", "--arch", "x86_64")
    site.farm("build", *everything, code=1)
    count = len(recorded(site))
    told = site.farm("build", *everything, code=1)
    assert "failed before with the same inputs" in told.stdout + told.stderr
    assert len(recorded(site)) == count
    foreseen = site.farm("build", *everything, "--dry-run", code=1)
    assert "failed before with the same inputs" in foreseen.stdout + foreseen.stderr
    site.farm("build", *_TALLY, code=1)
    assert len(recorded(site)) == count + 1
    site.farm("build", "--retry-failed", "--arch", "x86_64", code=1)
    assert len(recorded(site)) == count + 2
    site.farm("build", *_TALLY, "--force", code=1)
    assert len(recorded(site)) == count + 3


def test_a_limit_of_one_package_holds_for_it_and_stands_until_it_is_raised(site: Site) -> None:
    configure(site, "[limits.tally]\ntimeout = 1\n[limits.taly]\nmemory = 5\n")
    everything = ("--all", "--arch", "x86_64")
    done = site.farm("build", *everything, code=1)
    said = done.stdout + done.stderr
    assert "tally hit the limit on time in %build: it ran for more than 1 s" in said
    assert "limits for taly, which is no package of the layer. Perhaps you meant 'tally'" in said
    count = len(recorded(site))
    assert "failed before with the same inputs and limits" in (
        site.farm("build", *everything, code=1).stderr
    )
    assert len(recorded(site)) == count
    text = (site.root / "farm.toml").read_text()
    (site.root / "farm.toml").write_text(text.replace("timeout = 1\n", "timeout = 600\n"))
    assert site.verdicts(*everything)["tally", "x86_64"] == "built"


def test_usage_is_in_the_ledger_and_learnt_from(site: Site) -> None:
    site.farm("build", *_TALLY)
    with contextlib.closing(sqlite3.connect(site.root / ".farm" / "ledger.sqlite")) as database:
        used = database.execute("select cpu, memory, disk from attempts").fetchone()
        given = database.execute("select place, way, cores from attempts").fetchone()
    assert Usage(*used).cpu > 0 and used[1] > MIB and used[2] > 0
    assert given[0] and given[1] == "native" and given[2] >= 1
