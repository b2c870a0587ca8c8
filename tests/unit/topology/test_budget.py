"""What probing costs is kept within bounds, whatever a look costs; and steps show in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from probing import MS, SECOND, TOPOLOGY, load, quota

from scx_vsched.topology.budget import Allowance, Budget
from scx_vsched.topology.measured import Effort
from scx_vsched.topology.prober import Prober
from scx_vsched.topology.synthetic import (
    Change,
    Hierarchy,
    SyntheticMachine,
    SyntheticSpec,
    VCpuSpec,
)
from scx_vsched.topology.upkeep import TopologyProbe, Upkeep
from scx_vsched.topology.verify import Verdict
from scx_vsched.topology.vtop import probe_topology

if TYPE_CHECKING:
    from scx_vsched.topology.measured import MeasuredTopology
    from scx_vsched.topology.records import Machine


class _Dear(SyntheticMachine):
    """Each watch and each set of pair probes also costs `extra_ns`, as on an emulated machine."""

    extra_ns = 15 * MS

    def spent_ns(self) -> int:
        return self.counters.cpu_ns + self.extra_ns * (self.counters.watches + self.counters.rounds)


def dear(*, busy: bool, share: float = 1.0, changes: tuple[Change, ...] = ()) -> _Dear:
    vcpus = {vcpu: VCpuSpec(quota(share, 10), load=load(busy=busy)) for vcpu in range(2)}
    return _Dear(SyntheticSpec(Hierarchy.regular(cores=2), vcpus, changes=changes), 1)


@pytest.mark.parametrize(("busy", "bound"), [(True, 0.005), (False, 0.02)])
@pytest.mark.parametrize("share", [1.0, 0.7])
def test_dear_probes_come_less_often(busy: bool, bound: float, share: float) -> None:
    machine = dear(busy=busy, share=share)
    loop = Prober(machine, TOPOLOGY, cpu_ns=machine.spent_ns, seed=1)
    loop.first(2 * SECOND)
    list(loop.run(30 * SECOND, 30 * SECOND))
    began, before = machine.now_ns(), machine.spent_ns()
    list(loop.run(120 * SECOND, 120 * SECOND))
    assert (machine.spent_ns() - before) / (machine.now_ns() - began) / 2 <= bound


def test_a_change_is_still_seen_where_probes_are_dear() -> None:
    at = 60 * SECOND
    shaped = VCpuSpec(quota(0.4, 10), load=load(busy=True))
    machine = dear(busy=True, changes=(Change(at, vcpus={0: shaped}),))
    loop = Prober(machine, TOPOLOGY, cpu_ns=machine.spent_ns, seed=1)
    loop.first(2 * SECOND)
    list(loop.run(60 * SECOND, at + 30 * SECOND - machine.now_ns()))
    assert loop.snapshot().measures[0].share == pytest.approx(0.4, abs=0.06)


@pytest.mark.parametrize(("extra_ns", "probes"), [(0, 2), (100 * MS, 1)])
def test_one_mismatch_is_enough_for_a_full_probe_unless_that_is_dear(
    extra_ns: int, probes: int
) -> None:
    machine = dear(busy=True)
    machine.extra_ns = extra_ns
    seen: list[int] = []

    def probe(here: Machine) -> MeasuredTopology:
        seen.append(here.now_ns())
        return probe_topology(here)

    mismatches = iter(["once"])

    class Doubtful:
        def verify(self) -> Verdict:
            return Verdict(next(mismatches, None), (), 1, 0, Effort())

    upkeep = Upkeep(
        machine, TopologyProbe(probe, lambda *_: Doubtful()), machine.spent_ns, lambda: (0, 2)
    )
    upkeep.probe()
    for _ in range(3):
        upkeep.check()
    assert len(seen) == probes


def test_what_was_overspent_has_to_be_earned_first() -> None:
    budget = Budget(0)
    rate = Allowance(busy=0.001, idle=0.01).rate(1, 1)
    assert rate == pytest.approx(0.011)
    budget.spend(0, 0, rate)
    assert budget.free_ns() == 0
    # 3 s of it are saved
    budget.spend(0, 33 * MS, rate)
    assert budget.free_ns() == 0
    budget.spend(0, 11 * MS, rate)
    assert budget.free_ns() == pytest.approx(SECOND, rel=1e-6)
    budget.spend(SECOND, 0, rate)
    assert budget.free_ns() == SECOND


def test_nobody_waits_for_ever() -> None:
    budget = Budget(0)
    budget.spend(0, 1000 * SECOND, 0.001)
    assert budget.free_ns() == 90 * SECOND
