"""One vCPU's capacity: its shares by every source, and what the scheduler is told of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.topology.measure import Evidence
from scx_vsched.topology.model import FULL_CAPACITY
from scx_vsched.topology.tracking import PUBLISH_STEP, ShareTracker

if TYPE_CHECKING:
    from scx_vsched.topology.evidence import ShareSample
    from scx_vsched.topology.looks import Looks
    from scx_vsched.topology.tracking import Verdict

__all__ = ["CapacityEstimate", "VCpuCapacity"]

# Steal says nothing of an idle vCPU; after this long without it the gaps count instead.
_STEAL_FRESH_NS = 10_000_000_000


@dataclass(frozen=True, slots=True)
class CapacityEstimate:
    """What is known of one vCPU.

    `capacity` is what the scheduler gets and moves only when it matters; `share`, with its
    standard error, is the newest mean. `changes` counts how often `capacity` moved.
    """

    capacity: int  # 0 to 1024
    share: float  # 0 to 1
    error: float
    speed: float | None  # 0 to 1; None until the vCPU was seen spinning
    evidence: Evidence
    steal_share: float | None
    gap_share: float | None
    samples: int
    changes: int
    busy: bool


class VCpuCapacity:
    """The state of one vCPU; `capacity` is None until something was published."""

    def __init__(self, looks: Looks) -> None:
        self.looks = looks
        self.capacity: int | None = None
        self.samples = 0
        self._trackers = {Evidence.GAPS: ShareTracker(), Evidence.STEAL: ShareTracker()}
        self._steal_at_ns = 0
        self._changes = 0
        self._basis: tuple[Evidence, float, float | None] | None = None

    def used(self, now_ns: int, *, steal_believed: bool) -> Evidence:
        """The source that counts now."""
        fresh = self._steal_at_ns and now_ns - self._steal_at_ns < _STEAL_FRESH_NS
        return Evidence.STEAL if steal_believed and fresh else Evidence.GAPS

    def tracker(self, source: Evidence) -> ShareTracker:
        """The share by one source."""
        return self._trackers[source]

    def add(self, source: Evidence, sample: ShareSample, now_ns: int, *, expected: bool) -> Verdict:
        """Takes in what a source says; a change may be `expected`."""
        if source is Evidence.STEAL:
            self._steal_at_ns = now_ns
        return self._trackers[source].add(sample, expected=expected)

    def confirm(self) -> None:
        """Gaps have changed: steal, which counts ticks, would take long to be sure of the same."""
        gaps, steal = self._trackers[Evidence.GAPS], self._trackers[Evidence.STEAL]
        if steal.suspect:
            steal.accept(gaps.mean, gaps.error)

    def publish(self, source: Evidence, speed: float | None) -> None:
        """Capacity by this source, if it says something new.

        Another source that says nearly the same changes nothing.
        """
        tracker = self._trackers[source]
        basis = (source, tracker.published, speed)
        if not tracker.samples or basis == self._basis:
            return
        capacity = round(FULL_CAPACITY * tracker.published * (1.0 if speed is None else speed))
        before, self._basis = self._basis, basis
        if self.capacity is None:
            self.capacity = capacity
            return
        step = PUBLISH_STEP * FULL_CAPACITY if before and before[0] is not source else 0
        if abs(capacity - self.capacity) > step:
            self.capacity = capacity
            self._changes += 1

    def estimate(self, source: Evidence, speed: float | None, *, busy: bool) -> CapacityEstimate:
        """All of it; only once `capacity` is known."""
        assert self.capacity is not None  # noqa: S101 - the caller's part
        tracker = self._trackers[source]
        gaps, steal = self._trackers[Evidence.GAPS], self._trackers[Evidence.STEAL]
        return CapacityEstimate(
            capacity=self.capacity,
            share=tracker.mean,
            error=tracker.error,
            speed=speed,
            evidence=source,
            steal_share=steal.mean if steal.samples else None,
            gap_share=gaps.mean if gaps.samples else None,
            samples=self.samples,
            changes=self._changes,
            busy=busy,
        )
