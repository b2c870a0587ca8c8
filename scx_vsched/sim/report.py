"""Outcomes as numbers to read: quantiles, plain dictionaries for JSON, lines of text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scx_vsched.sim.run import Outcome

__all__ = ["Measure", "measures_of", "plain", "quantile", "summary", "throughputs"]


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that an outcome gives; `better` is "more" or "less"."""

    name: str
    unit: str
    better: str


QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def quantile(ordered: Sequence[int], part: float) -> int:
    """The smallest of the `ordered` values that at least `part` of them do not exceed."""
    if not ordered:
        raise ValueError("no values")
    return ordered[min(len(ordered) - 1, max(0, -(-int(part * len(ordered) * 10**9) // 10**9) - 1))]


def measures_of(
    counts: Mapping[str, int], latencies_ns: Mapping[str, Sequence[int]], seconds: float
) -> dict[Measure, float]:
    """Every measure that counters and latencies of metrics give, with a value above 0."""
    found = {
        Measure(name, "/s", "more"): count / seconds for name, count in counts.items() if count
    }
    for name, values in latencies_ns.items():
        ordered = sorted(values)
        for label, part in QUANTILES.items() if ordered else ():
            value = quantile(ordered, part) / 1000
            found[Measure(f"{name} {label}", "us", "less")] = max(value, 0.001)
    return found


def throughputs(outcome: Outcome, seconds: float) -> dict[str, float]:
    """Pieces of work a second, by metric, of those that count any."""
    return {name: count / seconds for name, count in outcome.counts.items() if count}


def plain(outcome: Outcome, seconds: float) -> dict[str, Any]:
    """The outcome without its trace, in names with units, for JSON."""
    latencies = {}
    for name, values in outcome.latencies_ns.items():
        if values:
            ordered = sorted(values)
            latencies[name] = {"samples": len(ordered), "max_us": ordered[-1] / 1000} | {
                f"{label}_us": quantile(ordered, part) / 1000 for label, part in QUANTILES.items()
            }
    failure = outcome.failure
    return {
        "simulated_s": outcome.now_ns / 1e9,
        "digest": outcome.digest,
        "failure": None
        if failure is None
        else {"name": failure.name, "message": failure.message, "at_ns": failure.at_ns},
        "per_second": {k: round(v, 3) for k, v in throughputs(outcome, seconds).items()},
        "latency": latencies,
        "events": outcome.events,
        "scheduling_events": outcome.records,
        "wakeups": outcome.wakeups,
        "switches": outcome.switches,
        "migrations": outcome.migrations,
        "migrations_between_caches": outcome.far_migrations,
        "kicks": outcome.kicks,
        "ipis": outcome.ipis,
        "vcpus": [
            {
                "hosted_ms": vcpu.hosted_ns / 1e6,
                "stolen_ms": vcpu.stolen_ns / 1e6,
                "busy_ms": vcpu.busy_ns / 1e6,
                "switches": vcpu.switches,
                "ticks": vcpu.ticks,
            }
            for vcpu in outcome.vcpus
        ],
        "statistics": outcome.stats,
    }


def summary(outcome: Outcome, seconds: float) -> list[str]:
    """The same for a terminal."""
    facts = plain(outcome, seconds)
    lines = [f"{name}: {rate:,.1f} a second" for name, rate in facts["per_second"].items()]
    for name, latency in facts["latency"].items():
        values = ", ".join(f"{label} {latency[f'{label}_us']:,.0f}" for label in QUANTILES)
        lines.append(f"{name}: {values}, max {latency['max_us']:,.0f} us ({latency['samples']:,})")
    lines.append(
        f"{outcome.wakeups:,} wake-ups, {outcome.switches:,} switches, "
        f"{outcome.migrations:,} migrations ({outcome.far_migrations:,} between caches), "
        f"{outcome.ipis:,} IPIs"
    )
    for number, vcpu in enumerate(outcome.vcpus[:16]):
        wanted = vcpu.hosted_ns + vcpu.stolen_ns
        given = f"{100 * vcpu.hosted_ns / wanted:.0f} %" if wanted else "-"
        lines.append(
            f"vCPU {number}: busy {vcpu.busy_ns / 1e6:,.0f} ms, kept away "
            f"{vcpu.stolen_ns / 1e6:,.0f} ms, given {given} of what it wanted"
        )
    if len(outcome.vcpus) > 16:
        lines.append(f"… and {len(outcome.vcpus) - 16} more vCPUs (--json shows all)")
    counted = ", ".join(f"{name} {value:,}" for name, value in outcome.stats.items() if value)
    if counted:
        lines.append(f"statistics: {counted}")
    return lines
