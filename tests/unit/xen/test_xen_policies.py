"""Xen's algorithms in CPython: what each promises, hook by hook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from scx_vsched.policies import resolve_policy, xen_policies
from scx_vsched.policy import Sched, Task
from scx_vsched.policy.base import policy_class
from scx_vsched.policy.compiler import compile_file

if TYPE_CHECKING:
    from collections.abc import Callable

MS = 1_000_000
US = 1000
BOOST, UNDER, OVER = 0, 1, 2


def policy(name: str, **tunables: int) -> Any:
    return policy_class(compile_file(resolve_policy(name)))(**tunables)


def at(now: int, domains: int = 3, cpus: int = 1) -> Sched:
    return Sched(now_ns=now, vcpus=cpus, domains=domains)


def task(number: int, ran: int = 0, *, waking: bool = False) -> Task:
    """The only vCPU of the domain of that number."""
    return Task(pid=number, domain=number, ran_ns=ran, is_waking=waking)


@pytest.mark.parametrize(("name", "most"), [("credit", 200), ("credit2", 300)])
def test_they_are_short(name: str, most: int) -> None:
    assert len(resolve_policy(name).read_text().splitlines()) < most


@pytest.mark.parametrize("name", sorted(xen_policies()))
def test_they_compile_without_a_warning(name: str) -> None:
    assert compile_file(resolve_policy(name)).warnings == ()


def play(
    made: Any,
    weights: dict[int, int],
    seconds: float,
    each: Callable[[int, int], None] | None = None,
) -> dict[int, float]:
    """One CPU and a busy vCPU in each domain, as the mechanism asks; the part that each got."""
    for domain, weight in weights.items():
        made.dom(domain).weight = weight
        made.on_wake(task(domain), at(1))
    ranks = {domain: made.rank(task(domain), at(1 + domain)) for domain in weights}
    ran = dict.fromkeys(weights, 0)
    now, due = 1, 1
    timed = hasattr(made, "on_timer")
    while now < seconds * 1e9:
        if timed and now >= due:
            due = now + made.on_timer(at(now))
            for domain in weights:
                made.on_account(domain, at(now))
            if hasattr(made, "reorders"):
                order = sorted(ranks, key=lambda domain: ranks[domain])
                ranks = {d: made.rank(task(d), at(now + i)) for i, d in enumerate(order)}
        first = min(ranks, key=lambda domain: ranks[domain])
        del ranks[first]
        waiting = min(ranks.values(), default=0)
        sched = Sched(now_ns=now, vcpus=1, domains=4, waits=bool(ranks), first_rank=waiting)
        if hasattr(made, "on_run"):
            made.on_run(task(first), sched)
        length = made.run_ns(task(first), sched)
        now += length
        ran[first] += length
        made.burn(task(first, length), at(now))
        ranks[first] = made.rank(task(first), at(now + 10))
        if each:
            each(first, now)
    return {domain: got / now for domain, got in ran.items()}


@pytest.mark.parametrize("name", ["credit", "credit2", "bvt"])
@pytest.mark.parametrize(
    "weights", [{1: 256, 2: 512}, {1: 256, 2: 512, 3: 1024}, {1: 1000, 2: 10}, {1: 256, 2: 256}]
)
def test_shares_follow_the_weights(name: str, weights: dict[int, int]) -> None:
    found = play(policy(name), weights, 20)
    for domain, weight in weights.items():
        assert found[domain] == pytest.approx(weight / sum(weights.values()), abs=0.02)


# ---- Credit ----


def test_credit_is_never_less_than_a_slice_of_debt() -> None:
    made = policy("credit")
    made.on_wake(task(1), at(1))
    for _ in range(5):
        made.burn(task(1, 30 * MS), at(1))
    assert made.unit(task(1)).credit_ns == -30 * MS


def test_credit_boosts_who_wakes_under_until_a_tick_finds_it() -> None:
    made = policy("credit")
    sleeper, hog = task(1, waking=True), task(2)
    made.unit(hog).credit_ns = -MS
    made.on_wake(sleeper, at(50 * MS))
    assert made.rank(sleeper, at(50 * MS)) >> 60 == BOOST
    assert made.rank(hog, at(50 * MS)) >> 60 == OVER
    assert made.boosts.value == 1
    made.on_run(sleeper, at(50 * MS))
    assert not made.expires(sleeper, at(55 * MS))
    assert made.level(sleeper, 0) == BOOST
    made.expires(sleeper, at(60 * MS))
    assert made.level(sleeper, 0) == UNDER


def test_credit_does_not_boost_who_is_over() -> None:
    made = policy("credit")
    made.unit(task(1)).credit_ns = -1
    made.on_wake(task(1, waking=True), at(1))
    assert made.level(task(1), 0) == OVER


def test_credit_keeps_who_runs_for_the_rate_limit() -> None:
    made = policy("credit", ratelimit_us=1000)
    made.on_wake(task(1, waking=True), at(1))
    made.on_run(task(2), at(10 * MS))
    assert made.tickles(task(1), task(2), True, at(10 * MS + 999 * US)) == 0
    # whose turn it is then: the next tick sees that somebody waits
    assert made.expires(task(2), at(11 * MS))
    assert made.tickles(task(1), task(2), True, at(11 * MS)) == 3
    assert made.tickles(task(1), task(2), False, at(11 * MS)) == 2


def test_credit_parks_a_capped_domain_until_its_debt_is_paid() -> None:
    made = policy("credit")
    made.dom(1).cap = 50
    made.on_wake(task(1), at(0))
    now = 0
    for _ in range(2):  # the first round only counts
        now += made.on_timer(at(now))
        made.on_account(1, at(now))
    made.held_ns(task(1), at(now))
    assert made.dom(1).peak_ns == 15 * MS
    made.burn(task(1, 15 * MS + made.unit(task(1)).credit_ns), at(now))
    assert made.held_ns(task(1), at(now)) == 0  # as far in debt as it may be
    made.burn(task(1, MS), at(now))
    assert made.held_ns(task(1), at(now)) > 0
    made.on_timer(at(now))
    made.on_account(1, at(now))
    assert made.held_ns(task(1), at(now)) > 0  # still in debt, by a millisecond
    made.on_timer(at(now))
    made.on_account(1, at(now))
    assert made.held_ns(task(1), at(now)) == 0


def test_credit_gives_what_caps_leave_to_the_others() -> None:
    made = policy("credit")
    made.dom(1).cap = 10
    for domain in (1, 2):
        made.on_wake(task(domain), at(0))
    for _ in range(5):
        made.on_timer(at(0))
        for domain in (1, 2):
            made.on_account(domain, at(0))
    paid = {domain: made.dom(domain).paid_ns for domain in (1, 2)}
    made.on_timer(at(0))
    for domain in (1, 2):
        made.on_account(domain, at(0))
    assert made.dom(1).paid_ns - paid[1] == 3 * MS
    assert made.dom(2).paid_ns - paid[2] == 27 * MS


# ---- Credit2 ----


def test_credit2_burns_exactly_by_weight() -> None:
    made = policy("credit2")
    made.queue.most_weight = 1024
    made.dom(1).weight = 3
    made.on_wake(task(1), at(1))
    before = made.unit(task(1)).credit_ns
    for _ in range(3):
        made.burn(task(1, 1000), at(1))
    assert before - made.unit(task(1)).credit_ns == 3 * 1000 * 1024 // 3


def test_credit2_resets_when_the_next_has_no_credit() -> None:
    made = policy("credit2")
    for number in (1, 2):
        made.on_wake(task(number), at(1))
    made.unit(task(1)).credit_ns = 0
    made.unit(task(2)).credit_ns = 9 * MS
    made.on_run(task(1), at(2))
    assert made.resets.value == 1
    assert made.unit(task(1)).credit_ns == 10 * MS
    made.settle(task(2))
    assert made.unit(task(2)).credit_ns == 19 * MS  # whose turn comes first stays first
    made.on_sleep(task(2), at(3))
    made.on_wake(task(2), at(4))
    assert made.unit(task(2)).credit_ns == 10 * MS + 500 * US  # what a sleeper may carry over


def test_credit2_keeps_the_order_of_those_that_wait_over_a_reset() -> None:
    made = policy("credit2")
    for number, credit in ((1, 100), (2, 400)):
        made.on_wake(task(number), at(1))
        made.unit(task(number)).credit_ns = credit * US
    queued = made.rank(task(1), at(2))
    made.queue.resets += 1
    assert made.rank(task(1), at(3)) == queued
    assert made.rank(task(2), at(3)) < queued


def test_credit2_runs_until_the_first_that_waits_has_more() -> None:
    made = policy("credit2")
    made.on_wake(task(1), at(1))
    made.unit(task(1)).credit_ns = 9 * MS
    made.on_wake(task(2), at(1))
    made.unit(task(2)).credit_ns = 5 * MS
    waiting = made.rank(task(2), at(1))
    sched = Sched(now_ns=2, vcpus=1, domains=3, waits=True, first_rank=waiting)
    assert made.run_ns(task(1), sched) == 4 * MS
    assert made.run_ns(task(1), Sched(now_ns=2)) == 9 * MS
    made.unit(task(2)).credit_ns = 9 * MS - 1
    sched = Sched(now_ns=2, vcpus=1, waits=True, first_rank=made.rank(task(2), at(1)))
    assert made.run_ns(task(1), sched) == MS  # the rate limit


def test_credit2_moves_only_where_it_is_worth_it() -> None:
    made = policy("credit2")
    for number in (1, 2):
        made.on_wake(task(number), at(1))
    made.unit(task(2)).credit_ns = 10 * MS - 400 * US
    assert made.tickles(task(1), task(2), True, at(5 * MS)) == 400 * US
    assert made.tickles(task(1), task(2), False, at(5 * MS)) == 0
    assert made.tickles(task(1), task(2, 300 * US), False, at(5 * MS)) == 200 * US


def test_credit2_never_gives_a_domain_more_than_its_cap_in_a_period() -> None:
    made = policy("credit2")
    made.dom(1).cap = 40
    made.on_wake(task(1), at(1))
    now = due = 1
    ran: list[int] = []
    while len(ran) < 50:
        if now >= due:
            due = now + made.on_timer(at(now))
            made.on_account(1, at(now))
            ran.append(0)
        held = made.held_ns(task(1), at(now))
        if held:
            now = max(now + held, due)
            continue
        length = min(made.run_ns(task(1), at(now)), due - now)
        made.burn(task(1, length), at(now))
        ran[-1] += length
        now += length
    # the shortest run is the most that a period may take of the next one
    assert max(ran) <= 4 * MS + 500 * US
    assert sum(ran[:-1]) == pytest.approx(4 * MS * 49, rel=0.02)


def test_credit2_makes_up_for_the_periods_that_a_late_timer_missed() -> None:
    made = policy("credit2")
    made.dom(1).cap = 40
    waits = made.on_timer(at(1))
    assert waits == 10 * MS
    for late, worth, waits in (
        (0, 4 * MS, 10 * MS),
        (3 * MS, 4 * MS, 7 * MS),
        (25 * MS, 12 * MS, 5 * MS),
        (900 * MS, 24 * MS, 10 * MS),
    ):
        made.dom(1).pool_ns = 0
        now = made.queue.due_ns + late
        assert made.on_timer(at(now)) == waits
        made.on_account(1, at(now))
        assert made.dom(1).pool_ns == worth


# ---- RTDS ----


def reserve(made: Any, number: int, period: int, budget: int, *, extra: int = 0) -> Task:
    made.dom(number).period_us = period
    made.dom(number).budget_us = budget
    made.dom(number).extratime = extra
    made.on_wake(task(number), at(MS))
    return task(number)


def test_rtds_orders_by_level_and_deadline() -> None:
    made = policy("rtds")
    first, second = reserve(made, 1, 10_000, 2000), reserve(made, 2, 5000, 2000, extra=1)
    assert made.rank(second, at(2 * MS)) < made.rank(first, at(2 * MS))
    assert made.tickles(second, first, True, at(2 * MS)) > 0
    assert made.tickles(first, second, True, at(2 * MS)) == 0
    made.burn(task(2, 2 * MS), at(3 * MS))  # extra time is behind
    assert made.rank(second, at(3 * MS)) > made.rank(first, at(3 * MS))
    assert made.tickles(first, second, True, at(3 * MS)) > 0
    # and its next period is in front again
    assert made.rank(second, at(7 * MS)) >> 57 == 0


def test_rtds_holds_who_has_used_its_budget_until_the_next_period() -> None:
    made = policy("rtds")
    only = reserve(made, 1, 10_000, 2000)
    assert made.run_ns(only, at(MS)) == 2 * MS
    made.burn(task(1, 2 * MS), at(3 * MS))
    assert made.depleted.value == 1
    assert made.held_ns(only, at(3 * MS)) == 8 * MS
    assert made.held_ns(only, at(11 * MS)) == 0
    assert made.run_ns(only, at(11 * MS)) == 2 * MS


def test_rtds_takes_an_overrun_off_the_next_budget() -> None:
    made = policy("rtds")
    reserve(made, 1, 10_000, 2000)
    made.burn(task(1, 2 * MS + 300 * US), at(4 * MS))
    assert made.run_ns(task(1), at(11 * MS)) == 1700 * US


def test_rtds_keeps_the_budget_of_who_sleeps_within_the_period() -> None:
    made = policy("rtds")
    only = reserve(made, 1, 10_000, 4000)
    made.burn(task(1, MS), at(2 * MS))
    made.on_sleep(only, at(2 * MS))
    made.on_wake(only, at(5 * MS))
    assert made.run_ns(only, at(5 * MS)) == 3 * MS


def test_rtds_counts_periods_that_ended_without_the_budget() -> None:
    made = policy("rtds")
    only = reserve(made, 1, 10_000, 4000)
    made.burn(task(1, 4 * MS), at(6 * MS))
    made.held_ns(only, at(11 * MS))
    assert (made.periods.value, made.missed.value) == (1, 0)
    made.burn(task(1, MS), at(12 * MS))
    made.held_ns(only, at(21 * MS))
    assert (made.periods.value, made.missed.value) == (2, 1)
    assert sum(made.lacking.buckets) == 1


def test_rtds_admits_up_to_what_the_cpus_have() -> None:
    made = policy("rtds")
    made.dom(1).budget_us = 10_000
    for number in (2, 3):
        made.dom(number).period_us, made.dom(number).budget_us = 20_000, 10_000
    assert made.admits(3, at(0, 4, cpus=2))
    made.dom(3).budget_us = 10_100
    assert not made.admits(3, at(0, 4, cpus=2))
    made.dom(3).budget_us = 20_001
    assert not made.admits(3, at(0, 4, cpus=64))


def test_rtds_gives_what_is_in_no_domain_only_extra_time() -> None:
    made = policy("rtds")
    reserve(made, 1, 10_000, 2000)
    made.on_wake(task(0), at(MS))
    assert made.rank(task(0), at(MS)) >> 57 == 1
    assert made.held_ns(task(0), at(MS)) == 0


# ---- SEDF ----


def sliced(made: Any, number: int, period: int, length: int, *, extra: int = 0) -> Task:
    made.dom(number).period_us = period
    made.dom(number).slice_us = length
    made.dom(number).extratime = extra
    made.on_wake(task(number, waking=True), at(MS))
    return task(number)


def test_sedf_orders_slices_by_deadline_and_extra_time_by_weight() -> None:
    made = policy("sedf")
    near, far = sliced(made, 1, 5000, 1000, extra=1), sliced(made, 2, 10_000, 1000, extra=1)
    made.dom(2).weight = 3
    assert made.rank(near, at(MS)) < made.rank(far, at(MS))
    for number in (1, 2):
        made.burn(task(number, MS), at(2 * MS))  # the slice
        made.burn(task(number, 3 * MS), at(3 * MS))  # extra time
    assert made.rank(near, at(3 * MS)) >> 60 == made.rank(far, at(3 * MS)) >> 60 == 2
    assert made.rank(far, at(3 * MS)) < made.rank(near, at(3 * MS))


def test_sedf_holds_who_may_have_no_more_than_its_slice() -> None:
    made = policy("sedf")
    only = sliced(made, 1, 10_000, 4000)
    assert made.run_ns(only, at(MS)) == 4 * MS
    made.burn(task(1, 4 * MS), at(5 * MS))
    assert made.held_ns(only, at(5 * MS)) == 6 * MS
    assert made.held_ns(only, at(11 * MS)) == 0


def test_sedf_a_short_sleep_costs_the_slice_and_a_long_one_begins_a_period() -> None:
    made = policy("sedf")
    only = sliced(made, 1, 10_000, 4000, extra=1)
    made.burn(task(1, MS), at(2 * MS))
    made.on_wake(task(1, waking=True), at(5 * MS))
    assert made.short_sleeps.value == 1
    assert made.rank(only, at(5 * MS)) >> 60 == 1  # the penalty queue owes it 3 ms
    made.burn(task(1, 3 * MS), at(8 * MS))
    assert made.rank(only, at(8 * MS)) >> 60 == 2
    assert made.rank(only, at(11 * MS)) >> 60 == 0  # the next period
    made.on_wake(task(1, waking=True), at(50 * MS))
    assert made.rank(only, at(50 * MS)) == 60 * MS


def test_sedf_admits_slices_that_fit() -> None:
    made = policy("sedf")
    for number in (1, 2):
        made.dom(number).period_us, made.dom(number).slice_us = 10_000, 5000
    assert made.admits(2, at(0, 3))
    made.dom(2).slice_us = 5010
    assert not made.admits(2, at(0, 3))


# ---- BVT ----


def test_bvt_who_wakes_is_not_behind_the_clock() -> None:
    made = policy("bvt")
    made.on_wake(task(1), at(1))
    made.burn(task(1, 50 * MS), at(1))
    made.on_run(task(1), at(1))
    made.on_wake(task(2), at(1))
    assert made.rank(task(2), at(1)) == made.rank(task(1), at(1))


def test_bvt_borrows_for_as_long_as_its_limit() -> None:
    made = policy("bvt")
    made.dom(1).warp = 100
    made.dom(1).warp_limit_us = 2000
    made.dom(1).unwarp_us = 10_000
    made.on_wake(task(1, waking=True), at(MS))
    made.on_wake(task(2), at(MS))
    assert made.warps.value == 1
    assert made.tickles(task(1), task(2), True, at(MS)) == 100 * 65536 * 64 // 256
    assert made.run_ns(task(1), at(MS)) == 2 * MS
    made.burn(task(1, 2 * MS), at(3 * MS))
    assert made.unwarps.value == 1
    assert made.rank(task(1), at(3 * MS)) > made.rank(task(2), at(3 * MS))
    made.on_wake(task(1, waking=True), at(12 * MS))
    assert made.warps.value == 1  # it has not paused for long enough
    made.on_wake(task(1, waking=True), at(13 * MS))
    assert made.warps.value == 2


def test_bvt_charges_whole_units() -> None:
    made = policy("bvt")
    made.on_wake(task(1), at(1))
    made.burn(task(1, 99 * US), at(1))
    assert made.unit(task(1)).avt == 0
    made.burn(task(1, US), at(1))
    assert made.unit(task(1)).avt == 65536 * 64 // 256


def test_bvt_runs_past_its_turn_by_the_allowance() -> None:
    made = policy("bvt", allowance_us=2000)
    for number in (1, 2):
        made.on_wake(task(number), at(1))
    made.unit(task(2)).avt = 30 * (65536 * 64 // 256)
    sched = Sched(waits=True, first_rank=made.rank(task(2), at(1)))
    assert made.run_ns(task(1), sched) == 3 * MS + 2 * MS
