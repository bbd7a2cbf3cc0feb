"""What was built, when, from what, with which result: one SQLite file, one coordinator.

Only the coordinator opens it. What matters of it (results, counters, standings) can be restored
from the published tree; durations and failed attempts cannot.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from farm.errors import StateError
from farm.model import Attempt, Evaluation, Failed, Outcome, Result, T, from_json, to_json
from farm.store import claim

_SCHEMA_VERSION = 1
_SCHEMA = """
create table results (key text primary key, step text not null, finished real not null,
                      scratch integer not null, record blob not null);
create index results_by_step on results (step, finished);
create table standings (step text primary key, key text not null);
create table counters (release text not null, source text not null, vr text not null,
                       counter integer not null, primary key (release, source));
create table attempts (id text primary key, step text not null, key text not null,
                       started real not null, ended real, verdict text, seconds real,
                       record blob);
create index attempts_by_step on attempts (step, started);
create table evaluations (key text primary key, record blob not null);
create table srpms (key text primary key, sha256 text not null, record blob not null);
"""


@contextlib.contextmanager
def coordinator(state: Path) -> Iterator[Ledger]:
    """The ledger of this state directory, ours alone until the block ends.

    Raises StateError when another farm is at work there, or the file cannot be used.
    """
    state.mkdir(parents=True, exist_ok=True)
    lock = os.open(state / "coordinator.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        holder = claim(lock)
        if holder:
            raise StateError(
                f"another farm (process {holder}) is at work in {state}",
                hint="Wait for it, or use another state directory (paths.state in farm.toml).",
            )
        with _opened(state / "ledger.sqlite") as database:
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
            database = stack.enter_context(_opened(state / "ledger.sqlite"))
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
    with _opened(path) as database:
        yield Ledger(database)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The database; what goes wrong with it inside the block is a StateError as well."""
    with contextlib.closing(_connect(path)) as database:
        try:
            yield database
        except sqlite3.DatabaseError as error:
            raise _unusable(path, error) from error


def _connect(path: Path) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(path, isolation_level=None, timeout=30)
        database.execute("pragma journal_mode = wal")
        database.execute("pragma synchronous = full")
        version = database.execute("pragma user_version").fetchone()[0]
        if version == 0:
            with _transaction(database):
                for statement in _SCHEMA.split(";"):
                    database.execute(statement)
                database.execute(f"pragma user_version = {_SCHEMA_VERSION}")
        elif version != _SCHEMA_VERSION:
            raise StateError(
                f"{path} has schema {version}, this farm knows {_SCHEMA_VERSION}",
                hint="Use the farm that wrote it, or move the file away and run "
                "`farm ledger rebuild`.",
            )
    except sqlite3.DatabaseError as error:
        raise _unusable(path, error) from error
    return database


def _unusable(path: Path, error: sqlite3.DatabaseError) -> StateError:
    if "full" in str(error):
        return StateError(
            f"the ledger {path} cannot be written: its disk is full",
            hint="Free some space and run the command again: what was recorded stands.",
        )
    if "readonly" in str(error) or "unable to open" in str(error):
        return StateError(
            f"the ledger {path} cannot be opened for writing",
            why=str(error),
            hint="Run farm as the user whom it belongs to, or choose another paths.state.",
        )
    return StateError(
        f"the ledger {path} cannot be read",
        why=str(error),
        hint="Move the file away and run `farm ledger rebuild`: it restores what matters "
        "from the published tree.",
    )


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("begin immediate")
    try:
        yield
    except BaseException:
        database.execute("rollback")
        raise
    database.execute("commit")


class Ledger:
    """Typed access to the tables; every writing method is one transaction."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def result(self, key: str) -> Result | None:
        """What was built under this key."""
        return self._one(Result, "select record from results where key = ?", key)

    def standing(self, step: str) -> Result | None:
        """The result that counts for this step now."""
        return self._one(
            Result,
            "select record from results join standings using (key) where standings.step = ?",
            step,
        )

    def standings(self) -> tuple[Result, ...]:
        """All results that count now, by step; those of bootstraps count for nobody else."""
        rows = self._db.execute(
            "select record from results join standings using (key) order by standings.step"
        )
        results = (from_json(Result, row[0], where="the ledger") for row in rows)
        return tuple(result for result in results if not result.bootstrap)

    def record(self, result: Result, *, stands: bool = True) -> None:
        """Keep a result; `stands` makes it the one that counts for its step."""
        with _transaction(self._db):
            self._db.execute(
                "insert or replace into results values (?, ?, ?, ?, ?)",
                (result.key, result.step, result.finished, result.scratch, to_json(result)),
            )
            if stands:
                self._stand(result.step, result.key)

    def stand(self, step: str, key: str) -> None:
        """Make an earlier result the one that counts."""
        with _transaction(self._db):
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

    def begin(self, attempt: str, step: str, key: str) -> None:
        """An attempt starts."""
        self._db.execute(
            "insert into attempts (id, step, key, started) values (?, ?, ?, ?)",
            (attempt, step, key, time.time()),
        )

    def end(self, attempt: str, outcome: Outcome) -> None:
        """An attempt has ended. A second end of the same attempt is ignored."""
        verdict = type(outcome).__name__.lower()
        seconds = getattr(outcome, "seconds", 0.0)
        self._db.execute(
            "update attempts set ended = ?, verdict = ?, seconds = ?, record = ?"
            " where id = ? and ended is null",
            (time.time(), verdict, seconds, to_json(outcome), attempt),
        )

    def abandon(self) -> tuple[str, ...]:
        """Close the attempts that a killed coordinator left open; their ids."""
        rows = self._db.execute("select id from attempts where ended is null").fetchall()
        for (attempt,) in rows:
            self.end(attempt, Failed("infrastructure", "farm was stopped before it ended"))
        return tuple(attempt for (attempt,) in rows)

    def attempts(self, step: str | None = None, limit: int = 1000) -> tuple[Attempt, ...]:
        """Ended attempts, newest first."""
        where, values = ("and step = ?", (step,)) if step else ("", ())
        rows = self._db.execute(
            "select id, step, key, started, ended, record from attempts"
            f" where ended is not null {where} order by started desc limit ?",
            (*values, limit),
        )
        return tuple(
            Attempt(i, s, k, b, e, from_json(Outcome, record, where="the ledger"))  # type: ignore[arg-type]
            for i, s, k, b, e, record in rows
        )

    def expected_seconds(self, step: str) -> float | None:
        """How long the last successful attempt of this step took."""
        row = self._db.execute(
            "select seconds from attempts where step = ? and verdict = 'built'"
            " order by started desc limit 1",
            (step,),
        ).fetchone()
        return float(row[0]) if row else None

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

    def _one(self, kind: type[T], query: str, *values: str) -> T | None:
        row = self._db.execute(query, values).fetchone()
        return from_json(kind, row[0], where="the ledger") if row else None


class _Visited(Ledger):
    """Somebody else's ledger: what is found out while visiting is not remembered."""

    def remember_evaluation(self, key: str, evaluation: Evaluation) -> None:
        pass

    def remember_srpm(self, key: str, sha256: str, record: bytes) -> None:
        pass

    def abandon(self) -> tuple[str, ...]:
        return ()
