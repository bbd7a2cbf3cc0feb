"""What the ledger says of steps, as the pages tell it; read once, and again after news."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from farm.ledger import Ledger
from farm.model import Attempt, Built, Failed, Result, Skipped
from farm.rebuilt import standing_of
from farm.showing.logs import Logs
from farm.showing.memory import Last, Memory
from farm.site.status.facts import Stands, Try
from farm.steps import bootstrap_name, chroot_of, is_bootstrap, recipe_of
from farm.verification.verdicts import in_words

_TRIES = 12  # attempts of a step that a page lists
_EXCERPT = 40  # lines


@dataclass(frozen=True)
class OfStep:
    """A step: the result that counts, its attempts and those of its bootstrap, newest first, and
    when the newest ended."""

    standing: Result | None
    stands: Stands | None
    tries: tuple[Try, ...]
    ended: float


class Steps:
    """All steps that were asked about."""

    def __init__(self, state: Path, memory: Memory, logs: Logs | None) -> None:
        self._state, self._memory, self._logs = state, memory, logs
        self._known: dict[str, OfStep] = {}

    @property
    def known(self) -> Mapping[str, OfStep]:
        return self._known

    def forget(self, news: Iterable[str]) -> None:
        """Something happened to these."""
        for step in news:
            name = f"{recipe_of(step)}@{chroot_of(step)}"  # a bootstrap's page is its package's
            self._known.pop(name, None)

    def read(self, ledger: Ledger) -> None:
        """Every step that was ever tried, in few questions, unless that was done."""
        if not self._known:
            self._read_all(ledger)

    def _read_all(self, ledger: Ledger) -> None:
        """Every step that was ever tried, in few questions."""
        standing = {result.step: result for result in ledger.standings(bootstraps=True)}
        attempts: dict[str, list[Attempt]] = {}
        for attempt in ledger.attempts(limit=1_000_000):
            attempts.setdefault(attempt.step, []).append(attempt)
        for step in {*standing, *attempts}:
            if not is_bootstrap(step):
                boot = f"{bootstrap_name(recipe_of(step))}@{chroot_of(step)}"
                both = (*attempts.get(step, ()), *attempts.get(boot, ()))
                self._known[step] = self._put(ledger, step, standing.get(step), both)

    def of(self, ledger: Ledger, step: str) -> OfStep:
        """What is known of a step."""
        if step not in self._known:
            boot = f"{bootstrap_name(recipe_of(step))}@{chroot_of(step)}"
            both = (*ledger.attempts(step, _TRIES), *ledger.attempts(boot, _TRIES))
            self._known[step] = self._put(ledger, step, ledger.standing(step), both)
        return self._known[step]

    def _put(
        self, ledger: Ledger, step: str, standing: Result | None, attempts: Iterable[Attempt]
    ) -> OfStep:
        newest = sorted(attempts, key=lambda each: each.started, reverse=True)[:_TRIES]
        return OfStep(
            standing,
            self._stands(ledger, standing) if standing is not None else None,
            tuple(self._try(each) for each in newest),
            max((each.ended for each in newest), default=0.0),
        )

    def _stands(self, ledger: Ledger, result: Result) -> Stands:
        last = self._memory.of(result.step)
        if last.key != result.key:
            reason = self._reason(ledger, result, last)
            self._memory.remember_reason(result.step, result.key, reason)
            last = self._memory.of(result.step)
        return Stands(
            result.built.srpm.nevra.evr, result.finished, result.built.seconds, result.counter,
            result.commit, result.key, last.reason,
            in_words(self._state, result),
        )  # fmt: skip

    def _reason(self, ledger: Ledger, result: Result, last: Last) -> str:
        """As the run said that built it; else by what differs from the result before."""
        if last.state == "built" and last.text and abs(last.at - result.finished) < 60:
            return last.text
        return standing_of(ledger, result).instead

    def _try(self, attempt: Attempt) -> Try:
        has = (False, False)
        if self._logs is not None:
            has = self._logs.show_ended(attempt.step, attempt.id)
        outcome = attempt.outcome
        failed = outcome if isinstance(outcome, Failed) else None
        message = failed.message if failed is not None else ""
        seconds = attempt.ended - attempt.started
        if isinstance(outcome, Built | Failed):
            seconds = outcome.seconds or seconds
        return Try(
            attempt.id,
            chroot_of(attempt.step),
            attempt.started,
            _verdict(attempt),
            seconds,
            kind=failed.kind if failed else "",
            limit=failed.limit if failed else "",
            message=outcome.because if isinstance(outcome, Skipped) else message,
            excerpt=failed.excerpt[:_EXCERPT] if failed else (),
            hint=failed.hint if failed else "",
            phase=failed.phase if failed else "",
            where=failed.where if failed else "",
            place=attempt.place,
            cpu=0.0 if isinstance(outcome, Skipped) else outcome.usage.cpu,
            memory=0 if isinstance(outcome, Skipped) else outcome.usage.memory,
            bootstrap=is_bootstrap(attempt.step),
            log=has[0],
            root=has[1],
        )


def _verdict(attempt: Attempt) -> Literal["built", "failed", "skipped"]:
    if isinstance(attempt.outcome, Built):
        return "built"
    return "failed" if isinstance(attempt.outcome, Failed) else "skipped"
