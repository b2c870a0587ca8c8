"""All that the probers know at one moment, as a plain value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.topology.measure import Prediction, VCpuMeasure
from scx_vsched.topology.model import FULL_CAPACITY
from scx_vsched.topology.records import Availability, Gap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scx_vsched.topology.capacity import CapacityEstimate
    from scx_vsched.topology.evidence import Observation
    from scx_vsched.topology.measure import Activity
    from scx_vsched.topology.measured import MeasuredTopology
    from scx_vsched.topology.prediction import Forecast
    from scx_vsched.topology.steal import SourceEvidence

__all__ = ["ProbeSnapshot", "seen_availability", "vcpu_measure"]


@dataclass(frozen=True, slots=True)
class ProbeSnapshot:
    """All that is known at `at_ns` (CLOCK_MONOTONIC).

    `topology` is None until one was probed. `overhead` is the CPU time of all probing since the
    first measurement, over the wall time and the number of vCPUs; None in the first second after
    that. `degradations` are sentences about what could not be measured, or less well. `settings`
    are the prober's, with units in their names. `topology_changes` counts topologies that differed
    from the one before.
    """

    at_ns: int
    measures: Mapping[int, VCpuMeasure]
    estimates: Mapping[int, CapacityEstimate]
    forecasts: Mapping[int, Forecast]
    evidence: SourceEvidence
    topology: MeasuredTopology | None
    topology_changes: int
    overhead: float | None
    degradations: tuple[str, ...]
    settings: Mapping[str, float]


def vcpu_measure(
    estimate: CapacityEstimate, activity: Activity | None, forecast: Forecast | None
) -> VCpuMeasure:
    """What is said of one vCPU that was measured."""
    return VCpuMeasure(
        capacity=estimate.capacity,
        share=estimate.share,
        speed=None if estimate.speed is None else round(FULL_CAPACITY * estimate.speed),
        evidence=estimate.evidence,
        steal_share=estimate.steal_share,
        gap_share=estimate.gap_share,
        activity=activity,
        prediction=Prediction(forecast.at_ns, forecast.confidence, forecast.period_ns)
        if forecast
        else None,
    )


def seen_availability(seen: Observation) -> Availability:
    """A watch for pictures, with the starts of its gaps corrected."""
    gaps = seen.gaps
    if seen.open_gap_ns:
        gaps = (*gaps, Gap(seen.end_ns - seen.open_gap_ns, seen.open_gap_ns))
    return Availability(seen.vcpu, seen.start_ns, seen.end_ns, gaps, 0, 0, 0)
