"""What is done with what a worker left: files into the store, the outcome into the ledger.

A live attempt and one that a killed coordinator left are taken in alike.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from farm.errors import FarmError
from farm.ledger import Ledger
from farm.model import Built, Failed, Job, Nevra, Outcome, Result
from farm.model.provenance import portable
from farm.rebuild.attempts import attempt_directory, keep_logs
from farm.rebuild.claim import claimed
from farm.rebuild.keys import bytes_of, manifest_of
from farm.steps import is_bootstrap
from farm.store import Store


@dataclass(frozen=True)
class Renamed:
    """Other bytes came out under a NEVRA that is published: to be built with this counter."""

    counter: int
    nevra: Nevra


@dataclass(frozen=True)
class Intake:
    """Where things go. `published`: (step, NEVRA) → sha256 before signing."""

    ledger: Ledger
    store: Store
    state: Path
    published: Mapping[tuple[str, str], str]

    def take(self, job: Job, outcome: Outcome, vr: str = "") -> Result | Failed | Renamed:
        """Record an outcome. What comes out is recorded with the end of its attempt or not at
        all, so that a coordinator that is killed here loses nothing and builds nothing twice.

        `vr` is the version-release that the rebuild counter belongs to, where it is known better
        than by the source package.
        """
        directory = attempt_directory(self.state, job.attempt)
        there = claimed(directory)
        place = there.place if there is not None else ""
        with contextlib.suppress(OSError):  # a log for which there is no room is lost, not a result
            keep_logs(self.state, job.step, job.attempt)
        if not isinstance(outcome, Built):
            failed = outcome if isinstance(outcome, Failed) else Failed("package", str(outcome))
            self.ledger.end(job.attempt, failed, place=place)
            return failed
        try:
            self._store(directory, outcome)
        except (OSError, FarmError) as error:
            failed = Failed(
                "infrastructure",
                f"the results could not be stored: {error}",
                seconds=outcome.seconds,
                usage=outcome.usage,
            )
            self.ledger.end(job.attempt, failed, place=place)
            return failed
        others = [] if job.recipe.scratch else others_published(self.published, job.step, outcome)
        result = self._result(job, outcome)
        if others:
            vr = vr or _bare(outcome, job)
            self.ledger.set_counter(job.chroot.release, job.recipe.name, vr, job.counter + 1)
        known = self.ledger.result(result.key) if result.scratch else None
        # trying something takes nothing back that counts
        keep = not others and (known is None or known.scratch)
        counts = self.ledger.conclude(
            job.attempt, result, keep=keep, stands=not result.scratch, place=place
        )
        if not counts:
            return Failed(
                "infrastructure", f"the attempt {job.attempt} was given up before it ended"
            )
        self._tidy(job, directory)
        return Renamed(job.counter + 1, others[0]) if others else result

    def _store(self, directory: Path, built: Built) -> None:
        for package in built.packages:
            path = directory / "results" / package.nevra.filename
            # a coordinator that was killed may have put it there already
            if path.exists() or package.sha256 not in self.store:
                self.store.put(path, sha256=package.sha256, link=True)

    def _result(self, job: Job, built: Built) -> Result:
        standing = self.ledger.standing(job.step)
        if standing is not None and bytes_of(standing.built) == bytes_of(built):
            # the binaries stayed the same, so the source package that was published stays too
            built = msgspec.structs.replace(built, srpm=standing.built.srpm)
        built = msgspec.structs.replace(built, host=(("farm", _version()), *built.host))
        return Result(
            key=job.key,
            step=job.step,
            manifest=manifest_of(job.recipe, job.lock, job.chroot),
            lock=job.lock,
            recipe_files=job.recipe.files,
            counter=job.counter,
            commit=job.recipe.commit,
            built=built,
            finished=time.time(),
            scratch=job.recipe.scratch,
            bootstrap=is_bootstrap(job.step),
            chroot=portable(job.chroot),
            inputs=job.inputs,
            spec=job.recipe.spec,
            epoch_seconds=job.epoch_seconds,
        )

    def _tidy(self, job: Job, directory: Path) -> None:
        """Of the last attempt the job file stays, for `farm shell`; of earlier ones nothing."""
        tidy(directory)
        for attempt in self.ledger.ended(job.step):
            if attempt != job.attempt:
                shutil.rmtree(attempt_directory(self.state, attempt), ignore_errors=True)


def tidy(directory: Path) -> None:
    """Delete what an attempt that is over left and nobody needs any more."""
    for name in ("results", "out", "srpm"):
        shutil.rmtree(directory / name, ignore_errors=True)
    with contextlib.suppress(OSError):
        (directory / "build.log").unlink(missing_ok=True)


def others_published(
    published: Mapping[tuple[str, str], str], step: str, built: Built
) -> list[Nevra]:
    """Packages whose NEVRA this step has published with other bytes."""
    return [
        package.nevra
        for package in built.packages
        if published.get((step, str(package.nevra)), package.sha256) != package.sha256
    ]


def _bare(built: Built, job: Job) -> str:
    source = built.srpm.nevra
    return f"{source.version}-{source.release.replace(job.dist, '')}"


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - a run that builds nothing needs none

    return version("farm")
