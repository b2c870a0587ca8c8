"""What a graph says of vCPUs, of pairs of them, and of how it came to be: plain, checked records.

`None` always means "not measured". Nothing here needs networkx.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.topology.model import FULL_CAPACITY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scx_vsched.topology.records import Relation

__all__ = [
    "STRAGGLER_PART",
    "Activity",
    "Evidence",
    "Origin",
    "PairMeasure",
    "Prediction",
    "Snapshot",
    "VCpuMeasure",
    "stragglers",
]

STRAGGLER_PART = 0.35
"""Below this part of the mean capacity a picture calls a vCPU a straggler."""


class Origin(StrEnum):
    """How something is known."""

    CLAIMED = "claimed"  # the hypervisor says so
    MEASURED = "measured"
    INFERRED = "inferred"  # follows from what was measured of others


class Evidence(StrEnum):
    """What a share of time is taken from."""

    STEAL = "steal"  # steal time that the hypervisor reports
    GAPS = "gaps"  # jumps of the clock as a running probe sees them


@dataclass(frozen=True, slots=True)
class Activity:
    """How often and for how long a vCPU is taken away."""

    gaps_per_s: float
    mean_ns: float  # 0 when it is never taken away
    p95_ns: float
    max_ns: float
    active_since_ns: int | None = None  # CLOCK_MONOTONIC; None while it is away or unknown


@dataclass(frozen=True, slots=True)
class Prediction:
    """When the vCPU will next be taken away."""

    at_ns: int  # CLOCK_MONOTONIC
    confidence: float  # 0 to 1
    period_ns: float | None = None  # of a periodic quota


@dataclass(frozen=True, slots=True)
class VCpuMeasure:
    """What was measured of one vCPU. Raises UserError for values that cannot be.

    `capacity` is the share of time that the vCPU really has, times its core's speed. `share` is
    what `evidence` says; `steal_share` and `gap_share` are what each source said where it was
    consulted. `unavailable` is the reason why the vCPU could not be probed.
    """

    capacity: int | None = None  # 0 to 1024
    share: float | None = None  # 0 to 1
    speed: int | None = None  # 0 to 1024, the fastest core is 1024
    evidence: Evidence | None = None
    steal_share: float | None = None  # 0 to 1
    gap_share: float | None = None  # 0 to 1
    activity: Activity | None = None
    prediction: Prediction | None = None
    unavailable: str | None = None

    def __post_init__(self) -> None:
        for name, highest in (
            ("capacity", FULL_CAPACITY),
            ("speed", FULL_CAPACITY),
            ("share", 1),
            ("steal_share", 1),
            ("gap_share", 1),
        ):
            _within(name, getattr(self, name), highest)
        if self.activity:
            for name in ("gaps_per_s", "mean_ns", "p95_ns", "max_ns", "active_since_ns"):
                _within(f"activity: {name}", getattr(self.activity, name))
        if self.prediction:
            _within("prediction: at_ns", self.prediction.at_ns)
            _within("prediction: confidence", self.prediction.confidence, 1)
            _within("prediction: period_ns", self.prediction.period_ns)


@dataclass(frozen=True, slots=True)
class PairMeasure:
    """How two vCPUs relate, and how that is known. Raises UserError for values that cannot be.

    `latency_ns` is the one-way transfer time of a cache line. It is None where it was not
    measured, and may be None for a stacked pair, whose two vCPUs never run at the same time.
    """

    relation: Relation
    origin: Origin
    latency_ns: float | None = None

    def __post_init__(self) -> None:
        _within("latency_ns", self.latency_ns)
        if self.latency_ns is not None and not self.measured:
            raise UserError(f"a latency that is {self.origin}, not measured")

    @property
    def measured(self) -> bool:
        """Whether a probe of this very pair found the relation."""
        return self.origin is Origin.MEASURED


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How and when a graph came to be.

    `class_latency_ns` holds the median latency of each relation that was measured, `settings` the
    prober's settings with units in their names, `probes` how many pairs were probed for it, `notes`
    sentences about what could not be measured or had to be taken on trust.
    """

    origin: Origin  # CLAIMED or MEASURED
    time: str = ""  # ISO 8601, UTC; empty when not known
    monotonic_ns: int | None = None  # CLOCK_MONOTONIC at that time
    kernel: str = ""
    clocksource: str = ""
    probes: int = 0
    class_latency_ns: Mapping[Relation, float] = field(default_factory=dict)
    settings: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.origin is Origin.INFERRED:
            raise UserError("a graph is claimed or measured, not inferred")
        _within("monotonic_ns", self.monotonic_ns)
        _within("probes", self.probes)
        for relation, latency_ns in self.class_latency_ns.items():
            _within(f"class_latency_ns: {relation.name.lower()}", latency_ns)
        for name, value in self.settings.items():
            if not math.isfinite(value):
                raise UserError(f"settings: {name} is {value}, not a number")


def stragglers(measures: Mapping[int, VCpuMeasure]) -> frozenset[int]:
    """The vCPUs with far less capacity than the mean of those measured (see STRAGGLER_PART)."""
    known = {v: m.capacity for v, m in measures.items() if m.capacity is not None}
    floor = STRAGGLER_PART * _mean(known.values())
    return frozenset(vcpu for vcpu, capacity in known.items() if capacity < floor)


def _mean(values: Iterable[int]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else 0.0


def _within(name: str, value: float | None, highest: float = math.inf) -> None:
    if value is None:
        return
    if not math.isfinite(value):
        raise UserError(f"{name} is {value}, not a number")
    if not 0 <= value <= highest:
        limit = "negative" if highest == math.inf else f"not 0 to {highest}"
        raise UserError(f"{name} is {value}, {limit}")
