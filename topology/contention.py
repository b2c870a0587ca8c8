"""What vCPUs that spin at the same time do to each other: stacks and siblings without N² probes.

Every vCPU's spinning is watched on one clock, so one watch compares all pairs at once.

A stack: its vCPUs never run at the same time. Others may never either, such as two with quotas in
opposite phase, so that alone is no proof. The proof is that each gets more time when those with
which it never runs are silent: what a stack has is shared out, a quota is not.

Siblings: a busy sibling makes a vCPU slower, not rarer. In as many steps as the vCPU's number has
bits, half of the vCPUs spin and then the other half, divided by that bit; a vCPU is slow when its
sibling has the same bit. So its speeds spell the sibling's number.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING

from scx_vsched.topology.records import Demand

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from scx_vsched.topology.records import Availability, Machine

__all__ = ["Spins", "Stacks", "find_siblings", "find_stacks"]

_MS = 1_000_000

# The first watch of all vCPUs: some turns of a host that gives each of a stack 3-4 ms.
_FIRST_NS = 24 * _MS
# Later ones last for some of the alternations seen, but no longer than this.
_LONGEST_NS = 80 * _MS
_ALTERNATIONS = 2.5
# Spinning by halves: long enough for a speed when the vCPU is there for a part of it.
_HALF_NS = 8 * _MS
_SHORTEST_RUN_NS = _MS // 2

# Time is compared in cells; a vCPU ran in a cell when it ran all through.
_CELL_NS = 50_000
# By chance two vCPUs would have run together for so long, and did not at all.
_TOGETHER_BY_CHANCE_NS = 1.5 * _MS
# Alone, the two get so many times what they got together, and each of them at least so many.
_GAIN, _GAIN_OF_EACH = 1.25, 1.1
# With less than this they are not stacked; one comparison alone says so only with even less.
_NO_GAIN, _NO_GAIN_AT_ALL = 1.12, 0.95
# Shares of one hardware thread add up to no more than it has.
_WHOLE = 1.05
# How often that is compared: at least, and while it remains unclear.
_FEWEST_TURNS, _MOST_TURNS = 2, 5

# A sibling takes at least this part of the speed (20-50 % on real cores).
_SLOWED = 0.12
# How well the speeds must follow the sibling's activity (correlation), and by what the division
# may be doubted: so many of the least clear bits are tried the other way round.
_FOLLOWS = 0.6
_DOUBTFUL_BITS = 4


@dataclass(frozen=True, slots=True)
class Spins:
    """A watch of spinning vCPUs on common cells of time, as bits of one number for each vCPU."""

    active: Mapping[int, int]
    cells: int
    seen: Mapping[int, Availability]

    @classmethod
    def watch(cls, machine: Machine, vcpus: Collection[int], duration_ns: int) -> Spins:
        """Makes `vcpus` spin; those that left are absent."""
        seen = machine.watch(vcpus, duration_ns, Demand.NORMAL)
        origin = min((one.start_ns for one in seen.values()), default=0)
        last = max((one.end_ns for one in seen.values()), default=0)
        return cls(
            {vcpu: _active_cells(one, origin) for vcpu, one in seen.items()},
            (last - origin) // _CELL_NS,
            seen,
        )

    def share(self, vcpu: int) -> float:
        """The part of the time that it ran."""
        return self.active[vcpu].bit_count() / max(1, self.cells)

    def together(self, a: int, b: int) -> int:
        """In how many cells both ran."""
        return (self.active[a] & self.active[b]).bit_count()

    def chance(self, a: int, b: int) -> float:
        """For how long (ns) both would have run together, were it left to chance."""
        return self.share(a) * self.share(b) * self.cells * _CELL_NS

    def speed(self, vcpu: int) -> float | None:
        """Loops in a nanosecond of running, None when it ran too little."""
        one = self.seen.get(vcpu)
        if one is None:
            return None
        ran = one.end_ns - one.start_ns - sum(gap.length_ns for gap in one.gaps)
        return one.loops / ran if ran >= _SHORTEST_RUN_NS else None

    def mean_gap_ns(self, vcpu: int) -> float:
        """How long it is away at a time, 0 when it never was."""
        gaps = self.seen[vcpu].gaps
        return fmean(gap.length_ns for gap in gaps) if gaps else 0.0


def _active_cells(one: Availability, origin_ns: int) -> int:
    def between(start_ns: int, end_ns: int) -> int:
        return (1 << end_ns) - (1 << start_ns) if end_ns > start_ns else 0

    first = -(-(one.start_ns - origin_ns) // _CELL_NS)
    cells = between(first, (one.end_ns - origin_ns) // _CELL_NS)
    for gap in one.gaps:
        start = gap.start_ns - origin_ns
        cells &= ~between(start // _CELL_NS, -(-(start + gap.length_ns) // _CELL_NS))
    return cells


@dataclass(frozen=True, slots=True)
class Stacks:
    """The sets of stacked vCPUs, and pairs that may be stacked or not: nothing could show it."""

    sets: tuple[tuple[int, ...], ...]
    unclear: tuple[tuple[int, int], ...]
    spins: Spins  # of all vCPUs at the same time


def find_stacks(machine: Machine, vcpus: Sequence[int]) -> Stacks:
    """The stacks among `vcpus`.

    One watch of all where no two vCPUs take turns; where some do, about ten more of those.
    """
    spins = Spins.watch(machine, vcpus, _FIRST_NS)
    here = sorted(spins.active)
    partly = [vcpu for vcpu in here if spins.seen[vcpu].gaps]
    pairs = _turn_taking(spins, _pairs(partly))
    if not pairs:
        return Stacks((), (), spins)
    gains = _Gains(machine, pairs, _watch_ns(spins, pairs))
    stacked, unclear = gains.judge()
    return Stacks(*_sets(stacked, unclear), spins)


def _pairs(vcpus: Sequence[int]) -> Iterable[tuple[int, int]]:
    return ((a, b) for at, a in enumerate(vcpus) for b in vcpus[at + 1 :])


def _turn_taking(spins: Spins, pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pairs that never ran together and together had no more than the whole time."""
    here = spins.active.keys()
    return [
        (a, b)
        for a, b in pairs
        if a in here and b in here and not spins.active[a] & spins.active[b]
    ]


def _watch_ns(spins: Spins, pairs: Collection[tuple[int, int]]) -> int:
    """Long enough for some alternations, and for chance to bring pairs together."""
    members = {vcpu for pair in pairs for vcpu in pair}
    lasted = spins.cells * _CELL_NS
    alternation = median(lasted / max(1, len(spins.seen[vcpu].gaps)) for vcpu in members)
    rarest = min(spins.share(a) * spins.share(b) for a, b in pairs)
    chance = _TOGETHER_BY_CHANCE_NS / rarest / _FEWEST_TURNS if rarest else _LONGEST_NS
    return int(min(_LONGEST_NS, max(_FIRST_NS, _ALTERNATIONS * alternation, chance)))


class _Gains:
    """Compares what turn-taking vCPUs get together with what they get apart."""

    def __init__(
        self, machine: Machine, pairs: Sequence[tuple[int, int]], duration_ns: int
    ) -> None:
        self._machine = machine
        self._pairs = list(pairs)
        self._duration_ns = duration_ns
        self._together: dict[int, list[float]] = {}
        self._apart: dict[int, list[float]] = {}
        self._chance_ns: dict[tuple[int, int], float] = dict.fromkeys(pairs, 0.0)

    def judge(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The stacked pairs, and those that may be."""
        stacked: list[tuple[int, int]] = []
        for turn in range(1, _MOST_TURNS + 1):
            self._watch_together()
            self._watch_apart()
            enough = turn >= _FEWEST_TURNS
            stacked += [pair for pair in self._pairs if enough and self._proven(pair)]
            least = _NO_GAIN if enough else _NO_GAIN_AT_ALL
            self._pairs = [
                pair for pair in self._pairs if pair not in stacked and self._gain(pair) >= least
            ]
            if not self._pairs:
                break
        return stacked, self._pairs

    def _watch_together(self) -> None:
        members = sorted({vcpu for pair in self._pairs for vcpu in pair})
        spins = Spins.watch(self._machine, members, self._duration_ns)
        for vcpu in spins.active:
            self._together.setdefault(vcpu, []).append(spins.share(vcpu))
        self._pairs = [
            pair for pair in _turn_taking(spins, self._pairs) if all(map(self._together.get, pair))
        ]
        for pair in self._pairs:
            self._chance_ns[pair] += spins.chance(*pair)

    def _watch_apart(self) -> None:
        for group in _independent(self._pairs):
            spins = Spins.watch(self._machine, group, self._duration_ns)
            for vcpu in spins.active:
                self._apart.setdefault(vcpu, []).append(spins.share(vcpu))
        self._pairs = [pair for pair in self._pairs if all(map(self._apart.get, pair))]

    def _gain(self, pair: tuple[int, int]) -> float:
        """How many times more the two get when they do not spin at the same time."""
        together = sum(fmean(self._together[vcpu]) for vcpu in pair)
        apart = sum(fmean(self._apart[vcpu]) for vcpu in pair)
        return apart / together if together else 1.0

    def _proven(self, pair: tuple[int, int]) -> bool:
        """Both gained, together they had no more than the whole, and had time to meet."""
        together = [fmean(self._together[vcpu]) for vcpu in pair]
        apart = [fmean(self._apart[vcpu]) for vcpu in pair]
        return (
            self._gain(pair) >= _GAIN
            and all(x >= _GAIN_OF_EACH * y for x, y in zip(apart, together, strict=True))
            and sum(together) <= _WHOLE
            and self._chance_ns[pair] >= _TOGETHER_BY_CHANCE_NS
        )


def _independent(pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Few groups of vCPUs, none with both of a pair."""
    against: dict[int, set[int]] = {}
    for a, b in pairs:
        against.setdefault(a, set()).add(b)
        against.setdefault(b, set()).add(a)
    groups: list[list[int]] = []
    for vcpu in sorted(against, key=lambda vcpu: (-len(against[vcpu]), vcpu)):
        home = next((group for group in groups if not against[vcpu].intersection(group)), None)
        if home is None:
            groups.append([vcpu])
        else:
            home.append(vcpu)
    return groups


def _sets(
    stacked: Sequence[tuple[int, int]], unclear: Sequence[tuple[int, int]]
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, int], ...]]:
    """Stacks, in each of which every pair is stacked; pairs that make none are unclear."""
    beside: dict[int, set[int]] = {}
    for a, b in stacked:
        beside.setdefault(a, {a}).add(b)
        beside.setdefault(b, {b}).add(a)
    sets = {tuple(sorted(members)) for members in beside.values()}
    whole = [members for members in sets if all(beside[vcpu] == set(members) for vcpu in members)]
    placed = {vcpu for members in whole for vcpu in members}
    odd = [(a, b) for a, b in stacked if not (a in placed and b in placed)]
    return tuple(sorted(whole)), tuple(sorted([*unclear, *odd]))


def find_siblings(
    machine: Machine, units: Sequence[int], all_spin: Spins
) -> dict[tuple[int, int], float]:
    """Pairs of `units`, the lower one first, that slow each other down, with how sure that is.

    `units` are vCPUs of different hardware threads, `all_spin` a watch of all of them. The measure
    is a correlation: 0 to 1, rarely below 0.9 for true siblings. Siblings of more than two threads
    a core are found only in part.
    """
    phases = [all_spin]
    halves: list[int | None] = [None]
    for bit in range((len(units) - 1).bit_length()):
        for value in (0, 1):
            half = [vcpu for at, vcpu in enumerate(units) if at >> bit & 1 == value]
            phases.append(Spins.watch(machine, half, _HALF_NS))
            halves.append(bit)
    speeds = {vcpu: [spins.speed(vcpu) for spins in phases] for vcpu in units}
    found: dict[tuple[int, int], float] = {}
    for at, vcpu in enumerate(units):
        for other in _spelt(at, speeds[vcpu], halves):
            if other < len(units) and other != at:
                pair = (min(vcpu, units[other]), max(vcpu, units[other]))
                if pair not in found:
                    found[pair] = _follows(*pair, speeds, phases)
    return {pair: score for pair, score in found.items() if score >= _FOLLOWS}


def _spelt(at: int, speeds: Sequence[float | None], halves: Sequence[int | None]) -> Iterable[int]:
    """Which positions the speeds of the one at `at` may spell, likeliest first."""
    known = [speed for speed in speeds if speed is not None]
    if not known or max(known) - min(known) < _SLOWED * max(known):
        return []
    middle = (max(known) + min(known)) / 2
    other, clearness = at, {}
    for speed, bit in zip(speeds, halves, strict=True):
        if bit is None:
            continue
        if speed is not None:
            clearness[bit] = abs(speed - middle)
            if speed > middle:
                other ^= 1 << bit
        else:
            clearness.setdefault(bit, 0.0)
    doubtful = sorted(clearness, key=clearness.__getitem__)[:_DOUBTFUL_BITS]
    return [other, *(other ^ 1 << bit for bit in doubtful)]


def _follows(
    a: int,
    b: int,
    speeds: Mapping[int, Sequence[float | None]],
    phases: Sequence[Spins],
) -> float:
    """How well each one's lost speed follows the other's activity, the mean of both ways."""
    scores = []
    for vcpu, other in ((a, b), (b, a)):
        beside, speed = [], []
        for seen, spins in zip(speeds[vcpu], phases, strict=True):
            if seen is not None:
                ran = max(1, spins.active[vcpu].bit_count())
                both = spins.together(vcpu, other) if other in spins.active else 0
                beside.append(both / ran)
                speed.append(-seen)
        scores.append(_correlation(beside, speed))
    return fmean(scores)


def _correlation(xs: Sequence[float], ys: Sequence[float]) -> float:
    if len(xs) < 2:
        return 0.0
    mean_x, mean_y = fmean(xs), fmean(ys)
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    square = sum((x - mean_x) ** 2 for x in xs) * sum((y - mean_y) ** 2 for y in ys)
    return float(covariance / square**0.5) if square > 0 else 0.0
