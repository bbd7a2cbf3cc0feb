"""The machine's apt: what it knows, in its own words, and roots that keep apart from it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from farm import apt
from farm.apt import Archive, PrivateRoot, host_archives, network_settings
from farm.errors import MachineError

Programs = Callable[[str, str], None]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Puts a shell script of a name into the PATH, before the real ones."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory), prepend=":")

    def add(name: str, script: str) -> None:
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)

    return add


def test_archives_are_what_apt_says_with_their_origin_where_it_is_known(
    programs: Programs,
) -> None:
    programs(
        "apt-get",
        'case "$*" in\n'
        "*ORIGIN*) printf 'http://a/\\tbookworm\\tmain\\tDebian\\n' ;;\n"
        "*) printf 'http://v/\\tbookworm\\tmain\\nhttp://a/\\tbookworm\\tmain\\n'\n"
        "   printf 'http://a/\\tbookworm\\tmain\\nhttp://flat/\\t./\\t$(COMPONENT)\\n' ;;\n"
        "esac",
    )
    assert host_archives() == (
        Archive("http://v/", "bookworm", "main"),
        Archive("http://a/", "bookworm", "main", "Debian"),
    )


def test_a_machine_without_apt_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="there is no apt on this machine"):
        host_archives()


def test_of_the_hosts_apt_settings_only_the_way_to_the_network_is_kept() -> None:
    dump = (
        'Acquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::IndexTargets::deb::DEP-11::MetaKey "x";\n'
        'Acquire::Languages "none";\nAcquire::Retries "3";\n'
    )
    assert network_settings(dump) == (
        'Acquire::http::Proxy "http://proxy.example:3128";\nAcquire::Retries "3";\n'
    )


def test_a_private_root_knows_only_its_own_archives_and_keeps_the_hosts_proxy(
    programs: Programs, tmp_path: Path
) -> None:
    programs("apt-config", "echo 'Acquire::http::Proxy \"http://proxy.example:3128\";'")
    root = PrivateRoot(tmp_path / "apt", "arm64")
    root.configure("Types: deb\n")
    assert [path.name for path in (tmp_path / "apt/etc").iterdir()] == ["farm.sources"]
    settings = Path(root.env["APT_CONFIG"]).read_text().splitlines()
    assert 'Acquire::http::Proxy "http://proxy.example:3128";' in settings
    assert 'APT::Architecture "arm64";' in settings
    assert 'Dir::Etc::parts "none";' in settings
    assert root.lists.is_dir()
    programs("apt-get", 'cat "$APT_CONFIG"')
    assert root.run(["apt-get"], timeout=10).stdout.splitlines() == settings


def test_one_apt_at_a_time_works_in_a_root(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with PrivateRoot(tmp_path / "apt").locked():
            order.append("second")

    with PrivateRoot(tmp_path / "apt").locked():
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_the_first_complaint_is_the_telling_one(programs: Programs) -> None:
    programs("apt-get", "echo 'W: No   key' >&2; echo 'E: It did not work' >&2; exit 100")
    root = PrivateRoot(Path("/nonexistent"))
    assert apt.complaint(root.run(["apt-get"], timeout=10, check=False)) == "No key"
    programs("apt-get", "exit 100")
    assert apt.complaint(root.run(["apt-get"], timeout=10, check=False)) == "exit code 100"
