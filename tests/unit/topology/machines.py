"""Synthetic machines for the tests of vtop, and what a probe of them should find."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scx_vsched.topology.classes import name_classes
from scx_vsched.topology.domains import Level, partition
from scx_vsched.topology.records import Relation
from scx_vsched.topology.synthetic import (
    Always,
    Hierarchy,
    Noise,
    Pattern,
    Periodic,
    Random,
    SyntheticMachine,
    SyntheticSpec,
    VCpuSpec,
)
from scx_vsched.topology.vtop import probe_topology

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scx_vsched.topology.domains import Domains, Partition
    from scx_vsched.topology.measured import MeasuredTopology

MS = 1_000_000
# 10 % noise, 30 % of the samples preempted
NOISY = Noise(pair=0.03, sample=0.10, outliers=0.02, preempted=0.3)


def expected(truth: Hierarchy) -> dict[Level, Partition]:
    """The true domains, named as a probe names them that knows only how many classes there are."""
    vcpus = range(len(truth.places))
    # vCPUs at the same place have the same relations to all others
    places = {place: vcpu for vcpu, place in enumerate(truth.places)}
    relations = {truth.relation(a, b) for a in places.values() for b in places.values() if a < b}
    found = sorted(relations - {Relation.STACKED})
    names = dict(zip(found, name_classes(len(found), Relation.SMT in found), strict=True))
    names[Relation.STACKED] = Relation.STACKED
    partitions = {}
    for level in Level:
        sets: dict[int, set[int]] = {}
        for vcpu in vcpus:
            home = next((at for at in sets if names[truth.relation(vcpu, at)] <= level), vcpu)
            sets.setdefault(home, set()).add(vcpu)
        partitions[level] = frozenset(map(frozenset, sets.values()))
    return partitions


def found(topology: MeasuredTopology) -> dict[Level, Partition]:
    """The domains that a probe found."""
    return {level: partition(topology.domains, level) for level in Level}


def machine(
    truth: Hierarchy,
    seed: int,
    *,
    noise: Noise = NOISY,
    vcpus: Mapping[int, VCpuSpec] | None = None,
) -> SyntheticMachine:
    """A machine of this hierarchy."""
    return SyntheticMachine(SyntheticSpec(truth, vcpus or {}, noise=noise), seed)


def away(truth: Hierarchy, share: float, cycle_ms: float = 10) -> dict[int, VCpuSpec]:
    """All vCPUs away at random for so much of the time."""
    cycle = cycle_ms * MS
    pattern = Random(int((1 - share) * cycle), int(share * cycle))
    return {vcpu: VCpuSpec(pattern) for vcpu in range(len(truth.places))}


def busy_guest(truth: Hierarchy, runs: Mapping[int, Pattern], **changes: Any) -> SyntheticSpec:
    """An endless task on each vCPU; `changes` are of the host."""
    vcpus = {
        vcpu: VCpuSpec(runs.get(vcpu, Always()), load=Always()) for vcpu in range(len(truth.places))
    }
    return SyntheticSpec(truth, vcpus, noise=NOISY, **changes)


def quotas(truth: Hierarchy, run_ms: int, period_ms: int) -> dict[int, VCpuSpec]:
    """All vCPUs with one quota, neighbours in number in opposite phase."""
    half = period_ms * MS // 2
    return {
        vcpu: VCpuSpec(Periodic(run_ms * MS, period_ms * MS, vcpu % 2 * half))
        for vcpu in range(len(truth.places))
    }


@dataclass(frozen=True)
class Case:
    """A kind of machine."""

    name: str
    truth: Hierarchy
    away: float = 0.0
    permuted: bool = True
    claims: str = "none"  # or "right", "wrong"
    noise: Noise = NOISY


@dataclass(frozen=True)
class Outcome:
    """What one probe gave and took."""

    exact: bool
    probes: float  # for each vCPU
    simulated_s: float
    real_s: float


def try_case(case: Case, seed: int) -> Outcome:
    """Probes one machine of the kind."""
    truth = case.truth.permuted(seed) if case.permuted else case.truth
    vcpus = away(truth, case.away) if case.away else {}
    told: Mapping[int, Domains] | None = None
    if case.claims != "none":
        told = (truth if case.claims == "right" else case.truth.permuted(seed + 1)).claimed()
    synthetic = machine(truth, seed, noise=case.noise, vcpus=vcpus)
    start = time.process_time()
    topology = probe_topology(synthetic, told)
    real_s = time.process_time() - start
    # right claims also name what only they can know
    true = {level: partition(truth.domains(), level) for level in Level}
    return Outcome(
        exact=found(topology) in (expected(truth), true),
        probes=synthetic.counters.pair_probes / len(truth.places),
        simulated_s=topology.effort.elapsed_ns / 1e9,
        real_s=real_s,
    )


def joined(truth: Hierarchy, level: Level, *vcpus: int) -> Hierarchy:
    """The domains of these vCPUs at a level made one: at the place of the first."""
    parts = ("thread", "core", "llc", "socket", "node")
    homes = [getattr(truth.places[vcpu], parts[level]) for vcpu in vcpus]
    first = truth.places[vcpus[0]]
    outer = {part: getattr(first, part) for part in parts[level:]}
    return replace(
        truth,
        places=tuple(
            replace(place, **outer) if getattr(place, parts[level]) in homes else place
            for place in truth.places
        ),
    )


def swapped(truth: Hierarchy, one: int, other: int) -> Hierarchy:
    """Two vCPUs in each other's place."""
    places = list(truth.places)
    places[one], places[other] = places[other], places[one]
    return replace(truth, places=tuple(places))
