"""A stranger verifies a mirror with nothing but its address; a mirror that lies is refused."""

from __future__ import annotations

import os
import random
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from farm.config import load
from farm.errors import FarmError, Refused, Unverifiable, UsageError
from farm.gpg import public_keys
from farm.model import Lock, to_json
from farm.model.attestation import Attestation
from farm.model.envelope import Envelope
from farm.publish.keys import KeyRing, key_ring
from farm.run import run
from farm.site.serve import serving
from farm.stranger import Answer
from tests.real.site import HERE, Site
from tests.real.strangers import Elsewhere, Mirror, add_lock, only, other_chroot, verdicts
from tests.real.test_user import as_user, home  # noqa: F401 - a fixture

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

COUNTING = (
    RESTLESS.replace("restless", "counting")
    .replace("Never the same twice", "Depends on the number of cores")
    .replace("the moment of its build", "how many processes make was to start")
    .replace("date +%%s.%%N", "echo %{_smp_build_ncpus}")
    .replace("/moment", "/number")
)


def base() -> Path:
    return (load(HERE).base_directory / "debian-13" / "x86_64").resolve()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A small site of one architecture, published twice: tally has had a second release."""
    site = Site.make(tmp_path_factory.mktemp("farm") / "layer")
    config = site.root / "farm.toml"
    config.write_text(config.read_text().replace(', "aarch64"', ""))
    for name, text in (("restless", RESTLESS), ("counting", COUNTING)):
        site.spec(name).parent.mkdir()
        site.spec(name).write_text(text)
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
    with site.served() as url:
        summary = stranger.verify(url, "tally", "cluster-master")
        again = stranger.verify(f"{url}/debian-13/x86_64/", "tally-devel")
    answers = verdicts(summary)
    assert answers[PLACE] == "yes"
    assert len(answers) == 7
    assert set(answers.values()) == {"yes"}
    assert list(verdicts(again).values()) == ["yes"]
    assert summary["key_is_the_repositorys"]
    assert list(stranger.here.iterdir()) == []


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
    theirs, ours = map(int, re.findall(r"-j(\d+)", answer.hint))
    assert theirs != ours
    assert only(report, "restless-1-1.deb13.src.rpm").verdict == "yes"


def test_what_depends_on_the_number_of_cores_is_a_no_on_the_very_machine_that_made_it(
    site: Site, elsewhere: Elsewhere
) -> None:
    answer = only(elsewhere.ask(site.root / "repo", "counting"), "counting-1-1.deb13.x86_64.rpm")
    assert answer.verdict == "no"
    assert answer.differences[0].path == "/usr/lib64/counting/number"
    theirs, ours = map(int, re.findall(r"-j(\d+)", answer.hint))
    assert theirs != ours


def test_an_earlier_snapshot_is_verified_by_its_id(mirror: Mirror, elsewhere: Elsewhere) -> None:
    first = mirror.snapshots[0].name
    report = elsewhere.ask(mirror.root, "tally", snapshot=first)
    assert report.snapshot == first
    assert only(report, "tally-1.0-1.deb13.x86_64.rpm").verdict == "yes"


def test_a_second_run_fetches_no_package_of_a_build_root(
    mirror: Mirror, elsewhere: Elsewhere
) -> None:
    elsewhere.ask(mirror.root, LIBRARY)
    shutil.rmtree(mirror.root / "archive")
    assert only(elsewhere.ask(mirror.root, LIBRARY), LIBRARY).verdict == "yes"
    assert "from what was kept from before" in "\n".join(elsewhere.said)


def test_what_was_kept_and_is_damaged_is_no_reason_for_a_no(
    mirror: Mirror, elsewhere: Elsewhere
) -> None:
    elsewhere.ask(mirror.root, LIBRARY)
    kept = elsewhere.cache / "verify" / "store"
    sources = [path for path in kept.glob("*/*") if b"tally" in path.read_bytes()[:4096]]
    assert len(sources) > 3  # the spec, what it names, the source package
    for path in sources:
        path.chmod(0o644)
        path.write_bytes(b"damaged")
    assert only(elsewhere.ask(mirror.root, LIBRARY), LIBRARY).verdict == "yes"


def test_without_the_archive_a_base_and_the_signed_copies_will_do(
    mirror: Mirror, tmp_path: Path
) -> None:
    shutil.rmtree(mirror.root / "archive")
    stranger = Elsewhere(tmp_path / "elsewhere")
    report = stranger.ask(mirror.root, "tallyprint", bases=(str(base()),))
    assert {answer.verdict for answer in report.answers} == {"yes"}
    said = "\n".join(stranger.said)
    assert "2 from the published, signed copies" in said
    assert f"from {base()}" in said


def test_with_neither_archive_nor_base_nothing_can_be_said_and_the_list_is_given(
    mirror: Mirror, tmp_path: Path
) -> None:
    shutil.rmtree(mirror.root / "archive")
    report = Elsewhere(tmp_path / "elsewhere").ask(mirror.root, LIBRARY)
    answer = only(report, LIBRARY)
    assert (answer.verdict, report.code, report.rebuilt) == ("cannot", 9, 0)
    assert "packages of its build root cannot be had" in answer.what
    assert "and 1" in answer.why.splitlines()[-1]
    assert "--base" in answer.hint


def test_only_one_immutable_snapshot_is_asked_while_the_release_moves(
    mirror: Mirror, elsewhere: Elsewhere
) -> None:
    asked: list[str] = []
    first, second = mirror.snapshots
    pointer = mirror.root / "debian-13"

    def log(line: str) -> None:
        asked.append(line.split('"')[1].split(" ")[1])
        if len(asked) == 4:  # somebody publishes meanwhile
            pointer.unlink()
            pointer.symlink_to(first)

    with serving(mirror.root, log=log) as url:
        report = elsewhere.ask(url, LIBRARY)
    assert (report.code, report.snapshot) == (0, second.name)
    of_snapshot = f"/snapshots/debian-13/{second.name}/"
    beside = ("/archive/", "/locks/", "/farm-debian-13.repo", "/RPM-GPG-KEY-")
    begin = ("/snapshot.json", "/farm-debian-13.repo", "/debian-13/snapshot.json")
    assert len(asked) > 10
    assert set(asked[:3]) <= set(begin)
    assert [path for path in asked[3:] if not path.startswith((of_snapshot, *beside))] == []


def test_provenance_that_is_not_how_it_was_made_is_a_no(
    mirror: Mirror, elsewhere: Elsewhere
) -> None:
    def change(content: Any) -> None:
        macros = internal(content)["chroot"].get("macros", [])
        other_chroot(content, macros=[*macros, ["_libdir", "/opt/lib"]])

    mirror.sign_anew(provenance(mirror), change)
    report = elsewhere.ask(mirror.root, LIBRARY)
    answer = only(report, LIBRARY)
    assert (answer.verdict, report.code, report.rebuilt) == ("no", 1, 1)
    assert any("/opt/lib/libtally.so.1" in difference.path for difference in answer.differences)


def test_a_build_that_fails_here_cannot_be_judged_and_its_log_is_kept(
    mirror: Mirror, elsewhere: Elsewhere
) -> None:
    def change(content: Any) -> None:
        macros = internal(content)["chroot"].get("macros", [])
        other_chroot(content, macros=[*macros, ["_includedir", "nowhere"]])

    mirror.sign_anew(provenance(mirror), change)
    report = elsewhere.ask(mirror.root, LIBRARY)
    answer = only(report, LIBRARY)
    assert (answer.verdict, report.code) == ("cannot", 9)
    assert "could not be built here" in answer.what
    log = Path(answer.why.rpartition("the whole log: ")[2])
    assert "nowhere/tally.h" in log.read_text()


def test_with_nothing_to_attest_nothing_is_signed(
    mirror: Mirror, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    provenance(mirror).unlink()
    elsewhere.farm("key", "new", "silent")
    target = tmp_path / "answer.json"
    words = ("--attest", "silent", "--output", str(target))
    done = elsewhere.farm("verify", "--repo", str(mirror.root), LIBRARY, *words, code=9)
    assert "there is nothing to attest" in done.stderr
    assert "has no provenance" in done.stdout
    assert not target.exists()


@pytest.mark.soak
@pytest.mark.skipif(os.getuid() != 0, reason="takes user namespaces away from itself")
def test_a_machine_that_cannot_build_says_so(mirror: Mirror, elsewhere: Elsewhere) -> None:
    command = elsewhere.command("verify", "--repo", str(mirror.root), LIBRARY)
    script = f"echo 0 >/proc/sys/user/max_user_namespaces; exec {shlex.join(command)}"
    words = ["unshare", "--user", "--map-root-user", "sh", "-c", script]
    done = run(words, cwd=elsewhere.here, check=False, env=elsewhere.environment)
    assert done.code == 9, done.stdout + done.stderr
    assert "could not be built here" in done.stdout
    assert "cannot say" in done.stdout


@pytest.mark.soak
def test_a_wrong_package_from_one_place_leads_to_the_next_and_is_told(
    mirror: Mirror, tmp_path: Path
) -> None:
    copy = tmp_path / "base"
    run(["cp", "-a", "--link", base(), copy])
    lock = msgspec.json.decode(lock_of(mirror).read_bytes(), type=Lock)
    first, second, *_ = (p for p in lock.packages if p.repository != "layer")
    wrong = next(copy.rglob(f"{first.nevra.name}-[0-9]*{first.nevra.arch}.rpm"))
    mirror.write(wrong, b"something else")
    archived = mirror.root / "archive" / second.sha256[:2] / f"{second.sha256[2:]}.rpm"
    mirror.flip(archived)
    stranger = Elsewhere(tmp_path / "elsewhere")
    report = stranger.ask(mirror.root, LIBRARY, bases=(str(copy),))
    assert only(report, LIBRARY).verdict == "yes"
    assert f"{first.nevra} from {copy} has other bytes" in "\n".join(stranger.said)
    again = Elsewhere(tmp_path / "again")
    answer = only(again.ask(mirror.root, LIBRARY), LIBRARY)
    assert answer.verdict == "cannot"
    assert f"{second.nevra}" in answer.why
    assert "from the publication's archive has other bytes" in "\n".join(again.said)


def test_the_maintainers_key_may_be_named_and_another_refuses_everything(
    mirror: Mirror, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    ours, other = tmp_path / "ours.asc", tmp_path / "other.asc"
    ours.write_text(mirror.ring.public(mirror.key))
    other.write_text(mirror.ring.public(mirror.ring.new("somebody")))
    report = elsewhere.ask(mirror.root, LIBRARY, key=ours)
    assert (report.code, report.key_is_the_repositorys) == (0, False)
    with pytest.raises(Refused, match="signed with another key"):
        elsewhere.ask(mirror.root, LIBRARY, key=other)
    with pytest.raises(UsageError, match="holds no public key"):
        elsewhere.ask(mirror.root, LIBRARY, key=Path(__file__))


def test_a_key_that_expired_vouches_for_nothing(
    mirror: Mirror, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    mirror.ring.gpg(
        "--pinentry-mode", "loopback", "--passphrase", "", "--faked-system-time",
        "20250101T000000", "--quick-generate-key", "bygone", "ed25519", "sign", "10d",
    )  # fmt: skip
    every = mirror.ring.keys()
    bygone = next(key for key in every if key.name == "bygone")
    keys = tmp_path / "keys.asc"
    keys.write_text(mirror.ring.public(bygone))
    with pytest.raises(Refused, match="not valid any more"):
        elsewhere.ask(mirror.root, LIBRARY, key=keys)
    keys.write_text(mirror.ring.public(bygone) + mirror.ring.public(mirror.key))
    repomd = mirror.snapshot / "x86_64" / "repodata" / "repomd.xml"
    signature = mirror.ring.gpg(
        "--faked-system-time", "20250103T000000", "--local-user", bygone.user, "--armor",
        "--output", "-", "--detach-sign", repomd,
    )  # fmt: skip
    mirror.write(repomd.with_name("repomd.xml.asc"), signature.stdout.encode())
    with pytest.raises(Refused, match="key that signed x86_64's metadata has expired"):
        elsewhere.ask(mirror.root, LIBRARY, key=keys)


def test_what_the_command_line_asks_for_has_to_be_there(site: Site, elsewhere: Elsewhere) -> None:
    repo = str(site.root / "repo")
    asked = (
        (("--repo", repo, "taly"), "Perhaps you meant 'tally'"),
        (("--repo", repo, "--arch", "sparc"), "not published for 'sparc'"),
        (("--repo", "gopher://x"), "not the address of a publication"),
        (("--repo", str(elsewhere.home / "none")), "neither an address nor a directory"),
        (("--repo", repo, "--snapshot", "../.."), "is not the id of a snapshot"),
        (("--repo", repo, "--base", str(elsewhere.home)), "is no repository"),
        (("--repo", repo, "--output", "x"), "say --attest as well"),
        (("--native",), "want --repo"),
    )
    for words, said in asked:
        assert said in elsewhere.farm("verify", *words, code=2).stderr
    nowhere = elsewhere.farm("verify", "--repo", elsewhere.home.as_uri(), code=9).stderr
    assert "there is no publication of farm's at" in nowhere
    unknown = elsewhere.farm("verify", "--repo", repo, "--snapshot", "0123456789abcdef", code=9)
    assert "the snapshot 0123456789abcdef of debian-13 is not at" in unknown.stderr


def test_the_answer_is_signed_with_a_key_made_in_that_empty_directory(
    site: Site, tmp_path: Path
) -> None:
    stranger = Elsewhere(tmp_path)
    made = stranger.farm("key", "new", "visitor").stdout.split()[-1]
    target = tmp_path / "answer.json"
    repo = str(site.root / "repo")
    words = ("--attest", "visitor", "--output", str(target))
    summary = stranger.verify(repo, LIBRARY, *words)
    assert summary["attestation"] == str(target)
    envelope = msgspec.json.decode(target.read_bytes(), type=Envelope)
    (signature,) = envelope.signatures
    assert signature.keyid == made
    public = tmp_path / "visitor.asc"
    public.write_text(stranger.farm("key", "export", "visitor").stdout)
    with public_keys([public]) as keys:
        assert keys.signature_over(envelope.signed_bytes, signature.binary).signer == made
    said = msgspec.json.decode(envelope.content, type=Attestation)
    assert said.predicate.verification_result == "PASSED"
    assert [s.name for s in said.subject] == [LIBRARY]
    assert said.predicate.detail.snapshot == summary["snapshot"]
    refused = stranger.farm(
        "verify", "--repo", repo, "restless", "--attest", "visitor", "--json", code=1
    )
    (path,) = stranger.here.glob("debian-13-*.intoto.json")
    assert path.name in refused.stdout
    said = msgspec.json.decode(
        msgspec.json.decode(path.read_bytes(), type=Envelope).content, type=Attestation
    )
    assert said.predicate.verification_result == "FAILED"
    results = {each.name: each.result for each in said.predicate.detail.packages}
    assert results["restless-1-1.deb13.x86_64.rpm"] == "different"
    unknown = stranger.farm("verify", "--repo", repo, LIBRARY, "--attest", "nobody", code=7)
    assert "'nobody' is not in farm's key ring" in unknown.stderr


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A small site of both architectures."""
    site = Site.make(tmp_path_factory.mktemp("both") / "layer")
    site.farm("build", "--all")
    site.farm("publish")
    return site


@pytest.mark.soak
def test_both_architectures_are_verified_emulated_and_assisted(both: Site, tmp_path: Path) -> None:
    stranger = Elsewhere(tmp_path)
    repo = str(both.root / "repo")
    everything = stranger.farm("verify", "--repo", repo)
    assert "22 of 22 made again bit for bit" in everything.stdout
    assert "aarch64 is emulated here, without native tools" in everything.stderr
    (stranger.cache / "base").symlink_to(base().parents[1])
    assisted = stranger.verify(repo, "tally", "--arch", "aarch64", "--native")
    assert set(verdicts(assisted).values()) == {"yes"}
    assert {answer["arch"] for answer in assisted["answers"]} == {"aarch64"}
    text = stranger.verify(repo, "tallynotes", "--arch", "aarch64")
    assert [answer["arch"] for answer in text["answers"]] == ["x86_64"]  # built there, noarch
    source = "tallynotes-1-1.deb13.src"
    said = stranger.farm("verify", "--repo", repo, source, "--arch", "aarch64", code=2).stderr
    assert "nothing of what was named was made on aarch64" in said


@pytest.mark.soak
def test_of_two_copies_of_a_package_each_is_judged_by_itself(both: Site, tmp_path: Path) -> None:
    with key_ring(both.root / ".farm") as ring:
        mirror = Mirror.of(both, tmp_path / "mirror", ring)
    place = "Packages/t/tallynotes-1-1.deb13.noarch.rpm"
    mirror.flip(mirror.snapshot / "aarch64" / place)
    report = Elsewhere(tmp_path / "elsewhere").ask(mirror.root, "tallynotes")
    found = {answer.file: answer.verdict for answer in report.answers}
    assert found[f"x86_64/{place}"] == "yes"
    assert found[f"aarch64/{place}"] == "refused"
    assert report.code == 1


@pytest.mark.soak
def test_an_ordinary_user_with_nothing_but_the_address_verifies_as_well(
    both: Site,
    home: Path,  # noqa: F811 - the fixture
) -> None:
    shutil.copytree(home / "farm", home / "site-packages" / "farm", dirs_exist_ok=True)
    with both.served() as url:
        done = as_user(
            home,
            f"""
            mkdir -p empty person; cd empty
            export HOME={home}/person; unset FARM_PATHS_CACHE
            farm="/usr/bin/python3 -P -m farm"
            $farm verify --repo {url} --arch x86_64
            $farm verify --repo {url} tally --arch aarch64
            ls -A
            """,
        )
    assert "13 of 13 made again bit for bit" in done.stdout
    assert "4 of 4 made again bit for bit" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("Key: ")


@pytest.mark.soak
def test_two_strangers_have_to_agree_before_a_snapshot_is_promoted(
    tmp_path: Path,
) -> None:
    site = Site.make(tmp_path / "layer")
    strangers = [Elsewhere(tmp_path / name) for name in ("anna", "otto")]
    keys = []
    (site.root / "keys").mkdir()
    for stranger in strangers:
        keys.append(stranger.farm("key", "new", stranger.root.name).stdout.split()[-1])
        public = stranger.farm("key", "export", stranger.root.name).stdout
        (site.root / "keys" / f"{stranger.root.name}.asc").write_text(public)
    config = site.root / "farm.toml"
    text = config.read_text().replace(', "aarch64"', "")
    demand = f'attestations = 2\nattesters = ["{keys[0]}", "{keys[1]}"]\n'
    config.write_text(text.replace("[publish]\n", f"[publish]\n{demand}"))
    site.commit()
    site.farm("build", "--all")
    assert "0 attestations" in site.farm("publish").stdout
    (snapshot,) = (site.root / "repo" / "snapshots" / "debian-13").iterdir()
    for stranger in strangers:
        site.farm("publish")
        assert not (site.root / "repo" / "debian-13").exists()
        target = tmp_path / f"{stranger.root.name}.json"
        words = ("--attest", stranger.root.name, "--output", str(target))
        repo = str(site.root / "repo")
        summary = stranger.verify(repo, "--snapshot", snapshot.name, *words)
        assert set(verdicts(summary).values()) == {"yes"}
        changed = tmp_path / "changed.json"
        content = bytearray(target.read_bytes())
        content[200] ^= 1
        changed.write_bytes(content)
        refused = site.farm("attest", str(changed), code=7)
        assert "changed.json is refused" in refused.stdout + refused.stderr
        site.farm("attest", str(target))
    site.farm("publish")
    assert (site.root / "repo" / "debian-13").exists()
    assert strangers[0].verify(str(site.root / "repo"), LIBRARY.replace("-2.", "-1."))["answers"]


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


@Tampered("a repository that is kept silent about", "refused", "is not in snapshot.json")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        content["entries"] = []
        content["packages"] = [
            p for p in content["packages"] if p["package"]["nevra"]["arch"] == "src"
        ]

    mirror.change_json(mirror.snapshot / "snapshot.json", change)
    mirror.list_anew()


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


@Tampered("a bill of materials without an end", "refused", "than anything that farm puts there")
def _(mirror: Mirror) -> None:
    bill = mirror.snapshot / f"{PLACE}.cdx.json"
    bill.unlink()
    with bill.open("wb") as file:
        file.truncate(5 << 30)


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


@Tampered("provenance of another architecture", "refused", "of a build on another architecture")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        content["predicate"]["buildDefinition"]["externalParameters"]["arch"] = "aarch64"
        other_chroot(content, arch="aarch64", name="debian-13-aarch64")

    mirror.sign_anew(provenance(mirror), change)


@Tampered("provenance of another recipe", "refused", "its provenance speaks of the package bash")
def _(mirror: Mirror) -> None:
    def change(content: Any) -> None:
        content["predicate"]["buildDefinition"]["externalParameters"]["package"] = "bash"

    mirror.sign_anew(provenance(mirror), change)


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
    said.remove("is not in snapshot.json")  # one package, or all of a repository
    assert len(set(said)) == len(said)


def relevant(mirror: Mirror) -> list[Path]:
    """Every file of the snapshot, and the lock, that a verdict over LIBRARY rests on."""
    snapshot = mirror.snapshot
    beside = sorted((snapshot / PLACE).parent.glob(f"{LIBRARY}*"))
    metadata = sorted(snapshot.glob("*/repodata/*"))
    own = [snapshot / name for name in ("snapshot.json", "SHA256SUMS", "SHA256SUMS.asc")]
    source = mirror.file("source/Packages/t/tally-1.0-2*.src.rpm")
    return [*beside, *metadata, *own, source, lock_of(mirror)]


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(120))
def test_no_changed_byte_anywhere_leads_to_a_yes_or_to_a_traceback(
    seed: int, mirror: Mirror, elsewhere: Elsewhere
) -> None:
    chance = random.Random(seed)
    files = relevant(mirror)
    path = files[seed % len(files)]
    content = bytearray(path.read_bytes())
    kind = chance.choice(("flip", "cut", "longer", "swap"))
    at = chance.randrange(len(content))
    if kind == "flip":
        content[at] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del content[at:]
    elif kind == "longer":
        content[at:at] = chance.randbytes(chance.randrange(1, 2000))
    else:
        content = bytearray(chance.choice(files).read_bytes())
    if bytes(content) == path.read_bytes():
        return
    armour = path.suffix == ".asc"  # spaces and comments in it mean nothing
    mirror.write(path, bytes(content))
    try:
        report = elsewhere.ask(mirror.root, LIBRARY)
    except (Refused, Unverifiable):
        return
    answer = only(report, LIBRARY)
    assert answer.verdict in ("refused", "cannot") or (armour and answer.verdict == "yes"), path
