"""k of n attesters: taken in or refused, each for its own reason, and a release that waits."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from farm.config import Config, Publish
from farm.errors import ConfigError, PublishError
from farm.model import Snapshot, from_json, to_json
from farm.model.attestation import (
    NOT_REBUILT,
    POLICY,
    REBUILT,
    VERIFICATION,
    Attestation,
    Detail,
    Remade,
    Summary,
    Verifier,
)
from farm.model.envelope import Envelope
from farm.model.provenance import STATEMENT, Resource, Statement
from farm.publish.attestations import Quorum, attestation_path, quorum, speaks_of, take_in
from farm.publish.attesters import panel
from farm.publish.keys import key_ring
from farm.publish.snapshot import Published, publish
from farm.publish.tree import Publication
from farm.store import sha256_of
from tests.real.publishing import Place
from tests.real.site import Site
from tests.rpms import needs_rpmbuild

pytestmark = [pytest.mark.real, needs_rpmbuild]


@dataclass
class Strangers:
    """Attesters with keys of their own; `keys` is where the maintainers keep the public halves."""

    home: Path
    keys: Path
    fingerprints: dict[str, str] = field(default_factory=dict)

    def add(self, *names: str) -> None:
        self.keys.mkdir(exist_ok=True)
        with key_ring(self.home) as ring:
            for name in names:
                ring.gpg(
                    "--pinentry-mode", "loopback", "--passphrase", "",
                    "--quick-generate-key", name, "ed25519", "sign", "never",
                )  # fmt: skip
                key = ring.find(name)
                self.fingerprints[name] = key.fingerprint
                (self.keys / f"{name}.asc").write_text(ring.public(key))

    def expire(self, name: str) -> None:
        with key_ring(self.home) as ring:
            # Found while it is fit: on a slow machine its second is over before it is exported.
            key = ring.find(name)
            ring.gpg("--quick-set-expire", key.fingerprint, "seconds=1")
            (self.keys / f"{name}.asc").write_text(ring.public(key))
        time.sleep(2)

    def sign(self, name: str, content: bytes, path: Path) -> Path:
        with key_ring(self.home) as ring:
            key = ring.find(name)
            bare = Envelope.around(content)
            signature = ring.sign_bytes(bare.signed_bytes, key, at=key.created + 1)
            path.write_bytes(to_json(bare.signed(key.fingerprint, signature)))
        return path


def attestation(
    directory: Path,
    snapshot: Snapshot,
    *,
    different: Sequence[str] = (),
    cannot: Sequence[str] = (),
    only: Sequence[str] = (),
    at: str = "2026-11-20T12:00:00Z",
) -> Attestation:
    """What somebody says who made the packages of the snapshot in `directory` again."""
    subjects: dict[str, Resource] = {}
    used: dict[str, str] = {}
    for package in sorted(directory.rglob("Packages/**/*.rpm")):
        beside = Path(f"{package}.intoto.json")
        told = from_json(Statement, from_json(Envelope, beside.read_bytes()).content)
        (subject,) = [s for s in told.subject if s.name == package.name]
        if package.name not in cannot and (not only or package.name in only):
            subjects[package.name] = subject
            used[sha256_of(beside)] = beside.name
    packages = [
        Remade(
            name,
            subject.digest["sha256"],
            "different" if name in different else "same",
            "usr/bin/x differs at byte 7" if name in different else "",
        )
        for name, subject in sorted(subjects.items())
    ]
    packages += [Remade(name, "0" * 64, "cannot", "no base has it") for name in cannot]
    return Attestation(
        type=STATEMENT,
        subject=tuple(subjects[name] for name in sorted(subjects)),
        predicate_type=VERIFICATION,
        predicate=Summary(
            verifier=Verifier("openpgp4fpr:" + "A" * 40, {"farm": "0.1.0"}),
            time_verified=at,
            resource_uri=f"http://mirror.example.org/snapshots/{snapshot.release}/{snapshot.id}/",
            policy=Resource(uri=POLICY),
            input_attestations=tuple(
                Resource(name=name, digest={"sha256": sha256}) for sha256, name in used.items()
            ),
            verification_result="FAILED" if different else "PASSED",
            verified_levels=(NOT_REBUILT,) if different else (REBUILT,),
            detail=Detail(snapshot.release, snapshot.id, tuple(packages)),
        ),
    )


@dataclass
class Scene:
    """A publication whose release wants two of three attesters."""

    place: Place
    strangers: Strangers
    config: Config
    spoken: int = 0

    @property
    def tree(self) -> Publication:
        return Publication(self.place.root)

    def publish(self, *packages: Any) -> Published:
        self.place.clock += 3600
        with panel(self.config) as attesters:
            return publish(
                self.place.root, self.place.state, release="debian-13",
                results={a: [p[a] for p in packages] for a in ("x86_64", "aarch64")},
                store=self.place.store, groups=(), settings=self.config.publish,
                created=self.place.clock, commit="c" * 40, panel=attesters,
            )  # fmt: skip

    def read(self, snapshot: str) -> tuple[Path, Snapshot]:
        directory = self.tree.snapshot_directory("debian-13", snapshot)
        return directory, self.tree.read("debian-13", snapshot)

    def says(self, name: str, snapshot: str, **options: Any) -> Path:
        made = attestation(*self.read(snapshot), **options)
        return self.signed(name, made)

    def signed(self, name: str, made: Attestation) -> Path:
        self.spoken += 1
        path = self.place.home / f"{name}-{self.spoken}.intoto.json"
        return self.strangers.sign(name, to_json(made), path)

    def take_in(self, path: Path) -> None:
        with panel(self.config) as attesters:
            take_in(self.tree, attesters, path, self.config.releases)

    def quorum(self, snapshot: str) -> Quorum:
        with panel(self.config) as attesters:
            return quorum(self.tree, attesters, self.tree.read("debian-13", snapshot))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Strangers:
    home = tmp_path_factory.mktemp("strangers")
    found = Strangers(home / "state", home / "keys")
    found.add("alice", "bob", "carol", "mallory")
    return found


@pytest.fixture
def scene(tmp_path: Path, strangers: Strangers) -> Scene:
    place = Place(tmp_path)
    config = Config(
        root=strangers.keys.parent,
        publish=Publish(
            attestations=2, attesters=("alice", strangers.fingerprints["bob"], "carol")
        ),
    )
    return Scene(place, strangers, config)


def test_a_release_waits_until_enough_attesters_have_made_every_package(scene: Scene) -> None:
    hello = scene.place.built("hello")
    first = scene.publish(hello)
    assert not first.moved
    assert "wanted for each package: 2" in first.awaits
    assert not scene.tree.pointer("debian-13").exists()
    directory, snapshot = scene.read(first.snapshot)
    assert len(list(directory.rglob("*.rpm"))) == len(snapshot.packages) == 3
    scene.take_in(scene.says("alice", first.snapshot))
    assert not scene.publish(hello).moved
    scene.take_in(scene.says("bob", first.snapshot))
    assert scene.quorum(first.snapshot).reached
    done = scene.publish(hello)
    assert (done.moved, done.snapshot, done.awaits) == (True, first.snapshot, "")
    current = scene.tree.current("debian-13")
    assert current is not None
    assert current.id == first.snapshot
    for name in ("alice", "bob"):
        fingerprint = scene.strangers.fingerprints[name]
        assert attestation_path(
            scene.place.root, "debian-13", first.snapshot, fingerprint
        ).is_file()


def test_what_was_attested_before_with_the_same_bytes_counts(scene: Scene) -> None:
    hello, world = scene.place.built("hello"), scene.place.built("world")
    first = scene.publish(hello)
    for name in ("alice", "bob"):
        scene.take_in(scene.says(name, first.snapshot))
    assert scene.publish(hello).moved
    second = scene.publish(hello, world)
    assert not second.moved
    missing = scene.quorum(second.snapshot).missing
    assert {problem.subject.partition("-")[0] for problem in missing} == {"world"}
    only = [problem.subject for problem in missing]
    scene.take_in(scene.says("alice", second.snapshot, only=only))
    scene.take_in(scene.says("carol", second.snapshot, only=only))
    assert scene.publish(hello, world).moved
    assert scene.publish(world).moved  # with a package less there is nothing to make again


def test_a_package_that_came_out_different_blocks_and_is_shown_with_its_reason(
    scene: Scene,
) -> None:
    hello = scene.place.built("hello")
    first = scene.publish(hello)
    for name in ("alice", "bob"):
        scene.take_in(scene.says(name, first.snapshot))
    odd = "hello-1.0-1.x86_64.rpm"
    scene.take_in(scene.says("carol", first.snapshot, different=[odd]))
    found = scene.quorum(first.snapshot)
    assert (found.missing, found.reached) == ((), False)
    (problem,) = found.different
    assert problem.subject == odd
    assert "carol" in problem.facts[0]
    assert "differs at byte 7" in problem.facts[1]
    assert not scene.publish(hello).moved
    scene.take_in(scene.says("carol", first.snapshot, at="2026-11-21T12:00:00Z"))
    assert scene.publish(hello).moved


def test_what_could_not_be_made_again_is_not_attested(scene: Scene) -> None:
    hello = scene.place.built("hello")
    first = scene.publish(hello)
    for name in ("alice", "bob"):
        scene.take_in(scene.says(name, first.snapshot, cannot=["hello-1.0-1.src.rpm"]))
    (problem,) = scene.quorum(first.snapshot).missing
    assert problem.subject == "hello-1.0-1.src.rpm"
    assert problem.facts[0].startswith("0 of 2")


def test_the_same_attester_twice_is_one_attester(scene: Scene) -> None:
    first = scene.publish(scene.place.built("hello"))
    scene.take_in(scene.says("alice", first.snapshot))
    scene.take_in(scene.says("alice", first.snapshot, at="2026-11-22T12:00:00Z"))
    found = scene.quorum(first.snapshot)
    assert found.attesters == ("alice",)
    assert len(found.missing) == 3
    with pytest.raises(PublishError, match="a newer one of alice"):
        scene.take_in(scene.says("alice", first.snapshot))


def test_a_kept_attestation_says_which_files_it_is_about(scene: Scene) -> None:
    first = scene.publish(scene.place.built("hello"))
    scene.take_in(scene.says("alice", first.snapshot))
    kept = attestation_path(
        scene.place.root, "debian-13", first.snapshot, scene.strangers.fingerprints["alice"]
    )
    _, snapshot = scene.read(first.snapshot)
    assert speaks_of(kept) == {package.sha256 for package in snapshot.packages}


def test_a_newer_word_on_some_packages_takes_nothing_back_of_the_others(scene: Scene) -> None:
    first = scene.publish(scene.place.built("hello"))
    _, snapshot = scene.read(first.snapshot)
    one, other = sorted({p.package.nevra.filename for p in snapshot.packages})[:2]
    scene.take_in(scene.says("alice", first.snapshot, different=(one,)))
    scene.take_in(scene.says("alice", first.snapshot, only=(other,), at="2026-11-22T12:00:00Z"))
    for name in ("bob", "carol"):
        scene.take_in(scene.says(name, first.snapshot))
    found = scene.quorum(first.snapshot)
    assert [problem.subject for problem in found.different] == [one]
    assert not found.reached
    with pytest.raises(PublishError, match="a newer one of alice"):
        scene.take_in(scene.says("alice", first.snapshot))
    scene.take_in(scene.says("alice", first.snapshot, at="2026-11-23T12:00:00Z"))
    assert scene.quorum(first.snapshot).reached


def test_who_names_the_provenance_of_one_package_does_not_vouch_for_another(scene: Scene) -> None:
    first = scene.publish(scene.place.built("hello"), scene.place.built("world"))
    made = attestation(*scene.read(first.snapshot))
    some = tuple(used for used in made.predicate.input_attestations if "hello" in used.name)
    assert 0 < len(some) < len(made.predicate.input_attestations)
    path = scene.signed("alice", summary(made, input_attestations=some))
    with pytest.raises(PublishError, match="from which provenance world"):
        scene.take_in(path)


def test_a_key_that_has_expired_since_has_no_say_and_does_not_stop_the_publisher(
    scene: Scene, tmp_path: Path
) -> None:
    people = Strangers(tmp_path / "people", tmp_path / "keys")
    people.add("alice", "bob", "carol")
    scene.strangers = people
    scene.config = msgspec.structs.replace(
        scene.config,
        root=tmp_path,
        publish=msgspec.structs.replace(scene.config.publish, attesters=("alice", "bob", "carol")),
    )
    first = scene.publish(scene.place.built("hello"))
    for name in ("alice", "bob"):
        scene.take_in(scene.says(name, first.snapshot))
    assert scene.quorum(first.snapshot).reached
    later = scene.says("alice", first.snapshot, at="2026-11-22T12:00:00Z")
    people.expire("alice")
    found = scene.quorum(first.snapshot)
    assert (found.lapsed, found.attesters) == (("alice",), ("bob",))
    assert "not counting alice (key expired or revoked)" in found.told
    assert not found.reached
    with pytest.raises(PublishError, match="has expired"):
        scene.take_in(later)


def test_who_is_no_longer_an_attester_has_no_say(scene: Scene) -> None:
    first = scene.publish(scene.place.built("hello"))
    for name in ("alice", "bob"):
        scene.take_in(scene.says(name, first.snapshot))
    publish = msgspec.structs.replace(scene.config.publish, attesters=("alice", "carol"))
    scene.config = msgspec.structs.replace(scene.config, publish=publish)
    assert len(scene.quorum(first.snapshot).missing) == 3


def change(made: Attestation, **fields: Any) -> Attestation:
    return msgspec.structs.replace(made, **fields)


def summary(made: Attestation, **fields: Any) -> Attestation:
    return change(made, predicate=msgspec.structs.replace(made.predicate, **fields))


def detail(made: Attestation, **fields: Any) -> Attestation:
    return summary(made, detail=msgspec.structs.replace(made.predicate.detail, **fields))


def subject(made: Attestation, **fields: Any) -> Attestation:
    first, *others = made.subject
    changed = msgspec.structs.replace(first, **fields)
    packages = list(made.predicate.detail.packages)
    packages[0] = msgspec.structs.replace(
        packages[0], name=changed.name, sha256=changed.digest["sha256"]
    )
    return detail(change(made, subject=(changed, *others)), packages=tuple(packages))


REFUSED: dict[str, Callable[[Attestation], Attestation]] = {
    "is no in-toto statement": lambda a: change(a, type="x"),
    "not a verification summary": lambda a: change(a, predicate_type="x"),
    "made by the policy 'x'": lambda a: summary(a, policy=Resource(uri="x")),
    "there is no snapshot '0000'": lambda a: detail(a, snapshot="0000"),
    "which farm.toml does not know": lambda a: detail(a, release="plan-9"),
    "speaks of no package": lambda a: detail(change(a, subject=()), packages=()),
    "subjects are not the packages": lambda a: change(a, subject=a.subject[1:]),
    "and of its packages something else": lambda a: summary(
        a, verification_result="FAILED", verified_levels=(NOT_REBUILT,)
    ),
    "it says PASSED at SLSA_BUILD_LEVEL_3": lambda a: summary(
        a, verified_levels=("SLSA_BUILD_LEVEL_3",)
    ),
    "other.rpm is not in the snapshot": lambda a: subject(a, name="other.rpm"),
    "is not the one in": lambda a: subject(a, digest={"sha256": "f" * 64}),
    "the bytes of another build": lambda a: subject(a, annotations={"unsigned": "f" * 64}),
    "from provenance that is not in the snapshot": lambda a: summary(
        a, input_attestations=(Resource(digest={"sha256": "f" * 64}),)
    ),
    "does not say from which provenance": lambda a: summary(a, input_attestations=()),
    "it speaks twice of": lambda a: detail(
        a,
        packages=(
            msgspec.structs.replace(a.predicate.detail.packages[0], result="different"),
            *a.predicate.detail.packages,
        ),
    ),
    "'tomorrow' is no time": lambda a: summary(a, time_verified="tomorrow"),
    "'2026-11-20T12:00:00+02:00' is no time": lambda a: summary(
        a, time_verified="2026-11-20T12:00:00+02:00"
    ),
}


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory, strangers: Strangers) -> tuple[Scene, str]:
    place = Place(tmp_path_factory.mktemp("standing"))
    config = Config(
        root=strangers.keys.parent, publish=Publish(attestations=1, attesters=("alice", "bob"))
    )
    scene = Scene(place, strangers, config)
    return scene, scene.publish(place.built("hello")).snapshot


@pytest.mark.parametrize("said", REFUSED)
def test_each_flaw_of_a_statement_has_its_own_refusal(
    standing: tuple[Scene, str], said: str
) -> None:
    scene, snapshot = standing
    flawed = REFUSED[said](attestation(*scene.read(snapshot)))
    path = scene.signed("alice", flawed)
    with pytest.raises(PublishError) as caught:
        scene.take_in(path)
    assert said in caught.value.what
    assert path.name in caught.value.what
    assert len(scene.quorum(snapshot).missing) == 3


def envelope(path: Path, **fields: Any) -> None:
    whole = from_json(Envelope, path.read_bytes())
    (signature,) = whole.signatures
    for name in ("keyid", "sig"):
        if name in fields:
            signature = msgspec.structs.replace(signature, **{name: fields.pop(name)})
            fields["signatures"] = (signature,)
    path.write_bytes(to_json(msgspec.structs.replace(whole, **fields)))


def test_each_flaw_of_an_envelope_has_its_own_refusal(standing: tuple[Scene, str]) -> None:
    scene, snapshot = standing
    made = attestation(*scene.read(snapshot))
    good = scene.signed("alice", made).read_bytes()
    flipped = base64.b64encode(to_json(made).replace(b"PASSED", b"FAILED")).decode()
    flaws: dict[str, Callable[[Path], object]] = {
        "cannot be read": lambda path: path.unlink(),
        "no signed envelope": lambda path: path.write_text("{}"),
        "not an in-toto statement": lambda path: envelope(path, payload_type="text/plain"),
        "changed after it was signed": lambda path: envelope(path, payload=flipped),
        "its signature cannot be read": lambda path: envelope(
            path, sig=base64.b64encode(b"no signature").decode()
        ),
        "it says 'payload' twice": lambda path: path.write_bytes(
            b'{"payload":"e30=",' + path.read_bytes()[1:]
        ),
        "it has 0 signatures": lambda path: envelope(path, signatures=()),
        f"it says that {'B' * 40} signed it": lambda path: envelope(path, keyid="B" * 40),
    }
    for said, spoil in flaws.items():
        path = scene.place.home / "flawed.intoto.json"
        path.write_bytes(good)
        spoil(path)
        with pytest.raises(PublishError) as caught:
            scene.take_in(path)
        assert said in caught.value.what, said


def test_only_attesters_count(standing: tuple[Scene, str], tmp_path: Path) -> None:
    scene, snapshot = standing
    with pytest.raises(PublishError, match=r"who is not one of publish\.attesters"):
        scene.take_in(scene.says("mallory", snapshot))
    other = Strangers(tmp_path / "state", tmp_path / "keys")
    other.add("nobody")
    path = other.sign("nobody", to_json(attestation(*scene.read(snapshot))), tmp_path / "n")
    with pytest.raises(PublishError, match=f"{other.fingerprints['nobody']}, which is not in"):
        scene.take_in(path)


def test_an_attestation_that_is_changed_where_it_is_kept_is_not_counted(scene: Scene) -> None:
    first = scene.publish(scene.place.built("hello"))
    scene.take_in(scene.says("alice", first.snapshot))
    kept = attestation_path(
        scene.place.root, "debian-13", first.snapshot, scene.strangers.fingerprints["alice"]
    )
    whole = from_json(Envelope, kept.read_bytes())
    payload = base64.b64encode(whole.content.replace(b"hello", b"world")).decode()
    envelope(kept, payload=payload)
    with pytest.raises(PublishError, match="changed after it was signed"):
        scene.quorum(first.snapshot)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"attesters": ("dave",)}, "names 'dave'"),
        ({"attesters": ("alice",), "attestations": 2}, "there is one attester"),
        ({"attesters": ("alice", "alice"), "attestations": 2}, "there is one attester"),
    ],
)
def test_a_panel_that_cannot_agree_is_refused(
    scene: Scene, settings: dict[str, Any], said: str
) -> None:
    publish = msgspec.structs.replace(scene.config.publish, **settings)
    with (
        pytest.raises(ConfigError) as caught,
        panel(msgspec.structs.replace(scene.config, publish=publish)),
    ):
        pass
    assert said in caught.value.what


def test_a_key_file_that_holds_no_key_is_named(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "alice.asc").write_text("no key")
    config = msgspec.structs.replace(scene.config, root=tmp_path)
    with pytest.raises(ConfigError, match=r"alice\.asc"), panel(config):
        pass


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site.make(tmp_path_factory.mktemp("attested") / "layer")
    text = (site.root / "farm.toml").read_text().replace(', "aarch64"', "")
    (site.root / "farm.toml").write_text(text)
    site.farm("build", "--all")
    return site


def test_from_a_snapshot_that_waits_to_one_that_is_promoted(
    built: Site, strangers: Strangers, tmp_path: Path
) -> None:
    """The whole way through the command line, as a maintainer goes it."""
    site = built.copied(tmp_path)
    text = (site.root / "farm.toml").read_text()
    panel_of_one = '[publish]\nattestations = 1\nattesters = ["alice", "bob"]'
    (site.root / "farm.toml").write_text(text.replace("[publish]", panel_of_one))
    assert "no key in" in site.farm("publish", code=3).stderr
    (site.root / "keys").mkdir()
    for name in ("alice", "bob"):
        (site.root / "keys" / f"{name}.asc").write_text(
            (strangers.keys / f"{name}.asc").read_text()
        )
    waiting = site.farm("publish").stdout
    assert "debian-13 stays where it is" in waiting
    assert "wanted for each package: 1" in waiting
    assert not (site.root / "repo" / "debian-13").exists()
    tree = Publication(site.root / "repo")
    (snapshot,) = tree.snapshots("debian-13")
    made = attestation(tree.snapshot_directory("debian-13", snapshot.id), snapshot)
    assert f"{snapshot.id} has 0 attestations" in site.farm("attest").stdout
    path = strangers.sign("alice", to_json(made), tmp_path / "alice.json")
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    answer = site.farm("attest", str(path), str(bad), code=7)
    assert f"alice made {len(snapshot.packages)} packages" in answer.stdout
    assert "`farm publish` moves the release" in answer.stdout
    assert "bad.json is refused" in answer.stderr
    assert f"is now at snapshot {snapshot.id}" in site.farm("publish").stdout
    assert "No snapshot waits" in site.farm("attest").stdout


def test_a_waiting_snapshot_can_be_forced_with_a_reason_that_is_published(
    built: Site, strangers: Strangers, tmp_path: Path
) -> None:
    site = built.copied(tmp_path)
    text = (site.root / "farm.toml").read_text()
    panel_of_one = '[publish]\nattestations = 1\nattesters = ["alice"]'
    (site.root / "farm.toml").write_text(text.replace("[publish]", panel_of_one))
    (site.root / "keys").mkdir()
    (site.root / "keys" / "alice.asc").write_text((strangers.keys / "alice.asc").read_text())
    site.farm("publish")
    tree = Publication(site.root / "repo")
    (snapshot,) = tree.snapshots("debian-13")
    directory = tree.snapshot_directory("debian-13", snapshot.id)
    odd = next(p.package.nevra.filename for p in snapshot.packages)
    made = attestation(directory, snapshot, different=[odd])
    site.farm("attest", str(strangers.sign("alice", to_json(made), tmp_path / "a.json")))
    refused = site.farm("publish", code=7).stderr
    assert odd in refused
    assert "differs at byte 7" in refused
    assert "--force attestations" in refused
    forced = site.farm("publish", "--force", "attestations", "a broken machine of hers").stdout
    assert "in spite of the check attestations: a broken machine of hers" in forced
    history = tree.history("debian-13")
    assert history is not None
    (waiver,) = history.waivers
    assert waiver.problems[0].subject == odd


def test_what_a_stranger_signs_is_taken_in(built: Site, tmp_path: Path) -> None:
    """Both halves: made again with nothing but the mirror's address, attested, promoted."""
    site = built.copied(tmp_path)
    stranger = Site(tmp_path / "stranger", 0)
    stranger.root.mkdir()
    stranger.farm("key", "new", "alice")
    text = (site.root / "farm.toml").read_text()
    panel_of_one = '[publish]\nattestations = 1\nattesters = ["alice"]'
    (site.root / "farm.toml").write_text(text.replace("[publish]", panel_of_one))
    (site.root / "keys").mkdir()
    public = stranger.farm("key", "export", "alice").stdout
    (site.root / "keys" / "alice.asc").write_text(public)
    address = site.summary("publish")["address"]
    answer = tmp_path / "alice.intoto.json"
    with site.served():
        stranger.farm("verify", "--repo", address, "--attest", "alice", "--output", str(answer))
    assert "has 1 attestation (alice)" in site.farm("attest", str(answer)).stdout
    assert "is now at snapshot" in site.farm("publish").stdout


def test_without_attesters_nobodys_word_is_wanted(built: Site, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("{}")
    assert "names no publish.attesters" in built.farm("attest", str(file), code=3).stderr
