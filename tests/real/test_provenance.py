"""What lies beside published packages, as a stranger with gpg, sha256sum and dnf finds it."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from farm.gpg import public_keys
from farm.model import Lock, Result, from_json, to_json
from farm.model.envelope import IN_TOTO, Envelope
from farm.model.provenance import Resource, Statement
from farm.publish.ancestry import reached
from farm.publish.keys import key_ring
from farm.publish.snapshot import read_results
from farm.rpmheader import identity
from farm.run import run
from farm.store import Store, sha256_of
from tests.real.publishing import Place
from tests.real.site import Site
from tests.real.test_bootstrap import make as make_cycle
from tests.rpms import needs_rpmbuild

pytestmark = pytest.mark.real

ARCHS = ("x86_64", "aarch64")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The small layer, built for both architectures and published."""
    site = Site.make(tmp_path_factory.mktemp("provenance") / "layer")
    site.farm("build", "--all")
    site.farm("publish")
    return site


@pytest.fixture
def site(built: Site, tmp_path: Path) -> Site:
    return built.copied(tmp_path)


def seen(site: Site) -> Path:
    return (site.root / "repo" / "debian-13").resolve()


def packages_of(directory: Path) -> list[Path]:
    return sorted(directory.rglob("Packages/**/*.rpm"))


def envelope_of(package: Path) -> Envelope:
    return from_json(Envelope, Path(f"{package}.intoto.json").read_bytes())


def statement_of(package: Path) -> Statement:
    return from_json(Statement, envelope_of(package).content)


def subject_of(package: Path) -> Resource:
    (found,) = [s for s in statement_of(package).subject if s.name == package.name]
    return found


def dependencies(told: Statement, kind: str) -> list[Resource]:
    every = told.predicate.build_definition.resolved_dependencies
    return [resource for resource in every if resource.annotations["kind"] == kind]


def tree_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_every_package_has_a_statement_that_gpg_itself_verifies(
    built: Site, tmp_path: Path
) -> None:
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ("gpg", "--homedir", str(home), "--batch", "--trust-model", "always")
    run([*gpg, "--import", built.root / "repo" / "RPM-GPG-KEY-farm-demo"])
    packages = packages_of(seen(built))
    assert len(packages) == 22  # tallynotes and cluster-master in both architectures
    for package in packages:
        envelope: Any = msgspec.json.decode(Path(f"{package}.intoto.json").read_bytes())
        assert envelope["payloadType"] == IN_TOTO
        payload = base64.b64decode(envelope["payload"])
        (signature,) = envelope["signatures"]
        (tmp_path / "sig").write_bytes(base64.b64decode(signature["sig"]))
        encoded = b"DSSEv1 %d %s %d %s" % (len(IN_TOTO), IN_TOTO.encode(), len(payload), payload)
        (tmp_path / "signed").write_bytes(encoded)
        done = run([*gpg, "--status-fd", "1", "--verify", tmp_path / "sig", tmp_path / "signed"])
        assert f" {signature['keyid']}\n" in done.stdout.partition("VALIDSIG")[2]
        (tmp_path / "signed").write_bytes(encoded[:-1] + b" ")
        assert not run([*gpg, "--verify", tmp_path / "sig", tmp_path / "signed"], check=False).ok


def test_a_statement_names_the_published_file_and_the_one_before_it_was_signed(
    built: Site,
) -> None:
    unsigned = built.packages()
    for package in packages_of(seen(built)):
        subject = subject_of(package)
        assert subject.digest == {"sha256": sha256_of(package)}
        assert subject.annotations["unsigned"] == unsigned[package.name.removesuffix(".rpm")]
        found = identity(package)
        assert subject.annotations["header"] == found.header
        assert subject.annotations["payload"] == found.payload


def test_one_build_has_one_statement_and_the_source_package_that_of_its_own_chroot(
    built: Site,
) -> None:
    by_build: dict[tuple[str, str], set[int]] = {}
    for package in packages_of(seen(built)):
        told = statement_of(package).predicate.build_definition.external_parameters
        inode = Path(f"{package}.intoto.json").stat().st_ino
        by_build.setdefault((told.package, told.arch), set()).add(inode)
        if package.name.endswith((".src.rpm", ".noarch.rpm")):
            assert told.arch == "x86_64"
    assert all(len(inodes) == 1 for inodes in by_build.values())
    assert set(by_build) == {
        ("cluster-master", "x86_64"), ("tallynotes", "x86_64"),
        *((name, arch) for name in ("tally", "tallyprint") for arch in ARCHS),
    }  # fmt: skip


def test_the_lock_is_published_and_the_archive_has_every_package_in_it(built: Site) -> None:
    repo, store = built.root / "repo", built.root / ".farm" / "store"
    named = set()
    for package in packages_of(seen(built)):
        told = statement_of(package)
        resource = told.predicate.build_definition.internal_parameters.lock
        path = repo / resource.uri
        assert resource.digest == {"sha256": sha256_of(path)}
        lock = from_json(Lock, path.read_bytes())
        assert to_json(lock) == path.read_bytes()
        assert [(r.name, r.digest["sha256"]) for r in dependencies(told, "package")] == [
            (str(p.nevra), p.sha256) for p in lock.packages
        ]
        assert len(lock.packages) > 100
        named |= {p.sha256 for p in lock.packages}
    archived = {p.parent.name + p.stem: p for p in (repo / "archive").rglob("*.rpm")}
    assert set(archived) == named
    for sha256, path in archived.items():
        assert sha256_of(path) == sha256
        assert path.samefile(store / sha256[:2] / sha256[2:])


def test_a_statement_tells_the_whole_build(built: Site) -> None:
    package = next(p for p in packages_of(seen(built)) if p.name.startswith("tallyprint-2.0"))
    told = statement_of(package)
    definition, run_details = told.predicate.build_definition, told.predicate.run_details
    (layer,) = dependencies(told, "layer")
    assert layer.digest["gitCommit"] == definition.external_parameters.commit
    assert len(layer.digest["gitCommit"]) == 40
    sources = {r.name: r.digest["sha256"] for r in dependencies(told, "source")}
    directory = built.root / "specs" / "tallyprint"
    assert sources["tallyprint.spec"] == sha256_of(directory / "tallyprint.spec")
    (source,) = dependencies(told, "source-package")
    published = next(p for p in packages_of(seen(built)) if p.name == source.name)
    assert subject_of(published).annotations["unsigned"] == source.digest["sha256"]
    chroot = definition.internal_parameters.chroot
    assert chroot.dist == ".deb13"
    assert chroot.setup
    assert definition.internal_parameters.epoch_seconds > 0
    assert run_details.builder.id == "urn:farm:builder:embedded"
    assert run_details.builder.version["farm"]
    host = {r.name: r for r in run_details.builder.builder_dependencies}
    assert {"kernel", "rpm", "bubblewrap"} <= set(host)
    assert "cores" not in host
    record = from_json(
        Result, (built.root / "repo" / run_details.metadata.invocation_id).read_bytes()
    )
    assert record.key == definition.internal_parameters.key
    assert record.built.cores == definition.internal_parameters.cores > 0


def test_an_emulated_build_names_what_assisted_it(built: Site) -> None:
    package = next(
        p for p in packages_of(seen(built)) if p.name.endswith("2.0-1.deb13.aarch64.rpm")
    )
    host = statement_of(package).predicate.run_details.builder.builder_dependencies
    assert len({r.name: r for r in host}["qemu"].digest["sha256"]) == 64


def test_every_package_has_a_valid_bill_of_materials(built: Site) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    for package in packages_of(seen(built)):
        text = Path(f"{package}.cdx.json").read_text()
        assert validator.validate_str(text) is None
        tree: Any = msgspec.json.decode(text)
        main = tree["metadata"]["component"]
        assert main["hashes"] == [{"alg": "SHA-256", "content": sha256_of(package)}]
        hashes = {h["content"] for c in tree["components"] for h in c.get("hashes", ())}
        told = statement_of(package)
        assert {r.digest["sha256"] for r in dependencies(told, "package")} <= hashes
        assert {r.digest["sha256"] for r in dependencies(told, "source")} <= hashes


def test_one_signed_list_covers_every_file_of_a_snapshot(built: Site) -> None:
    (snapshot,) = (built.root / "repo" / "snapshots" / "debian-13").iterdir()
    run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=snapshot)
    listed = {line.split("  ", 1)[1] for line in (snapshot / "SHA256SUMS").read_text().splitlines()}
    files = {str(p.relative_to(snapshot)) for p in snapshot.rglob("*") if p.is_file()}
    assert files - listed == {"SHA256SUMS", "SHA256SUMS.asc"}
    with public_keys([built.root / "repo" / "RPM-GPG-KEY-farm-demo"]) as keys:
        judged = keys.signature(snapshot / "SHA256SUMS", snapshot / "SHA256SUMS.asc")
    assert judged.fault == ""


def test_the_metadata_name_packages_and_nothing_beside_them(built: Site) -> None:
    for repodata in seen(built).rglob("repodata"):
        for path in repodata.iterdir():
            content = run(["zcat", path]).stdout if path.suffix == ".gz" else path.read_text()
            assert ".intoto.json" not in content
            assert ".cdx.json" not in content


def test_a_site_installs_beside_all_this(built: Site) -> None:
    with built.served():
        done = built.farm("try", "cluster-master", "--arch", "x86_64", "--run", "tallyprint 3")
    assert "packages installed" in done.stdout


@needs_rpmbuild
def test_the_same_snapshot_key_and_time_give_the_same_bytes(tmp_path: Path) -> None:
    trees, hello = [], None
    for name in ("one", "two"):
        place = Place(tmp_path / name, port=1)
        place.clock = 1_700_000_000
        hello = hello or place.built("hello", noarch_subpackage="data")
        place.store = Store(tmp_path / "one" / "store")
        place.publish(hello)
        trees.append(tree_of(place.root))
    assert trees[0].keys() == trees[1].keys()
    assert [name for name in trees[0] if trees[0][name] != trees[1][name]] == []
    assert sum(name.endswith(".intoto.json") for name in trees[0]) == 10
    assert sum(name.endswith(".cdx.json") for name in trees[0]) == 10


def test_a_farm_that_lost_what_it_signed_signs_the_same_again(site: Site) -> None:
    before = tree_of(site.root / "repo" / "snapshots")
    shutil.rmtree(site.root / "repo")
    shutil.rmtree(site.root / ".farm" / "signed")
    shutil.rmtree(site.root / ".farm" / "sbom")
    site.farm("publish")
    after = tree_of(site.root / "repo" / "snapshots")
    assert before.keys() == after.keys()
    changed = {name.rpartition("/")[2] for name in before if before[name] != after[name]}
    # what is dated with the time of publishing
    dated = {"snapshot.json", "SHA256SUMS", "SHA256SUMS.asc", "repomd.xml", "repomd.xml.asc"}
    assert changed <= dated


def test_a_changed_comment_leaves_the_statement_as_it_was(site: Site) -> None:
    package = next(p for p in packages_of(seen(site)) if p.name.startswith("tally-1.0"))
    before = envelope_of(package)
    site.edit("tally", "Name:", "# a comment\nName:")
    site.commit()
    site.farm("build", "--all")
    assert "Nothing to publish" in site.farm("publish").stdout
    site.edit("tallynotes", "%description", "%description\nOther words.")
    site.edit("tallynotes", "Release:", "# other\nRelease:")
    site.commit()
    site.farm("build", "--all")
    site.farm("publish")
    again = next(p for p in packages_of(seen(site)) if p.name == package.name)
    assert envelope_of(again) == before
    told = statement_of(again)
    sources = {r.name: r.digest["sha256"] for r in dependencies(told, "source")}
    assert sources["tally.spec"] != sha256_of(site.spec("tally"))
    (source,) = dependencies(told, "source-package")
    assert any(p.name == source.name for p in packages_of(seen(site)))


def test_a_recipe_that_changed_before_it_was_published_is_told_by_the_build_of_its_source_package(
    tmp_path: Path, built: Site
) -> None:
    site = built.copied(tmp_path)
    shutil.rmtree(site.root / "repo")
    old = sha256_of(site.spec("tally"))
    site.edit("tally", "Name:", "# a comment\nName:")
    site.commit()
    site.farm("build", "--all")
    site.farm("publish")
    package = next(p for p in packages_of(seen(site)) if p.name.startswith("tally-1.0"))
    told = statement_of(package)
    sources = {r.name: r.digest["sha256"] for r in dependencies(told, "source")}
    assert sources["tally.spec"] == old
    assert dependencies(told, "source-package")


def forget(result: Result) -> Result:
    return msgspec.structs.replace(result, chroot=None, inputs=(), spec="", epoch_seconds=0)


@needs_rpmbuild
def test_results_of_an_early_farm_are_published_without_provenance_until_built_again(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path)
    hello, world = place.built("hello"), place.built("world")
    early = {arch: forget(result) for arch, result in hello.items()}
    first = place.publish(early, world)
    assert "farm build --force hello" in " ".join(first.notes)
    tree = place.root / "debian-13" / "x86_64" / "Packages"
    assert not (tree / "h" / "hello-1.0-1.x86_64.rpm.intoto.json").exists()
    assert (tree / "h" / "hello-1.0-1.x86_64.rpm.cdx.json").exists()
    assert (tree / "w" / "world-1.0-1.x86_64.rpm.intoto.json").exists()
    second = place.publish(hello, world)
    assert second.moved
    assert second.snapshot != first.snapshot
    assert not [note for note in second.notes if "provenance" in note]
    assert (tree / "h" / "hello-1.0-1.x86_64.rpm.intoto.json").exists()


@needs_rpmbuild
def test_only_new_statements_are_signed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    hello = place.built("hello")
    assert place.publish(hello).statements == 2
    assert place.publish(hello, place.built("world")).statements == 2


@needs_rpmbuild
def test_a_damaged_envelope_is_signed_again(tmp_path: Path) -> None:
    place = Place(tmp_path)
    hello = place.built("hello")
    place.publish(hello)
    kept = sorted((place.state / "signed").rglob("*.intoto.json"))
    damaged = from_json(Envelope, kept[0].read_bytes())
    broken = base64.b64encode(b"nothing").decode()
    (signature,) = damaged.signatures
    text = to_json(
        msgspec.structs.replace(
            damaged, signatures=(msgspec.structs.replace(signature, sig=broken),)
        )
    )
    kept[0].unlink()
    kept[0].write_bytes(text)
    assert place.publish(hello, place.built("world")).statements == 3
    assert kept[0].read_bytes() != text


@needs_rpmbuild
def test_sixty_statements_take_a_few_seconds(tmp_path: Path) -> None:
    from farm.publish.envelopes import Envelopes, Unsigned  # noqa: PLC0415

    place = Place(tmp_path)
    some = [Unsigned(b"%d" % number + b"x" * 60_000, 1_700_000_000) for number in range(60)]
    with key_ring(place.state) as ring:
        key = ring.find("farm-demo")
        started = time.monotonic()
        paths, fresh = Envelopes(place.state).add(some, ring, key)
        first = time.monotonic() - started
        started = time.monotonic()
        assert Envelopes(place.state).add(some, ring, key)[1] == 0
        again = time.monotonic() - started
    assert fresh == len(paths) == 60
    assert first < 20, "a shared machine"
    assert again < first


def test_a_publisher_that_is_killed_leaves_nothing_half(site: Site) -> None:
    """Killed at many moments: what sites see is whole, and the next run finishes it."""
    shutil.rmtree(site.root / "repo")
    shutil.rmtree(site.root / ".farm" / "signed")
    for after in (0.3, 0.6, 0.9, 1.2, 1.5, 2.0, 2.5):
        child = site.begin("publish")
        time.sleep(after)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.end()
        check_whole(site.root / "repo")
    site.farm("publish")
    check_whole(site.root / "repo")
    assert len(packages_of(seen(site))) == 22


def check_whole(repo: Path) -> None:
    pointer = repo / "debian-13"
    for path in (*(repo / "archive").rglob("*.rpm"), *(repo / "locks").rglob("*.json")):
        if not path.name.startswith("."):
            assert sha256_of(path) == path.parent.name + path.stem
    if not pointer.exists():
        return
    run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=pointer.resolve())
    for package in packages_of(pointer.resolve()):
        told = statement_of(package)
        assert (repo / told.predicate.build_definition.internal_parameters.lock.uri).exists()
        for resource in dependencies(told, "package"):
            sha256 = resource.digest["sha256"]
            assert (repo / "archive" / sha256[:2] / f"{sha256[2:]}.rpm").exists()


def test_a_lost_ledger_comes_back_with_all_that_provenance_wants(site: Site) -> None:
    before = {r.step: r for r in read_results(site.root / "repo")}
    for path in (site.root / ".farm").glob("ledger.sqlite*"):
        path.unlink()
    site.farm("ledger", "rebuild")
    assert set(site.verdicts("--all").values()) == {"kept"}
    assert "Nothing to publish" in site.farm("publish").stdout
    assert {r.step: r for r in read_results(site.root / "repo")} == before


def test_the_archive_can_be_left_out(site: Site) -> None:
    shutil.rmtree(site.root / "repo")
    with (site.root / "farm.toml").open("a") as file:
        file.write('[paths]\npublication = "other"\n')
    text = (site.root / "farm.toml").read_text()
    (site.root / "farm.toml").write_text(text.replace("[publish]", "[publish]\narchive = false"))
    site.farm("publish")
    assert list((site.root / "other" / "locks").rglob("*.json"))
    assert not (site.root / "other" / "archive").exists()


@pytest.fixture(scope="module")
def cycle(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Two packages that need each other, one of them bootstrapped; published."""
    site = make_cycle(tmp_path_factory.mktemp("cycle") / "layer", "x86_64")
    site.farm("build", "--all")
    site.farm("publish")
    return site


def test_a_bootstrap_is_told_of_where_it_is_archived(cycle: Site) -> None:
    """Back from a published package to packages of the base alone, each step signed."""
    repo = cycle.root / "repo"
    egg = next(p for p in packages_of(seen(cycle)) if p.name.startswith("egg-1.0"))
    bootstraps = [r for r in dependencies(statement_of(egg), "package") if "~bootstrap" in r.name]
    assert len(bootstraps) == 2  # chicken and chicken-devel
    inodes = set()
    for resource in bootstraps:
        sha256 = resource.digest["sha256"]
        archived = repo / "archive" / sha256[:2] / f"{sha256[2:]}.rpm"
        assert sha256_of(archived) == sha256
        told = statement_of(archived)
        (subject,) = [s for s in told.subject if s.digest["sha256"] == sha256]
        assert subject.annotations["unsigned"] == sha256
        assert told.predicate.build_definition.external_parameters.package == "chicken~bootstrap"
        (source,) = dependencies(told, "source-package")
        made_from = source.digest["sha256"]
        assert sha256_of(repo / "archive" / made_from[:2] / f"{made_from[2:]}.rpm") == made_from
        lock = told.predicate.build_definition.internal_parameters.lock
        assert {"sha256": sha256_of(repo / lock.uri)} == lock.digest
        assert {r.annotations["repository"] for r in dependencies(told, "package")} == {"base"}
        for needed in dependencies(told, "package"):
            sha256 = needed.digest["sha256"]
            assert (repo / "archive" / sha256[:2] / f"{sha256[2:]}.rpm").exists()
        inodes.add(Path(f"{archived}.intoto.json").read_bytes())
        with public_keys([repo / "RPM-GPG-KEY-farm-demo"]) as keys:
            envelope = envelope_of(archived)
            judged = keys.signature_over(envelope.signed_bytes, envelope.signatures[0].binary)
        assert judged.fault == ""
    assert len(inodes) == 1
    assert not [r for r in read_results(repo) if r.bootstrap]


def test_what_is_published_itself_is_told_of_there_only(cycle: Site) -> None:
    repo = cycle.root / "repo"
    told = {p.name.removesuffix(".rpm.intoto.json") for p in (repo / "archive").rglob("*.json")}
    assert len(told) == 2


def test_from_the_published_statements_everything_that_is_kept_can_be_reached(
    cycle: Site,
) -> None:
    repo = cycle.root / "repo"
    locks = {
        statement_of(p).predicate.build_definition.internal_parameters.lock.digest["sha256"]
        for p in packages_of(seen(cycle))
    }
    found, archived = reached(repo, locks)
    assert len(found) > len(locks)
    assert found == {p.parent.name + p.stem for p in (repo / "locks").rglob("*.json")}
    assert archived == {p.parent.name + p.stem for p in (repo / "archive").rglob("*.rpm")}


def test_a_collection_leaves_what_the_archive_tells_of(cycle: Site, tmp_path: Path) -> None:
    site = cycle.copied(tmp_path)
    repo = site.root / "repo"
    before = tree_of(repo / "archive")
    site.farm("gc")
    assert tree_of(repo / "archive") == before
    shutil.rmtree(repo / "archive")
    assert "Nothing to publish" in site.farm("publish").stdout
    assert tree_of(repo / "archive") == before
