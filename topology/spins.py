"""vCPUs that spin at the same time, watched on one clock: one watch compares all pairs at once."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from scx_vsched.topology.records import Demand

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from scx_vsched.topology.records import Availability, Machine

__all__ = ["CELL_NS", "Spinner", "Spins"]

# Time is compared in cells; a vCPU ran in a cell when it ran all through.
CELL_NS = 50_000
# Shorter runs tell no speed.
_SHORTEST_RUN_NS = 500_000


@dataclass(frozen=True, slots=True)
class Spins:
    """A watch of spinning vCPUs on common cells of time, as bits of one number for each vCPU."""

    active: Mapping[int, int]
    cells: int
    seen: Mapping[int, Availability]

    def share(self, vcpu: int, other: int | None = None) -> float:
        """The part of the time that it ran, or that both did."""
        active = self.active[vcpu]
        if other is not None:
            active &= self.active[other]
        return active.bit_count() / max(1, self.cells)

    def together(self, a: int, b: int) -> int:
        """In how many cells both ran."""
        return (self.active[a] & self.active[b]).bit_count()

    def meetings(self, a: int, b: int) -> float:
        """How often one would have begun to run while the other ran, were it left to chance."""
        return len(self.seen[a].gaps) * self.share(b) + len(self.seen[b].gaps) * self.share(a)

    def speed(self, vcpu: int) -> float | None:
        """Loops in a nanosecond of running, None when it ran too little."""
        one = self.seen.get(vcpu)
        if one is None:
            return None
        away = one.lost_ns + sum(gap.length_ns for gap in one.gaps)
        ran = one.end_ns - one.start_ns - away
        return one.loops / ran if ran >= _SHORTEST_RUN_NS else None

    def mean_gap_ns(self, vcpu: int) -> float:
        """How long it is away at a time, 0 when it never was."""
        gaps = self.seen[vcpu].gaps
        return fmean(gap.length_ns for gap in gaps) if gaps else 0.0


def _active_cells(one: Availability, origin_ns: int) -> int:
    def between(start_ns: int, end_ns: int) -> int:
        return (1 << end_ns) - (1 << start_ns) if end_ns > start_ns else 0

    first = -(-(one.start_ns - origin_ns) // CELL_NS)
    cells = between(first, (one.end_ns - origin_ns) // CELL_NS)
    for gap in one.gaps:
        start = gap.start_ns - origin_ns
        cells &= ~between(start // CELL_NS, -(-(start + gap.length_ns) // CELL_NS))
    return cells


class Spinner:
    """Makes vCPUs of a machine spin, and counts how often."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.watches = 0

    def spin(self, vcpus: Collection[int], duration_ns: int) -> Spins:
        """Makes `vcpus` spin at the same time; those that left are absent."""
        self.watches += 1
        seen = self._machine.watch(vcpus, duration_ns, Demand.NORMAL)
        origin = min((one.start_ns for one in seen.values()), default=0)
        last = max((one.end_ns for one in seen.values()), default=0)
        return Spins(
            {vcpu: _active_cells(one, origin) for vcpu, one in seen.items()},
            (last - origin) // CELL_NS,
            seen,
        )
