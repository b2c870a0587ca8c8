"""Graphs for tests: the two VMs of the vSched paper (facts: vSched §7) and large ones."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from scx_vsched.topology.domains import Domains, Level, members, numbered
from scx_vsched.topology.graph import VCpuGraph
from scx_vsched.topology.measure import (
    Activity,
    Evidence,
    Origin,
    PairMeasure,
    Prediction,
    Snapshot,
    VCpuMeasure,
)
from scx_vsched.topology.records import Availability, Gap, Relation

if TYPE_CHECKING:
    from collections.abc import Mapping

MS = 1_000_000
LATENCY_NS = {
    Relation.SMT: 5.8,
    Relation.LLC: 47.0,
    Relation.SOCKET: 85.0,
    Relation.NODE: 120.0,
    Relation.APART: 210.0,
}
QUOTAS_MS = ((6, 18), (2, 6), (12, 18), (4, 6))


def places(*keys: tuple[int, int, int, int, int]) -> dict[int, Domains]:
    """Domains of vCPUs 0, 1, … by stack, core, cache, socket, node."""
    return numbered(dict(enumerate(keys)))


def flat(vcpus: int) -> dict[int, Domains]:
    """What a hypervisor that says nothing claims: a core each, one cache."""
    return places(*((v, v, 0, 0, 0) for v in range(vcpus)))


def measure(run_ms: float, period_ms: float, start_ns: int = 0) -> VCpuMeasure:
    """A vCPU with a quota."""
    share = run_ms / period_ms
    away_ns = (period_ms - run_ms) * MS
    periodic = run_ms < period_ms
    return VCpuMeasure(
        capacity=round(1024 * share),
        share=share,
        speed=1024,
        evidence=Evidence.GAPS,
        gap_share=share,
        activity=Activity(
            gaps_per_s=1000 / period_ms if periodic else 0.0,
            mean_ns=away_ns,
            p95_ns=1.2 * away_ns,
            max_ns=1.6 * away_ns,
            active_since_ns=start_ns,
        ),
        prediction=Prediction(start_ns + round(run_ms * MS), 0.9, period_ms * MS)
        if periodic
        else None,
    )


def probed(
    domains: Mapping[int, Domains],
    measures: Mapping[int, VCpuMeasure],
    claimed: Mapping[int, Domains] | None = None,
    *,
    seed: int = 0,
    noise: float = 0.05,
) -> VCpuGraph:
    """A measured graph: some pairs of each domain probed, with noise."""
    rng = random.Random(seed)
    bare = VCpuGraph(domains, snapshot=Snapshot(Origin.MEASURED))
    pairs = {}
    for level in Level:
        for vcpus in members(domains, level).values():
            for _ in range(len(vcpus)):
                a, b = rng.choice(vcpus), rng.choice(vcpus)
                pairs[min(a, b), max(a, b)] = bare.relation(a, b)
    vcpus = bare.vcpus
    for _ in range(len(vcpus)):
        a, b = rng.choice(vcpus), rng.choice(vcpus)
        pairs[min(a, b), max(a, b)] = bare.relation(a, b)
    found = {
        pair: PairMeasure(
            kind,
            Origin.MEASURED,
            None if kind is Relation.STACKED else LATENCY_NS[kind] * (1 + noise * rng.random()),
        )
        for pair, kind in sorted(pairs.items())
        if pair[0] != pair[1]
    }
    return VCpuGraph(
        domains,
        snapshot=Snapshot(
            Origin.MEASURED,
            time="2026-11-21T14:00:00.000+00:00",
            monotonic_ns=10_000 * MS,
            kernel="6.18.15",
            clocksource="tsc",
            probes=len(found),
            settings={"light_period_ms": 1000.0},
        ),
        measures=measures,
        pairs=found,
        claimed=claimed,
    )


def rcvm() -> VCpuGraph:
    """12 vCPUs: 0-9 are five SMT pairs, 8-9 stragglers, 10-11 stacked; told to be 12 cores."""
    domains = places(*((v, v // 2, 0, 0, 0) for v in range(10)), (10, 5, 0, 0, 0), (10, 5, 0, 0, 0))
    quotas = [*QUOTAS_MS, (1, 20)]
    measures = {v: measure(*quotas[v // 2], start_ns=9_990 * MS) for v in range(10)}
    measures |= {v: measure(2, 6, start_ns=9_995 * MS) for v in (10, 11)}
    return probed(domains, measures, flat(12))


def hpvm() -> VCpuGraph:
    """32 vCPUs: 4 sockets of 4 cores of 2 threads, the last socket dedicated."""
    domains = places(*((v, v // 2, v // 8, v // 8, v // 8) for v in range(32)))
    measures = {
        v: measure(1, 1) if v >= 24 else measure(*QUOTAS_MS[v // 2 % 4], start_ns=9_990 * MS)
        for v in range(32)
    }
    return probed(domains, measures, domains)


def large(vcpus: int, *, seed: int = 0) -> VCpuGraph:
    """Two threads a core, 8 cores a cache, 2 caches a socket, 2 sockets a node; two stacked pairs.

    Few are stragglers, and the guest's numbering is shuffled.
    """
    rng = random.Random(seed)
    numbers = list(range(vcpus))
    rng.shuffle(numbers)
    stacked = {1: 0, 2 * vcpus // 3 + 1: 2 * vcpus // 3}
    keys = {
        number: (stacked.get(i, i), i // 2, i // 16, i // 32, i // 64)
        for i, number in enumerate(numbers)
    }
    for first, second in ((numbers[i], numbers[j]) for i, j in stacked.items()):
        keys[first] = keys[second]
    measures = {v: measure(rng.choice((1, 8, 12, 16, 20, 20, 20)), 20) for v in range(vcpus)}
    return probed(numbered(keys), measures, flat(vcpus), seed=seed)


def quota_watch(
    vcpu: int, run_ms: float, period_ms: float, *, phase: float, start_ns: int, length_ms: int
) -> Availability:
    """What a spinning probe sees of a vCPU with a quota; `phase` is the part of a period gone by.

    A period begins with running.
    """
    end_ns = start_ns + length_ms * MS
    gaps = []
    begin = start_ns - round(phase * period_ms * MS)
    while run_ms < period_ms and begin < end_ns:
        first = max(begin + round(run_ms * MS), start_ns)
        last = min(begin + round(period_ms * MS), end_ns)
        if last > first:
            gaps.append(Gap(first, last - first))
        begin += round(period_ms * MS)
    return Availability(vcpu, start_ns, end_ns, tuple(gaps), 0, 1000, length_ms * MS)


def watches(graph: VCpuGraph, *, length_ms: int = 120) -> list[Availability]:
    """What a probe would have seen of each vCPU of a graph; stacked ones run by turns."""
    turn = {vcpu: i / len(stack) for stack in graph.stacks() for i, vcpu in enumerate(stack)}
    seen = []
    for vcpu, found in graph.measures.items():
        period_ns = found.prediction.period_ns if found.prediction else None
        period_ms = (period_ns or MS) / MS
        share = 1.0 if found.share is None else found.share
        phase = turn.get(vcpu, vcpu % 7 / 7)
        seen.append(
            quota_watch(
                vcpu, share * period_ms, period_ms, phase=phase, start_ns=10**10,
                length_ms=length_ms,
            )
        )  # fmt: skip
    return seen
