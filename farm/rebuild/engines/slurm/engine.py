"""The engine: hands attempts to Slurm, watches their directories, asks Slurm who is alive."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from msgspec.structs import replace as replace_noun

from farm.config import Slurm
from farm.model import Failed, Going, Job
from farm.rebuild.attempts import attempt_directory
from farm.rebuild.claim import claimed, give_up
from farm.rebuild.engines import Capacity, Ended, Moved
from farm.rebuild.engines.slurm.asking import (
    Asked,
    Ground,
    attempt_of,
    largest_of,
    memory_of,
    name_of,
    nice_of,
    script_for,
    within,
    without_exclusion,
    words_for,
)
from farm.rebuild.engines.slurm.attempt import Attempt, left_behind
from farm.rebuild.engines.slurm.clients import Clients, Declined, Row, Silent
from farm.rebuild.engines.slurm.ends import ALIVE, declined, ended_badly, stuck
from farm.rebuild.engines.slurm.post import Post
from farm.store import write_atomic

_LOOK = 2.0  # seconds between looks at the queue
_SHARE = 20  # of our time that slurmctld may take to answer: one part in so many
_TICK = 0.1  # seconds between looks at the attempts' directories
_LOOKS_A_SECOND = 200  # at directories, which may be on a network file system
_PATIENCE = 5.0  # the longest time between tries to reach a silent slurmctld
_FORGOTTEN = 4.0  # seconds after which a job that nobody began, and Slurm does not know, is lost
_KILLED = 5.0  # seconds for the outcome of a worker that was killed, to be seen over the network
_STUCK = 20.0  # seconds that a job waits for somebody before that is told
_MOST_TIMES = 4  # that one attempt is handed to Slurm
_SOME_MEMORY, _ALL_MEMORY = 1 << 10, 1 << 30  # MiB
_OVER = 30.0  # seconds in which the job of an attempt that has ended may still be ending itself


class SlurmEngine:
    """Attempts below the state directory as jobs of a Slurm cluster.

    `tell` hears what the user should know and what is no attempt's own affair. A slurmctld that
    does not answer is waited for, however long it takes: what runs goes on.
    """

    def __init__(
        self,
        config: Slurm,
        state: Path,
        post: Post,
        *,
        clients: Clients | None = None,
        tell: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.capacity = Capacity(config.jobs, share=config.cores, queues=True)
        self._config, self._state, self._post = config, state, post
        self._clients = clients or Clients()
        self._tell, self._clock = tell, clock
        self._attempts: dict[str, Attempt] = {}
        self._over: dict[str, float] = {}  # attempts that have ended, and when
        self._news: list[Ended | Moved] = []
        self._more: dict[str, int] = {}  # step → MiB, after it was killed for want of memory
        self._sweeping = False  # strays of an earlier coordinator may be in the queue
        self._swept = True  # it was looked for them
        self._held = 0.0  # nothing is submitted before: Slurm has as many as it takes
        self._silent = 0  # times in a row that slurmctld did not answer
        self._due = self._looked = 0.0  # when to ask it next, when the queue was seen last
        self._shapes_known = False
        self._has_history = True
        self._explained: set[str] = set()  # why jobs wait, as far as it was told

    @cached_property
    def _ground(self) -> Ground:
        return Ground(self._config, identity_of(self._state))

    def start(self, job: Job, directory: Path, rank: float = 0.0) -> None:
        if job.attempt in self._attempts:
            self._hurry(self._attempts[job.attempt], nice_of(rank))
            return
        memory = memory_of(job, self._more.get(job.step, 0))
        asked = Asked(nice_of(rank), memory, farm=self._ground.identity)
        attempt = Attempt(job, directory, asked)
        attempt.remember(0)
        self._attempts[job.attempt] = attempt
        self._converse()

    def recover(self, attempts: Sequence[Going]) -> frozenset[str]:
        for going in attempts:
            directory = attempt_directory(self._state, going.id)
            attempt = left_behind(directory, self._ground.identity)
            if attempt is not None:
                self._attempts[going.id] = attempt
                self._post.offer(attempt.job, attempt.directory)
        self._sweeping, self._swept = True, False
        self._converse()
        return frozenset(self._attempts)

    def poll(self, seconds: float) -> tuple[Ended | Moved, ...]:
        deadline = self._clock() + seconds
        while True:
            self._converse()
            self._look_at_directories()
            if self._news or self._clock() >= deadline:
                news, self._news = tuple(self._news), []
                return news
            tick = max(_TICK, len(self._attempts) / _LOOKS_A_SECOND)
            time.sleep(max(0.0, min(tick, deadline - self._clock())))

    def stop(self) -> None:
        for attempt in self._attempts.values():
            self._post.withdraw(attempt.job.attempt)
            give_up(attempt.directory)
        left = list(self._attempts.values())
        try:
            self._clients.ping()
            while left:
                self._clients.cancel(name_of(left[-1].job.attempt))
                left.pop().forget()
        except Silent as error:
            running = [each for each in left if _has_worker(each.directory)]
            for attempt in left:
                if attempt not in running:
                    attempt.forget()
            if running:
                self._tell(
                    f"Slurm does not answer ({error}): {len(running)} of its jobs could not be "
                    "cancelled; the next `farm build` takes over what they make"
                )
        self._attempts.clear()
        self._post.close()

    def _converse(self) -> None:
        """Whatever is to be said to slurmctld now, and whatever it has to say."""
        now = self._clock()
        if self._silent and now < self._due:
            return
        try:
            if self._silent:
                self._clients.ping()
                self._tell("Slurm answers again")
                self._silent, self._due = 0, now
            self._hand_over()
            if now >= self._due and (self._handed() or not self._swept):
                self._look_at_queue()
        except Silent as error:
            if not self._silent:
                self._tell(f"Slurm does not answer: what runs goes on, the rest waits ({error})")
            self._silent += 1
            self._due = self._clock() + min(2.0**self._silent, _PATIENCE)

    def _handed(self) -> list[Attempt]:
        return [attempt for attempt in self._attempts.values() if attempt.handed]

    def _hand_over(self) -> None:
        """Submit what waits, the most urgent first."""
        waiting = [a for a in self._attempts.values() if not a.handed and not a.refused]
        for attempt in sorted(waiting, key=lambda each: each.asked.nice):
            if self._clock() < self._held:
                return
            if not self._shapes_known:
                shapes = self._clients.shapes(self._config.partition)
                self._ground = replace(self._ground, shapes=shapes)
                self._shapes_known = True
            self._submit(attempt)

    def _hurry(self, attempt: Attempt, nice: int) -> None:
        """Give an attempt that has not begun a better place in the queue: Slurm lets nobody but
        its operators do that to a job, so the job is replaced."""
        if nice >= attempt.asked.nice:
            return
        attempt.asked = replace_noun(attempt.asked, nice=nice)
        name = name_of(attempt.job.attempt)
        with contextlib.suppress(Silent):
            if attempt.handed and not _has_worker(attempt.directory):
                self._clients.cancel(name, waiting=True)
                if not any(r.name == name and r.state in ALIVE for r in self._clients.queue()):
                    attempt.hand_over_again()
        self._converse()

    def _submit(self, attempt: Attempt) -> None:
        attempt.asked = within(attempt.asked, largest_of(attempt.job, self._ground))
        words, more = self._post.offer(attempt.job, attempt.directory)
        command, env = self._command()
        script = script_for([*command, *words])
        log = str(attempt.directory / "worker.log") if self._config.shared else "/dev/null"
        options = words_for(attempt.job, attempt.asked, self._ground, log)
        times = attempt.asked.times
        try:
            attempt.remember(times + 1)
        except OSError as error:  # no space, say: a mishap of this attempt alone
            what = f"{attempt.job.recipe.name}: its job could not be noted: {error}"
            attempt.refused = Failed("infrastructure", what, phase="submit")
            return
        attempt.handed = True  # whatever becomes of the answer
        try:
            try:
                self._clients.submit(options, script, env | more)
            except Declined:
                if options == without_exclusion(options):
                    raise
                self._clients.submit(without_exclusion(options), script, env | more)
        except Declined as error:
            attempt.handed = False
            if error.for_now and self._handed():
                attempt.remember(times)
                self._held = self._clock() + _PATIENCE
                self._news.append(Moved(attempt.job.attempt, "queued: too many jobs"))
                return
            attempt.refused = declined(str(error), attempt.job)
            give_up(attempt.directory)
            self._shapes_known = False  # they may have changed
        except Silent as error:
            if error.unheard:
                attempt.handed = False
                attempt.remember(times)
            raise
        self._due = min(self._due, self._clock() + _LOOK)

    def _command(self) -> tuple[list[str], dict[str, str]]:
        """How farm is called on a node, and what it needs in its environment."""
        if self._config.farm:
            return shlex.split(self._config.farm), {}
        # the worker is the very code that runs here, however it was found
        path = os.pathsep.join(path for path in sys.path if path)
        return [sys.executable, "-P", "-m", "farm"], {"PYTHONPATH": path}

    def _look_at_queue(self) -> None:
        began = self._clock()
        rows: dict[str, list[Row]] = {}
        for row in self._clients.queue():
            rows.setdefault(row.name, []).append(row)
        self._cancel_strays(rows)
        self._swept = True
        self._looked = self._clock()
        self._due = self._looked + max(_LOOK, _SHARE * (self._looked - began))
        handed = self._handed()
        self._trace([a for a in handed if name_of(a.job.attempt) not in rows], rows)
        for attempt in handed:
            mine = rows.get(name_of(attempt.job.attempt), [])
            phase = attempt.hear(mine, self._looked)
            if phase:
                self._news.append(Moved(attempt.job.attempt, phase, attempt.place))
            self._explain(attempt)

    def _explain(self, attempt: Attempt) -> None:
        """Say what has to be done where a job waits for somebody, once for each reason, when it has
        done so for a while: after a restart of Slurm nodes are away for some seconds."""
        row = attempt.row
        text = stuck(row, attempt.job.recipe.name) if row is not None else ""
        if row is None or not text:
            attempt.stuck = None
            return
        if attempt.stuck is None:
            attempt.stuck = self._looked
        if self._looked - attempt.stuck >= _STUCK and row.reason not in self._explained:
            self._explained.add(row.reason)
            self._tell(text)

    def _trace(self, lost: Sequence[Attempt], rows: dict[str, list[Row]]) -> None:
        """Ask accounting, where there is one, about jobs that slurmctld does not know any more."""
        lost = [attempt for attempt in lost if not attempt.traced]
        if not lost or not self._has_history:
            return
        names = {name_of(attempt.job.attempt) for attempt in lost}
        found = self._clients.history(sorted(names))
        self._has_history = found is not None
        for row in found or ():
            # one that it still calls alive was forgotten by slurmctld, too
            if row.name in names and row.state not in ALIVE:
                rows.setdefault(row.name, []).append(row)
        for attempt in lost:
            attempt.traced = True

    def _cancel_strays(self, rows: dict[str, list[Row]]) -> None:
        """End living jobs of this farm for attempts that are none, or not any more."""
        if not self._sweeping and not self._over:
            return
        now = self._clock()
        for name, jobs in rows.items():
            attempt = attempt_of(name)
            ours = any(r.state in ALIVE and r.comment == self._ground.comment for r in jobs)
            if not attempt or not ours or attempt in self._attempts:
                continue
            if now - self._over.get(attempt, now - _OVER if self._sweeping else now) >= _OVER:
                self._clients.cancel(name)

    def _look_at_directories(self) -> None:
        for name, attempt in list(self._attempts.items()):
            place = ""
            for phase in attempt.worked():
                place = place or attempt.place
                self._news.append(Moved(name, phase, place))
            ended = self._ended(name, attempt)
            if ended is not None:
                del self._attempts[name]
                self._over[name] = self._clock()
                self._post.withdraw(name)
                self._news.append(ended)

    def _ended(self, name: str, attempt: Attempt) -> Ended | None:
        outcome = attempt.ended()
        if outcome is not None:
            return Ended(name, outcome, "", attempt.notes(), attempt.place)
        if attempt.refused is not None:
            return Ended(name, attempt.refused)
        if attempt.gone is None or not attempt.handed:
            return None
        waited, begun = self._looked - attempt.gone, _has_worker(attempt.directory)
        if waited < self._patience_with(attempt, begun):
            return None
        if attempt.misfired and not begun and attempt.asked.times < _MOST_TIMES:
            # nobody has begun it, and only one worker ever will, however often it is handed over
            attempt.hand_over_again()
            return None
        if self._post.hears(name) or (not begun and not give_up(attempt.directory)):
            return None  # it goes on, whatever Slurm says, or was begun just now
        with contextlib.suppress(Silent):
            self._clients.cancel(name_of(name))
        failed = ended_badly(
            attempt.row, attempt.job, attempt.asked, phase=attempt.phase,
            log=attempt.last_words(), lost=self._config.lost,
            largest=largest_of(attempt.job, self._ground),
            address="" if self._config.shared else self._config.address,
        )  # fmt: skip
        if attempt.row is not None and attempt.row.state == "OUT_OF_MEMORY":
            step, known = attempt.job.step, max(attempt.asked.memory, _SOME_MEMORY)
            # little is known of a package that was never built: soon all there is
            self._more[step] = _ALL_MEMORY if step in self._more else 4 * known
        return Ended(name, failed, "", attempt.notes(), attempt.place)

    def _patience_with(self, attempt: Attempt, begun: bool) -> float:
        """Seconds that an attempt without a living job is given for its outcome to appear."""
        if attempt.row is None and not begun:
            return min(_FORGOTTEN, self._config.lost)
        if attempt.row is None or (attempt.row.state == "COMPLETED" and begun):
            return self._config.lost
        return min(_KILLED, self._config.lost)


def _has_worker(directory: Path) -> bool:
    claim = claimed(directory)
    return claim is not None and bool(claim.worker)


def identity_of(state: Path) -> str:
    """What tells this state directory from all others, copies of it included."""
    path = state / "cluster-identity"
    try:
        token = path.read_text("ascii").strip()
    except FileNotFoundError:
        token = secrets.token_hex(8)
        write_atomic(path, f"{token}\n")
    return hashlib.sha256(f"{token}\n{state.resolve()}".encode()).hexdigest()[:16]
