"""The decisions of the policy vsched in CPython: what is small, where to, when to leave."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scx_vsched.policies.vsched import NEVER, VSched
from scx_vsched.policy import Sched, Task, VCpu
from scx_vsched.policy.compiler import compile_source
from scx_vsched.policy.diagnostics import PolicyError

MS, US = 1_000_000, 1_000
SMALL = Task(burst_ns=500 * US, interval_ns=10 * MS, util=51, allowed_vcpus=8)
HOG = Task(burst_ns=900 * MS, interval_ns=900 * MS, util=1024, allowed_vcpus=8, settled_ns=MS * 100)
DEDICATED = VCpu(id=7, stack=7)
HALF = VCpu(id=1, stack=1, capacity=512, latency_ns=4 * MS)  # runs 4 ms, is away 4 ms
NEAR = VCpu(id=0)


def wait(vcpu: VCpu, task: Task = SMALL, policy: VSched | None = None) -> int:
    return int((policy or VSched()).wait_ns(task, vcpu, NEAR, Sched()))


# ---- BVS ----


def test_small_tasks_are_known_by_what_they_do_or_ask_for() -> None:
    sensitive = VSched().is_latency_sensitive
    assert sensitive(SMALL)
    assert sensitive(replace(SMALL, util=1024)), "a stage that never gets behind is small, too"
    assert not sensitive(HOG)
    assert sensitive(replace(HOG, asked_slice_ns=MS)), "sched_setattr() asked for short slices"
    assert not sensitive(replace(SMALL, is_idle_class=True))
    assert not sensitive(replace(SMALL, is_batch=True))
    assert not sensitive(replace(SMALL, nice=10))


def test_dedicated_vcpus_cost_no_wait_and_the_nearest_wins() -> None:
    assert wait(replace(DEDICATED, id=0)) == 0
    assert 0 < wait(DEDICATED) < wait(replace(DEDICATED, llc=1)) < wait(replace(DEDICATED, node=1))


def test_a_vcpu_that_has_used_up_its_time_is_away_for_the_rest_of_an_absence() -> None:
    fresh = wait(HALF)
    spent = replace(HALF, spent_ns=4 * MS)
    assert wait(spent) > fresh + 4 * MS
    assert wait(replace(spent, rested_ns=3 * MS)) < wait(spent)


def test_a_burst_that_does_not_fit_is_interrupted() -> None:
    late = replace(HALF, spent_ns=3_800 * US)
    assert wait(late) > wait(replace(late, spent_ns=MS))


def test_what_takes_long_to_come_is_avoided_and_more_so_if_its_absences_are_long() -> None:
    slow = replace(HALF, answer_ns=2 * MS)
    assert wait(slow) > 2 * MS
    assert wait(replace(slow, latency_ns=20 * MS)) > wait(slow)


def test_a_vcpu_with_idle_class_work_tells_by_its_silence() -> None:
    busy = replace(HALF, runs_idle_class=True)
    fresh, older, away = (wait(replace(busy, silent_ns=ms * MS)) for ms in (0, 2, 20))
    assert fresh < older < away
    dedicated = replace(DEDICATED, runs_idle_class=True)
    assert wait(replace(dedicated, silent_ns=4 * MS)) == wait(dedicated), "it is never away"


CLOCKED = replace(HALF, answer_ns=2 * MS, period_ns=8 * MS)
THERE = replace(CLOCKED, renews_in_ns=7 * MS)  # given back a millisecond ago


def test_what_goes_by_the_clock_is_away_when_the_clock_says_so() -> None:
    away = replace(CLOCKED, renews_in_ns=3 * MS)
    leaving = replace(CLOCKED, renews_in_ns=4 * MS + 20 * US)
    assert wait(away) >= wait(THERE) + 3 * MS
    assert wait(leaving) >= wait(THERE) + 4 * MS, "waking it takes longer than it stays"
    assert wait(replace(THERE, answer_ns=4 * MS)) == wait(THERE), "it is there now all the same"


def test_absences_are_as_long_as_the_share_says() -> None:
    """Those that an idle vCPU sleeps through in part look shorter."""
    assert wait(replace(CLOCKED, renews_in_ns=3 * MS, latency_ns=2 * MS)) >= 3 * MS


def test_who_is_woken_by_the_vcpu_where_it_sleeps_sleeps_where_that_will_be() -> None:
    homing = replace(SMALL, homing=1024, interval_ns=MS)
    assert wait(replace(HALF, answer_ns=2 * MS), homing) > wait(replace(HALF, answer_ns=2 * MS))
    assert wait(THERE, homing) == wait(THERE), "it stays for 3 ms, and the next one comes in 1 ms"
    later = replace(homing, interval_ns=3 * MS)
    assert wait(THERE, later) > wait(THERE)
    long = replace(
        THERE, latency_ns=20 * MS, answer_ns=9 * MS, renews_in_ns=39 * MS, period_ns=40 * MS
    )
    assert wait(long, later) < wait(THERE, later), "its absences are long, and far away"
    assert wait(long, replace(later, interval_ns=30 * MS)) > wait(THERE, later)


def test_a_busy_sibling_slows_down() -> None:
    assert wait(replace(HALF, has_busy_sibling=True)) > wait(HALF)


def test_hidden_vcpus_are_refused() -> None:
    assert wait(replace(HALF, is_hidden=True)) == NEVER


def test_two_are_woken_where_the_best_may_not_come() -> None:
    hedges = VSched().hedges
    assert not hedges(SMALL, HALF)
    assert hedges(SMALL, replace(HALF, answer_ns=900 * US))
    assert not hedges(SMALL, THERE), "by the clock it is there"
    assert not hedges(SMALL, replace(HALF, spent_ns=3_900 * US)), "it will be away, but not yet"


def test_bvs_can_be_switched_off() -> None:
    assert not VSched(bvs=0).is_latency_sensitive(SMALL)


# ---- IVH ----


def leave_in(vcpu: VCpu, task: Task = HOG, policy: VSched | None = None) -> int:
    return int((policy or VSched()).harvest_in_ns(task, vcpu, Sched()))


def test_a_task_leaves_a_little_before_its_vcpu_goes_away() -> None:
    assert leave_in(HALF) == 4 * MS - 300 * US
    assert leave_in(replace(HALF, spent_ns=3 * MS)) == MS - 300 * US
    assert leave_in(replace(HALF, spent_ns=9 * MS)) == 1, "at once: it is away already, or was"
    assert leave_in(replace(HALF, margin_ns=500 * US)) < leave_in(HALF), "it went too early before"


def test_a_quota_that_is_renewed_in_time_goes_on() -> None:
    assert leave_in(replace(HALF, spent_ns=3 * MS, renews_in_ns=500 * US)) > 4 * MS


def test_nobody_leaves_a_dedicated_vcpu_and_best_effort_work_leaves_none() -> None:
    assert leave_in(DEDICATED) == 0
    assert leave_in(replace(HALF, capacity=1000)) == 0
    assert leave_in(HALF, replace(HOG, is_idle_class=True)) == 0
    assert leave_in(HALF, replace(HOG, allowed_vcpus=1)) == 0
    assert leave_in(HALF, policy=VSched(ivh=0)) == 0


def test_a_task_that_was_moved_stays_for_a_while() -> None:
    moved = replace(HOG, settled_ns=200 * US)
    assert leave_in(replace(HALF, spent_ns=9 * MS), moved) == 800 * US
    assert leave_in(replace(HALF, spent_ns=9 * MS), moved, VSched(stay_us=5000)) == 4800 * US


def test_a_small_task_that_will_be_done_in_time_plans_nothing() -> None:
    assert leave_in(HALF, SMALL) == 0
    assert leave_in(replace(HALF, spent_ns=2 * MS), SMALL) > 0


def worth(
    target: VCpu,
    vcpu: VCpu = replace(HALF, spent_ns=4 * MS),  # noqa: B008
    moving_ns: int = 0,
) -> int:
    return int(VSched().harvest_worth(HOG, vcpu, target, Sched(moving_ns=moving_ns)))


def test_a_move_has_to_bring_twice_what_it_takes() -> None:
    other = replace(HALF, id=2, stack=2)
    assert worth(other, moving_ns=1_900 * US) > 0
    assert worth(other, moving_ns=2_100 * US) == 0


def test_who_has_more_time_left_is_worth_more() -> None:
    other = replace(HALF, id=2, stack=2)
    assert worth(DEDICATED) > worth(other) > worth(replace(other, spent_ns=2 * MS)) > 0
    assert worth(replace(other, spent_ns=4 * MS)) == 0, "no better than here"
    assert worth(other) > worth(replace(other, has_busy_sibling=True))
    assert worth(other) > worth(replace(other, llc=1))


def test_nobody_moves_for_good_beside_a_busy_sibling_unless_it_has_next_to_nothing() -> None:
    beside = replace(DEDICATED, has_busy_sibling=True)
    assert worth(beside) == 0, "a fifth is gained for the two, half of a vCPU was there"
    assert worth(beside, replace(HALF, spent_ns=4 * MS, capacity=150)) > 0
    assert worth(replace(HALF, id=2, stack=2, has_busy_sibling=True)) > 0, "only for an absence"


def test_siblings_on_the_same_thread_and_hidden_vcpus_are_worth_nothing() -> None:
    assert worth(replace(HALF, id=2, stack=1)) == 0
    assert worth(replace(DEDICATED, is_hidden=True)) == 0
    assert worth(replace(HALF, id=2, stack=2, runs_idle_class=True, silent_ns=20 * MS)) == 0


def test_small_tasks_do_not_go_where_their_next_wake_up_would_wait() -> None:
    late = replace(HALF, id=2, stack=2, answer_ns=2 * MS)
    source = replace(HALF, spent_ns=4 * MS)
    policy = VSched()
    later = replace(late, answer_ns=6 * MS)
    homing = replace(SMALL, homing=1024)
    assert policy.harvest_worth(homing, source, later, Sched()) == 0
    assert policy.harvest_worth(homing, source, late, Sched()) > 0, "here it waits for longer"
    assert policy.harvest_worth(SMALL, source, later, Sched()) > 0, "others wake it, from elsewhere"
    assert policy.harvest_worth(HOG, source, later, Sched()) > 0


# ---- RWC ----


def harmful(
    capacity: int, *, hidden: bool = False, stack: int = 1, policy: VSched | None = None
) -> bool:
    vcpu = VCpu(id=1, stack=stack, capacity=capacity, is_hidden=hidden)
    return bool((policy or VSched()).is_harmful(vcpu, Sched(mean_capacity=500)))


def test_stragglers_are_hidden_with_hysteresis() -> None:
    assert harmful(174)
    assert not harmful(176)
    assert harmful(200, hidden=True), "it comes back later than it went"
    assert not harmful(251, hidden=True)


def test_one_of_each_stack_stays() -> None:
    assert harmful(1024, stack=0)
    assert not harmful(1024)


def test_rwc_can_be_switched_off() -> None:
    assert not harmful(1, policy=VSched(rwc=0))
    assert not harmful(1024, stack=0, policy=VSched(rwc=0))


AHEAD = replace(SMALL, ahead_ns=MS)
STRAGGLER = VCpu(id=4, stack=4, capacity=51, latency_ns=19 * MS, rested_ns=5 * MS, is_hidden=True)


def lent(task: Task, saturated_ns: int, vcpu: VCpu = STRAGGLER) -> bool:
    return bool(VSched().uses_hidden(task, vcpu, Sched(saturated_ns=saturated_ns)))


def test_best_effort_work_may_use_hidden_vcpus() -> None:
    assert lent(replace(SMALL, is_idle_class=True), 0)


def test_hidden_vcpus_are_lent_while_all_others_are_busy_for_long() -> None:
    """0.5 ms at a twentieth of the speed and an absence of 19 ms: half of that."""
    assert not lent(AHEAD, 0)
    assert not lent(AHEAD, 14 * MS)
    assert lent(AHEAD, 15 * MS)
    assert not lent(replace(HOG, ahead_ns=MS), 49 * MS), "a slice of 4 ms takes longer"
    assert lent(replace(HOG, ahead_ns=MS), 50 * MS)
    assert lent(AHEAD, 4 * MS, replace(STRAGGLER, capacity=500, latency_ns=5 * MS))


def test_who_has_not_had_its_share_waits_for_a_vcpu_that_is_there() -> None:
    assert not lent(SMALL, 900 * MS)


def test_nobody_wakes_behind_what_runs_on_a_hidden_vcpu() -> None:
    waking, busy = replace(AHEAD, is_waking=True), replace(STRAGGLER, rested_ns=0)
    assert lent(waking, 900 * MS)
    assert not lent(waking, 900 * MS, busy)
    assert lent(AHEAD, 900 * MS, busy), "it runs there itself"


# ---- The language ----


def test_hooks_of_a_technique_come_together() -> None:
    text = """
from scx_vsched.policy import Policy, Task, guest

class Half(Policy):
    mechanism = guest

    def is_latency_sensitive(self, task: Task) -> bool:
        return True
"""
    with pytest.raises(PolicyError, match="of the hooks of `bvs` the policy lacks wait_ns, hedges"):
        compile_source(text, "half.py")
