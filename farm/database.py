"""The ledger's file: its schema, how an older one is brought up to it, what can go wrong."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from farm.errors import StateError
from farm.model import (
    Chroot,
    Failed,
    Lock,
    LockedPackage,
    Outcome,
    Result,
    digest_of,
    from_json,
    to_json,
)

_SCHEMA_VERSION = 3
# What schema 1 did not have, or had otherwise.
_RESULTS = """
create table packages (id integer primary key, record blob not null unique);
create table locks (id text primary key, digest text not null, packages blob not null);
create table chroots (id text primary key, record blob not null);
create table solutions (question text primary key, lock text not null);
create table results (key text primary key, step text not null, finished real not null,
                      scratch integer not null, record blob not null,
                      lock text not null, chroot text not null);
create index results_by_step on results (step, finished);
"""
# What schema 2 had otherwise. The record comes last: what lists and sums want lies before it.
_ATTEMPTS = """
create table attempts (id text primary key, step text not null, key text not null,
                       started real not null, ended real, verdict text, seconds real,
                       kind text not null default '', cap text not null default '',
                       place text not null default '', way text not null default '',
                       cores integer not null default 0, expected real not null default 0,
                       cpu real not null default 0, memory integer not null default 0,
                       disk integer not null default 0, limits blob not null default x'',
                       record blob);
create index attempts_by_step on attempts (step, started);
"""
_SCHEMA = """
create table standings (step text primary key, key text not null);
create table counters (release text not null, source text not null, vr text not null,
                       counter integer not null, primary key (release, source));
create table evaluations (key text primary key, record blob not null);
create table srpms (key text primary key, sha256 text not null, record blob not null);
"""


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    packages: tuple[int, ...]
    setup: tuple[int | str, ...]  # places among the packages


@contextlib.contextmanager
def opened(path: Path, *, ours: bool = True) -> Iterator[sqlite3.Connection]:
    """The database; what goes wrong with it inside the block is a StateError as well.

    One of an older farm is brought up to date if it is `ours` alone.
    """
    with contextlib.closing(_connect(path, ours)) as database:
        try:
            yield database
        except sqlite3.DatabaseError as error:
            raise _unusable(path, error) from error


def is_older(path: Path) -> bool:
    """Whether the file was written by an older farm, and can be brought up to date."""
    with (
        contextlib.suppress(sqlite3.DatabaseError),
        contextlib.closing(sqlite3.connect(path, timeout=30)) as database,
    ):
        return bool(0 < database.execute("pragma user_version").fetchone()[0] < _SCHEMA_VERSION)
    return False


def _connect(path: Path, ours: bool) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(path, isolation_level=None, timeout=30)
        database.execute("pragma journal_mode = wal")
        database.execute("pragma synchronous = full")
        version = database.execute("pragma user_version").fetchone()[0]
        if version == 0:
            with transaction(database):
                for statement in (_RESULTS + _ATTEMPTS + _SCHEMA).split(";"):
                    database.execute(statement)
                database.execute(f"pragma user_version = {_SCHEMA_VERSION}")
        elif version in (1, 2) and ours:
            with transaction(database):
                if version == 1:
                    _from_first(database)
                _from_second(database)
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


def _from_first(database: sqlite3.Connection) -> None:
    """Schema 1 kept every result whole."""
    database.execute("alter table results rename to whole_results")
    database.execute("drop index results_by_step")
    for statement in _RESULTS.split(";"):
        database.execute(statement)
    shared = Shared(database)
    rows = database.execute("select key, step, finished, scratch, record from whole_results")
    for *row, record in rows.fetchall():
        result = from_json(Result, record, where="the ledger")
        database.execute("insert into results values (?,?,?,?,?,?,?)", (*row, *shared.put(result)))
    database.execute("drop table whole_results")


def _from_second(database: sqlite3.Connection) -> None:
    """Schema 2 knew of an attempt's failure, and of what it used, only by its record."""
    database.execute("alter table attempts rename to bare_attempts")
    database.execute("drop index attempts_by_step")
    for statement in _ATTEMPTS.split(";"):
        database.execute(statement)
    rows = database.execute(
        "select id, step, key, started, ended, verdict, seconds, record from bare_attempts"
    )
    for *row, record in rows.fetchall():
        failed = from_json(Outcome, record, where="the ledger") if row[5] == "failed" else None  # type: ignore[arg-type]
        kind = failed.kind if isinstance(failed, Failed) else ""
        database.execute(
            "insert into attempts (id, step, key, started, ended, verdict, seconds, kind, record)"
            " values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, kind, record),
        )
    database.execute("drop table bare_attempts")


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
    if "I/O" in str(error):  # a full disk says so as well; the file may be sound
        return StateError(
            f"the ledger {path} cannot be read or written now",
            why=str(error),
            hint="Is its file system full, out of reach, or one over the network? Leave the file "
            "where it is.",
        )
    return StateError(
        f"the ledger {path} cannot be read",
        why=str(error),
        hint="Move the file away and run `farm ledger rebuild`: it restores what matters "
        "from the published tree.",
    )


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All that the block writes, or nothing when it raises."""
    database.execute("begin immediate")
    try:
        yield
    except BaseException:
        database.execute("rollback")
        raise
    database.execute("commit")


class Shared:
    """What many results have in common, each kept once: packages of build roots, locks, chroots."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._packages: dict[int, LockedPackage] = {}
        self._numbers: dict[bytes, int] = {}
        self._locks: dict[str, Lock] = {}
        self._chroots: dict[str, Chroot] = {}

    def put(self, result: Result) -> tuple[bytes, str, str]:
        """A result's record without its lock and chroot, and the names of those."""
        bare = msgspec.structs.replace(result, lock=Lock(()), chroot=None)
        chroot = ""
        if result.chroot is not None:
            chroot = digest_of(result.chroot)
            self._db.execute(
                "insert or ignore into chroots values (?, ?)", (chroot, to_json(result.chroot))
            )
        return to_json(bare), self.put_lock(result.lock), chroot

    def get(self, record: bytes, lock: str, chroot: str) -> Result:
        """The result that `put` took apart. Raises StateError."""
        bare = from_json(Result, record, where="the ledger")
        return msgspec.structs.replace(bare, lock=self.lock(lock), chroot=self.chroot(chroot))

    def put_lock(self, lock: Lock) -> str:
        """Keep a lock; its name is of all that it says, addresses included."""
        name = digest_of(lock)
        if self._db.execute("select 1 from locks where id = ?", (name,)).fetchone() is None:
            places = {package.sha256: place for place, package in enumerate(lock.packages)}
            packed = _Packed(
                tuple(self._number(package) for package in lock.packages),
                tuple(places.get(sha256, sha256) for sha256 in lock.setup),
            )
            row = (name, lock.digest, msgspec.json.encode(packed))
            self._db.execute("insert into locks values (?, ?, ?)", row)
        return name

    def lock(self, name: str) -> Lock:
        """Raises StateError for one that is not there whole."""
        if name not in self._locks:
            row = self._db.execute("select packages from locks where id = ?", (name,)).fetchone()
            if row is None:
                raise self._lost("the build root of a result")
            packed = from_json(_Packed, row[0], where="the ledger")
            if any(number not in self._packages for number in packed.packages):
                self._read_packages()
            try:
                packages = tuple(self._packages[number] for number in packed.packages)
            except KeyError as error:
                raise self._lost("a package of a build root") from error
            names = (
                packages[each].sha256 if isinstance(each, int) else each for each in packed.setup
            )
            self._locks[name] = Lock(packages, tuple(names))
        return self._locks[name]

    def chroot(self, name: str) -> Chroot | None:
        """None for "": an early farm kept none. Raises StateError for one that is lost."""
        if not name:
            return None
        if name not in self._chroots:
            row = self._db.execute("select record from chroots where id = ?", (name,)).fetchone()
            if row is None:
                raise self._lost("the chroot of a result")
            self._chroots[name] = from_json(Chroot, row[0], where="the ledger")
        return self._chroots[name]

    def _number(self, package: LockedPackage) -> int:
        record = to_json(package)
        if record not in self._numbers:
            self._db.execute("insert or ignore into packages (record) values (?)", (record,))
            row = self._db.execute("select id from packages where record = ?", (record,)).fetchone()
            self._numbers[record] = int(row[0])
        return self._numbers[record]

    def _read_packages(self) -> None:
        for number, record in self._db.execute("select id, record from packages"):
            if number not in self._packages:
                self._packages[number] = from_json(LockedPackage, record, where="the ledger")

    def forget_uncommitted(self) -> None:
        """A transaction was rolled back: what it numbered does not count."""
        self._numbers.clear()

    def _lost(self, what: str) -> StateError:
        return StateError(
            f"the ledger has lost {what}",
            hint="Move the file away and run `farm ledger rebuild`: it restores what matters "
            "from the published tree.",
        )
