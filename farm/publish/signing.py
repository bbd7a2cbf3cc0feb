"""Signed copies of packages: made once for each package and key, verified, kept.

rpmsign rewrites a file in place, so it only ever sees real copies of what the store holds. The
signature's date is the package's build time: the same package and key give the same bytes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from farm import rpmheader
from farm.errors import PublishError
from farm.model import Package, SignedPackage, T
from farm.publish.keys import Key, KeyRing, passphrase_hint, signing_options
from farm.run import run
from farm.store import sha256_of

_AT_A_TIME = 200  # files between two reports, and for one rpmkeys
_PER_PROCESS = 25  # files for one rpmsign


@dataclass(frozen=True)
class SignedCopy:
    """A signed package and where its bytes are."""

    signed: SignedPackage
    path: Path


class SignedCopies:
    """The signed copies below the state directory, by key and by the unsigned sha256."""

    def __init__(self, state: Path) -> None:
        self.root = state / "signed"

    def path(self, package: Package, key: Key) -> Path:
        """Where the signed copy is or would be."""
        sha256 = package.sha256
        return self.root / key.fingerprint / sha256[:2] / f"{sha256[2:]}.rpm"

    def get(self, package: Package, key: Key) -> SignedCopy:
        """A copy that `add` made."""
        path = self.path(package, key)
        return SignedCopy(
            SignedPackage(package, sha256_of(path), path.stat().st_size, key.fingerprint), path
        )

    def add(
        self,
        packages: Iterable[Package],
        locate: Callable[[Package], Path],
        ring: KeyRing,
        key: Key,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> tuple[Package, ...]:
        """Sign those that have no copy yet and return them; verify those that have.

        `locate` finds a package's bytes, as built or signed. Only one farm at a time signs:
        the one that has the ring open. Raises PublishError when a package cannot be signed, or
        a copy is not what it should be; StateError when the store has lost one.
        """
        wanted = tuple({package.sha256: package for package in packages}.values())
        missing = tuple(p for p in wanted if not self.path(p, key).exists())
        ready = {self.path(p, key) for p in wanted} - {self.path(p, key) for p in missing}
        self.root.mkdir(parents=True, exist_ok=True)
        _forget_drafts(self.root)
        with (
            tempfile.TemporaryDirectory(prefix=".draft-", dir=self.root) as name,
            verifier(ring, key) as verify,
        ):
            verify(sorted(ready))
            done = 0
            for part in _parts(missing):
                drafts = [
                    (package, _copy(locate(package), package, Path(name))) for package in part
                ]
                _sign([draft for _, draft in drafts], ring, key)
                verify([draft for _, draft in drafts])
                for package, draft in drafts:
                    _keep(package, locate(package), draft, self.path(package, key))
                done += len(part)
                on_progress(done, len(missing))
        return missing


Verify = Callable[[Sequence[Path]], None]


@contextlib.contextmanager
def verifier(ring: KeyRing, key: Key) -> Iterator[Verify]:
    """`verify(paths)`: each must be whole and signed with this key, by rpm's own judgement.

    It raises PublishError that names those which are not. The rpm database it uses holds this
    key and nothing else, whatever the host trusts.
    """
    with tempfile.TemporaryDirectory(prefix="rpmdb-", dir=ring.scratch) as name:
        public = Path(name) / "key.asc"
        public.write_text(ring.public(key))
        database = Path(name) / "db"
        rpmkeys = (
            "rpmkeys",
            "--define", f"_dbpath {database}",
            "--define", f"_keyringpath {database}/pubkeys/",
            "--define", "_pkgverify_level all",
        )  # fmt: skip
        run([*rpmkeys, "--import", public], env=ring.environment)

        def verify(paths: Sequence[Path]) -> None:
            for part in _parts(paths):
                done = run(
                    [*rpmkeys, "--checksig", "--verbose", *part], env=ring.environment, check=False
                )
                if not done.ok:
                    raise PublishError(
                        f"rpm does not accept the signature of {_names(_rejected(done.stdout))}",
                        why=_telling(done.stdout) or done.stderr.strip(),
                        hint="Nothing was published. If the file was damaged on disk, remove the "
                        "directory `signed` below the state directory and publish again.",
                    )

        yield verify


def same_package(unsigned: Path, signed: Path) -> bool:
    """Whether `signed` is `unsigned` with a signature: same header region, same payload."""
    return rpmheader.identity(unsigned) == rpmheader.identity(signed)


def _sign(drafts: Sequence[Path], ring: KeyRing, key: Key) -> None:
    """Sign files in place, some at a time: starting gpg for each is what takes the time."""
    by_time: dict[int, list[Path]] = {}
    for draft in drafts:
        built = rpmheader.read(draft).build_time
        by_time.setdefault(max(built, key.created), []).append(draft)
    batches = [
        (at, part) for at, paths in sorted(by_time.items()) for part in _parts(paths, _PER_PROCESS)
    ]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as signers:
        try:
            for _ in signers.map(lambda batch: _sign_batch(batch[0], batch[1], ring, key), batches):
                pass
        except BaseException:
            signers.shutdown(cancel_futures=True)
            raise


def _sign_batch(at: int, paths: Sequence[Path], ring: KeyRing, key: Key) -> None:
    done = run(
        [
            "rpmsign",
            # Debian's macro names a gpg2 that is not there.
            "--define", f"__gpg {shutil.which('gpg') or '/usr/bin/gpg'}",
            "--define", f"_gpg_name {key.user}",
            "--define", "_gpg_digest_algo sha256",
            "--define", f"_gpg_sign_cmd_extra_args {' '.join(signing_options(at))}",
            "--addsign", *paths,
        ],
        env=ring.environment,
        check=False,
    )  # fmt: skip
    if not done.ok:
        raise PublishError(
            f"the key {key.name!r} could not sign {_names(paths)}",
            why=_complaint(done.stderr) or done.stdout.strip(),
            hint=passphrase_hint(done.stderr),
        )


def _copy(original: Path, package: Package, directory: Path) -> Path:
    draft = directory / package.nevra.filename
    if draft.exists():  # two architectures' copies of one noarch package
        draft = directory / f"{package.sha256[:12]}-{package.nevra.filename}"
    shutil.copyfile(original, draft)
    # A published copy, signed with another key, stands in for an original that was lost.
    if sha256_of(draft) != package.sha256 and not rpmheader.read(draft).is_signed:
        raise PublishError(
            f"{package.nevra} is not the package that was built",
            why=f"{original} has other bytes than its name says",
            hint=f"Remove that file and build {package.source} again.",
        )
    return draft


def _keep(package: Package, original: Path, draft: Path, target: Path) -> None:
    if not same_package(original, draft):
        raise PublishError(
            f"the signed copy of {package.nevra} is not the package that was built",
            why="Its header or payload differs from that of the unsigned file.",
            hint="Check this machine's disk and memory, and publish again.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    draft.chmod(0o444)
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(target)


def _parts(items: Sequence[T], size: int = _AT_A_TIME) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _forget_drafts(root: Path) -> None:
    for left in root.glob(".draft-*"):
        shutil.rmtree(left, ignore_errors=True)


def _rejected(output: str) -> list[Path]:
    rejected: list[Path] = []
    current = None
    for line in output.splitlines():
        if line and not line[0].isspace() and line.endswith(":"):
            current = Path(line[:-1])
        elif current is not None and current not in rejected and _is_bad(line):
            rejected.append(current)
    return rejected


def _telling(output: str) -> str:
    return "\n".join(line for line in output.splitlines() if _is_bad(line))


def _is_bad(line: str) -> bool:
    return line[:1].isspace() and not line.rstrip().endswith(": OK")


def _complaint(stderr: str) -> str:
    noise = ("faked system time", "GPG_TTY")
    return "\n".join(
        line for line in stderr.splitlines() if not any(word in line for word in noise)
    ).strip()


def _names(paths: Sequence[Path]) -> str:
    names = [path.name for path in paths[:3]]
    more = len(paths) - len(names)
    return (", ".join(names) or "a package") + (f" and {more} more" if more > 0 else "")
