"""Rounds of pair probes: disjoint pairs at the same time, each round as long as its pairs need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.topology.classes import sample_latency
from scx_vsched.topology.measured import Effort

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scx_vsched.topology.placement import Pair
    from scx_vsched.topology.records import Machine
    from scx_vsched.topology.spins import Spins

__all__ = ["SAMPLES", "Rounds"]

_MS = 1_000_000

# Transfers of one probe: enough for a quantile when a third is spoilt.
SAMPLES = 48
# For two vCPUs that are always there; what the host takes from either comes on top, so many times.
_LEAST_BUDGET_NS = 2 * _MS
_GAPS = 1.5
_LONGEST_BUDGET_NS = 60 * _MS
# After a probe without result the next budget is twice as long, but not more often than this.
_MOST_DOUBLINGS = 4
# Pairs that need so many times the shortest budget of a round wait for one of their own.
_PATIENCE = 3


class Rounds:
    """Runs rounds on a machine, and counts."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._gap_ns: dict[int, float] = {}
        self._misses: dict[int, int] = {}
        self._start_ns = machine.now_ns()
        self.probes = 0
        self.rounds = 0
        self.gone: dict[int, str] = {}

    def expect(self, spins: Spins) -> None:
        """How long each vCPU is away at a time, for the budgets."""
        self._gap_ns = {vcpu: spins.mean_gap_ns(vcpu) for vcpu in spins.seen}

    def effort(self, watches: int) -> Effort:
        """What all took so far."""
        return Effort(self.probes, self.rounds, watches, self._machine.now_ns() - self._start_ns)

    def misses(self, vcpu: int) -> int:
        """How many probes of the vCPU in a row had no result."""
        return self._misses.get(vcpu, 0)

    def run(self, wanted: Iterable[Pair], budget_ns: int | None = None) -> dict[Pair, float | None]:
        """Probes those of `wanted` that fit into one round: their latencies in ns, None without.

        The first come first where two share a vCPU; pairs that need far more time than the others
        are left for a round of their own, unless all get the same `budget_ns`.
        """
        disjoint = []
        taken: set[int] = set(self.gone)
        for pair in wanted:
            if taken.isdisjoint(pair):
                taken.update(pair)
                disjoint.append(pair)
        if not disjoint:
            return {}
        budgets = {pair: budget_ns or self._budget_ns(pair) for pair in disjoint}
        most = _PATIENCE * min(budgets.values())
        pairs = [pair for pair in disjoint if budgets[pair] <= most]
        found = self._machine.pair_probes(pairs, max(budgets[pair] for pair in pairs), SAMPLES)
        self.probes += len(pairs)
        self.rounds += 1
        latencies = {pair: sample_latency(found[pair]) if pair in found else None for pair in pairs}
        for pair, latency in latencies.items():
            for vcpu in pair:
                self._misses[vcpu] = 0 if latency is not None else self._misses.get(vcpu, 0) + 1
        if len(found) < len(pairs):
            self._note_gone(vcpu for pair in pairs if pair not in found for vcpu in pair)
        return latencies

    def _budget_ns(self, pair: Pair) -> int:
        gaps = sum(self._gap_ns.get(vcpu, 0.0) for vcpu in pair)
        doublings = min(_MOST_DOUBLINGS, max(self.misses(vcpu) for vcpu in pair))
        budget = (_LEAST_BUDGET_NS + _GAPS * gaps) * 2**doublings
        return int(min(budget, _LONGEST_BUDGET_NS))

    def _note_gone(self, vcpus: Iterable[int]) -> None:
        here = set(self._machine.vcpus())
        reasons = self._machine.unavailable()
        for vcpu in vcpus:
            if vcpu not in here:
                self.gone[vcpu] = reasons.get(vcpu, "it left") + ", during the probe"
