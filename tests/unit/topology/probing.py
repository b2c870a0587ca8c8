"""Synthetic machines for the tests of vcap, vact and the prober."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.topology.prober import Prober
from scx_vsched.topology.records import Availability, Gap
from scx_vsched.topology.synthetic import (
    Always,
    Hierarchy,
    Never,
    Pattern,
    Periodic,
    Steal,
    SyntheticMachine,
    SyntheticSpec,
    VCpuSpec,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scx_vsched.topology.synthetic import Change
    from scx_vsched.topology.vcap import Vcap

MS = 1_000_000
SECOND = 1_000_000_000


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
    start: int, end: int, *gaps: tuple[int, int], resolution: int = 0, vcpu: int = 0
) -> Availability:
    """A watch with gaps as (start, length)."""
    return Availability(vcpu, start, end, tuple(Gap(*gap) for gap in gaps), resolution, 0, 0)
