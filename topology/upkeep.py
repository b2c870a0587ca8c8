"""Keeps the topology true: one full probe, verifications, and another one when something changed.

What that costs is paid for with the time until the next, but for what a change costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from scx_vsched.topology.budget import Allowance
from scx_vsched.topology.spins import Spinner
from scx_vsched.topology.stacks import find_stacks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from scx_vsched.topology.measured import MeasuredTopology
    from scx_vsched.topology.records import Machine
    from scx_vsched.topology.verify import Verdict

__all__ = ["PERIODS", "TopologyProbe", "Upkeep"]

_SECOND_NS = 1_000_000_000
# Verifications: at first so often, then ever slower while nothing changes (vSched §3.3 verifies
# every 2 to 4 s).
_FIRST_NS = 2 * _SECOND_NS
_MOST_NS = 4 * _SECOND_NS
_GROWS = 1.25
# Later where it costs more than this, but no later than after the longest period.
_ALLOWANCE = Allowance(busy=0.0008, idle=0.002)
_LONGEST_NS = 300 * _SECOND_NS
# Where a full probe takes longer than this to pay for, one mismatch is not enough: emulation makes
# latencies uncertain, and false alarms dear.
_DEAR_NS = 60 * _SECOND_NS

PERIODS = {
    "verify_first_ns": _FIRST_NS,
    "verify_most_ns": _MOST_NS,
    "verify_longest_ns": _LONGEST_NS,
}
"""The settings, as a document has them."""


class Verifies(Protocol):
    """Verifies one topology, time and again."""

    def verify(self) -> Verdict:
        """Whether a full probe is due."""


@dataclass(frozen=True, slots=True)
class TopologyProbe:
    """How the topology is found, and what checks that it still holds."""

    probe: Callable[[Machine], MeasuredTopology]
    verifier: Callable[[Machine, MeasuredTopology], Verifies]


class Upkeep:
    """The topology of one machine: `topology`, None at first, which has changed `changes` times."""

    def __init__(
        self,
        machine: Machine,
        how: TopologyProbe,
        cpu_ns: Callable[[], int],
        kinds: Callable[[], tuple[int, int]],
    ) -> None:
        """`cpu_ns` is all CPU time of the probing, `kinds` how many vCPUs are busy and idle."""
        self.topology: MeasuredTopology | None = None
        self.changes = 0
        self.due_ns = 0  # the next check
        self._machine, self._how, self._cpu_ns, self._kinds = machine, how, cpu_ns, kinds
        self._verifier: Verifies | None = None
        self._maybe_stacked: set[int] = set()
        self._probe_cost_ns = 0
        self._mismatched = False  # in the last verification
        self._period_ns = _FIRST_NS
        self._earliest_ns = 0

    def suspect(self, vcpus: Collection[int]) -> None:
        """The gaps of `vcpus` changed together.

        Two that came to share a hardware thread take turns from then on.
        """
        self._maybe_stacked.update(vcpus)
        self.due_ns = self._earliest_ns

    def probe(self) -> None:
        """A full probe."""
        before_ns = self._cpu_ns()
        found = self._how.probe(self._machine)
        self._probe_cost_ns = self._cpu_ns() - before_ns
        if self.topology and self.topology.domains != found.domains:
            self.changes += 1
        self.topology = found
        self._maybe_stacked, self._mismatched = set(), False
        self._verifier = self._how.verifier(self._machine, found)
        self._period_ns = _FIRST_NS
        self._done(0)

    def check(self) -> None:
        """A verification, and a full probe where something does not hold any more."""
        before_ns, changes = self._cpu_ns(), self.changes
        if self._verifier is None or self._newly_stacked() or self._sure_of_change(self._verifier):
            self.probe()
            if changes == self.changes:
                self._done(self._cpu_ns() - before_ns)
            return
        self._period_ns = min(round(self._period_ns * _GROWS), _MOST_NS)
        self._done(self._cpu_ns() - before_ns)

    def _sure_of_change(self, verifier: Verifies) -> bool:
        before, self._mismatched = self._mismatched, verifier.verify().changed
        return self._mismatched and (before or self._paid_ns(self._probe_cost_ns) <= _DEAR_NS)

    def _newly_stacked(self) -> bool:
        """Whether vCPUs whose gaps changed share a hardware thread, which they did not before.

        A verification compares latencies of neighbours; this sees those that are none.
        """
        suspects = self._maybe_stacked.intersection(self._machine.vcpus())
        self._maybe_stacked = set()
        if self.topology is None or len(suspects) < 2:
            return False
        known = self.topology.domains
        found = find_stacks(Spinner(self._machine), sorted(suspects))
        return any(
            len({known[vcpu].stack for vcpu in stack if vcpu in known}) > 1 for stack in found.sets
        )

    def _done(self, cost_ns: int) -> None:
        now = self._machine.now_ns()
        self._earliest_ns = now + min(self._paid_ns(cost_ns), _LONGEST_NS)
        self.due_ns = max(now + self._period_ns, self._earliest_ns)

    def _paid_ns(self, cost_ns: int) -> int:
        """How long it takes to earn what a verification or a full probe has cost."""
        return round(cost_ns / _ALLOWANCE.rate(*self._kinds()))
