"""The gallery's policies do what their paragraphs say: in CPython, and in the simulator."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scx_vsched.policies import gallery_policies, resolve_policy
from scx_vsched.policies.gallery.backoff import Backoff
from scx_vsched.policies.gallery.edf import Edf
from scx_vsched.policies.gallery.gang import Gang
from scx_vsched.policies.gallery.global_fifo import GlobalFifo
from scx_vsched.policies.gallery.latency_nice import LatencyNice
from scx_vsched.policies.gallery.weighted_vtime import WeightedVtime
from scx_vsched.policy import Sched, Task, VCpu
from scx_vsched.policy.compiler import compile_file

ROOT = Path(__file__).parents[3]
MS = 1_000_000
NAMES = sorted(gallery_policies())


# ---- All of them ----


@pytest.mark.parametrize("name", NAMES)
def test_is_short_and_gives_no_warning(name: str) -> None:
    path = resolve_policy(name)
    assert 20 <= len(path.read_text(encoding="utf-8").splitlines()) <= 150
    program = compile_file(path)
    assert program.warnings == ()
    assert program.doc


def test_each_has_a_paragraph_in_the_documentation() -> None:
    text = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^## `(\w+)`", text) == NAMES


# ---- Each ----


def test_global_fifo_runs_in_the_order_of_arrival() -> None:
    policy = GlobalFifo()
    first, second = (policy.queue_key(Task(), VCpu(), Sched(now_ns=now)) for now in (5, 6))
    assert first < second
    assert policy.cache_first(second, first, VCpu())
    assert not policy.cache_first(first, second, VCpu())
    assert not policy.preempts(Task(), Task(is_idle_class=True), VCpu())
    assert not policy.stays(Task(is_waking=True), VCpu(queued=9))


def test_weighted_vtime_shares_by_weight() -> None:
    """Whoever paid least runs for 1 ms, ten thousand times: shares are the weights'."""
    policy = WeightedVtime()
    weights = {1: 1024, 2: 2048, 3: 335}
    vtimes, ran = dict.fromkeys(weights, 0), dict.fromkeys(weights, 0)
    for _ in range(10_000):
        pid = min(vtimes, key=lambda p: policy.queue_key(Task(vtime=vtimes[p]), VCpu(), Sched()))
        task = Task(pid=pid, weight=weights[pid], ran_ns=MS)
        vtimes[pid] += policy.charge_ns(task, VCpu())
        ran[pid] += 1
    for pid, weight in weights.items():
        assert ran[pid] / 10_000 == pytest.approx(weight / sum(weights.values()), rel=0.01)


def test_weighted_vtime_lets_nobody_save_up() -> None:
    policy = WeightedVtime(slice_us=1000)
    sched = Sched(vtime=100 * MS)
    assert policy.wakeup_vtime(Task(vtime=3 * MS), sched) == 99 * MS
    assert policy.wakeup_vtime(Task(vtime=101 * MS), sched) == 101 * MS


def test_edf_orders_by_deadline_and_counts_who_is_late() -> None:
    policy = Edf(period_ms=20)
    light, heavy = Task(pid=1, is_waking=True), Task(pid=2, weight=4096, is_waking=True)
    policy.wakeup_vtime(light, Sched(now_ns=1000 * MS))
    policy.wakeup_vtime(heavy, Sched(now_ns=1010 * MS))
    keys = [policy.queue_key(t, VCpu(), Sched(now_ns=1010 * MS)) for t in (light, heavy)]
    assert keys == [1020 * MS, 1015 * MS]
    assert policy.preempts(heavy, light, VCpu())
    assert not policy.preempts(light, heavy, VCpu())
    for now in (1012, 1016):
        policy.on_start(heavy, VCpu(), Sched(now_ns=now * MS))
    assert policy.late.value == 1
    assert policy.lateness.buckets[(MS).bit_length()] == 1


def test_edf_gives_a_new_deadline_to_those_that_go_on() -> None:
    policy = Edf(period_ms=10)
    task = Task(pid=1, is_waking=True)
    policy.wakeup_vtime(task, Sched(now_ns=0))
    running = Task(pid=1)
    assert policy.queue_key(running, VCpu(), Sched(now_ns=9 * MS)) == 10 * MS
    assert policy.queue_key(running, VCpu(), Sched(now_ns=11 * MS)) == 21 * MS


def test_latency_nice_learns_how_long_bursts_are() -> None:
    policy = LatencyNice()
    total = 0
    for _ in range(60):
        policy.wakeup_vtime(Task(pid=1, total_ns=total), Sched())
        total += MS // 10
        policy.on_stop(Task(pid=1, total_ns=total), VCpu(), Sched(), False)
    short, long = Task(pid=1, vtime=MS), Task(pid=2, vtime=MS)
    assert policy.habit(short).burst_ns < 110_000
    assert policy.queue_key(short, VCpu(), Sched()) < policy.queue_key(long, VCpu(), Sched())
    assert policy.preempts(short, long, VCpu())
    assert not policy.preempts(long, short, VCpu())
    assert policy.slice_ns(short, VCpu(), Sched()) < policy.slice_ns(long, VCpu(), Sched())
    assert policy.eager.value > 0


def test_latency_nice_does_not_end_a_burst_where_the_slice_ends() -> None:
    policy = LatencyNice()
    policy.wakeup_vtime(Task(pid=1), Sched())
    before = policy.habit(Task(pid=1)).burst_ns
    policy.on_stop(Task(pid=1, total_ns=50 * MS), VCpu(), Sched(), True)
    assert policy.habit(Task(pid=1)).burst_ns == before


def test_gang_favours_those_that_others_wait_for() -> None:
    policy = Gang()
    gang = [Task(pid=pid, domain=7, vtime=50 * MS) for pid in range(1, 5)]
    for task in gang:
        policy.wakeup_vtime(task, Sched(vtime=50 * MS))
    keys = [policy.queue_key(task, VCpu(), Sched()) for task in gang]
    assert keys == [50 * MS] * 4
    for task in gang[:3]:  # at the barrier
        policy.on_stop(task, VCpu(), Sched(), False)
    assert policy.queue_key(gang[3], VCpu(), Sched()) == 48 * MS
    assert policy.slice_ns(gang[3], VCpu(), Sched()) == 6 * MS
    assert policy.stragglers.value == 1
    for task in gang[:3]:  # the barrier opens
        policy.wakeup_vtime(task, Sched(vtime=50 * MS))
    assert policy.queue_key(gang[3], VCpu(), Sched()) == 50 * MS


def test_gang_knows_no_program_in_the_root_group() -> None:
    policy = Gang()
    for pid in (1, 2, 3):
        policy.wakeup_vtime(Task(pid=pid), Sched())
    for pid in (1, 2):
        policy.on_stop(Task(pid=pid), VCpu(), Sched(), False)
    assert policy.queue_key(Task(pid=3, vtime=9), VCpu(), Sched()) == 9


def test_gang_forgets_its_peak() -> None:
    policy = Gang()
    one = Task(pid=1, domain=3)
    policy.group(one).peak = 9
    for _ in range(64 * 8):
        policy.wakeup_vtime(one, Sched())
        policy.on_stop(one, VCpu(), Sched(), False)
    assert policy.group(one).peak == 1


def ticks(policy: Backoff, start_ms: int, count: int, gap_ms: int) -> int:
    """So many ticks of one busy vCPU of four, so far apart."""
    now = start_ms
    policy.on_start(Task(), VCpu(), Sched(now_ns=now * MS, vcpus=4))
    for _ in range(count):
        now += gap_ms
        assert policy.on_tick(Task(), VCpu(), Sched(now_ns=now * MS, vcpus=4)) is False
    return now


def test_backoff_gives_vcpus_up_one_by_one_and_takes_them_back() -> None:
    policy = Backoff()
    now = ticks(policy, 1000, 251, 4)
    assert policy.governor.preferred >= 4
    for expected in (3, 2, 1, 1):
        now = ticks(policy, now, 1000 // 12 + 1, 12)  # 8 of 12 ms are taken away
        assert policy.governor.preferred == expected
    assert [policy.is_strong(VCpu(id=i), Sched(vcpus=4)) for i in range(3)] == [True, False, False]
    assert not policy.steals(VCpu(id=3), VCpu(queued=1), 1)
    assert policy.steals(VCpu(id=3), VCpu(queued=2), 1)
    for expected in (2, 3, 4, 4):
        now = ticks(policy, now, 251, 4)
        assert policy.governor.preferred == expected
    assert (policy.backed_off.value, policy.came_back.value) == (3, 3)
