"""A build told as a statement, its envelope, what is kept beside it, who made what."""

from __future__ import annotations

import hashlib
import os
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st
from packageurl import PackageURL

from farm.config import Config, Publish, load
from farm.errors import ConfigError, RepositoryError, StateError
from farm.model import (
    CORES,
    Built,
    Chroot,
    Lock,
    LockedPackage,
    Manifest,
    Nevra,
    Package,
    Repository,
    Result,
    digest_of,
    from_json,
    to_json,
)
from farm.model.envelope import Envelope
from farm.model.provenance import Statement
from farm.publish.archive import archive_path, keep, locator
from farm.publish.builds import Behind, Build, builds_behind, digest
from farm.publish.gates import choose
from farm.publish.provenance import Subject, lock_file, purl, statement
from farm.publish.sbom import Bills, Material
from farm.rpmheader import Identity
from farm.store import Store, sha256_of
from tests.rpms import Spec, build, contents, needs_rpmbuild

_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,12}", fullmatch=True)
_VERSIONS = st.text(string.ascii_letters + string.digits + "._+~^", min_size=1, max_size=10)
_ARCHS = st.sampled_from(["x86_64", "aarch64", "noarch", "src"])
_NEVRAS = st.builds(
    Nevra, _NAMES, st.integers(0, 99), _VERSIONS, _VERSIONS.filter(lambda t: "." not in t), _ARCHS
)
_DIGESTS = st.binary(min_size=1, max_size=4).map(lambda b: hashlib.sha256(b).hexdigest())
_TEXTS = st.text(max_size=8)
_ADDRESSES = st.sampled_from(["", "file:///base/a.rpm", "https://mirror.example.org/a.rpm"])
_LOCKED = st.builds(
    LockedPackage, _NEVRAS, _DIGESTS, st.integers(0, 9), st.sampled_from(["base", "layer"]),
    _ADDRESSES,
)  # fmt: skip
_LOCKS = st.builds(Lock, st.lists(_LOCKED, max_size=4).map(tuple))
_CHROOTS = st.builds(
    Chroot,
    name=_NAMES,
    release=_NAMES,
    arch=st.sampled_from(["x86_64", "aarch64"]),
    repositories=st.just((Repository("base", ("file:///base",)),)),
    setup=st.lists(_NAMES, max_size=2).map(tuple),
    dist=st.just(".deb13"),
    macros=st.lists(st.tuples(_TEXTS, _TEXTS), max_size=2).map(tuple),
    files=st.lists(st.tuples(_NAMES, _TEXTS), max_size=2).map(tuple),
    emulator=st.sampled_from(["", "/somewhere/qemu"]),
)
_PACKAGES = st.builds(Package, _NEVRAS, _DIGESTS, st.integers(0, 9), _NAMES)
_RESULTS = st.builds(
    Result,
    key=_DIGESTS,
    step=st.just("munge@debian-13-x86_64"),
    manifest=st.builds(Manifest, _DIGESTS, _DIGESTS, _DIGESTS, st.integers(1, 9)),
    lock=_LOCKS,
    recipe_files=st.just(()),
    counter=st.integers(0, 3),
    commit=st.sampled_from(["", "c" * 40]),
    built=st.builds(
        Built,
        st.lists(_PACKAGES, min_size=1, max_size=3).map(tuple),
        _PACKAGES,
        st.floats(0, 1e4),
        host=st.lists(st.tuples(_NAMES, st.one_of(_DIGESTS, _TEXTS)), max_size=3).map(tuple),
    ),
    finished=st.floats(0, 4e9),
    chroot=_CHROOTS,
    inputs=st.lists(st.tuples(_TEXTS, _DIGESTS), max_size=3).map(tuple),
    spec=_TEXTS,
    epoch_seconds=st.integers(0, 2**31),
)


def subject(package: Package) -> Subject:
    return Subject(package, digest_of(("signed", package)), Identity("h" * 64, "p" * 64))


def told(result: Result, layer: str = "") -> Statement:
    made = Build(result, result.built.packages, result.built.srpm)
    return statement(made, map(subject, made.packages), subject(result.built.srpm), layer=layer)


def every_value(value: object) -> list[object]:
    if isinstance(value, dict):
        return [v for inner in value.values() for v in every_value(inner)]
    if isinstance(value, list):
        return [v for inner in value for v in every_value(inner)]
    return [value]


@settings(max_examples=60, deadline=None)
@given(_RESULTS)
def test_everything_in_a_statement_survives_json_and_its_envelope(result: Result) -> None:
    made = told(result)
    envelope = from_json(Envelope, to_json(Envelope.around(to_json(made))))
    assert from_json(Statement, envelope.content) == made
    assert to_json(told(result)) == to_json(made)


@settings(max_examples=60, deadline=None)
@given(_RESULTS)
def test_a_statement_says_what_the_result_says(result: Result) -> None:
    made = told(result)
    definition = made.predicate.build_definition
    internal = definition.internal_parameters
    assert (internal.key, internal.counter, internal.spec) == (
        result.key, result.counter, result.spec,
    )  # fmt: skip
    assert internal.recipe == result.manifest.recipe
    assert internal.epoch_seconds == result.epoch_seconds
    assert result.chroot is not None
    assert internal.chroot.digest == result.chroot.digest
    assert sorted(s.annotations["unsigned"] for s in made.subject) == sorted(
        p.sha256 for p in result.built.packages
    )
    kinds: dict[str, list[str]] = {}
    for resource in definition.resolved_dependencies:
        kinds.setdefault(resource.annotations["kind"], []).append(resource.digest.get("sha256", ""))
    assert kinds.get("package", []) == [p.sha256 for p in result.lock.packages]
    assert kinds.get("source", []) == [sha256 for _, sha256 in result.inputs]
    assert kinds["source-package"] == [result.built.srpm.sha256]
    assert ("layer" in kinds) == bool(result.commit)


@settings(max_examples=60, deadline=None)
@given(_RESULTS)
def test_no_place_of_this_machine_is_published(result: Result) -> None:
    _, lock = lock_file(result.lock)
    for text in (to_json(told(result)), lock):
        values = every_value(msgspec.json.decode(text))
        assert not [v for v in values if isinstance(v, str) and v.startswith("file:")]
        assert "/somewhere/qemu" not in values


@settings(max_examples=60, deadline=None)
@given(_RESULTS)
def test_every_resource_has_an_address_or_a_digest_as_in_toto_wants(result: Result) -> None:
    predicate = told(result).predicate
    resources = (
        *predicate.build_definition.resolved_dependencies,
        *predicate.run_details.builder.builder_dependencies,
        predicate.build_definition.internal_parameters.lock,
    )
    assert all(resource.uri or resource.digest for resource in resources)


def test_the_names_are_those_of_in_toto_and_slsa() -> None:
    result = a_result("munge", "x86_64", package("munge-1-1.x86_64"))
    tree: Any = msgspec.json.decode(to_json(told(result, "https://example.org/layer")))
    assert tree["_type"] == "https://in-toto.io/Statement/v1"
    assert tree["predicateType"] == "https://slsa.dev/provenance/v1"
    predicate = tree["predicate"]
    assert set(predicate) == {"buildDefinition", "runDetails"}
    definition, run = predicate["buildDefinition"], predicate["runDetails"]
    assert set(definition) == {
        "buildType", "externalParameters", "internalParameters", "resolvedDependencies",
    }  # fmt: skip
    assert set(run) == {"builder", "metadata"}
    assert set(run["metadata"]) == {"invocationId", "startedOn", "finishedOn"}
    assert run["builder"] == {
        "id": "urn:farm:builder:mock",
        "version": {"farm": "0.1.0", "mock": "6.7"},
        "builderDependencies": [
            {
                "name": "kernel",
                "uri": "pkg:generic/kernel@6.18",
                "annotations": {"version": "6.18"},
            },
            {"name": "qemu", "digest": {"sha256": "a" * 64}},
        ],
    }
    assert run["metadata"]["startedOn"] == "2023-11-14T22:13:10Z"
    assert run["metadata"]["finishedOn"] == "2023-11-14T22:13:20Z"
    assert run["metadata"]["invocationId"].replace("/", "") == f"results{digest(result)}.json"
    layer = definition["resolvedDependencies"][0]
    assert layer["uri"] == f"git+https://example.org/layer@{'c' * 40}"
    assert layer["digest"] == {"gitCommit": "c" * 40}


def _built_on(host: tuple[tuple[str, str], ...]) -> Result:
    result = a_result("munge", "x86_64", package("munge-1-1.x86_64"))
    built = msgspec.structs.replace(result.built, host=(*result.built.host, *host))
    return msgspec.structs.replace(result, built=built)


def test_the_number_of_cores_is_a_parameter_of_the_build_and_nothing_that_assisted_it() -> None:
    predicate = told(_built_on(((CORES, "12"),))).predicate
    assert predicate.build_definition.internal_parameters.cores == 12
    assistants = predicate.run_details.builder.builder_dependencies
    assert [resource.name for resource in assistants] == ["kernel", "qemu"]


@pytest.mark.parametrize("recorded", [(), ((CORES, ""),), ((CORES, "many"),), ((CORES, "-1"),)])
def test_where_no_number_of_cores_was_recorded_the_statement_has_the_bytes_that_it_had(
    recorded: tuple[tuple[str, str], ...],
) -> None:
    made = told(_built_on(recorded))
    assert made.predicate.build_definition.internal_parameters.cores == 0
    assert b"cores" not in to_json(made), "it need not be signed again"


@given(_NEVRAS, st.booleans())
def test_a_package_url_is_read_back_as_what_it_names(nevra: Nevra, own: bool) -> None:
    text = purl(nevra, "fedora-44", layer=own)
    assert re.fullmatch(r"[A-Za-z0-9:/@?&=%._~-]+", text)
    read = PackageURL.from_string(text)
    assert read.to_string() == text
    assert (read.type, read.namespace) == ("rpm", None if own else "fedora")
    assert (read.name, read.version) == (nevra.name, nevra.vr)
    qualifiers: Any = read.qualifiers
    assert qualifiers["arch"] == nevra.arch
    assert int(qualifiers.get("epoch", 0)) == nevra.epoch


def test_odd_versions_are_escaped_as_the_rules_for_package_urls_say() -> None:
    text = purl(Nevra("gcc-c++", 2, "1.0~rc1^git+5", "1", "x86_64"), "debian-13")
    assert text == (
        "pkg:rpm/debian/gcc-c%2B%2B@1.0~rc1%5Egit%2B5-1?arch=x86_64&distro=debian-13&epoch=2"
    )


@given(st.binary(max_size=40), _TEXTS)
def test_what_an_envelope_is_signed_over_tells_type_and_payload_apart(
    content: bytes, kind: str
) -> None:
    signed = Envelope.around(content, kind).signed_bytes
    other = Envelope.around(content + b" ", kind).signed_bytes
    assert signed != other
    assert signed.startswith(b"DSSEv1 %d " % len(kind.encode()))
    assert signed.endswith(b" %d " % len(content) + content)


def test_an_envelope_that_is_no_base64_is_refused() -> None:
    with pytest.raises(StateError, match="not base64"):
        _ = Envelope(payload_type="t", payload="***").content


def package(nevra: str, content: str = "") -> Package:
    parsed = Nevra.parse(nevra)
    return Package(parsed, digest_of((nevra, content)), 1, parsed.name.split("-")[0])


def a_result(
    recipe: str,
    arch: str,
    *packages: Package,
    srpm: Package | None = None,
    finished: float = 1_700_000_000.0,
    **fields: Any,
) -> Result:
    vr = packages[0].nevra.vr
    host = (("farm", "0.1.0"), ("builder", "mock"), ("mock", "6.7"), ("kernel", "6.18"))
    known: dict[str, Any] = {
        "key": digest_of((recipe, arch, packages, finished)),
        "step": f"{recipe}@debian-13-{arch}",
        "manifest": Manifest("r", "l", "c", 1),
        "lock": Lock(()),
        "recipe_files": (),
        "counter": 0,
        "commit": "c" * 40,
        "built": Built(
            packages, srpm or package(f"{recipe}-{vr}.src"), 10.0, host=(*host, ("qemu", "a" * 64))
        ),
        "finished": finished,
        "chroot": Chroot(f"debian-13-{arch}", "debian-13", arch, (), (), ".deb13"),
    }
    return Result(**(known | fields))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A real source package of each architecture."""
    place = tmp_path_factory.mktemp("sources")
    return {
        arch: build(place / arch, Spec("munge", arch=arch))[-1]
        for arch in ("x86_64", "aarch64", "noarch")
    }


class World:
    """Results of munge made from one real source package, and what is asked of them."""

    def __init__(self, source: Path, place: Path) -> None:
        self.path = source
        self.inputs = contents(source)
        self.source = Package(
            Nevra.parse("munge-1.0-1.src"), sha256_of(source), source.stat().st_size, "munge"
        )
        self.store = Store(place / "store")

    def result(self, arch: str, *packages: Package, **fields: Any) -> Result:
        fields.setdefault("inputs", self.inputs)
        return a_result("munge", arch, *packages, srpm=self.source, **fields)

    def behind(
        self,
        *results: Result,
        published: Sequence[Result] = (),
        earlier: Sequence[Result] = (),
        bytes_of: Sequence[Package] = (),
    ) -> Behind:
        archs = ("x86_64", "aarch64")
        by_arch = {arch: [r for r in results if r.step.endswith(arch)] for arch in archs}
        known = {p.nevra: p for p in bytes_of}
        chosen = choose(by_arch, known, lambda package: self.path)
        return builds_behind(
            chosen, by_arch, published, lambda step: earlier, lambda package: self.path, self.store
        )


def made(behind: Behind) -> dict[str, list[str]]:
    return {b.result.step: [str(p.nevra) for p in b.packages] for b in behind.builds}


@needs_rpmbuild
def test_the_source_package_belongs_to_the_build_in_whose_chroot_it_was_made(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    for arch in ("x86_64", "aarch64"):
        world = World(sources[arch], tmp_path)
        behind = world.behind(
            world.result("x86_64", package("munge-1.0-1.x86_64")),
            world.result("aarch64", package("munge-1.0-1.aarch64")),
        )
        assert behind.notes == ()
        for step, names in made(behind).items():
            assert ("munge-1.0-1.src" in names) == step.endswith(arch)


@needs_rpmbuild
def test_a_source_package_made_where_nothing_is_published_has_no_provenance_and_it_is_said(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    world = World(sources["x86_64"], tmp_path)
    behind = world.behind(world.result("aarch64", package("munge-1.0-1.aarch64")))
    assert behind.elsewhere == (world.source,)
    assert behind.builds[0].source == world.source
    assert "munge-1.0-1.src has no provenance" in behind.notes[0]


@needs_rpmbuild
def test_a_noarch_package_has_the_statement_of_the_first_architecture(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    world = World(sources["noarch"], tmp_path)
    data = package("munge-data-1.0-1.noarch")
    behind = world.behind(world.result("x86_64", data), world.result("aarch64", data, finished=1.0))
    assert set(made(behind)) == {"munge@debian-13-x86_64"}
    assert sorted(*made(behind).values()) == ["munge-1.0-1.src", str(data.nevra)]


@needs_rpmbuild
def test_the_first_build_of_the_same_bytes_is_the_one_that_is_told(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    world = World(sources["x86_64"], tmp_path)
    munge = package("munge-1.0-1.x86_64")
    first = world.result("x86_64", munge, finished=1.0)
    again = world.result("x86_64", munge, finished=2.0)
    behind = world.behind(again, published=(first,))
    assert behind.records == (digest(first),)
    assert world.behind(again).records == (digest(again),)


@needs_rpmbuild
def test_a_build_of_another_recipe_than_the_published_source_package_is_passed_over(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    world = World(sources["x86_64"], tmp_path)
    munge = package("munge-1.0-1.x86_64")
    commented = world.result("x86_64", munge, inputs=(("munge.spec", "f" * 64),))
    first = world.result("x86_64", munge, finished=1.0)
    assert world.behind(commented, earlier=(first,)).records == (digest(first),)
    alone = world.behind(commented)
    assert [(b.result, b.source) for b in alone.builds] == [(commented, None)]
    assert alone.unknown == (world.source,)
    assert "names no source package" in alone.notes[-1]


@needs_rpmbuild
def test_results_of_an_early_farm_are_named_with_what_to_do(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    world = World(sources["x86_64"], tmp_path)
    behind = world.behind(world.result("x86_64", package("munge-1.0-1.x86_64"), chroot=None))
    assert behind.builds == ()
    assert "2 packages have no provenance" in behind.notes[0]
    assert "`farm build --force munge`" in behind.notes[0]


@needs_rpmbuild
def test_no_scratch_build_and_no_bootstrap_is_ever_told_of(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    world = World(sources["x86_64"], tmp_path)
    munge = package("munge-1.0-1.x86_64")
    second = world.result("x86_64", munge)
    for odd in ({"scratch": True}, {"bootstrap": True}):
        first = world.result("x86_64", munge, finished=1.0, **odd)
        assert world.behind(second, published=(first,)).records == (digest(second),)


def locked(store: Store, content: bytes, repository: str = "base") -> LockedPackage:
    nevra = Nevra(f"p{content.hex()}", 0, "1", "1", "x86_64")
    sha256 = hashlib.sha256(content).hexdigest()
    store.put_bytes(content)
    return LockedPackage(nevra, sha256, len(content), repository, "file:///gone")


def unfetchable(lock: Lock) -> None:
    raise RepositoryError("it is nowhere")


def test_locks_and_what_they_name_are_linked_once(tmp_path: Path) -> None:
    store, root = Store(tmp_path / "store"), tmp_path / "repo"
    a, b = locked(store, b"a"), locked(store, b"b", "layer")
    locks = (Lock((a,)), Lock((a, b)))
    first = keep(root, locks, store, unfetchable, archive=True)
    assert (first.locks, first.packages, first.missing) == (2, 2, ())
    for each in (a, b):
        kept = archive_path(root, each.sha256)
        assert sha256_of(kept) == each.sha256
        assert kept.samefile(store.get(each.sha256))
    for lock in locks:
        resource, _ = lock_file(lock)
        assert sha256_of(root / resource.uri) == resource.digest["sha256"]
        assert from_json(Lock, (root / resource.uri).read_bytes()).digest == lock.digest
    again = keep(root, locks, store, unfetchable, archive=True)
    assert (again.locks, again.packages) == (0, 0)


def test_what_cannot_be_linked_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, root = Store(tmp_path / "store"), tmp_path / "repo"
    a = locked(store, b"a")

    def refused(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    assert keep(root, (Lock((a,)),), store, unfetchable, archive=True).packages == 1
    kept = archive_path(root, a.sha256)
    assert kept.read_bytes() == b"a"
    assert not kept.samefile(store.get(a.sha256))


def test_a_damaged_package_is_fetched_again_and_a_lost_one_is_named(tmp_path: Path) -> None:
    store, root = Store(tmp_path / "store"), tmp_path / "repo"
    damaged, lost = locked(store, b"damaged"), locked(store, b"lost", "layer")
    path = store.path(damaged.sha256)
    path.chmod(0o644)
    path.write_bytes(b"other bytes")
    store.path(lost.sha256).unlink()

    def fetch(lock: Lock) -> None:
        store.put_bytes(b"damaged")

    kept = keep(root, (Lock((damaged, lost)),), store, fetch, archive=True)
    assert kept.missing == (lost,)
    assert str(lost.nevra) in kept.notes[0]
    assert "farm build --force" in kept.notes[0]
    assert archive_path(root, damaged.sha256).read_bytes() == b"damaged"
    assert not archive_path(root, lost.sha256).exists()


def test_without_an_archive_the_locks_are_published_all_the_same(tmp_path: Path) -> None:
    store, root = Store(tmp_path / "store"), tmp_path / "repo"
    kept = keep(root, (Lock((locked(store, b"a"),)),), store, unfetchable, archive=False)
    assert (kept.locks, kept.packages, kept.notes) == (1, 0, ())
    assert not (root / "archive").exists()


@pytest.mark.parametrize("address", ["/home/me/layer", "https://me:word@example.org/l", "x"])
def test_an_address_of_the_layer_that_is_not_for_everybody_is_refused(
    tmp_path: Path, address: str
) -> None:
    (tmp_path / "farm.toml").write_text(f'[publish]\nlayer = "{address}"\n')
    with pytest.raises(ConfigError, match=r"publish\.layer"):
        load(tmp_path)
    assert Config(publish=Publish()).publish.archive


@needs_rpmbuild
def test_a_bill_of_materials_is_valid_and_always_the_same(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    library, _ = build(tmp_path, Spec("libtally", provides=("libtally.so.1",)))
    compiler = tmp_path / "gcc.rpm"
    compiler.write_bytes(build(tmp_path, Spec("gcc", version="14.2~rc1^1"))[0].read_bytes())
    binary, source = build(tmp_path, Spec("tally", requires=("libtally.so.1", "mpi >= 5"), epoch=2))
    root = tuple(
        LockedPackage(Nevra(name, 0, "1", "1", "x86_64"), store.put(path), 1, repository)
        for name, path, repository in (("libtally", library, "layer"), ("gcc", compiler, "base"))
    )

    def document(path: Path) -> bytes:
        bills = Bills("debian-13", locator(tmp_path / "repo", store))
        return bills.document(
            Material(
                path, sha256_of(path), source, sha256_of(source), root, "r" * 64, 1_700_000_000
            )
        )

    for path in (binary, source):
        text = document(path)
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.decode()) is None
        assert document(path) == text
    tree: Any = msgspec.json.decode(document(binary))
    main = tree["metadata"]["component"]
    assert main["purl"] == "pkg:rpm/tally@1.0-1?arch=x86_64&distro=debian-13&epoch=2"
    assert main["hashes"] == [{"alg": "SHA-256", "content": sha256_of(binary)}]
    assert main["licenses"] == [{"license": {"id": "MIT"}}]
    required = [p["value"] for p in main["properties"] if p["name"] == "farm:requires"]
    assert required == ["libtally.so.1", "mpi >= 5"]
    scopes = {c["name"]: c.get("scope") for c in tree["components"]}
    assert scopes == {"libtally": "required", "gcc": "excluded", "tally": None, "tally.spec": None}
    (depends,) = [d for d in tree["dependencies"] if d["ref"] == main["bom-ref"]]
    assert depends["dependsOn"] == [f"sha256:{sha256_of(library)}"]
