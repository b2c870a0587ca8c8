"""A VM whose vCPUs the host shapes: what it does to them, what it counts, what it leaves behind."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scx_vsched.vm.boot import run_job
from scx_vsched.vm.job import Job, Step
from scx_vsched.vm.lab.groups import find_hierarchies, owner_name
from scx_vsched.vm.lab.guest import BEGIN, FINISH
from scx_vsched.vm.lab.placing import host_cpus, place
from scx_vsched.vm.lab.profile import parse_profile
from scx_vsched.vm.lab.session import PhaseTruth, Session

if TYPE_CHECKING:
    from scx_vsched.vm.job import StepResult
    from scx_vsched.vm.kernels import Kernel
    from scx_vsched.vm.monitor import Emulator

pytestmark = [
    pytest.mark.vm,
    pytest.mark.alone,
    pytest.mark.skipif(os.geteuid() != 0, reason="shaping a VM needs root"),
    pytest.mark.skipif(len(host_cpus()) < 2, reason="needs two host CPUs"),
]

# By quota, by freezer, and two on one host CPU; at 3 s the first two swap what they get.
MIXED = """
version = 1
vcpus = 4
[[vcpu]]
ids = 0
quota_ms = 5
period_ms = 10
[[vcpu]]
ids = 1
quota_ms = 4
period_ms = 20
by = "freezer"
[[vcpu]]
ids = "2-3"
stack = "pair"
quota_ms = 4
period_ms = 10
[[change]]
at_s = 3
ids = 0
quota_ms = 4
period_ms = 20
by = "freezer"
[[change]]
at_s = 3
ids = 1
quota_ms = 5
period_ms = 10
"""
CORUNNER = f"""
version = 1
vcpus = 4
[[vcpu]]
ids = "0-3"
quota_ms = 10
period_ms = 20
by = "corunner"
cpus = {host_cpus()[0]}
"""


@dataclass
class Seen:
    """The host before, in and after each phase."""

    phases: dict[str, PhaseTruth] = field(default_factory=dict)
    steps: dict[str, StepResult] = field(default_factory=dict)
    before: list[Any] = field(default_factory=list)
    within: list[Any] = field(default_factory=list)
    after: list[Any] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)


def threads(emulator: Emulator) -> list[Any]:
    """Affinity, niceness and control groups of each vCPU thread; affinity, priority of the rest."""
    found: list[Any] = [
        (
            os.sched_getaffinity(tid),
            os.getpriority(os.PRIO_PROCESS, tid),
            Path(f"/proc/{tid}/cgroup").read_text(),
        )
        for tid in emulator.threads.values()
    ]
    main = emulator.pid
    return [*found, (os.sched_getaffinity(main), os.sched_getparam(main).sched_priority)]


def groups_here() -> int:
    name = str(owner_name(os.getpid()))
    return sum((root / name).exists() for root in find_hierarchies().roots)


@pytest.fixture(scope="module")
def seen(vm_kernels: dict[str, Kernel]) -> Seen:
    """Both profiles in one VM, its vCPUs busy and probed."""
    plans = {
        name: place(parse_profile(text, Path(f"{name}.toml")), host_cpus())
        for name, text in (("mixed", MIXED), ("corunner", CORUNNER))
    }
    task = "scx_vsched.vm.lab.guest_probe:probe_shares"
    steps = tuple(
        Step(task, {"name": name, "seconds": seconds, "busy": True}, name)
        for name, seconds in (("mixed", 5), ("corunner", 4))
    )
    found, emulators = Seen(), []

    def on_machine(emulator: Emulator) -> None:
        emulators.append(emulator)
        session.on_machine(emulator)

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == BEGIN:
            found.before.append(threads(emulators[-1]))
        session.on_event(event)
        if event["event"] == BEGIN:
            found.within.append(threads(emulators[-1]))
            found.groups.append(groups_here())
        elif event["event"] == FINISH:
            found.groups.append(groups_here())
            if event["phase"] == "mixed":  # the VM may be gone after its last phase
                found.after.append(threads(emulators[-1]))

    with Session(plans) as session:
        outcome = run_job(
            vm_kernels["oldest"],
            Job(steps),
            shape=plans["mixed"].machine(),
            timeout_s=200,
            on_event=on_event,
            on_poll=session.on_poll,
            on_machine=on_machine,
        )
    found.phases |= session.results
    found.steps |= {step.name: step for step in outcome.steps}
    return found


def test_the_guest_went_through_both_phases(seen: Seen) -> None:
    for step in seen.steps.values():
        assert step.ok, step.traceback
    assert list(seen.phases) == ["mixed", "corunner"]


def test_each_vcpu_gets_what_its_row_says_or_what_the_host_has(seen: Seen) -> None:
    for phase in seen.phases.values():
        for number, truths in phase.stages:
            shapes = phase.plan.stages[number].shapes
            for shape, truth in zip(shapes, truths, strict=True):
                assert truth.run_ns + truth.away_ns + truth.asleep_ns == truth.wall_ns
                # a quota of the first period is unused when measuring begins
                assert truth.share <= shape.share + 0.06, (number, truth)
                assert truth.run_ns > 0
                assert truth.away, "a busy vCPU was never away"


def test_the_change_came_in_time_and_shows(seen: Seen) -> None:
    mixed = seen.phases["mixed"]
    ((planned, done),) = mixed.changed
    assert planned <= done <= planned + 0.2
    (_, first), (_, second) = mixed.stages
    assert first[0].share > second[0].share + 0.08
    assert second[1].share > first[1].share + 0.08


def test_a_stack_shares_one_host_cpu(seen: Seen) -> None:
    _, _, (third, *_), (fourth, *_), (emulator, _) = seen.within[0]
    assert third == fourth
    assert len(third) == 1
    assert not emulator & third
    for _, truths in seen.phases["mixed"].stages:
        assert truths[2].share + truths[3].share <= 1.05


def test_a_corunner_takes_its_windows_exactly(seen: Seen) -> None:
    ((_, truths),) = seen.phases["corunner"].stages
    for truth in truths:
        assert truth.offered == pytest.approx(0.5, abs=0.05)
        lengths = sorted(each.length_ns for each in truth.withheld)
        assert lengths[len(lengths) // 2] == pytest.approx(10_000_000, rel=0.05)


def test_probers_in_the_guest_see_that_they_are_away(seen: Seen) -> None:
    found = seen.steps["mixed"].value["vcpus"]
    assert sorted(found) == ["0", "1", "2", "3"]
    for measure in found.values():
        assert 0 < measure["share"] < 0.9
        assert measure["mean_away_ns"] > 500_000


def test_the_host_is_as_before_after_each_phase(seen: Seen) -> None:
    assert seen.before[0] == seen.after[0]
    assert seen.within[0] != seen.before[0]
    assert seen.groups[0] > 0
    assert seen.groups[1] == seen.groups[3] == 0
