"""A stranger verifies a mirror with nothing but its address; a mirror that lies is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from farm.config import load
from farm.errors import FarmError, Refused, Unverifiable
from farm.model import Lock, to_json
from farm.publish.keys import KeyRing, key_ring
from farm.run import run, start
from farm.stranger import Answer
from tests.real.site import HERE, Site
from tests.real.strangers import Elsewhere, Mirror, add_lock, only, verdicts

pytestmark = pytest.mark.real

LIBRARY = "tally-1.0-2.deb13.x86_64.rpm"
PLACE = f"x86_64/Packages/t/{LIBRARY}"
RESTLESS = """\
Name:           restless
Version:        1
Release:        1%{?dist}
Summary:        Never the same twice
License:        MIT
URL:            https://example.org/restless

%description
Holds the moment of its build.

%install
install -d %{buildroot}%{_libdir}/restless
date +%%s.%%N >%{buildroot}%{_libdir}/restless/moment

%files
%{_libdir}/restless

%changelog
* Mon Jun 01 2026 Farm Tests <tests@example.org> - 1-1
- First
"""


def base() -> Path:
    return (load(HERE).base_directory / "debian-13" / "x86_64").resolve()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A small site of one architecture, published twice: tally has had a second release."""
    site = Site.make(tmp_path_factory.mktemp("farm") / "layer")
    config = site.root / "farm.toml"
    config.write_text(config.read_text().replace(', "aarch64"', ""))
    site.spec("restless").parent.mkdir()
    site.spec("restless").write_text(RESTLESS)
    site.commit()
    site.farm("build", "--all")
    site.farm("publish")
    site.edit("tally", "Release:        1%{?dist}", "Release:        2%{?dist}")
    site.edit("tally", "- 1.0-1\n- First", "- 1.0-2\n- Second")
    site.commit()
    site.farm("build", "--all")
    site.farm("publish")
    return site


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    """Kept for all tests, so that the packages of build roots are fetched once."""
    return Elsewhere(tmp_path_factory.mktemp("elsewhere"))


@pytest.fixture(scope="module")
def ring(site: Site) -> Iterator[KeyRing]:
    with key_ring(site.root / ".farm") as ring:
        yield ring


@pytest.fixture
def mirror(site: Site, ring: KeyRing, tmp_path: Path) -> Mirror:
    return Mirror.of(site, tmp_path / "mirror", ring)


def test_everything_that_is_published_is_made_again_from_an_empty_directory(
    site: Site, tmp_path: Path
) -> None:
    stranger = Elsewhere(tmp_path)
    with start(site.command("serve"), log=tmp_path / "serve.log"):
        url = f"http://127.0.0.1:{site.port}"
        wait_for(url)
        summary = stranger.verify(url, "tally", "cluster-master")
        again = stranger.verify(f"{url}/debian-13/x86_64/", "tally-devel")
    answers = verdicts(summary)
    assert answers[PLACE] == "yes"
    assert len(answers) == 7
    assert set(answers.values()) == {"yes"}
    assert list(verdicts(again).values()) == ["yes"]
    assert summary["key_is_the_repositorys"]
    assert list(stranger.here.iterdir()) == []


def wait_for(url: str) -> None:
    run(["curl", "--silent", "--retry", "20", "--retry-connrefused", "--retry-delay", "1",
         "--output", "/dev/null", url])  # fmt: skip


def test_what_is_not_reproducible_is_a_no_that_names_file_and_cause(
    site: Site, elsewhere: Elsewhere
) -> None:
    done = elsewhere.farm("verify", "--repo", str(site.root / "repo"), "restless", code=1)
    assert "restless-1-1.deb13.x86_64" in done.stdout
    assert "NO" in done.stdout
    assert "/usr/lib64/restless/moment" in done.stdout
    report = elsewhere.ask(site.root / "repo", "restless")
    answer = only(report, "restless-1-1.deb13.x86_64.rpm")
    assert (answer.verdict, report.code) == ("no", 1)
    assert any(d.path.endswith("/restless/moment") for d in answer.differences)
    assert only(report, "restless-1-1.deb13.src.rpm").verdict == "yes"


def test_an_earlier_snapshot_is_verified_by_its_id(mirror: Mirror, elsewhere: Elsewhere) -> None:
    first = mirror.snapshots[0].name
    report = elsewhere.ask(mirror.root, "tally", snapshot=first)
    assert report.snapshot == first
    assert only(report, "tally-1.0-1.deb13.x86_64.rpm").verdict == "yes"


class Tampered:
    """One way to tamper with a mirror, and what has to be said of it."""

    def __init__(self, what: str, verdict: str, said: str) -> None:
        self.what, self.verdict, self.said = what, verdict, said
        self.change: Callable[[Mirror], None] = lambda mirror: None

    def __call__(self, change: Callable[[Mirror], None]) -> Tampered:
        self.change = change
        TABLE.append(self)
        return self


TABLE: list[Tampered] = []


def provenance(mirror: Mirror) -> Path:
    return mirror.snapshot / f"{PLACE}.intoto.json"


def internal(content: Any) -> Any:
    return content["predicate"]["buildDefinition"]["internalParameters"]


def dependencies(content: Any, kind: str) -> list[Any]:
    resolved = content["predicate"]["buildDefinition"]["resolvedDependencies"]
    return [each for each in resolved if each["annotations"]["kind"] == kind]


def subject(content: Any) -> Any:
    return next(each for each in content["subject"] if each["name"] == LIBRARY)


def lock_of(mirror: Mirror) -> Path:
    definition = mirror.statement(provenance(mirror)).predicate.build_definition
    return mirror.root / definition.internal_parameters.lock.uri


@Tampered("a byte of a package", "refused", "was changed after it was signed")
def _(mirror: Mirror) -> None:
    mirror.flip(mirror.snapshot / PLACE)


@Tampered("a byte in the middle of a package's header", "refused", "changed after it was signed")
def _(mirror: Mirror) -> None:
    mirror.flip(mirror.snapshot / PLACE, 6000)


@Tampered("no package at all", "refused", "It is no RPM package any more")
def _(mirror: Mirror) -> None:
    mirror.write(mirror.snapshot / PLACE, b"<html>nothing here</html>")


@Tampered("far too many bytes", "refused", "is far larger than the signed metadata say")
def _(mirror: Mirror) -> None:
    mirror.write(mirror.snapshot / PLACE, bytes(80 << 20))


@Tampered("another package under its name", "refused", "another package under this name")
def _(mirror: Mirror) -> None:
    mirror.copy(mirror.file("x86_64/Packages/t/tally-devel-*.rpm"), mirror.snapshot / PLACE)


@Tampered("an earlier release put back", "refused", "holds another version of tally: 1.0-1.deb13")
def _(mirror: Mirror) -> None:
    old = mirror.file("x86_64/Packages/t/tally-1.0-1*.rpm", mirror.snapshots[0])
    mirror.copy(old, mirror.snapshot / PLACE)


@Tampered("a package that is not there", "cannot", f"{PLACE} cannot be had")
def _(mirror: Mirror) -> None:
    (mirror.snapshot / PLACE).unlink()


@Tampered("a package that nobody signed", "refused", "is not signed, by rpm's own judgement")
def _(mirror: Mirror) -> None:
    run(["rpmsign", "--delsign", _own(mirror.snapshot / PLACE)])
    mirror.index_anew("x86_64")


def _own(path: Path) -> Path:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    return path


@Tampered("snapshot.json names other bytes", "refused", "snapshot.json names other bytes for")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        _entry(content)["sha256"] = "0" * 64

    mirror.change_json(mirror.snapshot / "snapshot.json", change)
    mirror.list_anew()


@Tampered("snapshot.json names other bytes before signing", "refused", "before signing")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        _entry(content)["package"]["sha256"] = "0" * 64

    mirror.change_json(mirror.snapshot / "snapshot.json", change)
    mirror.list_anew()


@Tampered("snapshot.json leaves it out", "refused", "is not in snapshot.json")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        content["packages"].remove(_entry(content))

    mirror.change_json(mirror.snapshot / "snapshot.json", change)
    mirror.list_anew()


@Tampered("a byte of snapshot.json", "Refused", "snapshot.json has other bytes than the signed")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        _entry(content)["package"]["size"] += 1

    mirror.change_json(mirror.snapshot / "snapshot.json", change)


@Tampered("a stale list", "Refused", "signature of the snapshot's list of files is not one over")
def _(mirror: Mirror) -> None:
    place = "SHA256SUMS.asc"
    mirror.copy(mirror.snapshots[0] / place, mirror.snapshot / place)


@Tampered("no list", "Unverifiable", "SHA256SUMS of the snapshot cannot be had")
def _(mirror: Mirror) -> None:
    (mirror.snapshot / "SHA256SUMS").unlink()


@Tampered("a byte of its bill of materials", "refused", ".cdx.json has other bytes than the signed")
def _(mirror: Mirror) -> None:
    mirror.flip(mirror.snapshot / f"{PLACE}.cdx.json", 300)


@Tampered("no bill of materials", "cannot", ".cdx.json cannot be had")
def _(mirror: Mirror) -> None:
    (mirror.snapshot / f"{PLACE}.cdx.json").unlink()


@Tampered("provenance of another build", "refused", "is not the one that this snapshot was made")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        content["predicate"]["runDetails"]["metadata"]["startedOn"] = "2020-01-01T00:00:00Z"

    mirror.sign_anew(provenance(mirror), change, listed=False)


def _entry(content: Any) -> Any:
    return next(
        p for p in content["packages"]
        if (p["package"]["nevra"]["name"], p["package"]["nevra"]["arch"]) == ("tally", "x86_64")
    )  # fmt: skip


@Tampered("no provenance", "cannot", "has no provenance")
def _(mirror: Mirror) -> None:
    provenance(mirror).unlink()


@Tampered("provenance that is no JSON", "refused", "its envelope is not what farm writes")
def _(mirror: Mirror) -> None:
    mirror.write(provenance(mirror), b"[" * 100_000)


@Tampered("a byte of provenance", "refused", "its provenance was changed after it was signed")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        # a digit of a checksum, in base64
        middle = len(content["payload"]) // 2
        letter = content["payload"][middle]
        content["payload"] = (
            content["payload"][:middle] + ("A" if letter != "A" else "B")
            + content["payload"][middle + 1 :]
        )  # fmt: skip

    mirror.change_json(provenance(mirror), change)


@Tampered("a byte of its signature", "refused", "its provenance was changed after it was signed")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        text = content["signatures"][0]["sig"]
        content["signatures"][0]["sig"] = text[:-40] + text[-40:].swapcase()

    mirror.change_json(provenance(mirror), change)


@Tampered("a signature that is none", "refused", "its envelope was damaged or changed")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        content["signatures"][0]["sig"] = "!"

    mirror.change_json(provenance(mirror), change)


@Tampered("no signature", "refused", "its provenance is not signed")
def _(mirror: Mirror) -> None:
    mirror.change_json(provenance(mirror), lambda content: content.pop("signatures") and None)


@Tampered("somebody else's keyid", "refused", "names somebody else as its signer")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        content["signatures"][0]["keyid"] = "A" * 40

    mirror.change_json(provenance(mirror), change)


@Tampered("provenance of another package", "refused", "the provenance beside it is of another pack")
def _(mirror: Mirror) -> None:
    mirror.copy(mirror.file("x86_64/Packages/t/tallyprint-*.intoto.json"), provenance(mirror))


@Tampered("provenance of an earlier publication", "refused", "is of another file of that name")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        subject(content)["digest"]["sha256"] = "1" * 64

    mirror.sign_anew(provenance(mirror), change)


@Tampered("signed nonsense about the file", "refused", "header or payload is not what its prov")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        subject(content)["annotations"]["payload"] = "1" * 64

    mirror.sign_anew(provenance(mirror), change)


@Tampered("provenance of another kind", "cannot", "not of a form that this farm understands")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        content["predicate"]["buildDefinition"]["buildType"] = "urn:farm:rebuild:99"

    mirror.sign_anew(provenance(mirror), change)


@Tampered("a chroot that reaches out of its root", "cannot", "its provenance cannot be made")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        internal(content)["chroot"]["files"] = [["../../etc/passwd", "me"]]

    mirror.sign_anew(provenance(mirror), change)


@Tampered("a byte of a lock", "refused", "lock of its build root has other bytes than its prov")
def _(mirror: Mirror) -> None:
    mirror.write(lock_of(mirror), lock_of(mirror).read_bytes() + b"\n")


@Tampered("a lock that leaves a package out", "refused", "build root was changed: it leaves out")
def _(mirror: Mirror) -> None:
    mirror.change_json(lock_of(mirror), lambda content: content["packages"].pop() and None)


@Tampered("a signed lock that leaves one out", "refused", "lock and provenance disagree on the pa")
def _(mirror: Mirror) -> None:
    lock = msgspec.json.decode(lock_of(mirror).read_bytes(), type=Lock)
    needless = next(p for p in lock.packages if p.sha256 not in lock.setup)
    less = tuple(p for p in lock.packages if p != needless)
    sha256 = add_lock(mirror, to_json(Lock(less, lock.setup)))

    def change(content: Any) -> None:
        uri = f"locks/{sha256[:2]}/{sha256[2:]}.json"
        internal(content)["lock"] = {"uri": uri, "digest": {"sha256": sha256}}

    mirror.sign_anew(provenance(mirror), change)


@Tampered("a key that is not that of the inputs", "refused", "is not that of its inputs")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        internal(content)["recipe"] = "1" * 64

    mirror.sign_anew(provenance(mirror), change)


@Tampered("a lock elsewhere", "refused", "does not say where the lock of its build root is")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        internal(content)["lock"]["uri"] = "../../../etc/passwd"

    mirror.sign_anew(provenance(mirror), change)


@Tampered("no lock", "cannot", "the lock of its build root cannot be had")
def _(mirror: Mirror) -> None:
    lock_of(mirror).unlink()


@Tampered("another source package", "refused", "is not the source package that it was built from")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        (source,) = dependencies(content, "source-package")
        source["annotations"]["payload"] = "1" * 64

    mirror.sign_anew(provenance(mirror), change)


@Tampered("another source in it", "refused", "in its source package is not what its provenance")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        dependencies(content, "source")[0]["digest"]["sha256"] = "1" * 64

    mirror.sign_anew(provenance(mirror), change)


@Tampered("its source package damaged", "refused", "tally-1.0-2.deb13.src.rpm was changed after")
def _(mirror: Mirror) -> None:
    mirror.flip(mirror.file("source/Packages/t/tally-1.0-2*.src.rpm"))


@Tampered("its source package taken away", "cannot", "tally-1.0-2.deb13.src.rpm cannot be had")
def _(mirror: Mirror) -> None:
    mirror.file("source/Packages/t/tally-1.0-2*.src.rpm").unlink()


@Tampered("a stale signature", "Refused", "signature of x86_64's metadata is not one over what")
def _(mirror: Mirror) -> None:
    place = "x86_64/repodata/repomd.xml.asc"
    mirror.copy(mirror.snapshots[0] / place, mirror.snapshot / place)


@Tampered(
    "a byte of the metadata", "Refused", "signature of x86_64's metadata is not one over what"
)
def _(mirror: Mirror) -> None:
    mirror.flip(mirror.snapshot / "x86_64/repodata/repomd.xml")


@Tampered("metadata of an earlier state", "Refused", "those of another state than the snapshot's")
def _(mirror: Mirror) -> None:
    shutil.rmtree(mirror.snapshot / "x86_64/repodata")
    shutil.copytree(mirror.snapshots[0] / "x86_64/repodata", mirror.snapshot / "x86_64/repodata")


@Tampered("another list of packages", "Refused", "other bytes than the signed repomd.xml says")
def _(mirror: Mirror) -> None:
    mirror.flip(mirror.file("x86_64/repodata/*primary.xml.gz"), -5)


@Tampered("a signature that is none over the metadata", "Refused", "x86_64's metadata: not signed")
def _(mirror: Mirror) -> None:
    mirror.write(mirror.snapshot / "x86_64/repodata/repomd.xml.asc", b"trust me")


@Tampered("no signature over the metadata", "Unverifiable", "repomd.xml.asc of the snapshot")
def _(mirror: Mirror) -> None:
    (mirror.snapshot / "x86_64/repodata/repomd.xml.asc").unlink()


@Tampered("another key's signature", "Refused", "x86_64's metadata: signed with another key")
def _(mirror: Mirror) -> None:
    mirror.sign_metadata("x86_64", mirror.ring.new("mallory"))


@Tampered("another snapshot in its place", "Refused", "is not the snapshot that its address names")
def _(mirror: Mirror) -> None:
    mirror.copy(mirror.snapshots[0] / "snapshot.json", mirror.snapshot / "snapshot.json")


@Tampered("a snapshot.json that leads astray", "Refused", "snapshot.json is not what farm writes")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        content["id"] = "../../../../etc"

    mirror.change_json(mirror.snapshot / "snapshot.json", change)


@pytest.mark.parametrize("tampered", TABLE, ids=[each.what for each in TABLE])
def test_tampering_is_told_for_what_it_is(
    tampered: Tampered, mirror: Mirror, elsewhere: Elsewhere
) -> None:
    tampered.change(mirror)
    code = 1 if tampered.verdict in ("refused", "Refused") else 9
    if tampered.verdict in ("Refused", "Unverifiable"):
        kind: type[FarmError] = Refused if tampered.verdict == "Refused" else Unverifiable
        with pytest.raises(kind) as caught:
            elsewhere.ask(mirror.root, LIBRARY)
        error: FarmError | Answer = caught.value
        assert caught.value.code == code
    else:
        report = elsewhere.ask(mirror.root, LIBRARY)
        error = only(report, LIBRARY)
        assert error.verdict == tampered.verdict, error
        assert report.code == code
        assert report.rebuilt == 0
    assert tampered.said in f"{error.what}\n{error.why}", f"{error.what}\n{error.why}"
    assert error.hint or error.why


def test_every_kind_of_tampering_has_words_of_its_own() -> None:
    alike = {"was changed after it was signed", "changed after it was signed"}
    said = [each.said for each in TABLE if each.said not in alike]
    said.remove(
        "signature of x86_64's metadata is not one over what"
    )  # a stale signature, or repomd.xml itself
    said.remove("its provenance was changed after it was signed")  # statement or signature
    assert len(set(said)) == len(said)
