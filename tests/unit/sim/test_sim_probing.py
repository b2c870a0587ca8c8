"""What simulated probers tell: the truth, nearly and after a while, and nothing unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scx_vsched.sim import library
from scx_vsched.sim.profile import machine_named
from scx_vsched.sim.run import Options
from scx_vsched.sim.scheduler import prepare
from scx_vsched.sim.workload import Instruction, Program, TaskSet, Workload

if TYPE_CHECKING:
    from scx_vsched.sim.machine import Machine
    from scx_vsched.sim.probing import Found

MS = 1_000_000
S = 1_000_000_000


def told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, count: int, seconds: float
) -> list[Found]:
    """What the scheduler was told while `count` tasks computed."""
    found: list[Found] = []

    class Recording(library.Findings):
        def add(self, watch: object) -> Found:
            found.append(super().add(watch))
            return found[-1]

    monkeypatch.setattr(library, "Findings", Recording)
    program = Program("hog", (Instruction("compute", MS), Instruction("forever")))
    load = Workload(programs=(program,), tasks=(TaskSet(program="hog", count=count),))
    options = Options(end_ns=round(seconds * S), probe=True)
    assert prepare("core").run(machine, load, options).failure is None
    return found


@pytest.mark.parametrize("count", [1, 12])
def test_capacities_and_absences_come_near_the_truth(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    machine = machine_named("rcvm")
    last = told(machine, monkeypatch, count, 6)[-1].topology
    for vcpu in range(8):
        thread = machine.threads[vcpu]
        share = thread.quota_ns / thread.period_ns
        assert last.vcpus[vcpu].capacity == pytest.approx(1024 * share, rel=0.1)
        away = thread.period_ns - thread.quota_ns
        assert last.vcpus[vcpu].latency_ns == pytest.approx(away, rel=0.15)
    assert [place.stack for place in last.vcpus][10:] == [10, 10]


def test_nothing_is_known_before_the_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    found = told(machine_named("rcvm"), monkeypatch, 12, 6)
    assert found[0].at_ns > 100 * MS
    first = found[0].topology
    assert sum(place.capacity == 1024 for place in first.vcpus) >= 11
    assert all(place.stack == place.id for place in first.vcpus)
    stacked = next(f.at_ns for f in found if f.topology.vcpus[11].stack == 10)
    assert stacked > 3 * S, "pair probes are repeated every 2 to 4 s"


def test_a_change_shows_only_after_looks_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = told(machine_named("moved"), monkeypatch, 8, 14)
    for each in found:
        small = [place.id for place in each.topology.vcpus if place.capacity < 500]
        if 3 * S < each.at_ns < 10 * S:
            assert small == [4, 5, 6, 7]
    late = next(f.at_ns for f in found if f.topology.vcpus[4].capacity > 800 and f.at_ns > 10 * S)
    assert 10 * S + 100 * MS < late < 13 * S


def test_without_probers_nobody_is_told() -> None:
    program = Program("hog", (Instruction("compute", MS), Instruction("forever")))
    load = Workload(programs=(program,), tasks=(TaskSet(program="hog", count=4),))
    outcome = prepare("core").run(machine_named("rcvm"), load, Options(end_ns=3 * S))
    assert outcome.stats["capacities"] == 0
