"""What a full probe of the topology found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scx_vsched.topology.domains import Domains
    from scx_vsched.topology.measure import PairMeasure
    from scx_vsched.topology.records import Relation

__all__ = ["Effort", "MeasuredTopology"]


@dataclass(frozen=True, slots=True)
class Effort:
    """What a probe took."""

    pair_probes: int = 0
    rounds: int = 0  # sets of pair probes at the same time
    watches: int = 0  # times that many vCPUs were made to spin together
    elapsed_ns: int = 0


@dataclass(frozen=True, slots=True)
class MeasuredTopology:
    """The domains of each vCPU that could be placed, and how that is known.

    `pairs` are those that were probed, the lower vCPU first. `class_latency_ns` is the median
    latency of each relation that some probed pair has. `unknown` are the vCPUs that could not be
    placed, each with the reason; `notes` are sentences about what could not be decided or was
    taken on trust.
    """

    domains: Mapping[int, Domains]
    pairs: Mapping[tuple[int, int], PairMeasure]
    class_latency_ns: Mapping[Relation, float]
    unknown: Mapping[int, str]
    notes: tuple[str, ...]
    effort: Effort
