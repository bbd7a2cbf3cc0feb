"""The embedded base: sources of apt, the choice of packages, conversion, orderings."""

from __future__ import annotations

import random
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from farm.apt import Archive, PrivateRoot
from farm.base import apt, archive, build, capabilities, check, convert
from farm.base.archive import Deb, Index, Relation
from farm.base.deb import DebContents, Entry
from farm.base.recipe import recipe
from farm.base.rpmfile import Capability
from farm.config import Config
from farm.errors import CommandFailed, MachineError, StateError
from farm.run import Completed

PACKAGES = """\
Package: app
Version: 1:2.0-3+b1
Architecture: amd64
Pre-Depends: libc (>= 2.1)
Depends: shell | tiny-shell, mail-reader, liba (= 1.0-1), left-over | liba,
 native:any (>= 2), config-tool (>= 0.5) | config-tool-2.0
Filename: pool/app_2.0-3+b1_amd64.deb
Size: 10
SHA256: aa
Description: an application
 with more to say
Homepage: https://example.org/

Package: shell
Version: 5
Architecture: amd64
Depends: libc
Filename: pool/shell.deb
Size: 20
SHA256: bb
Description: a shell

Package: libc
Version: 2.41-12
Architecture: amd64
Filename: pool/libc.deb
Size: 30
SHA256: cc
Description: the library

Package: liba
Version: 1.0-1
Architecture: all
Provides: a-abi (= 1), other
Filename: pool/liba.deb
Size: 40
SHA256: dd
Description: a

Package: mutt
Version: 2
Architecture: amd64
Provides: mail-reader
Filename: pool/mutt.deb
Size: 50
SHA256: ee
Description: m

Package: alpine
Version: 2
Architecture: amd64
Provides: mail-reader
Filename: pool/alpine.deb
Size: 60
SHA256: ff
Description: m

Package: native
Version: 3
Architecture: amd64
Filename: pool/native.deb
Size: 70
SHA256: 00
Description: n
"""


def test_debians_archive_is_told_from_security_other_vendors_and_other_components() -> None:
    security = Archive("http://s.example/", "bookworm-security", "main", "Debian")
    vendor = Archive("http://v.example/", "bookworm", "main", "Vendor")
    contrib = Archive("http://c.example/", "bookworm", "contrib", "Debian")
    unknown = Archive("http://u.example/", "bookworm", "main")
    own = Archive("http://d.example/", "bookworm", "main", "Debian")
    found = apt.debian_archives((security, vendor, contrib, unknown, own))
    assert found == (own, unknown)


def test_a_machine_without_debians_archive_is_told_what_to_do() -> None:
    with pytest.raises(MachineError) as caught:
        apt.debian_archives((Archive("http://u.example/", "noble", "main"),))
    assert "sources.list.d" in caught.value.hint


def test_an_archive_that_is_not_debians_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def answer(root: PrivateRoot, command: list[str], **_: object) -> Completed:
        entries = (root.directory / "etc/farm.sources").read_text()
        if command[1] == "update":
            tried.append(entries.split("URIs: ")[1].split()[0])
            if "vendor" in tried[-1]:
                raise CommandFailed("apt-get failed", why="NO_PUBKEY")
        (tmp_path / "Packages").write_text("")
        return Completed(tuple(command), 0, str(tmp_path / "Packages"), "", 0.0)

    monkeypatch.setattr(PrivateRoot, "run", answer)
    monkeypatch.setattr(PrivateRoot, "_settings", lambda root: "")
    vendor, own = (Archive(f"http://{name}/", "trixie", "main") for name in ("vendor", "own"))
    assert "x" not in apt.AptRoot(tmp_path / "apt", "x86_64", (vendor, own)).update()
    assert tried == ["http://vendor/", "http://own/"]
    with pytest.raises(MachineError) as caught:
        apt.AptRoot(tmp_path / "apt", "x86_64", (vendor,)).update()
    assert "NO_PUBKEY" in caught.value.why


def test_a_dependency_takes_its_first_alternative_and_what_provides_a_virtual_one() -> None:
    chosen = archive.resolve(Index(PACKAGES), ["app"], ["left-over", "config-tool"])
    assert [deb.name for deb in chosen] == ["alpine", "app", "liba", "libc", "native", "shell"]


def test_a_preferred_provider_wins_and_what_is_chosen_already_meets_an_alternative() -> None:
    chosen = archive.resolve(Index(PACKAGES), ["app", "mutt"], ["left-over", "config-tool"])
    assert "mutt" in {deb.name for deb in chosen}
    assert "alpine" not in {deb.name for deb in chosen}


def test_a_dependency_that_nothing_meets_names_both_packages() -> None:
    with pytest.raises(MachineError, match="left-over") as caught:
        archive.resolve(Index(PACKAGES.replace("left-over | liba", "left-over")), ["app"])
    assert "app" in caught.value.what


def test_all_fields_of_a_package_are_read() -> None:
    deb = Index(PACKAGES).deb("app")
    assert (deb.version, deb.filename, deb.size, deb.sha256) == (
        "1:2.0-3+b1",
        "pool/app_2.0-3+b1_amd64.deb",
        10,
        "aa",
    )
    assert deb.depends[0] == (Relation("libc", ">=", "2.1"),)
    assert deb.depends[1] == (Relation("shell"), Relation("tiny-shell"))
    assert deb.summary == "an application"


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_index_and_of_the_roots_does_not_change_the_choice(
    shuffle: random.Random,
) -> None:
    stanzas = PACKAGES.split("\n\n")
    roots = ["app", "mutt", "native"]
    shuffle.shuffle(stanzas)
    shuffle.shuffle(roots)
    shuffled = Index("\n\n".join(stanza.strip("\n") for stanza in stanzas) + "\n")
    usual = archive.resolve(
        Index(PACKAGES), ["app", "mutt", "native"], ["left-over", "config-tool"]
    )
    assert archive.resolve(shuffled, roots, ["config-tool", "left-over"]) == usual


@pytest.mark.parametrize(
    ("debian", "expected"),
    [
        ("1:2.3-4+b1", (1, "2.3", "4+b1")),
        ("2.41-12+deb13u4", (0, "2.41", "12+deb13u4")),
        ("3.6.7", (0, "3.6.7", "0")),
        ("1.0-rc1-2", (0, "1.0.rc1", "2")),
        ("1.3.dfsg+really1.3.1-1~x", (0, "1.3.dfsg+really1.3.1", "1~x")),
    ],
)
def test_debian_versions_become_epoch_version_and_release(
    debian: str, expected: tuple[int, str, str]
) -> None:
    assert convert.evr(debian) == expected


@given(
    st.integers(0, 9),
    st.text(string.ascii_letters + string.digits + ".+~-", min_size=1),
    st.text(string.ascii_letters + string.digits + ".+~", min_size=1),
)
def test_every_debian_version_becomes_one_that_rpm_can_tell_apart(
    epoch: int, upstream: str, revision: str
) -> None:
    _, version, release = convert.evr(f"{epoch}:{upstream}-{revision}")
    assert version and release
    assert "-" not in version + release
    assert ":" not in version + release


def setting(debs: tuple[Deb, ...], arch: str = "x86_64") -> convert.Setting:
    return convert.Setting(
        arch=arch,
        recipe=recipe(),
        stands_for=archive.convertible(debs),
        versions={deb.name: deb.version for deb in debs},
        build_time=1,
        source="base.src.rpm",
    )


def entry(path: str, data: bytes = b"", mode: int = 0o100644) -> Entry:
    return Entry(path, mode, "root", "root", 7, data)


def test_a_requirement_names_the_package_of_the_set_and_keeps_an_exact_version() -> None:
    debs = archive.resolve(Index(PACKAGES), ["app"], ["left-over", "config-tool"])
    app = next(deb for deb in debs if deb.name == "app")
    package = convert.convert(app, DebContents((), frozenset()), setting(debs))
    assert Capability("liba", "=", "1.0-1") in package.requires
    assert Capability("alpine") in package.requires
    assert not {"left-over", "config-tool", "config-tool-2.0", "mail-reader"} & {
        capability.name for capability in package.requires
    }


def test_what_every_debian_system_has_is_required_where_it_is_used() -> None:
    deb = Deb("tool", "1-1", "all", "f", 1, "s")
    contents = DebContents(
        (
            entry("/usr/bin/tool", b"#!/bin/sh\n", 0o100755),
            entry("/usr/bin/other", b"#! /usr/bin/perl -w\n", 0o100755),
        ),
        frozenset(),
    )
    package = convert.convert(deb, contents, setting((deb,)))
    assert package.requires == (Capability("bash"), Capability("perl-base"))


def test_fedoras_names_are_provided_with_the_version_but_not_debians_epoch() -> None:
    deb = Deb("zlib1g-dev", "1:1.3.1-1", "amd64", "f", 1, "s")
    package = convert.convert(deb, DebContents((), frozenset()), setting((deb,)))
    assert Capability("zlib-devel", "=", "1.3.1-1") in package.provides
    assert Capability("zlib-devel(x86-64)", "=", "1.3.1-1") in package.provides
    assert Capability("zlib1g-dev", "=", "1:1.3.1-1") in package.provides
    assert package.epoch == 1


def test_an_architecture_independent_package_becomes_noarch() -> None:
    deb = Deb("tzdata", "2025b-4", "all", "f", 1, "s")
    package = convert.convert(deb, DebContents((), frozenset()), setting((deb,)))
    assert package.filename == "tzdata-2025b-4.noarch.rpm"
    assert package.provides == (Capability("tzdata", "=", "2025b-4"),)


def test_links_that_maintainer_scripts_would_make_follow_the_architecture() -> None:
    deb = Deb("base-files", "13", "arm64", "f", 1, "s")
    package = convert.convert(deb, DebContents((), frozenset()), setting((deb,), "aarch64"))
    links = {file.path: file.target for file in package.files if file.target}
    assert links["/usr/lib64"] == "lib/aarch64-linux-gnu"


def test_accounts_come_from_debians_masters_and_are_locked() -> None:
    deb = Deb("base-passwd", "3", "amd64", "f", 1, "s")
    contents = DebContents(
        (
            entry("/usr/share/base-passwd/passwd.master", b"root:*:0:0:root:/root:/bin/bash\n"),
            entry("/usr/share/base-passwd/group.master", b"root:*:0:\nadm:*:4:\n"),
        ),
        frozenset(),
    )
    package = convert.convert(deb, contents, setting((deb,)))
    files = {file.path: file for file in package.files}
    assert files["/etc/passwd"].data == b"root:x:0:0:root:/root:/bin/bash\n"
    assert files["/etc/group"].data == b"root:x:0:\nadm:x:4:\n"
    assert files["/etc/shadow"].data.startswith(b"root:*:")
    assert files["/etc/shadow"].mode & 0o777 == 0o600
    assert Capability("group(adm)") in package.provides


def test_static_libraries_go_where_a_shared_one_is() -> None:
    deb = Deb("libx-dev", "1-1", "amd64", "f", 1, "s")
    contents = DebContents(
        (
            entry("/usr/lib/x86_64-linux-gnu/libx.a"),
            entry("/usr/lib/x86_64-linux-gnu/libx.so"),
            entry("/usr/lib/x86_64-linux-gnu/libonly.a"),
        ),
        frozenset(),
    )
    package = convert.convert(deb, contents, setting((deb,)))
    assert [file.path.rpartition("/")[2] for file in package.files] == ["libonly.a", "libx.so"]


def test_of_the_documentation_only_the_licence_is_taken() -> None:
    taken = convert.selector(recipe(), "x86_64")
    assert taken("/usr/share/doc/bash/copyright")
    assert not taken("/usr/share/doc/bash/README.gz")
    assert not taken("/usr/share/locale/de/LC_MESSAGES/bash.mo")
    assert not taken("/usr/lib64/ld-linux-x86-64.so.2")
    assert taken("/usr/share/man/man1/bash.1.gz")
    assert not taken("/usr/share/man/de/man1/bash.1.gz")


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        (
            "/usr/lib/x86_64-linux-gnu/pkgconfig/zlib.pc",
            "major=1\nfull=${major}.3\nName: zlib\nVersion: ${full}.1\n",
            {Capability("pkgconfig(zlib)", "=", "1.3.1")},
        ),
        (
            "/usr/lib/python3/dist-packages/PyYAML-6.0.2.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: PyYAML\nVersion: 6.0.0\n\nbody\n",
            {
                Capability("python3dist(pyyaml)", "=", "6"),
                Capability("python3.13dist(pyyaml)", "=", "6"),
            },
        ),
        (
            "/usr/share/perl/5.40.1/ExtUtils/MakeMaker.pm",
            "package ExtUtils::MakeMaker;\nour $VERSION = '7.70';\n",
            {Capability("perl(ExtUtils::MakeMaker)", "=", "7.70")},
        ),
        (
            "/usr/share/perl5/A/B.pm",
            "package A::B v1.2.3;\n1;\n",
            {Capability("perl(A::B)", "=", "1.2.3")},
        ),
        ("/usr/share/doc/x.pm", "package X; our $VERSION = 1;", set()),
    ],
)
def test_files_stand_for_capabilities_in_fedoras_words(
    path: str, text: str, expected: set[Capability]
) -> None:
    assert capabilities.of_files([(path, text.encode())]) == expected


def test_a_base_that_is_not_whole_is_refused_with_what_is_missing() -> None:
    whole = check.Contents("a", frozenset({"a", "liba.so.1()(64bit)"}), frozenset({"rpmlib(X)"}))
    broken = check.Contents("b", frozenset({"b"}), frozenset({"liba.so.1()(64bit)", "libz.so.9"}))
    check.check([whole], ["munge"])
    with pytest.raises(StateError) as caught:
        check.check([whole, broken], ["munge"])
    assert caught.value.why == "b needs libz.so.9"


@pytest.mark.parametrize(
    "name", ["munge", "munge-libs", "libmunge.so.2()(64bit)", "libmunge2", "python3dist(munge)"]
)
def test_nothing_that_the_layer_owns_comes_into_the_base(name: str) -> None:
    with pytest.raises(StateError, match="layer"):
        check.check([check.Contents("x", frozenset({name}), frozenset())], ["munge"])


def test_the_machines_own_architecture_is_made_first_and_native_tools_last() -> None:
    assert build.wanted(["aarch64", "x86_64"], "x86_64") == ("x86_64", "aarch64", "native-aarch64")
    assert build.wanted(["x86_64", "aarch64"], "aarch64") == ("aarch64", "x86_64")
    assert build.wanted(["x86_64"], "x86_64") == ("x86_64",)


def test_the_digest_of_the_inputs_follows_packages_and_recipe_but_not_their_order() -> None:
    one = Deb("a", "1", "amd64", "f", 1, "s1")
    two = Deb("b", "1", "amd64", "f", 1, "s2")
    usual = build.input_digest("recipe", [one, two])
    assert build.input_digest("recipe", [two, one]) == usual
    assert build.input_digest("other", [one, two]) != usual
    assert build.input_digest("recipe", [one]) != usual


def test_a_finished_base_of_this_recipe_is_used_without_asking_anybody(tmp_path: Path) -> None:
    top = tmp_path / "base" / build.RELEASE
    made = top / "x86_64-0123"
    made.mkdir(parents=True)
    (made / "packages.json").write_text('[{"name": "bash"}]')
    (made / "recipe").write_text(recipe().digest + "\n")
    (top / "x86_64").symlink_to(made.name)
    config = at(Config(root=tmp_path), tmp_path)
    said: list[str] = []
    (built,) = build.build_base(config, ["x86_64"], said.append)
    assert (built.directory, built.packages, built.fresh, said) == (made, 1, False, [])


def test_a_disk_that_refuses_is_told_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(apt.AptRoot, "update", full)
    monkeypatch.setattr(build, "host_archives", lambda: (Archive("u", "trixie", "main"),))
    with pytest.raises(StateError) as caught:
        build.build_base(at(Config(root=tmp_path), tmp_path), ["x86_64"], lambda line: None)
    assert "No space left" in caught.value.why


def test_a_base_of_another_recipe_is_not_used(tmp_path: Path) -> None:
    top = tmp_path / "base" / build.RELEASE
    (top / "x86_64-0123").mkdir(parents=True)
    (top / "x86_64-0123" / "recipe").write_text("another\n")
    (top / "x86_64").symlink_to("x86_64-0123")
    assert build.current(at(Config(root=tmp_path), tmp_path), "x86_64") is None


def at(config: Config, cache: Path) -> Config:
    return replace(config, paths=replace(config.paths, cache=str(cache)))
