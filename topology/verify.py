"""Whether the topology is still what a full probe found, at a fraction of its cost (vSched §3).

Neighbours are probed: the threads of a core, the cores of a cache, one vCPU for each cache, socket
and node; then pairs further apart, in the course of two periods all of a small machine's. Other
vCPUs speak for their domains each time (`comparisons`). The vCPUs of a stack are made to spin: that
they run together once proves that they are one no more; the other way round, vCPUs that once ran
together and now never do are examined as a full probe would.

A pair that does not fit is probed again before it counts, so that noise and preemption raise no
false alarm. Latencies alone count: capacity may change as it likes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from scx_vsched.topology.classes import LatencyClasses, describe_class
from scx_vsched.topology.comparisons import chains, crossings
from scx_vsched.topology.domains import Level, members, relation
from scx_vsched.topology.placement import Ledger
from scx_vsched.topology.rounds import Rounds
from scx_vsched.topology.spins import Spinner
from scx_vsched.topology.stacks import find_stacks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scx_vsched.topology.domains import Domains
    from scx_vsched.topology.measured import Effort, MeasuredTopology
    from scx_vsched.topology.placement import Pair
    from scx_vsched.topology.records import Machine, Relation

__all__ = ["Verdict", "Verifier"]

_MS = 1_000_000

# A pair is seen so often before it counts that it does not fit, or left out after so many tries.
_PROBES, _MOST_TRIES = 3, 6
# A latency is another class's, or at least so many spreads off its own.
_FAR_OFF = 8.0
# Probes of one pair that differ by no more than this factor agree.
_AGREE = 1.3
# Pairs that are no neighbours are probed for so long, each no longer than two vCPUs need that are
# there: the next verification goes on where this one ended.
_OTHERS_NS, _OTHERS_EACH_NS = 40 * _MS, _MS // 2
_BRIEF_NS = _MS
# Stacks spin for so long, which is some turns of the host.
_STACKS_NS = 12 * _MS
# So long the vCPUs of a stack must have run together: a clock's resolution is no proof.
_TOGETHER_CELLS = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one verification says.

    `reason` says what changed, None when nothing did. vCPUs that `left` are no change: what the
    others are to each other holds. `checked` pairs were compared, `skipped` ones could not be.
    """

    reason: str | None
    left: tuple[int, ...]
    checked: int
    skipped: int
    effort: Effort

    @property
    def changed(self) -> bool:
        """Whether a full probe is due."""
        return self.reason is not None


class Verifier:
    """Verifies one measured topology, period by period."""

    def __init__(self, machine: Machine, known: MeasuredTopology) -> None:
        self._machine = machine
        self._known = known
        self._present = frozenset(machine.vcpus()) | known.domains.keys()
        self._relations, self._classes = _classes(known)
        self._turn = 0
        self._waiting: list[Pair] = []
        self._not_stacked: set[Pair] = set()

    def verify(self) -> Verdict:
        """One verification; it ends with the first robust mismatch."""
        check = _Check(
            self._machine, self._known, self._relations, self._classes, self._not_stacked
        )
        here = frozenset(self._machine.vcpus())
        came = here - self._present
        reason = None
        if came:
            reason = f"vCPU {min(came)} came online"
        domains = {vcpu: own for vcpu, own in self._known.domains.items() if vcpu in here}
        near = chains(domains, self._turn)
        far = [pair for pair in self._waiting if here.issuperset(pair)]
        far = far or crossings(domains, self._turn)
        self._turn += 1
        reason = reason or check.stacks(domains) or check.neighbours(near)
        if not reason:
            until_ns = self._machine.now_ns() + _OTHERS_NS + _OTHERS_EACH_NS * len(domains)
            reason, self._waiting = check.others(far, until_ns)
        return Verdict(
            reason=reason,
            left=tuple(sorted(self._known.domains.keys() - here)),
            checked=check.checked,
            skipped=check.skipped,
            effort=check.effort(),
        )


def _classes(known: MeasuredTopology) -> tuple[list[Relation], LatencyClasses]:
    """The relations that were measured, nearest first, and the class of latency of each."""
    logs: dict[Relation, list[float]] = {}
    for pair in known.pairs.values():
        if pair.latency_ns:
            logs.setdefault(pair.relation, []).append(math.log(pair.latency_ns))
    relations = sorted(logs)
    return relations, LatencyClasses(tuple(describe_class(logs[found]) for found in relations))


class _Check:
    """The work of one verification."""

    def __init__(
        self,
        machine: Machine,
        known: MeasuredTopology,
        relations: Sequence[Relation],
        classes: LatencyClasses,
        not_stacked: set[Pair],
    ) -> None:
        """`not_stacked` are pairs that never meet and were examined; more are added."""
        self._not_stacked = not_stacked
        self._machine = machine
        self._known = known
        self._relations = relations
        self._classes = classes
        self._ledger = Ledger()
        self._rounds = Rounds(machine)
        self._spinner = Spinner(machine)
        self._stacked_pairs = 0

    @property
    def checked(self) -> int:
        """How many pairs were compared."""
        return self._stacked_pairs + len(self._ledger.seen)

    @property
    def skipped(self) -> int:
        """How many of those that were probed showed nothing."""
        return len(self._ledger.missed.keys() - self._ledger.seen.keys())

    def effort(self) -> Effort:
        """What it took."""
        return self._rounds.effort(self._spinner.watches)

    def stacks(self, domains: dict[int, Domains]) -> str | None:
        """Whether the vCPUs of a stack ran together."""
        stacks = [vcpus for vcpus in members(domains, Level.STACK).values() if len(vcpus) > 1]
        if not stacks:
            return None
        together: dict[Pair, int] = {}
        for _ in range(2):
            spinning = [vcpu for vcpus in stacks for vcpu in vcpus]
            spins = self._spinner.spin(spinning, _STACKS_NS)
            here = spins.active.keys()
            pairs = [(a, b) for vcpus in stacks for a, b in pairwise(vcpus)]
            self._stacked_pairs = len(pairs)
            for a, b in pairs:
                if a in here and b in here and spins.together(a, b) >= _TOGETHER_CELLS:
                    together[a, b] = together.get((a, b), 0) + 1
            if not together:
                return None
        for (a, b), times in together.items():
            if times > 1:
                return f"vCPUs {a} and {b} were stacked and now run at the same time"
        return None

    def neighbours(self, pairs: Sequence[Pair]) -> str | None:
        """Whether a pair's latency is no longer that of its relation."""
        for times in range(1, _PROBES + 1):
            due = [pair for pair in pairs if pair not in self._ledger.seen]
            while self._probe(pair for pair in due if self._ledger.tries(pair) < times):
                pass
        self._settle(pairs)
        silent = [pair for pair in pairs if pair not in self._ledger.seen]
        return self._mismatch(pairs) or self._stacked_now(silent)

    def others(self, pairs: Sequence[Pair], until_ns: int) -> tuple[str | None, list[Pair]]:
        """The same of pairs that may wait for the next time, and those that have to.

        Nobody waits for long for a vCPU that is away; in the time that is left those are probed
        again of which nothing was seen.
        """
        left = dict.fromkeys(pairs)
        again: list[Pair] = []
        while self._machine.now_ns() < until_ns:
            found = self._rounds.run(left or again, _BRIEF_NS)
            if not found:
                break
            for pair, latency in found.items():
                self._ledger.add(pair, latency)
                if pair in left and latency is None:
                    again.append(pair)
                left.pop(pair, None)
            again = [pair for pair in again if pair not in found or pair not in self._ledger.seen]
        self._settle(pairs)
        return self._mismatch(pairs), list(left)

    def _settle(self, pairs: Iterable[Pair]) -> None:
        """Probes again what was seen and does not fit, until it does or was seen often enough."""
        odd = [pair for pair in pairs if pair in self._ledger.seen]
        while odd := [
            pair
            for pair in odd
            if len(self._ledger.seen[pair]) < _PROBES
            and self._ledger.tries(pair) < _MOST_TRIES
            and not self._fits(pair)
        ]:
            if not self._probe(odd):
                break

    def _probe(self, wanted: Iterable[Pair]) -> bool:
        found = self._rounds.run(wanted)
        for pair, latency in found.items():
            self._ledger.add(pair, latency)
        return bool(found)

    def _expected(self, pair: Pair) -> Relation:
        return relation(*(self._known.domains[vcpu] for vcpu in pair))

    def _fits(self, pair: Pair) -> bool:
        """Whether some probe saw a latency of the pair's relation; False when none saw any."""
        expected = self._expected(pair)
        if expected not in self._relations:
            return pair in self._ledger.seen  # nothing to compare with
        at = self._relations.index(expected)
        seen = map(self._classes.deviations, self._ledger.seen.get(pair, ()))
        return any(off[at] == min(off) and off[at] <= _FAR_OFF for off in seen)

    def _differs(self, pair: Pair) -> bool:
        """Whether the probes agree on a latency that is not the pair's relation's.

        What was seen once and never again proves nothing.
        """
        seen = self._ledger.seen.get(pair, ())
        return len(seen) >= _PROBES and max(seen) < _AGREE * min(seen) and not self._fits(pair)

    def _mismatch(self, pairs: Iterable[Pair]) -> str | None:
        """What the first pair says that differs."""
        pair = next(filter(self._differs, pairs), None)
        if pair is None:
            return None
        latency = self._ledger.latency_ns(pair) or 0.0
        expected = self._expected(pair)
        usual = self._classes.classes[self._relations.index(expected)].latency_ns
        return (
            f"vCPUs {pair[0]} and {pair[1]} are {latency:.0f} ns apart, "
            f"others with their relation ({expected.name}) {usual:.0f} ns"
        )

    def _stacked_now(self, silent: Sequence[Pair]) -> str | None:
        """Whether vCPUs between which nothing passed have become stacked."""
        silent = [pair for pair in silent if pair not in self._not_stacked]
        vcpus = sorted({vcpu for pair in silent for vcpu in pair})
        if not vcpus:
            return None
        spins = self._spinner.spin(vcpus, _STACKS_NS)
        here = spins.active.keys()
        if all(a not in here or b not in here or spins.together(a, b) for a, b in silent):
            return None
        for stack in find_stacks(self._spinner, vcpus).sets:
            return f"vCPUs {', '.join(map(str, stack))} are stacked now"
        self._not_stacked.update(silent)
        return None
