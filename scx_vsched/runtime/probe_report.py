"""Where the figures of a probe come from, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.topology.measure import Evidence

if TYPE_CHECKING:
    from scx_vsched.topology.capacity import CapacityEstimate
    from scx_vsched.topology.prediction import Forecast
    from scx_vsched.topology.snapshot import ProbeSnapshot

__all__ = ["explanation"]

_MS = 1e6
_SOURCES = {
    Evidence.STEAL: "steal that the hypervisor reports",
    Evidence.GAPS: "gaps in the clock",
}


def explanation(found: ProbeSnapshot) -> list[str]:
    """Both sources of capacity, the choice, each vCPU's samples, and overhead."""
    evidence = found.evidence
    stolen = "not reported" if evidence.steal_ns is None else f"{evidence.steal_ns / _MS:.0f} ms"
    lines = [
        f"Capacity comes from {_SOURCES[evidence.kind]}: {evidence.reason}.",
        f"While probes watched, gaps: {evidence.gaps_ns / _MS:.0f} ms, steal: {stolen}.",
    ]
    for vcpu, estimate in found.estimates.items():
        lines.append(f"vCPU {vcpu}: {_estimate(estimate)}{_forecast(found.forecasts.get(vcpu))}.")
    if found.topology:
        effort = found.topology.effort
        lines.append(
            f"Topology: {effort.pair_probes} pair probes in {effort.rounds} rounds, "
            f"{effort.watches} watches, {effort.elapsed_ns / _MS:.0f} ms; "
            f"it changed {found.topology_changes} times."
        )
    if found.overhead is not None:
        lines.append(
            f"Probing took {found.overhead:.2%} of each vCPU's time since the first measurement."
        )
    return lines


def _estimate(estimate: CapacityEstimate) -> str:
    speed = "unknown" if estimate.speed is None else f"{estimate.speed:.2f}"
    return (
        f"share {estimate.share:.3f} ± {estimate.error:.3f} from {estimate.evidence} "
        f"(gaps {_share(estimate.gap_share)}, steal {_share(estimate.steal_share)}), "
        f"{estimate.samples} samples while {'busy' if estimate.busy else 'idle'}, speed {speed}"
    )


def _share(share: float | None) -> str:
    return "none" if share is None else f"{share:.3f}"


def _forecast(forecast: Forecast | None) -> str:
    if forecast is None:
        return ", never seen away"
    pattern = "at random"
    if forecast.period_ns is not None:
        pattern = f"every {forecast.period_ns / _MS:.2f} ms"
    return (
        f", away {pattern} for {forecast.length_ns / _MS:.2f} ms "
        f"(confidence {forecast.confidence:.2f})"
    )
