"""What an attempt will need, learnt from what earlier ones used; estimates before that.

Figures of a step come from its own last attempts in the same way (native, assisted by native tools,
emulated). A package that is known only elsewhere (another architecture, or another way) is scaled
by the ratio of those packages that are known at both. The time of one that is known nowhere is
guessed from what it looks like, and the guess is corrected by those packages that are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Literal

from farm.accounts import Past
from farm.config import PackageLimits
from farm.errors import MachineError
from farm.model import Chroot, Demand, Limits
from farm.rebuild.roots import emulator_for
from farm.steps import recipe_of

Way = Literal["native", "assisted", "emulated"]
Kind = tuple[str, str]  # architecture, way

# A build in this way against a native one, before anything was measured.
_FACTORS: Mapping[str, float] = {"native": 1.0, "assisted": 3.0, "emulated": 20.0}
_UNKNOWN_SECONDS = 30.0  # of a native build
# Of a native build by what it looks like; docs/resources.md says how good that is.
_GENERATED_SECONDS = 1.0  # nothing is compiled, nothing unpacked
_NOARCH_SECONDS = 15.0  # seldom compiles anything
_COMPILED_SECONDS = 75.0  # with sources of _USUAL_SOURCES bytes
_USUAL_SOURCES = 500_000
_LEAST_COMPILED, _MOST_COMPILED = 30.0, 300.0  # sources may be data, or one long file
_UNKNOWN_MEMORY = 1 << 30  # bytes
_UNKNOWN_DISK = 256 << 20
_LAST = 3  # attempts that figures are taken from: of three, one that was odd does not count
_MARGIN = 1.25  # over the most memory or disk that was used
_RAISED = 1.5  # over a limit that was hit, or what was used when memory ran out


def way_of(chroot: Chroot) -> Way:
    """How packages of a chroot are built here; natively, where only other machines can."""
    try:
        emulated = emulator_for(chroot) is not None
    except MachineError:
        return "native"
    if not emulated:
        return "native"
    return "assisted" if chroot.native_tools else "emulated"


def estimate(learnt: float | None, way: Way) -> float:
    """Expected seconds of a step: what its last build took, or a guess."""
    return learnt if learnt is not None else _UNKNOWN_SECONDS * _FACTORS[way]


@dataclass(frozen=True)
class Looks:
    """What is known of a package before anybody has built it: whether its spec is generated,
    whether all that comes out is noarch, bytes of its sources (0: not known yet)."""

    generated: bool = False
    noarch: bool = False
    sources: int = 0

    @property
    def seconds(self) -> float:
        """A guess at how long a native build takes."""
        if self.generated:
            return _GENERATED_SECONDS
        if self.noarch:
            return _NOARCH_SECONDS
        # ten times the source is nowhere near ten times the time
        often = (self.sources or _USUAL_SOURCES) / _USUAL_SOURCES
        wanted = _COMPILED_SECONDS * math.sqrt(math.sqrt(often))
        return min(_MOST_COMPILED, max(_LEAST_COMPILED, wanted))


def _no_looks(_: str) -> float:
    return _UNKNOWN_SECONDS


@dataclass(frozen=True)
class Figures:
    """What the attempts of a step in one way came to; None where they do not say it. `cores` is
    the mean use over a whole attempt."""

    seconds: float | None = None
    cores: float | None = None
    memory: float | None = None  # bytes
    disk: float | None = None  # bytes


def figures(pasts: Sequence[Past]) -> Figures:
    """Of the attempts of one step in one way, newest first."""
    built = [past for past in pasts if not past.cap][:_LAST]
    hits = list(takewhile(lambda past: past.cap, pasts))
    used = [past for past in built if past.seconds > 0 and past.usage.cpu > 0]
    return Figures(
        _raised(_median(past.seconds for past in built), hits, "time"),
        _median(past.usage.cpu / past.seconds for past in used),
        _raised(_most(past.usage.memory for past in built), hits, "memory"),
        _raised(_most(past.usage.disk for past in built), hits, "disk"),
    )


def _raised(known: float | None, hits: Iterable[Past], name: str) -> float | None:
    """More than a limit that was hit since: with it allowed, that much at least is needed."""
    wanted = [_reached(past) * _RAISED for past in hits if past.cap == name]
    return max([*wanted, *([known] if known is not None else [])], default=None)


def _reached(past: Past) -> float:
    """How much of what a limit is on was used when it was hit."""
    limits, usage = past.limits, past.usage
    return {
        "time": max(limits.time, past.seconds),
        "memory": max(limits.memory, usage.memory),
        "disk": max(limits.disk, usage.disk),
    }.get(past.cap, 0)


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return _middle(found) if found else None


def _middle(values: Sequence[float]) -> float:
    """The median; the standard library's module costs 8 ms to read."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _most(values: Iterable[int]) -> float | None:
    """The most that was used, with a margin; None where nobody measured."""
    most = max(values, default=0)
    return most * _MARGIN if most else None


class Expectations:
    """What is known of all steps when a run begins. `kinds` are of the chroots of this farm, by
    name: early attempts did not note in which way they ran. `guess` says of a recipe how many
    seconds a native build may take."""

    def __init__(
        self,
        pasts: Iterable[Past],
        kinds: Mapping[str, Kind],
        guess: Callable[[str], float] = _no_looks,
    ) -> None:
        self._kinds, self._guess = kinds, guess
        grouped: dict[tuple[str, Kind], list[Past]] = {}
        for past in pasts:
            grouped.setdefault((past.step, self._kind(past)), []).append(past)
        self._known = {name: figures(each) for name, each in grouped.items()}

    def _kind(self, past: Past) -> Kind:
        chroot = past.step.partition("@")[2]
        arch, way = self._kinds.get(chroot, (chroot.rpartition("-")[2], ""))
        return arch, past.way or way

    @cached_property
    def _elsewhere(self) -> Mapping[str, Mapping[Kind, Figures]]:
        """What is known of each recipe, by kind; of a bootstrap, its recipe's."""
        found: dict[str, dict[Kind, Figures]] = {}
        for (step, kind), each in self._known.items():
            found.setdefault(recipe_of(step), {}).setdefault(kind, each)
        return found

    @cached_property
    def _usual(self) -> Mapping[Kind, Figures]:
        """What the packages of each kind need: three quarters of them less."""
        kinds: dict[Kind, list[Figures]] = {}
        for (_, kind), each in self._known.items():
            kinds.setdefault(kind, []).append(each)
        return {
            kind: Figures(
                memory=_upper([f.memory for f in each if f.memory is not None]),
                disk=_upper([f.disk for f in each if f.disk is not None]),
            )
            for kind, each in kinds.items()
        }

    @cached_property
    def _corrections(self) -> Mapping[Kind, float]:
        """How many times the guess packages of each kind take: the median; the guess itself
        counts as one package."""
        logs: dict[Kind, list[float]] = {}
        for (step, kind), each in self._known.items():
            if each.seconds:
                off = math.log(each.seconds / self._guessed(step, kind))
                logs.setdefault(kind, [0.0]).append(off)
        return {kind: math.exp(_middle(each)) for kind, each in logs.items()}

    def _guessed(self, step: str, kind: Kind) -> float:
        return self._guess(recipe_of(step)) * _FACTORS.get(kind[1], 1.0)

    @cached_property
    def _ratios(self) -> dict[tuple[Kind, Kind], float]:
        return {}

    def ratio(self, known: Kind, wanted: Kind) -> float:
        """How much longer a build takes as `wanted` than as `known`: the median of what is
        measured; the ratio that is expected of such ways counts as one package."""
        if (known, wanted) not in self._ratios:
            logs = [math.log(_FACTORS[wanted[1]] / _FACTORS.get(known[1], 1.0))]
            for each in self._elsewhere.values():
                if known in each and wanted in each:
                    before, after = each[known].seconds, each[wanted].seconds
                    if before and after:
                        logs.append(math.log(after / before))
            self._ratios[known, wanted] = math.exp(_middle(logs))
        return self._ratios[known, wanted]

    def measured(self, step: str, kind: Kind) -> bool:
        """Whether the seconds of a step are those of its own attempts in this way."""
        return self._known.get((step, kind), Figures()).seconds is not None

    def demand(
        self, step: str, kind: Kind, limits: Limits, own: PackageLimits | None = None
    ) -> Demand:
        """What the next attempt will need; no more than its limits allow it. `own`: what is
        configured for the package."""
        found = self._known.get((step, kind), Figures())
        others = self._elsewhere.get(recipe_of(step), {})
        usual = self._usual.get(kind, Figures())
        seconds = found.seconds
        if seconds is None:
            scaled = [
                other.seconds * self.ratio(where, kind)
                for where, other in others.items()
                if other.seconds is not None
            ]
            seconds = _median(scaled)
        if seconds is None:  # only now is anything looked at
            seconds = self._guessed(step, kind) * self._corrections.get(kind, 1.0)
        uses = [f.cores for f in (found, *others.values()) if f.cores is not None]
        cores = own.cores if own is not None and own.cores else round(uses[0] if uses else 1)
        return Demand(
            cores=max(1, cores),
            memory=_within(
                limits.memory,
                found.memory or _largest(others, "memory") or usual.memory or _UNKNOWN_MEMORY,
            ),
            disk=_within(
                limits.disk, found.disk or _largest(others, "disk") or usual.disk or _UNKNOWN_DISK
            ),
            seconds=min(seconds, limits.time) if limits.time else seconds,
        )


def after_a_mishap(demand: Demand, memory: int) -> Demand:
    """What the next attempt may need when memory ran out with so many bytes in use."""
    raised = int(max(demand.memory, memory) * _RAISED)
    return Demand(demand.cores, raised, demand.disk, demand.seconds)


def _largest(others: Mapping[Kind, Figures], name: str) -> float | None:
    values = [getattr(each, name) for each in others.values()]
    return max((value for value in values if value is not None), default=None)


def _upper(values: Sequence[float]) -> float | None:
    """The third quartile."""
    return sorted(values)[(3 * len(values)) // 4] if values else None


def _within(limit: int, wanted: float) -> int:
    return int(min(wanted, limit) if limit else wanted)
