"""The full probe of the topology: the domains of each vCPU, with few pair probes.

1. Stacks and siblings by letting many vCPUs spin together (`stacks`, `siblings`).
2. Siblings verified by one pair probe each; from then on one vCPU speaks for its core.
3. Some rounds of pairs of all kinds (neighbours in number, half the machine apart, at random),
   from which the classes of latency come; they are found anew after each round.
4. Every domain is compared with those that it may still be one with, the likeliest first, until
   none is left (`questions`).

Pairs are probed in rounds of disjoint pairs, all of a round at the same time (`rounds`). What
contradicts is probed again; if it stays, the latency that fits its class worst is left out.

Where spinning shows no siblings (an emulated machine, cores that do not care), claimed siblings
and the usual numberings are all that is tried; siblings numbered in another way are then missed.

Source: vSched §3 for the pair probe and transitivity.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from scx_vsched.topology.conclusion import Findings, conclude
from scx_vsched.topology.cores import SURE, Cores
from scx_vsched.topology.domains import Level, members
from scx_vsched.topology.placement import Conflict, Ledger, Pair, Placement, ordered
from scx_vsched.topology.questions import (
    Guesses,
    held_apart_by_few,
    next_questions,
    sampling_rounds,
    strangers,
)
from scx_vsched.topology.rounds import Rounds
from scx_vsched.topology.siblings import Siblings, find_siblings
from scx_vsched.topology.spins import Spinner, Spins
from scx_vsched.topology.stacks import Stacks, find_stacks_twice

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scx_vsched.topology.classes import LatencyClasses
    from scx_vsched.topology.domains import Domains
    from scx_vsched.topology.measured import MeasuredTopology
    from scx_vsched.topology.records import Machine

__all__ = ["probe_topology"]

# Beyond so many pair probes for each vCPU the rest is left open; 2 to 5 are usual.
_MOST_PROBES = 12
# What one probe alone says is confirmed while there were no more than so many.
_CONFIRM_UP_TO = 5.0
# All pairs are probed where that takes no more than so many for each vCPU.
_ALL_PAIRS = 4.5
# A vCPU that so many probes in a row showed nothing of is left out.
_MOST_MISSES = 5
# A class of fewer pairs than this is not believed before they were probed twice.
_FEW_PAIRS = 3
# Sampling may end when the nearest class outside cores has so many pairs.
_SEEN_OFTEN = 4
# A class that scatters so much (natural logarithm) is several of which too few pairs were seen, as
# long as these are few altogether.
_BLURRED, _PLENTY = 0.15, 80
# So many rounds of samples are enough where there is one class only.
_SAMPLING_ROUNDS = 4
# Distances are no hierarchy when so many pairs, or such a part of all, contradict it for good.
_MOST_DISTRUSTED, _DISTRUSTED_PART = 3, 0.05


def probe_topology(
    machine: Machine, claims: Mapping[int, Domains] | None = None
) -> MeasuredTopology:
    """Probes all vCPUs that may be probed.

    `claims` are the domains that the guest was told; they help to guess what to probe first and
    how to name what was found, but never decide what belongs together.
    """
    return _Probe(machine, dict(claims or {})).run()


class _Probe:
    def __init__(self, machine: Machine, claims: dict[int, Domains]) -> None:
        self._machine = machine
        self._claims = claims
        self._ledger = Ledger()
        self._rounds = Rounds(machine)
        self._vcpus = machine.vcpus()
        self._spinner = Spinner(machine)
        self._stacks: tuple[tuple[int, ...], ...] = ()
        self._units = list(self._vcpus)
        self._cores = Cores(self._units, Siblings({}, frozenset()), claims)
        self._spins = Spins({}, 0, {})
        self._no_boundaries: list[float] = []  # latencies at which no classes part after all
        self._notes: list[str] = []

    def run(self) -> MeasuredTopology:
        """All steps."""
        if len(self._vcpus) > 1:
            self._verify_siblings(self._spin_all())
            self._sample()
            self._place()
        return conclude(self._findings())

    # -- stacks and siblings -----------------------------------------------------------------

    def _spin_all(self) -> Siblings:
        stacks = find_stacks_twice(self._spinner, self._vcpus)
        self._rounds.expect(stacks.spins)
        self._spins = stacks.spins
        self._stacks = self._verified(stacks)
        if stacks.unclear:
            shown = " and ".join(map(str, stacks.unclear[0]))
            more = len(stacks.unclear) - 1
            others = f", and {more} more such pairs" if more else ""
            self._notes.append(
                f"vCPUs {shown} never ran together: stacked, or rarely there{others}"
            )
        hidden = {vcpu for stack in self._stacks for vcpu in stack[1:]}
        self._units = [vcpu for vcpu in sorted(stacks.spins.active) if vcpu not in hidden]
        siblings = find_siblings(self._spinner, self._units)
        self._cores = Cores(self._units, siblings, self._claims)
        return siblings

    def _verified(self, stacks: Stacks) -> tuple[tuple[int, ...], ...]:
        """The stacks between whose neighbours no cache line passes."""
        pairs = [pair for stack in stacks.sets for pair in pairwise(stack)]
        # neighbours in a stack of three share a vCPU, so not all fit into one round
        found: dict[Pair, float | None] = {}
        while result := self._rounds.run(pair for pair in pairs if pair not in found):
            found |= result
        passed = {pair for pair, latency in found.items() if latency is not None}
        return tuple(stack for stack in stacks.sets if passed.isdisjoint(pairwise(stack)))

    def _verify_siblings(self, siblings: Siblings) -> None:
        """Probes the likeliest siblings; claimed ones where spinning showed none."""
        scores = siblings.pairs
        pairs = sorted(scores, key=lambda pair: -scores[pair])
        if not pairs:
            claims = {unit: self._claims[unit] for unit in self._units if unit in self._claims}
            cores = members(claims, Level.CORE).values()
            pairs = [ordered(a, b) for core in cores for a, b in pairwise(core)]
        for _ in range(2):
            self._probe(pair for pair in pairs if not self._ledger.tries(pair))

    def _probe(self, wanted: Iterable[Pair]) -> bool:
        """One round, entered into the ledger; whether there was anything to probe."""
        found = self._rounds.run(wanted)
        for pair, latency in found.items():
            self._ledger.add(pair, latency)
        return bool(found)

    # -- classes and placement ---------------------------------------------------------------

    def _state(self) -> tuple[LatencyClasses, Placement]:
        """What follows from all that was measured so far."""
        classes = self._ledger.classes()
        for latency_ns in self._no_boundaries:
            classes = classes.joined_at(latency_ns)
        classified = self._ledger.classified(classes)
        leaf = int(self._cores.shown(classes, classified))
        return classes, Placement(self._units, classified, len(classes.classes), leaf)

    def _speakers(self, placement: Placement) -> list[int]:
        """One vCPU of each core, the one that is there most of the time."""
        cores = placement.members(placement.leaf - 1).values()
        return [max(core, key=lambda unit: (self._spins.share(unit), -unit)) for core in cores]

    def _sample(self) -> None:
        """Pairs of all kinds, until the classes are clear."""
        _, placement = self._state()
        speakers = sorted(self._speakers(placement))
        affordable = int(_ALL_PAIRS * len(self._vcpus))
        everyone = len(speakers) * (len(speakers) - 1) // 2 <= affordable
        for number, pairs in enumerate(sampling_rounds(speakers, affordable), 1):
            meeting = [pair for pair in pairs if self._spins.share(*pair) > 0]
            while self._probe(pair for pair in meeting if not self._ledger.tries(pair)):
                pass
            classes, placement = self._state()
            nearest = Counter(self._ledger.classified(classes).values())[placement.leaf]
            known = len(classes.classes) > placement.leaf + 1
            clear = all(found.spread <= _BLURRED for found in classes.classes)
            clear = clear or len(self._ledger.seen) >= _PLENTY
            enough = (known and nearest >= _SEEN_OFTEN) or number >= _SAMPLING_ROUNDS
            if clear and enough and not everyone:
                break

    def _place(self) -> None:
        """Asks until there is nothing left to ask."""
        guesses = Guesses(self._units, {v: own.llc for v, own in self._claims.items()})
        most = _MOST_PROBES * len(self._vcpus) + 2 * _MOST_PROBES
        affordable = _CONFIRM_UP_TO * len(self._vcpus)
        while self._rounds.probes < most:
            classes, placement = self._state()
            classified = self._ledger.classified(classes)
            guesses.learn(classified, placement.leaf)
            again = self._to_repeat(placement, classified)
            if again is None:
                continue
            speakers = self._speakers(placement)
            speakers = [v for v in speakers if self._rounds.misses(v) < _MOST_MISSES]
            asked = next_questions(placement, self._ledger, guesses, speakers, self._spins)
            if not asked:
                asked = strangers(placement, self._ledger) + self._cores.lonely(
                    placement, self._ledger
                )
                if self._rounds.probes < affordable:
                    asked += held_apart_by_few(placement, self._ledger, speakers)
            if not self._probe([*again, *asked]):
                self._note_open(placement)
                return
        self._notes.append(
            f"The topology is incomplete: stopped after {self._rounds.probes} probes."
        )

    def _note_open(self, placement: Placement) -> None:
        """Says whose comparison failed."""
        groups = placement.met()
        if len(groups) > 1:
            self._notes.append(
                f"vCPUs {groups[0][0]} and {groups[1][0]}, and others, never ran together: "
                "what they are to each other is a guess."
            )
            return
        open_to = placement.open_questions()
        if open_to:
            first = min(open_to)
            self._notes.append(
                f"The domains of vCPUs {first} and {open_to[first][0]}, among others, could not be "
                "compared: they may be one."
            )

    def _to_repeat(
        self, placement: Placement, classified: Mapping[Pair, int | None]
    ) -> list[Pair] | None:
        """Pairs to probe again; None when something was left out instead."""
        sizes = Counter(classified.values())

        def odd(pair: Pair, found: int | None) -> bool:
            tries = self._ledger.tries(pair)
            if found != 0 and self._cores.score(pair) >= SURE:
                return tries < 3
            return tries < 2 and (found is None or sizes[found] < _FEW_PAIRS)

        rare = [pair for pair, found in classified.items() if odd(pair, found)]
        conflicts = placement.conflicts()
        if not conflicts:
            return rare
        for least in (2, 3):
            doubted = [c.pair for c in conflicts] + [p for c in conflicts for p in c.path]
            again = [pair for pair in doubted if self._ledger.tries(pair) < least]
            if again:
                return list(dict.fromkeys([*again, *rare]))
        self._distrust(conflicts, classified)
        return None

    def _distrust(
        self, conflicts: Sequence[Conflict], classified: Mapping[Pair, int | None]
    ) -> None:
        """Leaves out what fits worst of a conflict that stayed, or the boundary it is about."""
        most = max(_MOST_DISTRUSTED, _DISTRUSTED_PART * len(classified))
        classes, _ = self._state()
        if len(self._ledger.distrusted) >= most:
            level, _ = Counter(conflict.level for conflict in conflicts).most_common(1)[0]
            inner, outer = (found.latency_ns for found in classes.classes[level : level + 2])
            self._no_boundaries.append((inner * outer) ** 0.5)
            self._ledger.distrusted.clear()
            self._notes.append(
                f"{inner:.0f} ns and {outer:.0f} ns make no hierarchy: taken for one class."
            )
            return
        involved = Counter(pair for c in conflicts for pair in (c.pair, *c.path))

        def doubt(pair: Pair) -> tuple[int, float]:
            latency = self._ledger.latency_ns(pair) or 1.0
            return involved[pair], min(classes.deviations(latency), default=0.0)

        self._ledger.distrusted.add(max(involved, key=doubt))

    def _findings(self) -> Findings:
        classes, placement = self._state()
        return Findings(
            vcpus=self._vcpus,
            claims=self._claims,
            stacks=self._stacks,
            placement=placement,
            ledger=self._ledger,
            classes=classes,
            gone=self._rounds.gone,
            unavailable=self._machine.unavailable(),
            notes=tuple(self._notes),
            effort=self._rounds.effort(self._spinner.watches),
        )
