"""A farm of its own in a temporary directory, driven through the command line as a user would."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import git
import msgspec

from farm.model import Snapshot
from farm.run import Child, Completed, launch, run
from farm.store import sha256_of
from tests.real.publishing import DEMO_KEY, free_port

HERE = Path(__file__).parents[2]
SMALL_LAYER = HERE / "tests" / "data" / "layer"
_COMES_UP = 60  # seconds for a server, on a machine that is busy with something else
_PERSON = git.Actor("A. Packager", "packager@example.org")


@dataclass
class Site:
    """A small layer in git with the embedded base under it; `root` holds its farm.toml."""

    root: Path
    port: int

    @classmethod
    def make(cls, root: Path) -> Site:
        """Copy the small layer, commit it, import the demonstration key."""
        shutil.copytree(SMALL_LAYER, root)
        shutil.copytree(HERE / "chroots", root / "chroots")
        site = cls(root, free_port())
        (root / "farm.toml").write_text(
            f'[publish]\naddress = "http://127.0.0.1:{site.port}"\n'
            '[releases.debian-13]\narchitectures = ["x86_64", "aarch64"]\n'
        )
        (root / ".gitignore").write_text("/.farm/\n/repo/\n")
        git.Repo.init(root, initial_branch="main")
        site.commit("First")
        site.farm("key", "import", str(DEMO_KEY))
        return site

    def copied(self, place: Path) -> Site:
        """A copy below `place` that a test may change; the store is shared by hard links."""
        root, state = place / "layer", place / "state"
        run(["cp", "-a", "--link", self.root / ".farm", state])
        shutil.copytree(self.root, root, symlinks=True, ignore=shutil.ignore_patterns(".farm"))
        state.rename(root / ".farm")
        for private in ("ledger.sqlite", "coordinator.lock"):
            path = root / ".farm" / private
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content)
        return Site(root, self.port)

    def commit(self, message: str = "A change") -> str:
        repository = git.Repo(self.root)
        repository.git.add("--all")
        return repository.index.commit(message, author=_PERSON, committer=_PERSON).hexsha

    def spec(self, name: str) -> Path:
        return self.root / "specs" / name / f"{name}.spec"

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a spec of the layer, as a contributor would."""
        text = self.spec(name).read_text()
        assert old in text, f"{name}.spec has no {old!r}"
        self.spec(name).write_text(text.replace(old, new))

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "farm", "-C", str(self.root), *words]

    def farm(self, *words: str, code: int = 0, env: Mapping[str, str] | None = None) -> Completed:
        """Run one farm command; its exit code has to be `code`."""
        done = run(self.command(*words), check=False, timeout=900, env=env)
        assert done.code == code, f"exit code {done.code}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def begin(self, *words: str) -> Child:
        """Start a farm command and leave it running."""
        return launch(self.command(*words), log=self.root.parent / "begun.log")

    @contextlib.contextmanager
    def served(self) -> Iterator[str]:
        """`farm serve` until the block ends; gives the address, once it is listened at."""
        log = self.root.parent / "served.log"
        log.unlink(missing_ok=True)
        server = launch(self.command("serve"), log=log)
        try:
            deadline = time.monotonic() + _COMES_UP
            while "serving " not in log.read_text():
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, "farm serve does not come up"
                time.sleep(0.05)
            yield f"http://127.0.0.1:{self.port}"
        finally:
            server.end()

    def verdicts(self, *words: str, code: int = 0) -> dict[tuple[str, str], str]:
        """`farm build … --json` → (package, architecture) → verdict."""
        return {
            (row["recipe"], row["arch"]): row["verdict"]
            for row in self.summary("build", *words, code=code)["rows"]
        }

    def summary(self, *words: str, code: int = 0) -> dict[str, Any]:
        """The last line of a `--json` answer."""
        lines = self.farm(*words, "--json", code=code).stdout.splitlines()
        answer: dict[str, Any] = msgspec.json.decode(lines[-1])["summary"]
        return answer

    def published(self) -> dict[str, str]:
        """file name → sha256 of every package in the repositories of the release."""
        tree = (self.root / "repo" / "debian-13").resolve()
        return {
            str(path.relative_to(tree)): sha256_of(path) for path in sorted(tree.rglob("*.rpm"))
        }

    def packages(self) -> dict[str, str]:
        """NEVRA → sha256 before signing of every package of the current snapshot."""
        text = (self.root / "repo" / "debian-13" / "snapshot.json").read_bytes()
        snapshot = msgspec.json.decode(text, type=Snapshot)
        return {str(s.package.nevra): s.package.sha256 for s in snapshot.packages}
