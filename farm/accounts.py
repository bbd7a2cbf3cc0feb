"""Attempts in the ledger: when, where and with what they began, how they ended, what they used."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass

from farm.database import transaction
from farm.model import Attempt, Failed, Going, Job, Limits, Outcome, Usage, from_json, to_json

_COLUMNS = "id, step, key, started, ended, record, place"
_LEARNT = 4  # of each step, the last attempts that something can be learnt from
# of a limit that an early farm did not name nobody knows what it says
_TELLING = "(verdict = 'built' or (kind = 'limit' and cap <> ''))"


@dataclass(frozen=True)
class Past:
    """What an attempt that told something needed: one that built, or that hit a limit.

    `cap` names the limit that ended it ("" for one that built), `limits` are those it ran under.
    `way` is how it ran: native, assisted or emulated; "" where an early farm did not note it.
    """

    step: str
    way: str
    seconds: float
    cores: int  # that it was given
    usage: Usage
    cap: str
    limits: Limits


@dataclass(frozen=True)
class Tally:
    """What the ended attempts of one kind in one chroot add up to.

    `kind` and `cap` are a failure's class and the limit that was hit. `within` has, for each bound
    asked for, how many took at most so long. `last` is when the newest ended.
    """

    chroot: str
    verdict: str
    kind: str
    cap: str
    count: int
    seconds: float
    cpu: float
    last: float
    within: tuple[int, ...]


class Accounts:
    """The table of attempts; every writing method is one transaction."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def begin(self, attempt: str, step: str, key: str) -> None:
        """An attempt starts of which nothing else is known."""
        self._begin((attempt, step, key, time.time(), "", 0, 0.0, "", b""))

    def begin_job(self, job: Job, *, way: str = "", place: str = "") -> None:
        """An attempt starts, with so many cores, under these limits, expected to take so long."""
        self._begin(
            (
                job.attempt, job.step, job.key, time.time(), place, job.cpus,
                job.demand.seconds, way, to_json(job.limits),
            )
        )  # fmt: skip

    def _begin(self, row: tuple[object, ...]) -> None:
        self._db.execute(
            "insert into attempts (id, step, key, started, place, cores, expected, way, limits)"
            " values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )

    def end(self, attempt: str, outcome: Outcome, *, place: str = "") -> bool:
        """An attempt has ended. A second end of the same attempt is ignored; whether this one
        was the first."""
        failed = outcome if isinstance(outcome, Failed) else None
        usage = getattr(outcome, "usage", Usage())
        ended = self._db.execute(
            "update attempts set ended = ?, verdict = ?, seconds = ?, kind = ?, cap = ?,"
            " cpu = ?, memory = ?, disk = ?, record = ?,"
            " place = case when ? = '' then place else ? end"
            " where id = ? and ended is null",
            (
                time.time(), type(outcome).__name__.lower(), getattr(outcome, "seconds", 0.0),
                failed.kind if failed else "", failed.limit if failed else "",
                usage.cpu, usage.memory, usage.disk, to_json(outcome), place, place, attempt,
            ),
        )  # fmt: skip
        return ended.rowcount == 1

    def going(self) -> tuple[Going, ...]:
        """Attempts without an end, oldest first: those that run, and what a killed coordinator
        left."""
        rows = self._db.execute(
            "select id, step, key, started from attempts where ended is null order by started, id"
        )
        return tuple(Going(*row) for row in rows)

    def close(self, attempts: Iterable[str], why: str) -> tuple[str, ...]:
        """End attempts of which nobody will hear any more; those that had no end yet."""
        failed = Failed("interrupted", why)
        with transaction(self._db):
            return tuple(each for each in attempts if self.end(each, failed))

    def attempts(self, step: str | None = None, limit: int = 1000) -> tuple[Attempt, ...]:
        """Ended attempts, newest first."""
        where, values = ("and step = ?", (step,)) if step else ("", ())
        rows = self._db.execute(
            f"select {_COLUMNS} from attempts"
            f" where ended is not null {where} order by started desc limit ?",
            (*values, limit),
        )
        return tuple(map(_attempt, rows))

    def attempt(self, attempt: str) -> Attempt | None:
        """The ended attempt of that id."""
        row = self._db.execute(
            f"select {_COLUMNS} from attempts where ended is not null and id = ?", (attempt,)
        ).fetchone()
        return _attempt(row) if row else None

    def last_at(self, step: str, key: str) -> tuple[Attempt, Limits | None] | None:
        """The newest ended attempt of this step under this key that tells of the package, which
        neither a mishap of the infrastructure nor an interruption does, and the limits it ran
        under, where they are known."""
        row = self._db.execute(
            f"select limits, {_COLUMNS} from attempts where step = ? and key = ?"
            " and ended is not null and kind not in ('infrastructure', 'interrupted')"
            " order by started desc limit 1",
            (step, key),
        ).fetchone()
        return (_attempt(row[1:]), _limits(row[0])) if row else None

    def pasts(self) -> tuple[Past, ...]:
        """Of every step the last attempts that something can be learnt from, newest first."""
        rows = self._db.execute(
            "select step, way, seconds, cores, cpu, memory, disk, cap, limits"
            " from (select distinct step as name from attempts) cross join attempts"
            " where attempts.rowid in (select rowid from attempts where step = name"
            f" and {_TELLING} order by started desc limit {_LEARNT})"
            " order by name, started desc"
        )
        return tuple(
            Past(step, way, seconds, cores, Usage(*used), cap, _limits(limits) or Limits())
            for step, way, seconds, cores, *used, cap, limits in rows
        )

    def failing(self) -> frozenset[str]:
        """Steps whose last attempt failed; one that was interrupted tells nothing."""
        rows = self._db.execute(
            "select name from (select distinct step as name from attempts) where 'failed' ="
            " (select verdict from attempts where step = name and ended is not null"
            " and kind <> 'interrupted' order by started desc limit 1)"
        )
        return frozenset(row[0] for row in rows)

    def tallies(self, bounds: Iterable[float] = ()) -> tuple[Tally, ...]:
        """All ended attempts, summed up by chroot and how they ended."""
        within = tuple(bounds)
        counted = "".join(", count(*) filter (where seconds <= ?)" for _ in within)
        rows = self._db.execute(
            "select substr(step, instr(step, '@') + 1) as chroot, verdict, kind, cap, count(*),"
            f" total(seconds), total(cpu), max(ended){counted} from attempts"
            " where ended is not null group by chroot, verdict, kind, cap"
            " order by chroot, verdict, kind, cap",
            within,
        )
        return tuple(
            Tally(chroot, verdict, kind, cap, count, seconds, cpu, last, tuple(fast))
            for chroot, verdict, kind, cap, count, seconds, cpu, last, *fast in rows
        )

    def ended(self, step: str) -> tuple[str, ...]:
        """Ids of the ended attempts of this step."""
        rows = self._db.execute(
            "select id from attempts where step = ? and ended is not null", (step,)
        )
        return tuple(row[0] for row in rows)

    def steps(self) -> tuple[str, ...]:
        """Every step that was ever tried, sorted."""
        rows = self._db.execute("select distinct step from attempts order by step")
        return tuple(row[0] for row in rows)

    def attempts_at(self, keys: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Ids and steps of the attempts that led to the results under these keys."""
        wanted = frozenset(keys)
        rows = self._db.execute("select id, step, key from attempts where verdict = 'built'")
        return tuple((attempt, step) for attempt, step, key in rows if key in wanted)

    def expected_seconds(self, step: str) -> float | None:
        """How long the last successful attempt of this step took."""
        row = self._db.execute(
            "select seconds from attempts where step = ? and verdict = 'built'"
            " order by started desc limit 1",
            (step,),
        ).fetchone()
        return float(row[0]) if row else None


def _attempt(row: tuple[str, str, str, float, float, bytes, str]) -> Attempt:
    attempt, step, key, began, ended, record, place = row
    outcome: Outcome = from_json(Outcome, record, where="the ledger")  # type: ignore[arg-type]
    return Attempt(attempt, step, key, began, ended, outcome, place)


def _limits(record: bytes) -> Limits | None:
    return from_json(Limits, record, where="the ledger") if record else None
