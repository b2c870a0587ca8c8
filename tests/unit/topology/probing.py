"""Synthetic machines for the tests of vcap, vact and the prober."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.topology.prober import Prober
from scx_vsched.topology.records import Availability, Gap
from scx_vsched.topology.synthetic import (
    Always,
    Both,
    Change,
    Hierarchy,
    Never,
    Pattern,
    Periodic,
    Random,
    Steal,
    SyntheticMachine,
    SyntheticSpec,
    VCpuSpec,
)
from scx_vsched.topology.upkeep import TopologyProbe
from scx_vsched.topology.verify import Verifier
from scx_vsched.topology.vtop import probe_topology

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scx_vsched.topology.vcap import Vcap

MS = 1_000_000
SECOND = 1_000_000_000
TOPOLOGY = TopologyProbe(probe_topology, Verifier)


def quota(share: float, period_ms: float, phase: float = 0.0) -> Pattern:
    """That share of each period; all of it for 1."""
    if share >= 1:
        return Always()
    period = round(period_ms * MS)
    return Periodic(round(share * period), period, round(phase * period))


def load(*, busy: bool) -> Pattern:
    """Of the guest."""
    return Always() if busy else Never()


def machine(
    *vcpus: VCpuSpec,
    steal: Steal = Steal.NONE,
    changes: tuple[Change, ...] = (),
    offline: frozenset[int] = frozenset(),
    seed: int = 0,
) -> SyntheticMachine:
    """So many cores with one vCPU each."""
    spec = SyntheticSpec(
        Hierarchy.regular(cores=len(vcpus)),
        vcpus=dict(enumerate(vcpus)),
        steal=steal,
        changes=changes,
        offline=offline,
    )
    return SyntheticMachine(spec, seed)


def prober(synthetic: SyntheticMachine, **options: object) -> Prober:
    """Of capacity and activity alone."""
    return Prober(
        synthetic,
        cpu_ns=lambda: synthetic.counters.cpu_ns,
        seed=1,
        **options,  # type: ignore[arg-type]
    )


def rounds(vcap: Vcap, synthetic: SyntheticMachine, duration_ns: int) -> Iterator[int]:
    """Looks as they come due, each followed by the time; ends after `duration_ns`."""
    end = synthetic.now_ns() + duration_ns
    while synthetic.now_ns() < end:
        synthetic.sleep_ns(max(vcap.due_ns() - synthetic.now_ns(), 0))
        vcap.look()
        yield synthetic.now_ns()


def watch(
    start: int,
    end: int,
    *gaps: tuple[int, int],
    resolution: int = 0,
    vcpu: int = 0,
    blip: int = 0,
) -> Availability:
    """A watch with gaps as (start, length)."""
    found = tuple(Gap(*gap) for gap in gaps)
    return Availability(vcpu, start, end, found, resolution, 0, 0, blip_ns=blip)


def settling_s(before: float, after: float, *, busy: bool, steal: Steal, seed: int) -> float:
    """Until a changed share of one vCPU of four shows to 90 % for good; all of the prober runs."""
    at = 10 * SECOND + seed * 137 * MS
    wanted = load(busy=busy)
    others = [VCpuSpec(quota(share, 20), load=wanted) for share in (1.0, 0.7, 0.4)]
    change = Change(at, vcpus={0: VCpuSpec(quota(after, 18, 0.7), load=wanted)})
    synthetic = machine(
        VCpuSpec(quota(before, 18, 0.3), load=wanted),
        *others,
        steal=steal,
        changes=(change,),
        seed=seed,
    )
    loop = prober(synthetic, topology=TOPOLOGY)
    loop.first(2 * SECOND)
    settled: float | None = None
    for seen in loop.run(100 * MS, at + 8 * SECOND - synthetic.now_ns()):
        if seen.at_ns < at:
            continue
        off = abs(seen.estimates[0].capacity / 1024 - after)
        if off > 0.1 * abs(after - before) + 0.001:
            settled = None
        elif settled is None:
            settled = (seen.at_ns - at) / SECOND
    return float("inf") if settled is None else settled


def steady_patterns() -> dict[str, Pattern]:
    """Ways for a host to be steady."""
    return {
        "always there": Always(),
        "always there, but for noise": Random(97 * MS, 3 * MS),
        "6 of 18 ms": Periodic(6 * MS, 18 * MS),
        "50 of 100 ms": Periodic(50 * MS, 100 * MS),
        "12 of 18 ms, on a noisy host": Both(Periodic(12 * MS, 18 * MS), Random(200 * MS, 2 * MS)),
        "about 20 of 40 ms": Random(20 * MS, 20 * MS, shape=40.0),
    }


def changes_a_minute(
    pattern: Pattern, *, busy: bool, steal: Steal, seed: int, minutes: int = 3
) -> float:
    """What a steady machine of four such vCPUs has published anew, capacities and topologies."""
    vcpus = (VCpuSpec(pattern, load=load(busy=busy)) for _ in range(4))
    synthetic = machine(*vcpus, steal=steal, seed=seed)
    loop = prober(synthetic, topology=TOPOLOGY)

    def published() -> int:
        seen = loop.snapshot()
        return seen.topology_changes + sum(one.changes for one in seen.estimates.values())

    loop.first(2 * SECOND)
    list(loop.run(15 * SECOND, 15 * SECOND))
    before = published()
    list(loop.run(60 * SECOND, minutes * 60 * SECOND))
    return (published() - before) / minutes


def duty(share: float, vcpus: int, *, busy: bool, seed: int) -> float:
    """The part of each vCPU's time that all probing takes, once it is under way."""
    spec = VCpuSpec(quota(share, 20), load=load(busy=busy))
    synthetic = machine(*[spec] * vcpus, seed=seed)
    loop = prober(synthetic, topology=TOPOLOGY)
    loop.first(2 * SECOND)
    list(loop.run(5 * SECOND, 5 * SECOND))
    start, cost = synthetic.now_ns(), synthetic.counters.cpu_ns
    list(loop.run(60 * SECOND, 60 * SECOND))
    return (synthetic.counters.cpu_ns - cost) / (synthetic.now_ns() - start) / vcpus
