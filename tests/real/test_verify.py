"""`farm verify` over packages that cannot be built twice, and over such that can."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from farm.store import Store, sha256_of
from tests.real.site import Site
from tests.real.test_layer_builds import clone_of_the_layer

pytestmark = pytest.mark.real

X86, ARM = "x86_64", "aarch64"

_SPEC = """\
%global seen %(umask)
Name:           {name}
Version:        1.0
Release:        1%{{?dist}}
Summary:        A package for a test
License:        MIT
{tags}
%description
Made for a test.

%build
{build}

%install
{install}

%files
{files}

%changelog
* Mon Nov 03 2025 Farm Test <test@example.org> - 1.0-1
- First
"""
_NOTE = "/usr/share/{name}/note"


def noting(name: str, command: str) -> str:
    """A spec whose package has what `command` says in a file."""
    return _SPEC.format(
        name=name,
        tags="BuildArch: noarch\n",
        build="",
        install=f"mkdir -p %{{buildroot}}/usr/share/{name}\n"
        f"({command}) > %{{buildroot}}{_NOTE.format(name=name)}\n"
        f"chmod 644 %{{buildroot}}{_NOTE.format(name=name)}",
        files=_NOTE.format(name=name),
    )


PROGRAM = _SPEC.format(
    name="hosted",
    tags="BuildRequires: gcc\n",
    build="printf '#include <stdio.h>\\nint main(void) { return puts(\"built on %s\") < 0; }\\n' "
    "$(uname -n) > hosted.c\ngcc %{optflags} -o hosted hosted.c",
    install="install -D -m 755 hosted %{buildroot}/usr/bin/hosted",
    files="/usr/bin/hosted",
)

# package → what brings it about, the variations that do, what the likely cause says
NOTES = {
    "dated": ("date -u +'built in %%Y'", {"clock"}, "a date"),
    "listed": ("mkdir d; cd d; touch q w e r t y u i o p; ls -U", {"order"}, "another order"),
    "sorted": ("printf 't\\nz\\na\\ns\\n' | sort", {"locale"}, "another order"),
    "masked": ("echo %{seen}", {"umask"}, "the umask of the build"),
    "owned": ("id -u", {"ids"}, "the user and group of the build"),
    "cored": ("echo make %{?_smp_mflags}", {"cores"}, "the number of cores"),
    "wordy": ("env | sed -n 's/^FARM_CAPTURED.*=//p'", {"environment"}, "the environment"),
    "kernelled": ("uname -r", {"kernel"}, "the kernel"),
}
GOOD = ("good", "steady")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A layer that is unreproducible in every way there is, built once."""
    site = Site.make(tmp_path_factory.mktemp("farm") / "layer")
    specs = {name: noting(name, command) for name, (command, _, _) in NOTES.items()}
    specs["hosted"] = PROGRAM
    specs["random"] = noting("random", "cat /proc/sys/kernel/random/uuid")
    specs["expiring"] = noting("expiring", "test $(date -u +%%Y) -le 2026 && echo fine")
    specs |= {name: noting(name, "echo the same") for name in GOOD}
    for name, text in specs.items():
        site.spec(name).parent.mkdir(exist_ok=True)
        site.spec(name).write_text(text)
    site.commit("Packages that differ")
    site.verdicts(*specs, "--arch", X86)
    site.verdicts("good", "hosted", "--arch", ARM)
    return site


@pytest.fixture
def site(built: Site, tmp_path: Path) -> Site:
    """A copy of it that a test may change."""
    return built.copied(tmp_path)


def rows(site: Site, *words: str, code: int) -> dict[tuple[str, str], dict[str, Any]]:
    """`farm verify …` → (package, architecture) → its row."""
    answer = site.summary("verify", *words, code=code)
    return {(row["recipe"], row["arch"]): row for row in answer["rows"]}


def told(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [d for each in row["differing"] for d in each["differences"]]


def test_packages_that_can_be_built_twice_are_the_same_on_both_architectures(built: Site) -> None:
    found = rows(built, "good", code=0)
    assert {key: row["verdict"] for key, row in found.items()} == {
        ("good", X86): "same",
        ("good", ARM): "same",
    }


def test_the_file_the_cause_and_the_guilty_variation_are_named(built: Site) -> None:
    found = rows(built, *NOTES, "--arch", X86, code=1)
    for name, (_, guilty, cause) in NOTES.items():
        row = found[name, X86]
        assert row["verdict"] == "differs", row
        assert set(row["guilty"]) == guilty, row
        (difference,) = (d for d in told(row) if d["path"] == _NOTE.format(name=name))
        # rpm keeps the spec as it was read in the source package
        assert {d["path"] for d in told(row)} <= {difference["path"], "SPEC"}
        assert cause in difference.get("cause", ""), difference
        kept = Path(row["kept"])
        package = next((kept / "first").glob("*.noarch.rpm"))
        assert sha256_of(package) != sha256_of(kept / "second" / package.name)
        assert difference["path"] in (kept / "report.txt").read_text()


def test_the_host_name_in_a_program_is_found_in_its_section(built: Site) -> None:
    found = rows(built, "hosted", code=1)
    for arch in (X86, ARM):
        row = found["hosted", arch]
        assert row["guilty"] == ["hostname"]
        data = next(d for d in told(row) if d["path"] == "/usr/bin/hosted" and d["part"])
        assert data["part"] == "section .rodata"
        assert data["cause"].startswith("the host name: 'another-host.example.org'")
        assert any("another-host" in line for line in data["excerpt"])
        build_ids = [d for d in told(row) if "build-id" in d.get("part", d["path"])]
        assert build_ids
        assert all(d["consequence"] for d in build_ids)


def test_what_differs_always_is_not_put_down_to_a_variation(built: Site) -> None:
    row = rows(built, "random", "--arch", X86, code=1)["random", X86]
    assert row.get("guilty", []) == []
    assert row["why"] == "it differs when it is built as usual, too"
    assert "a random number" in told(row)[0]["cause"]


def test_a_package_that_does_not_build_under_a_variation_is_named_with_it(built: Site) -> None:
    row = rows(built, "expiring", "--arch", X86, code=1)["expiring", X86]
    assert (row["verdict"], row["guilty"]) == ("failed", ["clock"])
    assert (Path(row["kept"]) / "build.log").exists()


def test_each_variation_alone_names_the_guilty_one(built: Site) -> None:
    found = rows(built, "good", "masked", "--arch", X86, "--variations", "each", code=1)
    assert found["good", X86]["verdict"] == "same"
    assert len(found["good", X86]["rounds"]) == 11
    assert found["masked", X86]["guilty"] == ["umask"]


def test_without_the_guilty_variation_it_is_the_same(built: Site) -> None:
    found = rows(built, "masked", "--arch", X86, "--variations", "clock,hostname", code=0)
    assert found["masked", X86]["verdict"] == "same"


def test_verdicts_are_told_by_status_until_the_package_changes(site: Site) -> None:
    rows(site, "good", "--arch", X86, code=0)
    status = site.farm("status").stdout
    line = next(each for each in status.splitlines() if each.startswith("good ") and X86 in each)
    assert "same" in line
    site.edit("good", "the same", "something else")
    site.commit()
    site.verdicts("good", "--arch", X86)
    status = site.farm("status").stdout
    line = next(each for each in status.splitlines() if each.startswith("good ") and X86 in each)
    assert "same" not in line


def test_a_damaged_package_in_the_store_is_no_difference_and_is_made_whole(site: Site) -> None:
    store = Store(site.root / ".farm" / "store")
    row = rows(site, "good", "--arch", X86, "--variations", "none", code=0)["good", X86]
    damaged = next(
        path
        for path in store.root.glob("*/*")
        if path.read_bytes()[:4] == b"\xed\xab\xee\xdb" and b"good-1.0" in path.read_bytes()[:96]
        and path.read_bytes()[7] == 0
    )  # fmt: skip
    sha256 = damaged.parent.name + damaged.name
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.unlink()  # a hard link: the other farm's file stays as it is
    damaged.write_bytes(bytes(content))
    row = rows(site, "good", "--arch", X86, "--variations", "none", code=0)["good", X86]
    assert row["verdict"] == "same"
    assert "was damaged" in row["notes"][0]
    assert sha256_of(store.path(sha256)) == sha256


def test_a_damaged_source_package_cannot_be_verified(site: Site) -> None:
    store = Store(site.root / ".farm" / "store")
    damaged = next(
        path
        for path in store.root.glob("*/*")
        if path.read_bytes()[:4] == b"\xed\xab\xee\xdb" and b"good-1.0" in path.read_bytes()[:96]
        and path.read_bytes()[7] == 1
    )  # fmt: skip
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.unlink()
    damaged.write_bytes(bytes(content))
    row = rows(site, "good", "--arch", X86, code=9)["good", X86]
    assert row["verdict"] == "cannot"
    assert "damaged" in row["why"]
    assert "farm build good" in row["hint"]


def test_what_was_never_built_cannot_be_verified(built: Site) -> None:
    row = rows(built, "steady", code=9)["steady", ARM]
    assert row["verdict"] == "cannot"
    assert "`farm build steady`" in row["hint"]


def workers(site: Site) -> list[int]:
    """Process ids of `farm work` below this layer's state directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"work" in words and any(bytes(site.root) in word for word in words):
            found.append(int(path.parent.name))
    return found


def wait_for_workers(site: Site) -> list[int]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = workers(site)
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("no worker was started")


def test_a_run_that_is_interrupted_leaves_nothing(site: Site) -> None:
    run = site.begin("verify", "hosted", "--variations", "each")
    wait_for_workers(site)
    os.kill(run.pid, signal.SIGINT)
    deadline = time.monotonic() + 20
    while run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert run.poll() == 130
    assert workers(site) == []
    assert list((site.root / ".farm" / "verifying").iterdir()) == []
    assert "Traceback" not in (site.root.parent / "begun.log").read_text()


def test_a_worker_that_is_killed_is_no_difference(site: Site) -> None:
    run = site.begin("verify", "hosted", "--arch", X86, "--variations", "none")
    os.kill(wait_for_workers(site)[0], signal.SIGKILL)
    deadline = time.monotonic() + 60
    while run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert run.poll() == 9
    text = (site.root.parent / "begun.log").read_text()
    assert "the worker ended without a word" in text


def test_verifying_does_not_stand_in_the_way_of_building(site: Site) -> None:
    run = site.begin("verify", "hosted", "--arch", X86, "--variations", "none")
    wait_for_workers(site)
    site.farm("build", "good", "--arch", X86)
    deadline = time.monotonic() + 60
    while run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert run.poll() == 0


def test_everything_is_verified_with_probes_and_a_sample_by_plain_emulation(
    tmp_path: Path,
) -> None:
    site = Site.make(tmp_path / "layer")
    site.verdicts("tally", "tallynotes")
    answer = site.summary("verify", "--all", "--table", str(tmp_path / "table.md"), code=9)
    found = {(row["recipe"], row["arch"], row.get("how", "")): row for row in answer["rows"]}
    assert {key[:2] for key, row in found.items() if row["verdict"] == "same"} == {
        (name, arch) for name in ("tally", "tallynotes") for arch in (X86, ARM)
    }
    assert found["tally", ARM, "plain emulation"]["verdict"] == "same"
    assert found["tallyprint", X86, ""]["verdict"] == "cannot"  # not built, and so not hidden
    for probe in answer["probes"]:
        assert len(probe["effective"]) == 11
        assert not probe.get("ineffective")
    table = (tmp_path / "table.md").read_text()
    assert "| tally | aarch64 | 1.0-1.deb13 |" in table


@pytest.mark.soak
def test_the_whole_layer_is_the_same_under_all_variations(tmp_path: Path) -> None:
    site = clone_of_the_layer(tmp_path / "layer")
    assert set(site.verdicts("--all").values()) == {"built"}
    answer = site.summary("verify", "--all", "--table", str(tmp_path / "table.md"), code=0)
    assert {row["verdict"] for row in answer["rows"]} == {"same"}
    assert all(not probe.get("ineffective") for probe in answer["probes"])
    assert any(row.get("how") for row in answer["rows"])
    print((tmp_path / "table.md").read_text())
