"""What one watch says: gaps without the guest's own noise, and the share of time with its error.

A sleeping probe wakes after `resolution_ns` at the latest and reports by how much it came late: the
vCPU was taken away up to that long before, in the mean half of it. A gap's end is exact for every
probe. So shares are taken over whole cycles, from the end of one gap to the end of another, which
also removes the bias of a window on an idle vCPU: that starts with a full quota.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.topology.records import Gap

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scx_vsched.topology.records import Availability

__all__ = [
    "NOISE_NS",
    "Observation",
    "ShareSample",
    "observe",
    "share_of",
    "sleeper_noise_ns",
    "typical_gap_ns",
]

# Shorter absences are the guest's own interrupts and the probe's own jitter; so are those up to so
# many times what the guest's interrupts take (in an emulated guest, 0.1 ms or more).
NOISE_NS = 300_000
_NOISE_BLIPS = 3
# Gaps shorter than this part of a typical one begin and end no cycle: the host's and the emulator's
# own work comes between two turns of whatever takes the vCPU away.
_CYCLE_PART = 1 / 3
# Two gaps with less between them are one: the probe ran just long enough to look at the clock.
_JOIN_NS = 100_000
# Gaps that stray by more than this part of the cycle are no quota's.
_IRREGULAR = 0.1
# Errors (standard deviations of a share): where there are too few cycles to tell, and at least.
_FEW_CYCLES_ERROR = 0.03
_PARTIAL_ERROR = 0.10
_LEAST_ERROR = 0.005


@dataclass(frozen=True, slots=True)
class ShareSample:
    """The share of time in which one vCPU ran, as seen up to `at_ns`, with its standard error.

    `cycles` counts whole cycles of running and being away, of `span_ns` in all; 0 when a share
    without them stands for the whole window.
    """

    vcpu: int
    at_ns: int
    share: float
    error: float
    cycles: int
    span_ns: int


@dataclass(frozen=True, slots=True)
class Cycle:
    """A time of running and being away, by turns; `away_ns` of it away."""

    length_ns: int
    away_ns: int


@dataclass(frozen=True, slots=True)
class Observation:
    """A watch with its gaps made comparable: noise dropped, starts corrected, no open end.

    `seen_late_ns` holds what a sleeping probe saw of each gap, for `absences.mean_gap_ns`.
    """

    vcpu: int
    start_ns: int
    end_ns: int
    gaps: tuple[Gap, ...]  # whole ones, in the order of time
    open_gap_ns: int  # length so far of a gap that the window's end cut off
    resolution_ns: int
    seen_late_ns: tuple[int, ...]

    @property
    def elapsed_ns(self) -> int:
        """The window's length."""
        return self.end_ns - self.start_ns

    @property
    def away_ns(self) -> int:
        """The time in which the vCPU was away, whole gaps and the open one."""
        return sum(gap.length_ns for gap in self.gaps) + self.open_gap_ns

    @property
    def whole(self) -> tuple[Gap, ...]:
        """The gaps that begin and end within the window."""
        return self.gaps[1:] if self._begins_away else self.gaps

    @property
    def cut_gaps(self) -> int:
        """How many gaps the window cuts off, at its start and at its end."""
        return self._begins_away + (self.open_gap_ns > 0)

    @property
    def _begins_away(self) -> bool:
        return bool(self.gaps) and self.gaps[0].start_ns <= self.start_ns

    @property
    def cycles(self) -> tuple[Cycle, ...]:
        """The whole cycles: each from the end of a long gap to the end of the next one.

        A sleeper does not see short ones, so all that it sees are long.
        """
        least = 0 if self.resolution_ns else _CYCLE_PART * typical_gap_ns(self.gaps)
        found: list[Cycle] = []
        start, away = None, 0
        for gap in self.gaps:
            away += gap.length_ns
            if gap.length_ns >= least:
                if start is not None:
                    found.append(Cycle(_end(gap) - start, away))
                start, away = _end(gap), 0
        return tuple(found)

    @property
    def cycle_ns(self) -> int | None:
        """The mean length of the whole cycles; None without any."""
        cycles = self.cycles
        return sum(cycle.length_ns for cycle in cycles) // len(cycles) if cycles else None


def _end(gap: Gap) -> int:
    return gap.start_ns + gap.length_ns


def typical_gap_ns(gaps: Sequence[Gap]) -> float:
    """The mean length of gaps by time: that of the gap in which a moment away falls."""
    total = sum(gap.length_ns for gap in gaps)
    return sum(gap.length_ns**2 for gap in gaps) / total if total else 0.0


def _joined(gaps: Iterable[Gap]) -> list[Gap]:
    joined: list[Gap] = []
    for gap in gaps:
        if joined and gap.start_ns - _end(joined[-1]) < _JOIN_NS:
            start = joined[-1].start_ns
            joined[-1] = Gap(start, max(_end(gap), _end(joined[-1])) - start)
        else:
            joined.append(gap)
    return joined


def observe(seen: Availability) -> Observation:
    """Clean up one watch. What is shorter than noise counts as time in which the vCPU ran."""
    if seen.resolution_ns:
        noise_ns = sleeper_noise_ns(seen.resolution_ns)
    else:
        noise_ns = max(NOISE_NS, _NOISE_BLIPS * seen.blip_ns)
    late = [
        gap
        for gap in _joined(sorted(seen.gaps, key=lambda gap: gap.start_ns))
        if gap.length_ns >= noise_ns
    ]
    gaps: list[Gap] = []
    open_ns = 0
    earliest = seen.start_ns
    for gap in late:
        start = max(gap.start_ns - seen.resolution_ns // 2, earliest)
        end = _end(gap)
        if seen.end_ns - end >= _JOIN_NS:
            end -= seen.blip_ns  # what ends a gap is the interrupt that was due meanwhile
        end = min(end, seen.end_ns)
        if end > start:
            gaps.append(Gap(start, end - start))
            earliest = end
    if gaps and seen.end_ns - _end(gaps[-1]) < _JOIN_NS:
        open_ns = gaps.pop().length_ns
        late.pop()
    return Observation(
        seen.vcpu,
        seen.start_ns,
        seen.end_ns,
        tuple(gaps),
        open_ns,
        seen.resolution_ns,
        tuple(gap.length_ns for gap in late if gap.start_ns > seen.start_ns + seen.resolution_ns)
        if seen.resolution_ns
        else (),
    )


def share_of(look: Sequence[Observation]) -> ShareSample:
    """The share of time in which the vCPU ran during one look: one watch or several of one vCPU.

    Over whole cycles where there is at least one; else over the windows, with a large error if it
    was away at all. Where a sleeper sees cycles of all lengths the windows count, too: they miss
    long cycles rather than short ones, and a busy vCPU has no unused quota. The error is the ratio
    estimator's, from the scatter between cycles.
    """
    vcpu, at_ns = look[-1].vcpu, look[-1].end_ns
    elapsed = sum(seen.elapsed_ns for seen in look)
    part_away = sum(seen.away_ns for seen in look) / max(elapsed, 1)
    cycles = [cycle for seen in look for cycle in seen.cycles]
    if not cycles:
        error = _PARTIAL_ERROR if part_away else _LEAST_ERROR
        return ShareSample(vcpu, at_ns, _share(part_away), error, 0, elapsed)
    span = sum(cycle.length_ns for cycle in cycles)
    mean = span / len(cycles)
    # Short gaps can fall between all wake-ups of one watch, and into those of the next.
    span += sum(seen.elapsed_ns for seen in look if not seen.away_ns and seen.elapsed_ns > 2 * mean)
    away = sum(cycle.away_ns for cycle in cycles) / span
    error = _error(look, cycles, away, span)
    resolution = look[-1].resolution_ns
    if resolution and error * span / math.sqrt(len(cycles)) > _IRREGULAR * mean + resolution / 2:
        away, span = part_away, elapsed
    return ShareSample(vcpu, at_ns, _share(away), error, len(cycles), span)


def _share(away: float) -> float:
    return min(max(1.0 - away, 0.0), 1.0)


def _error(look: Sequence[Observation], cycles: Sequence[Cycle], away: float, span: int) -> float:
    # A sleeper's wake-ups keep their distance from the gaps of a quota all through one watch.
    starts = math.hypot(*(seen.resolution_ns * len(seen.cycles) for seen in look))
    start_error = starts / math.sqrt(12) / span
    count = len(cycles)
    if count < 3:
        scatter = _FEW_CYCLES_ERROR
    else:
        squares = sum((cycle.away_ns - away * cycle.length_ns) ** 2 for cycle in cycles)
        scatter = math.sqrt(squares * count / (count - 1)) / span
    return max(math.hypot(scatter, start_error), _LEAST_ERROR)


def sleeper_noise_ns(resolution_ns: int) -> int:
    """The least lateness that counts: waking up takes an idle or emulated vCPU some time too."""
    return max(NOISE_NS, resolution_ns // 2)
