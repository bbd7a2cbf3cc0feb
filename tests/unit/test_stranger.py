"""What a stranger reads is foreign, and what it says is held against everything else it says."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import FarmError, Refused, Unverifiable, UsageError
from farm.gpg import Signature, _judged
from farm.model import (
    Built,
    Chroot,
    Lock,
    LockedPackage,
    Manifest,
    Nevra,
    Package,
    Repository,
    SignedPackage,
    Snapshot,
    SnapshotEntry,
    to_json,
)
from farm.model.attestation import Attestation
from farm.model.envelope import Envelope
from farm.model.provenance import (
    BUILD_TYPE,
    PROVENANCE,
    STATEMENT,
    BuildDefinition,
    Builder,
    External,
    Internal,
    Metadata,
    Provenance,
    Resource,
    RunDetails,
    Statement,
)
from farm.rpmheader import Identity
from farm.site.serve import serving
from farm.stranger.answers import Answer, StrangerReport, _instead
from farm.stranger.attest import attestation
from farm.stranger.cases import other_cores
from farm.stranger.mirror import NotThere, download, find
from farm.stranger.published import every_repository
from farm.stranger.supply import Supply
from farm.verification.again import Again, Rebuild
from farm.verify import claims, foreign
from farm.verify.claims import Listed

DIGEST = {letter: letter * 64 for letter in "0123456789abcdef"}
OURS, THEIRS = "A" * 40, "B" * 40
NEVRA = Nevra("tally", 0, "1.0", "1.deb13", "x86_64")
LISTED = Listed("x86_64", f"Packages/t/{NEVRA.filename}", NEVRA, DIGEST["1"], 100)
IDENTITY = Identity(DIGEST["2"], DIGEST["3"])
CHROOT = Chroot("debian-13-x86_64", "debian-13", "x86_64", (), ("gcc",), ".deb13")
LOCK = Lock(
    (
        LockedPackage(Nevra("bash", 0, "5", "1", "x86_64"), DIGEST["a"], 1, "base"),
        LockedPackage(Nevra("gcc", 0, "14", "1", "x86_64"), DIGEST["b"], 1, "base"),
    ),
    (DIGEST["a"],),
)


def signed(nevra: Nevra = NEVRA, **changes: Any) -> SignedPackage:
    package = SignedPackage(
        Package(nevra, DIGEST["4"], 90, nevra.name), DIGEST["1"], 100, OURS
    )  # fmt: skip
    return msgspec.structs.replace(package, **changes)


def statement(lock: Lock = LOCK, **internal: Any) -> Statement:
    """Of a build of tally, everything in it true of the others here."""
    manifest = Manifest(DIGEST["5"], lock.digest, CHROOT.digest, 1)
    known: dict[str, Any] = {
        "key": manifest.key,
        "recipe_number": 1,
        "recipe": DIGEST["5"],
        "spec": "tally.spec",
        "counter": 0,
        "epoch_seconds": 1,
        "chroot": CHROOT,
        "lock": Resource(uri=claims.lock_place(DIGEST["6"]), digest={"sha256": DIGEST["6"]}),
    }
    return Statement(
        type=STATEMENT,
        subject=(
            Resource(
                name=NEVRA.filename,
                digest={"sha256": DIGEST["1"]},
                annotations={
                    "unsigned": DIGEST["4"], "header": DIGEST["2"], "payload": DIGEST["3"],
                },
            ),
        ),
        predicate_type=PROVENANCE,
        predicate=Provenance(
            BuildDefinition(
                BUILD_TYPE,
                External("tally", "debian-13", "x86_64", "c" * 40),
                Internal(**(known | internal)),
                (
                    Resource(
                        name="tally.c", digest={"sha256": DIGEST["7"]},
                        annotations={"kind": "source"},
                    ),
                    *(
                        Resource(
                            name=str(p.nevra), digest={"sha256": p.sha256},
                            annotations={"kind": "package"},
                        )
                        for p in lock.packages
                    ),
                ),
            ),
            RunDetails(Builder("urn:farm:builder:embedded"), Metadata("", "", "")),
        ),
    )  # fmt: skip


def refusal(call: Any) -> str:
    with pytest.raises(Refused) as caught:
        call()
    return f"{caught.value.what}\n{caught.value.why}"


# Everything here is true of each other: what the tests below change is what is refused.
def test_claims_that_agree_are_accepted() -> None:
    told = statement()
    assert claims.check_table(LISTED, {NEVRA: signed()}) == signed()
    assert claims.subject_of(told, LISTED, DIGEST["4"], IDENTITY) == told.subject[0]
    claims.check_definition(told, "debian-13", LISTED)
    claims.check_recipe(told, "tally", "tally.spec", "tally")
    claims.check_named(["snapshot.json", LISTED.path, f"{LISTED.path}.intoto.json"], [LISTED])
    claims.check_lock(told, LOCK, "tally")
    claims.check_inputs(told, [("tally.c", DIGEST["7"])], "tally")


@pytest.mark.parametrize("field", ["unsigned", "header", "payload"])
@given(digest=st.sampled_from(sorted(DIGEST.values())))
def test_whatever_is_said_of_a_file_has_to_be_true(field: str, digest: str) -> None:
    told = statement()
    notes = dict(told.subject[0].annotations)
    if notes[field] == digest:
        return
    notes[field] = digest
    subject = msgspec.structs.replace(told.subject[0], annotations=notes)
    changed = msgspec.structs.replace(told, subject=(subject,))
    assert LISTED.path in refusal(lambda: claims.subject_of(changed, LISTED, DIGEST["4"], IDENTITY))


@given(st.data())
def test_a_lock_is_accepted_only_with_the_very_packages_of_the_statement(data: Any) -> None:
    names = data.draw(st.sets(st.sampled_from(("bash", "gcc", "zlib", "tar")), max_size=4))
    digest = data.draw(st.sampled_from(("a", "b")))
    packages = tuple(
        LockedPackage(Nevra(name, 0, "5" if name == "bash" else "14", "1", "x86_64"),
                      DIGEST["a" if name == "bash" else digest], 1, "base")
        for name in sorted(names)
    )  # fmt: skip
    lock = Lock(packages)
    told = statement()
    if {(p.nevra, p.sha256) for p in packages} == {(p.nevra, p.sha256) for p in LOCK.packages}:
        claims.check_lock(told, lock, "tally")
        assert claims.lock_differences(told, lock) == ((), ())
    else:
        assert "disagree on the packages" in refusal(lambda: claims.check_lock(told, lock, "tally"))


def test_a_statement_about_another_build_is_refused() -> None:
    told = statement()
    assert "of another release" in refusal(
        lambda: claims.check_definition(told, "debian-12", LISTED)
    )
    other = statement(chroot=msgspec.structs.replace(CHROOT, arch="aarch64"))
    assert "contradicts itself" in refusal(
        lambda: claims.check_definition(other, "debian-13", LISTED)
    )
    assert "key in its provenance" in refusal(
        lambda: claims.check_lock(statement(key=DIGEST["0"]), LOCK, "tally")
    )
    assert "tally.c in its source package" in refusal(
        lambda: claims.check_inputs(told, [("tally.c", DIGEST["8"])], "tally")
    )
    assert "no such" in refusal(
        lambda: claims.check_inputs(told, [("evil.patch", DIGEST["8"])], "tally")
    )


@pytest.mark.parametrize("repository", ["aarch64", "aarch64/debug"])
def test_a_build_for_another_architecture_made_none_of_the_packages(repository: str) -> None:
    told = statement()  # of x86_64
    elsewhere = replace(LISTED, repository=repository)
    assert "on another architecture" in refusal(
        lambda: claims.check_definition(told, "debian-13", elsewhere)
    )
    noarch = replace(elsewhere, nevra=msgspec.structs.replace(NEVRA, arch="noarch"))
    claims.check_definition(told, "debian-13", noarch)
    claims.check_definition(
        told,
        "debian-13",
        replace(LISTED, repository="source", nevra=msgspec.structs.replace(NEVRA, arch="src")),
    )


@pytest.mark.parametrize(("package", "spec"), [("bash", "bash.spec"), ("tally", "evil.spec")])
def test_the_source_package_is_of_the_package_that_the_statement_names(
    package: str, spec: str
) -> None:
    assert "its provenance speaks of the" in refusal(
        lambda: claims.check_recipe(statement(), package, spec, "tally")
    )


def test_a_package_that_only_the_list_of_files_names_is_not_passed_over() -> None:
    hidden = "x86_64/debug/Packages/t/tally-debuginfo-1.0-1.deb13.x86_64.rpm"
    assert hidden in refusal(lambda: claims.check_named([hidden, LISTED.path], [LISTED]))


def test_packages_that_only_snapshot_json_names_are_found() -> None:
    other = signed(Nevra("ghost", 0, "1", "1", "x86_64"))
    snapshot = Snapshot("ab", "debian-13", 1, "", (signed(), other))
    assert claims.forgotten(snapshot, [LISTED]) == (other,)


def judge(content: bytes, signature: bytes) -> Signature:
    """A signature here is who made it and what over: no key but A's is known."""
    who, _, over = signature.partition(b" ")
    if who.decode() != OURS:
        return Signature("unknown key", who.decode())
    return Signature("" if over == content else "other bytes", OURS)


@given(
    keyid=st.sampled_from((OURS, THEIRS)),
    who=st.sampled_from((OURS, THEIRS)),
    whole=st.booleans(),
    foreign_first=st.booleans(),
)
def test_only_our_own_signature_over_the_very_statement_counts(
    keyid: str, who: str, whole: bool, foreign_first: bool
) -> None:
    bare = Envelope.around(b"{}")
    content = bare.signed_bytes if whole else b"something else"
    envelope = bare
    if foreign_first:
        envelope = envelope.signed(THEIRS, f"{THEIRS} ".encode() + bare.signed_bytes)
    envelope = envelope.signed(keyid, who.encode() + b" " + content)

    def call() -> str:
        return claims.check_envelope(envelope, judge, frozenset({OURS}), "tally")

    if (keyid, who, whole) == (OURS, OURS, True):
        assert call() == OURS
    else:
        assert "tally: its provenance" in refusal(call)


def test_an_envelope_without_a_signature_is_refused() -> None:
    bare = Envelope.around(b"{}")
    said = refusal(lambda: claims.check_envelope(bare, judge, frozenset({OURS}), "tally"))
    assert "is not signed" in said


GOOD = f"[GNUPG:] GOODSIG {OURS[-16:]} us\n[GNUPG:] VALIDSIG {OURS} d 7 0 4 0 22 8 00 {OURS}\n"


@pytest.mark.parametrize(
    ("status", "ok", "fault"),
    [
        (GOOD, True, ""),
        (GOOD, False, "no signature"),
        (GOOD + GOOD, True, "no signature"),
        (GOOD.replace("GOODSIG", "EXPKEYSIG"), True, "expired"),
        (GOOD.replace("GOODSIG", "EXPSIG"), True, "expired"),
        (GOOD.replace("GOODSIG", "REVKEYSIG"), False, "revoked"),
        (f"[GNUPG:] BADSIG {OURS[-16:]} us\n", False, "other bytes"),
        (f"[GNUPG:] ERRSIG {THEIRS[-16:]} 22 8 00 7 9 {THEIRS}\n", False, "unknown key"),
        ("[GNUPG:] GOODSIG x us\n", True, "no signature"),
        ("[GNUPG:] NODATA 4\n", False, "no signature"),
        ("", False, "no signature"),
    ],
)
def test_what_gpg_says_of_a_signature_is_good_only_when_all_of_it_is(
    status: str, ok: bool, fault: str
) -> None:
    found = _judged(status, "words", ok)
    assert found.fault == fault
    if not fault:
        assert (found.signer, found.at) == (OURS, 7)


@given(st.text())
def test_foreign_text_is_shown_on_one_line_without_control_characters(text: str) -> None:
    shown = foreign.shown(text)
    assert shown.isprintable()
    assert len(shown) <= 200


@given(st.text(alphabet="abc./\\\0\n", max_size=12))
def test_a_place_below_stays_below(text: str) -> None:
    if foreign.is_below(text):
        root = Path("/somewhere/below")
        assert (root / text).resolve().is_relative_to(root)
        assert (root / text).resolve() != root


@pytest.mark.parametrize(
    "text",
    [b"", b"null", b"[]", b"[" * 200_000, b'{"id":' * 200_000, b"\xff\xfe{}", b'{"id":1e999}'],
)
def test_documents_that_are_none_are_refused(text: bytes) -> None:
    for read in (foreign.read_snapshot, foreign.read_envelope, foreign.read_lock):
        with pytest.raises(Refused, match="is not what farm writes"):
            read(text, "there")
    with pytest.raises(Unverifiable):
        foreign.read_statement(text, "there")
    assert foreign.read_history(text) == ()
    assert foreign.maybe_lock(text) is None


def test_what_says_something_twice_says_different_things_to_different_readers() -> None:
    envelope = to_json(Envelope.around(to_json(statement())))
    assert foreign.read_envelope(envelope, "there").content == to_json(statement())
    with pytest.raises(Refused) as caught:
        foreign.read_envelope(b'{"payload":"e30=",' + envelope[1:], "there")
    assert "'payload' twice" in caught.value.why
    with pytest.raises(Refused) as caught:
        foreign.read_statement(b'{"subject":[],' + to_json(statement())[1:], "there")
    assert "'subject' twice" in caught.value.why
    nested = to_json(statement()).replace(b'"counter":0', b'"counter":0,"counter":0')
    with pytest.raises(Refused):
        foreign.read_statement(nested, "there")


def test_a_lock_that_lists_a_package_twice_is_refused_for_that() -> None:
    with pytest.raises(Refused) as caught:
        foreign.read_lock(to_json(Lock((*LOCK.packages, LOCK.packages[0]), LOCK.setup)), "there")
    assert "twice" in caught.value.why


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../up"},
        {"release": "a/b"},
        {"created": 1 << 60},
        {"packages": (signed(sha256="../../etc/passwd"),)},
        {"packages": (signed(package=Package(NEVRA, "x", 1, "tally")),)},
        {"packages": (signed(Nevra("../tally", 0, "1", "1", "x86_64")),)},
        {"packages": (signed(Nevra("tally", 0, "1/../..", "1", "x86_64")),)},
        {"entries": (SnapshotEntry("tally", "../x", "k", 0),)},
    ],
)
def test_a_snapshot_with_names_that_lead_elsewhere_is_refused(change: Mapping[str, Any]) -> None:
    good = Snapshot("ab", "debian-13", 1, "", (signed(),))
    assert foreign.read_snapshot(to_json(good), "there") == good
    with pytest.raises(Refused):
        foreign.read_snapshot(to_json(msgspec.structs.replace(good, **change)), "there")


@pytest.mark.parametrize(
    "package",
    [
        LockedPackage(NEVRA, "../../x", 1, "base"),
        LockedPackage(NEVRA, DIGEST["c"], 1, "base", "file:///etc/passwd"),
        LockedPackage(NEVRA, DIGEST["c"], -1, "base"),
        LockedPackage(Nevra("/x", 0, "1", "1", "x86_64"), DIGEST["c"], 1, "base"),
    ],
)
def test_a_lock_with_places_or_names_that_are_none_is_refused(package: LockedPackage) -> None:
    assert foreign.read_lock(to_json(LOCK), "there") == LOCK
    with pytest.raises(Refused):
        foreign.read_lock(to_json(Lock((*LOCK.packages, package), LOCK.setup)), "there")


@pytest.mark.parametrize(
    "change",
    [
        {"files": (("../../etc/passwd", ""),)},
        {"files": (("/etc/passwd", ""),)},
        {"directories": ("/../../etc",)},
        {"arch": "../x"},
        {"name": "a b"},
        {"unprivileged_user": "x; rm -rf /"},
        {"dist": "$(id)"},
        {"environment": (("A B", ""),)},
        {"refused": ("bootstrap_image",)},
    ],
)
def test_a_chroot_that_reaches_out_of_its_root_is_not_made(change: Mapping[str, Any]) -> None:
    with pytest.raises(Unverifiable):
        foreign.usable_chroot(msgspec.structs.replace(CHROOT, **change), "tally")


def test_a_chroot_leaves_what_concerns_another_machine_behind() -> None:
    theirs = msgspec.structs.replace(
        CHROOT,
        repositories=(Repository("base", ("http://example.org",)),),
        emulator="/tmp/evil",
        native_tools="/tmp/evil",
        nice=-20,
        timeout=1 << 40,
        files=(("etc/hosts", "127.0.0.1 localhost"),),
        directories=("/var/lib/x",),
    )
    ours = foreign.usable_chroot(theirs, "tally")
    assert (ours.repositories, ours.emulator, ours.native_tools, ours.nice) == ((), "", "", 0)
    assert ours.timeout <= 7 * 86400
    assert ours.digest == theirs.digest


def test_a_list_of_checksums_is_read_as_sha256sum_writes_it() -> None:
    good = f"{DIGEST['1']}  x86_64/a\n{DIGEST['2']}  b\n".encode()
    assert foreign.read_sums(good) == {"x86_64/a": DIGEST["1"], "b": DIGEST["2"]}
    for line in ("x  b", f"{DIGEST['1']}  ../b", f"{DIGEST['1']} *b", f"{DIGEST['1']}  b"):
        with pytest.raises(ValueError, match="a line in it is none"):
            foreign.read_sums(good + line.encode())


def publication(root: Path, *releases: str) -> Path:
    for release in releases:
        snapshot = Snapshot("ab12", release, 1, "", (signed(),))
        for place in (root / "snapshots" / release / "ab12", root / release):
            place.mkdir(parents=True)
            (place / "snapshot.json").write_bytes(to_json(snapshot))
        (root / release / "x86_64").mkdir()
        (root / f"farm-{release}.repo").write_text("[farm]\n")
    return root


@pytest.mark.parametrize(
    "place",
    [
        "", "/", "/debian-13", "/debian-13/", "/debian-13/x86_64", "/debian-13/x86_64/",
        "/snapshots/debian-13/ab12", "/snapshots/debian-13/ab12/", "/farm-debian-13.repo",
    ],
)  # fmt: skip
def test_every_address_of_a_publication_leads_to_its_snapshot(tmp_path: Path, place: str) -> None:
    root = publication(tmp_path / "my repo", "debian-13").as_uri()
    found = find(root + place, "debian-13")
    assert found.snapshot == f"{root}/snapshots/debian-13/ab12"
    assert found.root == root
    assert find(root + place, "debian-13", "ab12") == found


@pytest.mark.parametrize("address", ["", "  ", "ftp://mirror.example.org", "http://", "/no/such"])
def test_what_is_no_address_is_the_callers_mistake(address: str) -> None:
    with pytest.raises(UsageError):
        find(address, "debian-13")


def test_a_server_that_answers_everything_with_a_page_is_no_mirror_that_was_tampered_with(
    tmp_path: Path,
) -> None:
    for place in (".", "debian-13", "snapshots/debian-13/ab"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "snapshot.json").write_text("\n<!DOCTYPE html><p>Welcome")
    (tmp_path / "farm-debian-13.repo").write_text("<!DOCTYPE html><p>Welcome")
    for snapshot in ("", "ab"):
        with pytest.raises(Unverifiable) as caught:
            find(tmp_path.as_uri(), "debian-13", snapshot)
        assert "a web page" in caught.value.why


def test_a_root_with_one_release_needs_no_name_and_one_with_several_does(tmp_path: Path) -> None:
    one = publication(tmp_path / "one", "fedora-44")
    assert find(str(one), "debian-13").described.release == "fedora-44"
    two = publication(tmp_path / "two", "fedora-44", "el-9")
    with pytest.raises(UsageError, match="several releases: el-9, fedora-44"):
        find(str(two), "debian-13")
    assert find(f"{two.as_uri()}/el-9", "debian-13").described.release == "el-9"


def test_a_release_without_its_root_is_verified_where_it_is(tmp_path: Path) -> None:
    root = publication(tmp_path / "root", "debian-13")
    shutil.copytree(root / "debian-13", tmp_path / "alone" / "debian-13")
    found = find(str(tmp_path / "alone" / "debian-13"), "debian-13")
    assert found.snapshot == (tmp_path / "alone" / "debian-13").as_uri()


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../secret", "", "a\0b"])
def test_nothing_beside_a_publication_is_asked_for(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "root").mkdir()
    with pytest.raises(NotThere):
        download((tmp_path / "root").as_uri(), path, tmp_path / "got", 100)
    assert not (tmp_path / "got").exists()


def test_a_mirror_that_stops_answering_is_not_asked_for_everything_else(tmp_path: Path) -> None:
    root = publication(tmp_path / "root", "debian-13")
    with serving(root) as url:
        mirror = find(url, "debian-13")
        with pytest.raises(NotThere, match="HTTP 404"):
            mirror.of_snapshot("nothing", 100)
        assert mirror.of_snapshot("snapshot.json", 10_000)
    with pytest.raises(NotThere, match="Connection refused"):
        mirror.of_snapshot("snapshot.json", 10_000)
    began = time.monotonic()
    for _ in range(50):
        with pytest.raises(NotThere, match="the mirror answers no more"):
            mirror.of_root("locks/x", 100)
    assert time.monotonic() - began < 1


class Places:
    """A base and an archive, with what is to be had from each."""

    def __init__(self, root: Path) -> None:
        self.root, self.said = root, list[str]()
        self.archive = root / "archive"

    def package(self, content: bytes, **changes: Any) -> LockedPackage:
        sha256 = hashlib.sha256(content).hexdigest()
        package = LockedPackage(NEVRA, sha256, len(content), "base")
        return msgspec.structs.replace(package, **changes)

    def put(self, package: LockedPackage, content: bytes) -> None:
        path = self.archive / package.sha256[:2] / f"{package.sha256[2:]}.rpm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def supply(self, *bases: str) -> Supply:
        from farm.store import Store  # noqa: PLC0415

        return Supply(
            Store(self.root / "store"), self.archive.as_uri(), bases, self.root / "bases",
            self.said.append,
        )  # fmt: skip


def test_what_was_had_once_is_not_asked_for_again(tmp_path: Path) -> None:
    places = Places(tmp_path)
    package = places.package(b"content")
    places.put(package, b"content")
    assert places.supply().have([package]).origins == {"the publication's archive": 1}
    shutil.rmtree(places.archive)
    assert places.supply().have([package]).origins == {"what was kept from before": 1}


def test_what_was_kept_and_is_damaged_is_fetched_again(tmp_path: Path) -> None:
    places = Places(tmp_path)
    package = places.package(b"content")
    places.put(package, b"content")
    supply = places.supply()
    supply.have([package])
    kept = supply.store.path(package.sha256)
    kept.chmod(0o644)
    kept.write_bytes(b"rotten")
    assert places.supply().have([package]).origins == {"the publication's archive": 1}
    assert kept.read_bytes() == b"content"
    assert "is damaged: it is fetched again" in places.said[0]


@pytest.mark.parametrize("wrong", [b"CONTENT", b"content and more", b""])
def test_other_bytes_are_never_taken(tmp_path: Path, wrong: bytes) -> None:
    places = Places(tmp_path)
    package = places.package(b"content")
    places.put(package, wrong)
    supply = places.supply()
    with pytest.raises(Unverifiable) as caught:
        supply.have([package])
    assert str(NEVRA) in caught.value.why
    assert package.sha256 not in supply.store
    if len(wrong) <= len(b"content"):
        assert "has other bytes than the lock says" in places.said[0]


def test_a_base_is_asked_by_checksum_before_the_archive(tmp_path: Path) -> None:
    from tests.repositories import Rpm, write_repository  # noqa: PLC0415

    rpm = Rpm("tally", "1.0-1.deb13")
    base = write_repository(tmp_path / "base", [rpm, Rpm("other")], package_files=True)
    places = Places(tmp_path)
    package = places.package(rpm.content)
    supply = places.supply(str(base))
    assert supply.have([package]).origins == {str(base): 1}
    assert sorted(supply.store.root.glob("*/*")) == [supply.store.path(package.sha256)]
    (base / rpm.filename).write_bytes(b"swapped")
    supply.store.path(package.sha256).unlink()
    places.put(package, rpm.content)
    assert places.supply(str(base)).have([package]).origins == {"the publication's archive": 1}
    assert f"from {base} has other bytes" in places.said[0]


def test_the_addresses_in_a_lock_are_asked(tmp_path: Path) -> None:
    places = Places(tmp_path)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "tally.rpm").write_bytes(b"content")
    with serving(tmp_path / "site") as url:
        package = places.package(b"content", location=f"{url}/tally.rpm")
        assert places.supply().have([package]).origins == {"the addresses in the lock": 1}


def test_a_server_that_does_not_answer_is_asked_a_few_times_only(tmp_path: Path) -> None:
    places = Places(tmp_path)
    (tmp_path / "site").mkdir()
    with serving(tmp_path / "site") as url:
        pass
    packages = [
        places.package(b"content %d" % number, location=f"{url}/{number}.rpm")
        for number in range(100)
    ]
    for number, package in enumerate(packages):
        places.put(package, b"content %d" % number)
    began = time.monotonic()
    assert places.supply().have(packages).origins == {"the publication's archive": 100}
    assert time.monotonic() - began < 20  # 100 times three tries take half a minute of 8 workers


def test_a_base_that_cannot_be_used_is_told_and_passed_over(tmp_path: Path) -> None:
    places = Places(tmp_path)
    package = places.package(b"content")
    places.put(package, b"content")
    (tmp_path / "base" / "repodata").mkdir(parents=True)
    (tmp_path / "base" / "repodata" / "repomd.xml").write_text("<html>")
    supply = places.supply(str(tmp_path / "base"))
    assert supply.have([package]).origins == {"the publication's archive": 1}
    assert "cannot be used" in places.said[0]


def test_what_is_nowhere_is_listed_unless_something_stands_in(tmp_path: Path) -> None:
    places = Places(tmp_path)
    package = places.package(b"content", repository="layer")
    instead = places.package(b"signed content")
    with pytest.raises(Unverifiable, match="1 of the 1 packages"):
        places.supply().have([package])
    delivered = places.supply().have([package], lambda wanted: instead)
    assert delivered.substituted == {package.sha256: instead}


def report(*verdicts: str) -> StrangerReport:
    answers = tuple(
        Answer(
            file=f"x86_64/Packages/p/p{number}.rpm", nevra=f"p{number}", recipe="p", arch="x86_64",
            verdict=verdict, sha256=f"{number:064x}", statement=DIGEST["1"],  # type: ignore[arg-type]
        )
        for number, verdict in enumerate(verdicts)
    )  # fmt: skip
    return StrangerReport(
        "http://example.org", "debian-13", "ab12", 1, (OURS,), "key", True, answers, 1.0
    )


@given(st.lists(st.sampled_from(("yes", "no", "refused", "cannot")), max_size=5))
def test_the_exit_code_says_the_worst_and_the_attestation_says_the_same(
    verdicts: list[str],
) -> None:
    found = report(*verdicts)
    bad = {"no", "refused"} & set(verdicts)
    assert found.code == (1 if bad else 9 if "cannot" in verdicts else 0)
    if set(verdicts) <= {"cannot"}:
        with pytest.raises(FarmError, match="nothing to attest"):
            attestation(found, OURS, "1", 1)
        return
    said = attestation(found, OURS, "1", 1)
    assert said.predicate.verification_result == ("FAILED" if bad else "PASSED")
    assert len(said.subject) == sum(verdict != "cannot" for verdict in verdicts)
    assert len(said.predicate.detail.packages) == len(verdicts)
    assert msgspec.json.decode(to_json(said), type=Attestation) == said


@pytest.mark.parametrize(("theirs", "ours"), [(0, 4), (1, 4), (4, 5), (5, 4), (64, 4)])
def test_a_stranger_builds_with_another_number_of_cores_than_the_publisher(
    theirs: int, ours: int
) -> None:
    assert other_cores(statement(cores=theirs), 4) == ours


def test_a_statement_without_the_number_of_cores_is_read_and_one_with_nonsense_is_not() -> None:
    text = to_json(statement())
    assert b"cores" not in text
    read = foreign.read_statement(text, "there").predicate.build_definition
    assert read.internal_parameters.cores == 0
    with_cores = foreign.read_statement(to_json(statement(cores=6)), "there")
    assert with_cores.predicate.build_definition.internal_parameters.cores == 6
    for cores in (-1, 10**9):
        with pytest.raises(Refused, match="is not what farm writes"):
            foreign.read_statement(to_json(statement(cores=cores)), "there")


def test_a_package_that_comes_out_in_another_version_is_told(tmp_path: Path) -> None:
    def made(release: str, arch: str = "x86_64") -> Package:
        return Package(Nevra("tally", 0, "1.0", release, arch), DIGEST["4"], 1, "tally")

    built = Built(
        packages=(made("1.deb14"), made("1.deb14", "noarch")),
        srpm=made("1.deb14", "src"),
        seconds=1.0,
    )
    again = Again(Rebuild(None), built, tmp_path, 1.0)  # type: ignore[arg-type]
    assert _instead(LISTED, again) == "tally-1.0-1.deb14.x86_64.rpm"
    same = msgspec.structs.replace(built, packages=(made("1.deb13"),))
    assert _instead(LISTED, replace(again, outcome=same)) == ""


def test_of_several_copies_the_worst_counts() -> None:
    found = report("yes", "refused")
    same = tuple(msgspec.structs.replace(a, sha256=DIGEST["9"]) for a in found.answers)
    said = attestation(msgspec.structs.replace(found, answers=same), OURS, "", 1)
    assert said.predicate.verification_result == "FAILED"
    assert [p.result for p in said.predicate.detail.packages] == ["different"]


def test_an_architecture_for_which_nothing_was_built_has_a_repository_all_the_same() -> None:
    entry = SnapshotEntry("tally", "x86_64", "k" * 64, 0)
    snapshot = Snapshot("ab", "debian-13", 1, "", (signed(),), (entry,))
    sums = [f"{arch}/repodata/repomd.xml" for arch in ("x86_64", "aarch64")]
    assert every_repository(snapshot, sums) == ("x86_64", "aarch64")
    assert every_repository(snapshot, ()) == ("x86_64",), "what has to be there is asked for"
