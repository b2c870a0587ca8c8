"""The steal source: time taken away as the hypervisor reports it, and whether that can be believed.

Steal is free and covers all time, not only the windows of a probe, but it comes in ticks of 10 ms
(/proc/stat counts in USER_HZ), says nothing of an idle vCPU, and many hypervisors report none: it
then reads 0 for ever. Evidence decides: in windows in which a probe watched a vCPU that was
wanted, steal must have moved about as much as the gaps that the probe saw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.topology.evidence import ShareSample
from scx_vsched.topology.measure import Evidence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scx_vsched.topology.evidence import Observation
    from scx_vsched.topology.records import Machine
    from scx_vsched.topology.vcap import Round

__all__ = ["STEAL_TICK_NS", "Clocks", "SourceEvidence", "StealSource", "stolen_between"]

STEAL_TICK_NS = 10_000_000
# Both ends of a difference are rounded to the tick.
_ROUNDING_ERROR_NS = STEAL_TICK_NS / math.sqrt(6)
# A vCPU that was busy for less of the time had slack: its quota was not all it could have had.
_SATURATED = 0.97
# Long enough that rounding alone errs by little more than 0.01.
_LEAST_SPAN_NS = 350_000_000

# Evidence halves in a minute, so that a guest which moved to another host is judged anew.
_EVIDENCE_HALF_LIFE_NS = 60_000_000_000
_ENOUGH_NS = 100_000_000
_AGREES = (0.6, 1.6)
_SILENT = 0.1


@dataclass(frozen=True, slots=True)
class Clocks:
    """What the kernel counted for each vCPU up to `at_ns`; `steal_ns` is None without steal."""

    at_ns: int
    busy_ns: dict[int, int]
    steal_ns: dict[int, int] | None

    @classmethod
    def read(cls, machine: Machine) -> Clocks:
        """Read them now."""
        return cls(machine.now_ns(), machine.busy_ns(), machine.steal_ns())

    def busy_share(self, since: Clocks, vcpu: int) -> float | None:
        """The share of the time in which the vCPU was wanted; None where nothing is known."""
        elapsed = self.at_ns - since.at_ns
        if elapsed <= 0 or vcpu not in self.busy_ns or vcpu not in since.busy_ns:
            return None
        # A kernel that counts steal takes it off the time it counts as busy (account_steal_time()).
        wanted = self.busy_ns[vcpu] - since.busy_ns[vcpu] + (self.stolen_ns(since, vcpu) or 0)
        return min(max(wanted / elapsed, 0.0), 1.0)

    def stolen_ns(self, since: Clocks, vcpu: int) -> int | None:
        """The time taken from the vCPU; None where the kernel counts none."""
        before = (since.steal_ns or {}).get(vcpu)
        now = (self.steal_ns or {}).get(vcpu)
        return None if before is None or now is None else max(now - before, 0)


def stolen_between(
    before: Mapping[int, int] | None, now: Mapping[int, int] | None
) -> dict[int, int] | None:
    """The time taken from each vCPU between two readings of steal; None without steal."""
    if before is None or now is None:
        return None
    # Kernels are known to let steal go back a little after a migration.
    return {vcpu: max(now[vcpu] - before[vcpu], 0) for vcpu in now if vcpu in before}


@dataclass(frozen=True, slots=True)
class SourceEvidence:
    """Which source counts on this machine, why, and both sums that were compared."""

    kind: Evidence
    reason: str
    gaps_ns: int
    steal_ns: int | None


class StealSource:
    """Share samples from steal, and the comparison of steal with gaps."""

    evidence = Evidence.STEAL

    def __init__(self) -> None:
        self._gaps_ns = 0.0
        self._stolen_ns = 0.0
        self._reported = True
        self._judged_ns: int | None = None
        self._since: Clocks | None = None

    def samples(self, done: Round) -> dict[int, ShareSample]:
        """The shares of vCPUs that were wanted all the time since the last samples."""
        before, now = self._since or done.since, done.after
        span = now.at_ns - before.at_ns
        found: dict[int, ShareSample] = {}
        if span < _LEAST_SPAN_NS:
            return found
        self._since = now
        for vcpu in now.busy_ns:
            busy = now.busy_share(before, vcpu)
            stolen = now.stolen_ns(before, vcpu)
            if busy is None or stolen is None or busy < _SATURATED:
                continue
            found[vcpu] = ShareSample(
                vcpu,
                now.at_ns,
                min(max(1.0 - stolen / span, 0.0), 1.0),
                max(_ROUNDING_ERROR_NS / span, 0.005),
                0,
                span,
            )
        return found

    def compare(
        self,
        at_ns: int,
        stolen_ns: Mapping[int, int] | None,
        seen: Mapping[int, Sequence[Observation]],
    ) -> None:
        """Take in watches, and the time stolen meanwhile; None where the kernel counts none."""
        if self._judged_ns is not None:
            decay = 0.5 ** ((at_ns - self._judged_ns) / _EVIDENCE_HALF_LIFE_NS)
            self._gaps_ns *= decay
            self._stolen_ns *= decay
        self._judged_ns = at_ns
        self._reported = stolen_ns is not None
        for vcpu, look in seen.items():
            self._stolen_ns += (stolen_ns or {}).get(vcpu, 0)
            self._gaps_ns += sum(observed.away_ns for observed in look)

    def judge(self) -> SourceEvidence:
        """Which source to believe, by what was compared so far."""
        gaps, stolen = round(self._gaps_ns), round(self._stolen_ns)
        if not self._reported:
            return SourceEvidence(
                Evidence.GAPS, "the kernel counts no steal on this machine", gaps, None
            )
        if max(gaps, stolen) < _ENOUGH_NS:
            return SourceEvidence(
                Evidence.GAPS, "too little was taken away to compare steal with", gaps, stolen
            )
        if stolen > gaps * _AGREES[1]:
            reason = "steal moves; most of what is taken away is too short to show as gaps"
            return SourceEvidence(Evidence.STEAL, reason, gaps, stolen)
        ratio = stolen / gaps
        if ratio >= _AGREES[0]:
            return SourceEvidence(Evidence.STEAL, "steal moves in step with gaps", gaps, stolen)
        if ratio < _SILENT:
            reason = "steal does not move while gaps appear"
        else:
            reason = f"steal shows {ratio:.0%} of what gaps show"
        return SourceEvidence(Evidence.GAPS, reason, gaps, stolen)
