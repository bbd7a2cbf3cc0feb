"""Somebody else with nothing but a mirror, and mirrors that somebody tampered with."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from farm.config import Config, load
from farm.model import Chroot, Manifest, Snapshot, digest_of, to_json
from farm.model.envelope import Envelope
from farm.model.provenance import Statement
from farm.publish.keys import Key, KeyRing, key_ring
from farm.publish.metadata import Entry, write_metadata
from farm.publish.sums import write_sums
from farm.run import Completed, run
from farm.store import sha256_of
from farm.stranger import Answer, StrangerReport, StrangerRequest, verify_published
from tests.real.site import Site


@dataclass
class Elsewhere:
    """An empty directory and a home of its own: no layer, no state, no git."""

    root: Path
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.here.mkdir(parents=True, exist_ok=True)
        self.home.mkdir(exist_ok=True)

    @property
    def here(self) -> Path:
        return self.root / "empty"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def cache(self) -> Path:
        return self.home / ".cache" / "farm"

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "farm", "-C", str(self.here), *words]

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PYTHONPATH": str(Path(__file__).parents[2])}

    def farm(self, *words: str, code: int = 0) -> Completed:
        """A farm command as that person gives it; its exit code has to be `code`."""
        command = self.command(*words)
        done = run(command, cwd=self.here, check=False, timeout=900, env=self.environment)
        assert done.code == code, f"exit code {done.code}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def verify(self, url: str, *words: str, code: int = 0) -> dict[str, Any]:
        """`farm verify --repo URL … --json` → its summary."""
        done = self.farm("verify", "--repo", url, *words, "--json", code=code)
        answer: dict[str, Any] = msgspec.json.decode(done.stdout.splitlines()[-1])["summary"]
        return answer

    @property
    def config(self) -> Config:
        config = load(self.here)
        paths = msgspec.structs.replace(config.paths, cache=str(self.cache))
        return msgspec.structs.replace(config, paths=paths)

    def ask(self, mirror: Path | str, *names: str, **asked: Any) -> StrangerReport:
        """The same in this process; `said` is what was told."""
        self.said.clear()

        def emit(state: str, step: str = "", **fields: Any) -> None:
            self.said.append(f"{state} {step} {fields.get('text', '')}")

        url = mirror if isinstance(mirror, str) else mirror.as_uri()
        request = StrangerRequest(url, names, **asked)
        return verify_published(self.config, request, emit)


def verdicts(summary: dict[str, Any]) -> dict[str, str]:
    """File → verdict of a `--json` summary."""
    return {answer["file"]: answer["verdict"] for answer in summary["answers"]}


def only(report: StrangerReport, name: str) -> Answer:
    """The answer for the one file of that name."""
    (answer,) = [answer for answer in report.answers if answer.name == name]
    return answer


@dataclass
class Mirror:
    """A copy of a publication that a test may change, with the key that signed it."""

    root: Path
    ring: KeyRing
    key: Key
    release: str = "debian-13"

    @classmethod
    def of(cls, site: Site, root: Path, ring: KeyRing) -> Mirror:
        """Hard links; what is changed is written anew."""
        run(["cp", "-a", "--link", site.root / "repo", root])
        return cls(root, ring, ring.find("farm-demo"))

    @property
    def snapshots(self) -> list[Path]:
        """Directories, the oldest first."""
        found = (self.root / "snapshots" / self.release).iterdir()
        return sorted(found, key=lambda path: self.described(path).created)

    @property
    def snapshot(self) -> Path:
        """The directory of the present one."""
        described = self.described(self.root / self.release)
        return self.root / "snapshots" / self.release / described.id

    def described(self, directory: Path) -> Snapshot:
        return msgspec.json.decode((directory / "snapshot.json").read_bytes(), type=Snapshot)

    def file(self, pattern: str, snapshot: Path | None = None) -> Path:
        """The one file of the snapshot that the pattern fits."""
        found = sorted((snapshot or self.snapshot).glob(pattern))
        assert len(found) == 1, f"{pattern}: {found}"
        return found[0]

    def write(self, path: Path, content: bytes) -> None:
        """Other bytes for a file, and for no other name of it."""
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def flip(self, path: Path, at: int = -100) -> None:
        """One byte changed."""
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        self.write(path, bytes(content))

    def copy(self, source: Path, target: Path) -> None:
        target.unlink()
        shutil.copyfile(source, target)

    def change_json(self, path: Path, change: Callable[[Any], Any]) -> None:
        """A JSON file with something else in it; `change` alters it in place, or answers anew."""
        content = msgspec.json.decode(path.read_bytes())
        changed = change(content)
        self.write(path, msgspec.json.encode(content if changed is None else changed))

    def statement(self, path: Path) -> Statement:
        envelope = msgspec.json.decode(path.read_bytes(), type=Envelope)
        return msgspec.json.decode(envelope.content, type=Statement)

    def sign_anew(self, path: Path, change: Callable[[Any], None], *, listed: bool = True) -> None:
        """Provenance that its maintainers signed (and `listed`), with something else in it."""
        content = msgspec.json.decode(to_json(self.statement(path)))
        change(content)
        bare = Envelope.around(msgspec.json.encode(content))
        signature = self.ring.sign_bytes(bare.signed_bytes, self.key, at=self.key.created)
        self.write(path, to_json(bare.signed(self.key.fingerprint, signature)))
        if listed:
            self.list_anew()

    def list_anew(self) -> None:
        """A signed list of the files as they are now."""
        directory = self.snapshot
        for path in directory.glob("SHA256SUMS*"):
            path.unlink()
        at = self.described(directory).created
        write_sums(directory, {}, self.ring, self.key, at=at)

    def sign_metadata(self, repository: str, key: Key | None = None, ring: Any = None) -> None:
        """A new signature over repomd.xml, by this key or by another."""
        repomd = self.snapshot / repository / "repodata" / "repomd.xml"
        created = self.described(self.snapshot).created
        text = (ring or self.ring).sign_detached(repomd, key or self.key, at=created)
        self.write(repomd.with_name("repomd.xml.asc"), text.encode())

    def index_anew(self, repository: str) -> None:
        """Signed metadata and a snapshot.json for what lies in a repository now."""
        directory = self.snapshot / repository
        described = self.described(self.snapshot)
        shutil.rmtree(directory / "repodata")
        paths = sorted((directory / "Packages").rglob("*.rpm"))
        digests = {path.name: (sha256_of(path), path.stat().st_size) for path in paths}
        entries = [
            Entry(path, str(path.relative_to(directory)), digests[path.name][0]) for path in paths
        ]
        write_metadata(directory, entries, created=described.created)
        self.sign_metadata(repository)
        packages = tuple(
            msgspec.structs.replace(
                p, sha256=digests[p.package.nevra.filename][0],
                size=digests[p.package.nevra.filename][1],
            )
            if p.package.nevra.filename in digests
            else p
            for p in described.packages
        )  # fmt: skip
        changed = msgspec.structs.replace(described, packages=packages)
        self.write(self.snapshot / "snapshot.json", to_json(changed))
        self.list_anew()


def other_chroot(content: Any, **changes: Any) -> None:
    """Provenance (as JSON) of a build in another chroot, with the key that this makes."""
    definition = content["predicate"]["buildDefinition"]
    internal = definition["internalParameters"]
    packages = [
        each
        for each in definition["resolvedDependencies"]
        if each["annotations"]["kind"] == "package"
    ]
    internal["chroot"] |= changes
    lock = digest_of(tuple((each["name"], each["digest"]["sha256"]) for each in packages))
    chroot = msgspec.convert(internal["chroot"], Chroot)
    manifest = Manifest(internal["recipe"], lock, chroot.digest, internal["recipeNumber"])
    internal["key"] = manifest.key


def add_lock(mirror: Mirror, content: bytes) -> str:
    """A further lock file; its sha256."""
    sha256 = hashlib.sha256(content).hexdigest()
    mirror.write(mirror.root / "locks" / sha256[:2] / f"{sha256[2:]}.json", content)
    return sha256


__all__ = ["Elsewhere", "Mirror", "add_lock", "key_ring", "only", "other_chroot", "verdicts"]
