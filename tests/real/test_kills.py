"""`kill -9` at random moments of a build-and-publish run, while a site installs in a loop."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import random
import re
import shlex
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
import zstandard

from farm.model import Snapshot
from farm.run import Child, launch, run
from tests.processes import descendants, parents
from tests.real.publishing import DEMO_KEY
from tests.real.site import Site

pytestmark = pytest.mark.real

KILLS = int(os.environ.get("FARM_SOAK_KILLS", "200"))
_SAMPLE = 8
_ARCH = ("--arch", "x86_64")
_LONGEST = 240.0  # seconds that a run which nobody kills may take
_REPO = "{http://linux.duke.edu/metadata/repo}"
_COMMON = "{http://linux.duke.edu/metadata/common}"


@dataclass
class Client:
    """A site that installs the metapackage into an empty root, again and again, with real dnf."""

    site: Site
    installed: int = 0
    failures: list[str] = field(default_factory=list)
    rounds: set[str] = field(default_factory=set)  # those that it got packages of
    _over: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        thread = threading.Thread(target=self._loop)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _loop(self) -> None:
        words = ("try", "cluster-master", *_ARCH, "--run", "cat /usr/share/tallynotes/notes.txt")
        while not self._over.is_set():
            done = run(self.site.command(*words), check=False, timeout=600)
            if done.ok:
                self.installed += 1
                self.rounds |= {line for line in done.stdout.splitlines() if "round" in line}
            else:
                self.failures.append(f"{done.stdout}\n{done.stderr}")


def content(path: Path) -> bytes:
    """A metadata file, decompressed."""
    packed = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(packed)
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    return packed


def faults(site: Site) -> list[str]:
    """Everything in the published repositories that a client would stumble over."""
    found = []
    for repomd in (site.root / "repo" / "debian-13").rglob("repomd.xml"):
        home = repomd.parent.parent
        if not repomd.with_suffix(".xml.asc").exists():
            found.append(f"{repomd} is not signed")
        for data in ElementTree.parse(repomd).getroot().iter(f"{_REPO}data"):
            location, checksum = data.find(f"{_REPO}location"), data.find(f"{_REPO}checksum")
            assert location is not None and checksum is not None
            path = home / location.attrib["href"]
            if hashlib.sha256(path.read_bytes()).hexdigest() != checksum.text:
                found.append(f"{path} has another checksum")
            if data.attrib["type"] == "primary":
                for package in ElementTree.fromstring(content(path)):
                    place, digest = (
                        package.find(_COMMON + tag) for tag in ("location", "checksum")
                    )
                    assert place is not None and digest is not None
                    file = home / place.attrib["href"]
                    if hashlib.sha256(file.read_bytes()).hexdigest() != digest.text:
                        found.append(f"{file} has another checksum")
    return found


def published_twice(site: Site) -> list[str]:
    """Commits with more than one snapshot, and sets of packages that have more than one name."""
    snapshots = [
        msgspec.json.decode(path.read_bytes(), type=Snapshot)
        for path in (site.root / "repo" / "snapshots").glob("*/*/snapshot.json")
    ]
    commits = Counter(snapshot.commit for snapshot in snapshots)
    contents = Counter(
        tuple(sorted(signed.package.sha256 for signed in snapshot.packages))
        for snapshot in snapshots
    )
    twice = [f"{commit} has {count} snapshots" for commit, count in commits.items() if count > 1]
    return twice + [f"{count} of the same packages" for count in contents.values() if count > 1]


def built_twice(site: Site) -> list[tuple[str, int]]:
    """Steps that a farm which forgets nothing would have built once under their key."""
    with contextlib.closing(sqlite3.connect(site.root / ".farm" / "ledger.sqlite")) as database:
        return database.execute(
            "select step, count(*) from attempts where verdict = 'built' group by step, key"
            " having count(*) > 1"
        ).fetchall()


def without_an_end(site: Site) -> list[tuple[str]]:
    """Attempts that nobody accounted for."""
    with contextlib.closing(sqlite3.connect(site.root / ".farm" / "ledger.sqlite")) as database:
        return database.execute("select id from attempts where ended is null").fetchall()


def change(site: Site, round_: int) -> None:
    """Something new to build and to publish: every package, as a release of its own."""
    for name in ("tally", "tallyprint", "tallynotes"):
        text = re.sub(r"(?m)^(Release: +)\d+", rf"\g<1>{round_ + 1}", site.spec(name).read_text())
        site.spec(name).write_text(re.sub(r'echo ".*?"', f'echo "round {round_}"', text))
    site.commit(f"Round {round_}")


def begin(site: Site) -> Child:
    """One build-and-publish run."""
    verbs = (("build", "--all", *_ARCH), ("publish",))
    script = " && ".join(shlex.join(site.command(*words)) for words in verbs)
    return launch(["sh", "-c", script], log=site.root.parent / "begun.log")


def kill(child: Child, dice: random.Random) -> None:
    """farm alone, as the kernel's killer takes it, or all its processes, as a power cut does."""
    everything = descendants(child.pid, parents()) - {child.pid}
    of_shell = [pid for pid, parent in parents().items() if parent == child.pid]
    for pid in (child.pid, *(of_shell if dice.random() < 0.5 else sorted(everything))):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def completed(site: Site) -> None:
    """A run that nobody kills."""
    child, deadline = begin(site), time.monotonic() + _LONGEST
    while (code := child.poll()) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    child.end()
    assert code == 0, (site.root.parent / "begun.log").read_text()[-3000:]


def killed_again_and_again(place: Path, kills: int) -> None:
    site = Site.make(place / "disturbed")
    settings = site.root / "farm.toml"
    settings.write_text(settings.read_text().replace(', "aarch64"', ""))
    change(site, 0)
    completed(site)
    dice, client, round_ = random.Random(20261120), Client(site), 0
    with site.served(), client.at_work():
        for number in range(kills):
            if number % 4 == 0:
                round_ += 1
                change(site, round_)
            child = begin(site)
            time.sleep(dice.uniform(0.1, 4.0))
            kill(child, dice)
            child.end()
            assert faults(site) == []
            if number % 4 == 3:
                completed(site)
        completed(site)
        there = client.installed
        while client.installed < there + 2 and not client.failures:  # of the last state, too
            time.sleep(0.1)
    assert client.failures == []
    assert f"round {round_}" in "".join(client.rounds)
    assert faults(site) == []
    assert published_twice(site) == []
    assert built_twice(site) == []
    assert without_an_end(site) == []
    undisturbed = Site(site.root.parent / "undisturbed", site.port)
    run(["git", "clone", "-q", str(site.root), str(undisturbed.root)])
    undisturbed.farm("key", "import", str(DEMO_KEY))
    completed(undisturbed)
    assert undisturbed.packages() == site.packages()


def test_a_few_kills_lose_nothing_publish_nothing_twice_and_break_no_site(tmp_path: Path) -> None:
    killed_again_and_again(tmp_path, _SAMPLE)


@pytest.mark.soak
def test_200_kills_lose_nothing_publish_nothing_twice_and_break_no_site(tmp_path: Path) -> None:
    killed_again_and_again(tmp_path, KILLS)
