"""The language is general enough for a hypervisor's scheduler: Xen's credit, in its essentials.

Domains are cgroups, their vCPUs tasks. Credit is handed out to domains by weight every 30 ms and
burnt by running; who has some is UNDER, who has none OVER, who wakes while UNDER is BOOSTed until
a tick finds it running; within a priority, first come, first served (Xen: common/sched/credit.c).
"""

from __future__ import annotations

import heapq
from typing import Any

import pytest

from scx_vsched.bpf.render import render
from scx_vsched.policy import Sched, Task, VCpu
from scx_vsched.policy.base import policy_class
from scx_vsched.policy.compiler import compile_source

MS = 1_000_000
CREDIT = '''
from scx_vsched.policy import Policy, Sched, State, Task, VCpu, counter, guest, per_domain
from scx_vsched.policy import per_scheduler, per_task, s64, tunable, u32, u64

MS = 1_000_000
MOST_DOMAINS = 64
BOOST = 0
UNDER = 1
OVER = 2


class Unit(State):
    """A vCPU of a domain."""

    credit_ns: s64 = 0
    round: u64 = 0
    boosted: bool = False
    counted: bool = False


class Domain(State):
    """A VM: its weight, its active vCPUs, and what each of these got in this round."""

    weight: u32 = 256
    active: u32 = 0
    fair_ns: s64 = 0


class Host(State):
    """Accounting rounds."""

    round: u64 = 1


class Credit(Policy):
    """Fair by weight, and quick for those that sleep."""

    mechanism = guest
    slice_ms = tunable(30, unit="ms", min=1, max=1000, doc="accounting period and longest run")
    unit = per_task(Unit)
    dom = per_domain(Domain)
    host = per_scheduler(Host)
    boosts = counter(doc="wake-ups with BOOST")

    def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        return self.slice_ms * MS

    def wakeup_vtime(self, task: Task, sched: Sched) -> u64:
        self.settle(task)
        unit = self.unit(task)
        if not unit.counted:
            unit.counted = True
            self.dom(task).active += 1
        unit.boosted = unit.credit_ns >= 0
        if unit.boosted:
            self.boosts.add()
        return task.vtime

    def charge_ns(self, task: Task, vcpu: VCpu) -> u64:
        self.settle(task)
        self.unit(task).credit_ns -= s64(task.ran_ns)
        return task.ran_ns

    def on_tick(self, task: Task, vcpu: VCpu, sched: Sched) -> bool:
        self.unit(task).boosted = False
        return False

    def on_stop(self, task: Task, vcpu: VCpu, sched: Sched, runnable: bool) -> None:
        unit = self.unit(task)
        if not runnable and unit.counted:
            unit.counted = False
            self.dom(task).active -= 1

    def queue_key(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        unit = self.unit(task)
        level = BOOST if unit.boosted else (UNDER if unit.credit_ns >= 0 else OVER)
        return u64(level) << 60 | sched.now_ns

    def cache_first(self, key: u64, cache_key: u64, vcpu: VCpu) -> bool:
        return cache_key < key

    def preempts(self, task: Task, running: Task, vcpu: VCpu) -> bool:
        return self.unit(task).boosted and not self.unit(running).boosted

    def on_timer(self, sched: Sched) -> u64:
        """Accounting: the host's time, shared out by weight among those that are active."""
        period = self.slice_ms * MS
        weights: u64 = 0
        for number in range(min(sched.domains, MOST_DOMAINS)):
            weights += u64(self.dom(number).weight) * self.dom(number).active
        for number in range(min(sched.domains, MOST_DOMAINS)):
            dom = self.dom(number)
            dom.fair_ns = s64(period * sched.vcpus * dom.weight // max(weights, 1))
        self.host.round += 1
        return period

    def settle(self, task: Task) -> None:
        """Takes over what was handed out since the task was last looked at; clipped as in Xen."""
        unit = self.unit(task)
        missed = min(self.host.round - unit.round, 10)
        unit.round = self.host.round
        period = s64(self.slice_ms * MS)
        credit = unit.credit_ns + self.dom(task).fair_ns * s64(missed)
        unit.credit_ns = max(min(credit, period), -period)
'''


@pytest.fixture(scope="module")
def program() -> Any:
    return compile_source(CREDIT, "credit.py")


def test_it_is_short_and_becomes_c(program: Any) -> None:
    assert len(CREDIT.splitlines()) < 200
    assert program.warnings == ()
    assert "bpf_timer_start(" in render(program)


def shares(program: Any, weights: dict[int, int], seconds: float) -> dict[int, float]:
    """One vCPU, a busy task in each domain, 10 ms at a time; the part that each task got."""
    policy = policy_class(program)()
    sched = Sched(now_ns=0, vcpus=1, domains=max(weights) + 1)
    queue: list[tuple[int, int]] = []
    for domain, weight in weights.items():
        policy.dom(domain).weight = weight
        task = Task(pid=domain, domain=domain)
        policy.wakeup_vtime(task, sched)
        policy.unit(task).boosted = False
    ran = dict.fromkeys(weights, 0)
    now = due = 0
    for order, domain in enumerate(weights):
        key = policy.queue_key(Task(pid=domain, domain=domain), VCpu(), Sched(now_ns=order))
        heapq.heappush(queue, (key, domain))
    while now < seconds * 1e9:
        if now >= due:
            sched = Sched(now_ns=now, vcpus=1, domains=max(weights) + 1)
            due += policy.on_timer(sched)
        _, domain = heapq.heappop(queue)
        now += 10 * MS
        ran[domain] += 10 * MS
        task = Task(pid=domain, domain=domain, ran_ns=10 * MS)
        policy.charge_ns(task, VCpu())
        for other in weights:  # as each would be when it is next looked at
            policy.settle(Task(pid=other, domain=other))
        waiting = [d for _, d in queue] + [domain]
        queue = []
        for order, waits in enumerate(waiting):
            view = Task(pid=waits, domain=waits)
            heapq.heappush(queue, (policy.queue_key(view, VCpu(), Sched(now_ns=order)), waits))
    return {domain: got / now for domain, got in ran.items()}


def test_shares_follow_the_weights(program: Any) -> None:
    found = shares(program, {1: 256, 2: 512, 3: 256}, 10)
    assert found[2] == pytest.approx(0.5, abs=0.03)
    assert found[1] == pytest.approx(found[3], abs=0.03)


def test_who_wakes_with_credit_is_boosted_until_a_tick(program: Any) -> None:
    policy = policy_class(program)()
    sleeper, hog = Task(pid=1, domain=1), Task(pid=2, domain=2)
    policy.unit(hog).credit_ns = -MS
    policy.wakeup_vtime(sleeper, Sched())
    assert policy.preempts(sleeper, hog, VCpu())
    keys = [policy.queue_key(t, VCpu(), Sched(now_ns=5)) for t in (sleeper, hog)]
    assert keys == [5, 2 << 60 | 5]
    policy.on_tick(sleeper, VCpu(), Sched())
    assert policy.queue_key(sleeper, VCpu(), Sched(now_ns=5)) == 1 << 60 | 5
    assert policy.boosts.value == 1
