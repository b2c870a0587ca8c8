"""What a vCPU got, from events of the host's scheduler, a timer's log, or plain counters."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from scx_vsched.vm.lab.accounting import (
    Away,
    Schedstat,
    Truth,
    from_events,
    from_schedstat,
    read_schedstat,
    with_timer,
)
from scx_vsched.vm.lab.trace import EVENT, OFF, ON, WOKEN

if TYPE_CHECKING:
    from numpy.typing import NDArray

MS = 1_000_000
SLEEPS, FROZEN = OFF | 1, OFF | 0x8000


def events(*found: tuple[float, int]) -> NDArray[np.void]:
    return np.array([(round(at * MS), 7, what) for at, what in found], EVENT)


def truth(found: NDArray[np.void], start: float = 0, end: float = 100, **more: object) -> Truth:
    return from_events(0, found, (round(start * MS), round(end * MS)), **more)  # type: ignore[arg-type]


def times(found: Truth) -> tuple[float, float, float]:
    """Running, away and asleep in ms."""
    return found.run_ns / MS, found.away_ns / MS, found.asleep_ns / MS


def test_preempted_is_away_and_sleeping_is_not() -> None:
    found = truth(events((10, WOKEN), (12, ON), (40, OFF), (60, ON), (70, SLEEPS)))
    assert times(found) == (38, 22, 40)
    assert found.share == pytest.approx(38 / 60)
    assert found.away == (Away(10 * MS, 2 * MS), Away(40 * MS, 20 * MS))
    assert found.mean_away_ns == 11 * MS
    assert found.exact


def test_who_goes_off_a_cpu_after_a_wakeup_was_on_it_though_nobody_saw_it() -> None:
    found = truth(events((0, ON), (20, SLEEPS), (30, WOKEN), (40, OFF), (60, ON), (70, SLEEPS)))
    assert times(found) == (40, 20, 40)
    assert found.away == (Away(40 * MS, 20 * MS),)


def test_frozen_by_version_1_is_away() -> None:
    found = truth(events((0, ON), (40, FROZEN), (60, WOKEN), (61, ON)))
    assert times(found) == (79, 21, 0)
    assert found.away == (Away(40 * MS, 21 * MS),)


def test_the_state_at_the_start_follows_from_earlier_events() -> None:
    before = events((1, ON), (30, OFF), (60, ON))
    assert times(truth(before, 20, 100)) == (50, 30, 0)
    assert times(truth(before, 40, 100)) == (40, 20, 0)


def test_the_state_at_the_start_follows_from_the_first_event_when_none_came_before() -> None:
    assert times(truth(events((30, OFF), (60, ON)))) == (70, 30, 0)
    assert times(truth(events((30, ON)))) == (70, 30, 0)
    assert times(truth(events((30, WOKEN), (40, ON)))) == (60, 10, 30)
    assert times(truth(events())) == (0, 0, 100)


def test_absences_that_the_interval_cuts_count_for_the_share_only() -> None:
    found = truth(events((0, ON), (10, OFF), (30, ON), (90, OFF), (120, ON)), 20, 100)
    assert times(found) == (60, 20, 0)
    assert found.away == ()
    assert found.mean_away_ns == 0


def test_events_after_the_end_change_nothing() -> None:
    found = truth(events((0, ON), (50, OFF), (70, ON), (150, OFF), (180, ON)))
    assert times(found) == (80, 20, 0)


def test_absences_too_short_to_tell_from_an_interrupt_are_not_counted() -> None:
    found = truth(events((0, ON), (10, OFF), (10.15, ON), (50, OFF), (54, ON)))
    assert found.away == (Away(50 * MS, 4 * MS),)
    assert found.away_ns == round(4.15 * MS)


def test_an_absence_is_one_though_the_thread_was_woken_within() -> None:
    found = truth(events((0, ON), (40, OFF), (50, WOKEN), (60, ON)))
    assert found.away == (Away(40 * MS, 20 * MS),)


def test_sleep_in_a_freezers_window_is_away_up_to_its_end() -> None:
    windows = [(20 * MS, 30 * MS), (60 * MS, 70 * MS)]
    found = truth(
        events((0, ON), (22, SLEEPS), (30.5, WOKEN), (31, ON), (80, SLEEPS)), withheld=windows
    )
    # frozen at 22, thawed at 30; 0.5 ms until it was woken are sleep
    assert times(found) == (71, 8.5, 20.5)


def test_percentiles_of_absences() -> None:
    found = truth(events((0, ON), (10, OFF), (12, ON), (20, OFF), (30, ON)))
    assert found.percentile_away_ns(1.0) == 10 * MS
    assert found.percentile_away_ns(0.5) == 6 * MS
    assert truth(events()).percentile_away_ns(0.5) == 0


def test_a_vcpu_that_slept_all_the_time_was_not_denied_anything() -> None:
    assert truth(events((0, SLEEPS))).share == 1.0


def test_a_timers_log_says_what_was_left_to_an_idle_vcpu() -> None:
    idle = truth(events((0, SLEEPS)))
    log = [(-5 * MS, 5 * MS), (20 * MS, 30 * MS), (95 * MS, 105 * MS)]
    found = with_timer(idle, log, (0, 100 * MS))
    assert found.offered == pytest.approx(0.8)
    assert found.withheld == (Away(20 * MS, 10 * MS),)
    assert with_timer(idle, [], (0, 100 * MS)) is idle


def test_counters_give_the_same_share_and_an_estimate_of_absences() -> None:
    before, after = Schedstat(0, 5 * MS, 1 * MS, 10), Schedstat(100 * MS, 45 * MS, 41 * MS, 15)
    found = from_schedstat(3, before, after)
    assert times(found) == (40, 40, 20)
    assert found.share == 0.5
    assert found.mean_away_ns == 8 * MS
    assert not found.exact
    frozen = from_schedstat(3, before, after, withheld_ns=10 * MS)
    assert times(frozen) == (40, 50, 10)


def test_counters_of_a_thread_that_never_ran() -> None:
    zero = Schedstat(0, 0, 0, 0)
    found = from_schedstat(0, zero, Schedstat(MS, 0, 0, 0))
    assert (found.share, found.mean_away_ns) == (1.0, 0.0)


def test_counters_are_those_of_the_kernel() -> None:
    stat = read_schedstat(os.getpid(), os.getpid(), 5)
    assert stat is not None
    assert stat.at_ns == 5
    assert stat.run_ns > 0
    assert read_schedstat(os.getpid(), 1, 5) is None  # not a thread of ours
