"""`kill -9` at random moments of a build-and-publish run."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import signal
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
import zstandard

from tests.real.site import Site

pytestmark = [pytest.mark.real, pytest.mark.soak]

KILLS = int(os.environ.get("FARM_SOAK_KILLS", "40"))
_REPO = "{http://linux.duke.edu/metadata/repo}"
_COMMON = "{http://linux.duke.edu/metadata/common}"


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


def test_kills_at_random_moments_lose_nothing_and_break_nothing(tmp_path: Path) -> None:
    undisturbed = Site.make(tmp_path / "undisturbed")
    undisturbed.verdicts("--all", "--arch", "x86_64")
    site = Site.make(tmp_path / "disturbed")
    dice = random.Random(20261120)
    for number in range(KILLS):
        words = ("build", "--all", "--arch", "x86_64") if number % 3 else ("publish",)
        child = site.begin(*words)
        time.sleep(dice.uniform(0.1, 6.0 if number % 3 else 1.5))
        os.kill(child.pid, signal.SIGKILL) if child.poll() is None else None
        child.end()
        if (site.root / "repo" / "debian-13").exists():
            assert faults(site) == []
        if number % 10 == 9:  # something new to build, now and then
            site.edit("tallynotes", "%description\n", f"%description\nRound {number}.\n")
            site.commit()
            undisturbed.edit("tallynotes", "%description\n", f"%description\nRound {number}.\n")
            undisturbed.commit()
    for each in (undisturbed, site):
        each.verdicts("--all", "--arch", "x86_64")
        each.farm("publish")
    assert faults(site) == []
    same = {name: sha for name, sha in undisturbed.published().items() if "tallynotes" not in name}
    assert same.items() <= site.published().items()
