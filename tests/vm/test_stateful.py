"""Policies that keep state, on the oldest and the newest kernel: the gallery, a timer, tuning.

One boot for each kernel verifies and runs everything; the tests judge what it brought back.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from scx_vsched.bpf.build import build
from scx_vsched.policies import gallery_policies
from scx_vsched.policy.starter import write_starter
from scx_vsched.vm.job import GUEST_DIR, Step

if TYPE_CHECKING:
    from conftest import Guests

    from scx_vsched.vm.boot import Outcome

pytestmark = pytest.mark.vm

SECONDS = 2.0
PERIOD_MS = 20
TIMED = f'''
from scx_vsched.policy import Policy, Sched, State, Task, VCpu, counter, guest, histogram, kick
from scx_vsched.policy import per_domain, per_scheduler, per_task, per_vcpu, random_u32, tunable
from scx_vsched.policy import u64, vcpus_of


class Seen(State):
    """Of the scheduler, a task, a vCPU or a domain."""

    last_ns: u64 = 0
    magic: u64 = 7
    mask: u64 = 0


class Timed(Policy):
    """Everything that a policy can do, at once."""

    mechanism = guest
    all = per_scheduler(Seen)
    mine = per_task(Seen)
    here = per_vcpu(Seen)
    group = per_domain(Seen)
    period_us = tunable({PERIOD_MS * 1000}, unit="us", min=100, max=1_000_000, doc="of the timer")
    fixed = tunable(3, min=0, max=9, frozen=True, doc="fixed")
    rounds = counter(doc="rounds of the timer")
    wrong = counter(doc="state that did not begin with its defaults")
    between = histogram(doc="between two rounds", unit="ns")

    def on_timer(self, sched: Sched) -> u64:
        self.rounds.add()
        if self.all.last_ns != 0:
            self.between.add(sched.now_ns - self.all.last_ns)
        self.all.last_ns = sched.now_ns
        drawn = random_u32()
        for number in vcpus_of(self.all.mask & 0xF):
            if drawn >> number & 1 != 0:
                kick(number)
        return self.period_us * 1000

    def on_start(self, task: Task, vcpu: VCpu, sched: Sched) -> None:
        self.all.mask |= u64(1) << vcpu.id
        if self.mine(task).magic != 7 or self.group(task).magic != 7:
            self.wrong.add()
        if self.here(vcpu).magic != 7 or self.all.magic != 7 or self.fixed != 3:
            self.wrong.add()

    def preempts(self, task: Task, running: Task, vcpu: VCpu) -> bool:
        if self.mine(running).magic != 7:
            self.wrong.add()
        return self.mine(task).last_ns < self.mine(running).last_ns
'''


@pytest.fixture(scope="module", params=["oldest", "newest"])
def outcome(
    request: pytest.FixtureRequest, guests: Guests, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """Everything below, run in one VM."""
    directory = tmp_path_factory.mktemp("policies")
    starter, _ = write_starter("newcomer", directory)
    timed = directory / "timed.py"
    timed.write_text(TIMED, encoding="utf-8")
    sources = {**gallery_policies(), "newcomer": starter, "timed": timed}
    files = {}
    for name, source in sources.items():
        files[f"{name}.bpf.o"] = directory / f"{name}.bpf.o"
        build(source, files[f"{name}.bpf.o"])
    verify = "scx_vsched.vm.guest_verify"
    steps = [
        Step(f"{verify}:exercise", {"object_path": f"{GUEST_DIR}/{name}.bpf.o", "seconds": SECONDS},
             name)
        for name in sources
    ]  # fmt: skip
    commands = [["tune", "--json"], ["tune", f"period_us={PERIOD_MS * 100}"], ["tune", "fixed=4"]]
    object_path = f"{GUEST_DIR}/timed.bpf.o"
    tune = {"object_path": object_path, "commands": commands}
    steps.append(Step("guest_tune:tune", tune, "tune"))
    return guests.run(request.param, steps, files=files, timeout_s=480)


def value(outcome: Outcome, name: str) -> Any:
    step = next(step for step in outcome.steps if step.name == name)
    assert step.ok, step.traceback
    return step.value


@pytest.mark.parametrize("name", [*sorted(gallery_policies()), "newcomer", "timed"])
def test_is_verified_and_at_work_under_load(outcome: Outcome, name: str) -> None:
    found = value(outcome, name)
    assert found["exit_info"] is None, found
    assert found["state"] == "enabled", found
    assert sum(found["stats"].values()) > 0


def test_the_newcomers_counter_is_in_the_statistics(outcome: Outcome) -> None:
    assert value(outcome, "newcomer")["stats"]["boosts"] > 0


def test_state_begins_with_its_defaults_and_timers_run_out(outcome: Outcome) -> None:
    stats = value(outcome, "timed")["stats"]
    assert stats["wrong"] == 0
    assert stats["rounds"] > SECONDS * 1000 / PERIOD_MS / 4
    assert stats["between_count"] > 0
    assert stats["between_p99"] >= PERIOD_MS * 1_000_000


def test_tunables_change_while_the_scheduler_runs(outcome: Outcome) -> None:
    found = value(outcome, "tune")
    listed, changed, refused = found["commands"]
    assert listed["code"] == 0, listed
    assert [t["name"] for t in json.loads(listed["out"])][:2] == ["period_us", "fixed"]
    assert changed["out"].split()[:3] == ["period_us", "=", str(PERIOD_MS * 100)], changed
    assert refused["code"] == 1, refused
    assert "fixed is frozen" in refused["err"]
    assert (found["run"]["code"], found["run"]["state"]) == (0, "disabled"), "SIGINT detaches"
    summary = json.loads(found["run"]["out"].splitlines()[-1])
    histogram = summary["histogram_totals"]["between"]
    # at a tenth of the period most rounds come after less than half of the former one
    assert histogram["count"] > 200, histogram
    assert histogram["p50"] < PERIOD_MS * 1_000_000 / 2, histogram
