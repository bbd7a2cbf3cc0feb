"""What was built, when, from what, with which result: one SQLite file, one coordinator.

Only the coordinator opens it. What matters of it (results, counters, standings) can be restored
from the published tree; durations and failed attempts cannot.

Results share what is the same in many of them: packages of build roots, whole locks, chroots.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from farm.accounts import Accounts
from farm.database import Shared, is_older, opened, transaction
from farm.errors import Busy, StateError
from farm.model import Evaluation, Lock, Result, T, from_json, to_json
from farm.steps import is_bootstrap
from farm.store import claim

_WHOLE = "results.record, results.lock, results.chroot"


@contextlib.contextmanager
def coordinator(state: Path) -> Iterator[Ledger]:
    """The ledger of this state directory, ours alone until the block ends.

    Raises Busy when another farm is at work there, StateError when the file cannot be used.
    """
    state.mkdir(parents=True, exist_ok=True)
    lock = os.open(state / "coordinator.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        holder = claim(lock)
        if holder:
            raise Busy(
                f"another farm (process {holder}) is at work in {state}",
                hint="Wait for it, or use another state directory (paths.state in farm.toml).",
                process=int(holder) if holder.isdecimal() else 0,
            )
        with opened(state / "ledger.sqlite") as database:
            yield Ledger(database)
    finally:
        os.close(lock)


@contextlib.contextmanager
def visitor(state: Path) -> Iterator[Ledger]:
    """The ledger for a question: ours if nobody is at work, else one that nothing is written to."""
    with contextlib.ExitStack() as stack:
        try:
            ledger = stack.enter_context(coordinator(state))
        except StateError:
            if not (state / "ledger.sqlite").exists():
                raise
            database = stack.enter_context(opened(state / "ledger.sqlite", ours=False))
            database.execute("pragma query_only = on")
            ledger = _Visited(database)
        yield ledger


@contextlib.contextmanager
def reader(state: Path) -> Iterator[Ledger | None]:
    """The ledger for looking only (None when nothing was ever recorded)."""
    path = state / "ledger.sqlite"
    if not path.exists():
        yield None
        return
    if is_older(path):
        with coordinator(state):  # brings it up to date, if nobody is at work with it
            pass
    with opened(path, ours=False) as database:
        yield Ledger(database)


class Ledger(Accounts):
    """Typed access to the tables; every writing method is one transaction."""

    def __init__(self, database: sqlite3.Connection) -> None:
        super().__init__(database)
        self._shared = Shared(database)
        self._results: dict[str, Result] = {}

    def result(self, key: str) -> Result | None:
        """What was built under this key."""
        known = self._results.get(key)
        return known or self._result(f"select key, {_WHOLE} from results where key = ?", key)

    def results_of(self, step: str) -> tuple[Result, ...]:
        """Everything that was built for this step, oldest first."""
        query = f"select key, {_WHOLE} from results where step = ? order by finished, key"
        return tuple(self._each(self._db.execute(query, (step,))))

    def everything(self) -> tuple[Result, ...]:
        """Every result that was ever recorded, oldest first."""
        query = f"select key, {_WHOLE} from results order by finished, key"
        return tuple(self._each(self._db.execute(query)))

    def standing(self, step: str) -> Result | None:
        """The result that counts for this step now."""
        row = self._db.execute("select key from standings where step = ?", (step,)).fetchone()
        return self.result(row[0]) if row else None

    def outline(self) -> tuple[tuple[object, ...], ...]:
        """Numbers of which one is another when an attempt or result came, or something else
        stands; cheaper than to look at these."""
        tried = self._db.execute("select count(*), total(started), total(ended) from attempts")
        built = self._db.execute("select count(*), total(finished) from results")
        stands = self._db.execute("select step, key from standings order by step")
        return (*tried, *built, *stands)

    def standings(self, *, bootstraps: bool = False) -> tuple[Result, ...]:
        """All results that count now, by step; those of bootstraps count for nobody else."""
        rows = self._db.execute(
            f"select key, {_WHOLE} from results join standings using (key) order by standings.step"
        )
        return tuple(each for each in self._each(rows) if bootstraps or not each.bootstrap)

    def standing_steps(self) -> tuple[str, ...]:
        """The steps that have a result that counts now, those of bootstraps left out."""
        rows = self._db.execute("select step from standings order by step")
        return tuple(step for (step,) in rows if not is_bootstrap(step))

    def record(self, result: Result, *, stands: bool = True) -> None:
        """Keep a result; `stands` makes it the one that counts for its step."""
        with self._writing():
            self._record(result, stands)
        self._results.pop(result.key, None)

    def conclude(
        self, attempt: str, result: Result, *, keep: bool, stands: bool, place: str
    ) -> bool:
        """An attempt has ended, and this came out: both are written, or neither is.

        `keep`: the result is recorded. False, and nothing is written, for an attempt that had an
        end already.
        """
        with self._writing():
            if not self.end(attempt, result.built, place=place):
                return False
            if keep:
                self._record(result, stands)
        self._results.pop(result.key, None)
        return True

    def _record(self, result: Result, stands: bool) -> None:
        self._db.execute(
            "insert or replace into results values (?, ?, ?, ?, ?, ?, ?)",
            (result.key, result.step, result.finished, result.scratch, *self._shared.put(result)),
        )
        if stands:
            self._stand(result.step, result.key)

    def solved(self, question: str) -> str:
        """Lock.digest of what the solver said to this question before, "" if it was not asked."""
        row = self._db.execute(
            "select digest from solutions join locks on locks.id = lock where question = ?",
            (question,),
        ).fetchone()
        return str(row[0]) if row else ""

    def solution(self, question: str) -> Lock | None:
        """What the solver said to this question before."""
        row = self._db.execute(
            "select lock from solutions where question = ?", (question,)
        ).fetchone()
        return self._shared.lock(row[0]) if row else None

    def remember_solution(self, question: str, lock: Lock) -> None:
        with self._writing():
            self._db.execute(
                "insert or replace into solutions values (?, ?)",
                (question, self._shared.put_lock(lock)),
            )

    def forget_solutions(self, kept: Iterable[str]) -> None:
        """Answers of the solver go, but for the build roots of the results under these keys."""
        with transaction(self._db):
            self._db.execute("create temporary table kept (key text primary key)")
            self._db.executemany("insert or ignore into kept values (?)", ((k,) for k in kept))
            self._db.execute(
                "delete from solutions where lock not in"
                " (select lock from results join kept using (key))"
            )
            self._db.execute("drop table kept")

    def stand(self, step: str, key: str) -> None:
        """Make an earlier result the one that counts."""
        standing = self._db.execute("select key from standings where step = ?", (step,)).fetchone()
        if standing != (key,):
            self._stand(step, key)

    def _stand(self, step: str, key: str) -> None:
        self._db.execute("insert or replace into standings values (?, ?)", (step, key))

    def forget(self, step: str) -> None:
        """The step is no longer part of the layer; its results stay."""
        self._db.execute("delete from standings where step = ?", (step,))

    def counter(self, release: str, source: str, vr: str) -> int:
        """The rebuild counter in force; 0 for a version-release (without dist) not seen before."""
        row = self._db.execute(
            "select counter from counters where release = ? and source = ? and vr = ?",
            (release, source, vr),
        ).fetchone()
        return int(row[0]) if row else 0

    def set_counter(self, release: str, source: str, vr: str, counter: int) -> None:
        """Put a counter in force; a new version-release replaces the old one's."""
        self._db.execute(
            "insert or replace into counters values (?, ?, ?, ?)", (release, source, vr, counter)
        )

    def evaluation(self, key: str) -> Evaluation | None:
        """What rpm said of a recipe under this key (recipe, chroot, set-up root)."""
        return self._one(Evaluation, "select record from evaluations where key = ?", key)

    def remember_evaluation(self, key: str, evaluation: Evaluation) -> None:
        self._db.execute(
            "insert or replace into evaluations values (?, ?)", (key, to_json(evaluation))
        )

    def srpm(self, key: str) -> bytes | None:
        """JSON of the source package made under this key (recipe, release, counter)."""
        row = self._db.execute("select record from srpms where key = ?", (key,)).fetchone()
        return bytes(row[0]) if row else None

    def remember_srpm(self, key: str, sha256: str, record: bytes) -> None:
        self._db.execute("insert or replace into srpms values (?, ?, ?)", (key, sha256, record))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with transaction(self._db):
                yield
        except BaseException:
            self._shared.forget_uncommitted()
            raise

    def _result(self, query: str, *values: str) -> Result | None:
        return next(self._each(self._db.execute(query, values)), None)

    def _each(self, rows: Iterable[tuple[str, bytes, str, str]]) -> Iterator[Result]:
        """The results in rows of key, record, lock, chroot; each is put together once."""
        for key, record, lock, chroot in rows:
            if key not in self._results:
                self._results[key] = self._shared.get(record, lock, chroot)
            yield self._results[key]

    def _one(self, kind: type[T], query: str, *values: str) -> T | None:
        row = self._db.execute(query, values).fetchone()
        return from_json(kind, row[0], where="the ledger") if row else None


class _Visited(Ledger):
    """Somebody else's ledger: what is found out while visiting is not remembered."""

    def remember_evaluation(self, key: str, evaluation: Evaluation) -> None:
        pass

    def remember_srpm(self, key: str, sha256: str, record: bytes) -> None:
        pass

    def remember_solution(self, question: str, lock: Lock) -> None:
        pass
