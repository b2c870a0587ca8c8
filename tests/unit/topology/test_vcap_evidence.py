"""What one watch says, and how samples become a steady figure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probing import MS, watch

from scx_vsched.topology.evidence import ShareSample, observe, share_of
from scx_vsched.topology.records import Gap
from scx_vsched.topology.tracking import ShareTracker, Verdict


def sample(share: float, error: float = 0.01) -> ShareSample:
    return ShareSample(0, 0, share, error, 10, 100 * MS)


def test_noise_is_no_gap_and_neighbours_are_one() -> None:
    seen = observe(watch(0, 100 * MS, (1 * MS, 100_000), (9 * MS, 2 * MS), (11_050_000, 950_000)))
    assert seen.gaps == (Gap(9 * MS, 3 * MS),)


def test_a_gap_at_the_end_is_open() -> None:
    seen = observe(watch(0, 100 * MS, (10 * MS, 5 * MS), (95 * MS, 5 * MS)))
    assert seen.gaps == (Gap(10 * MS, 5 * MS),)
    assert (seen.open_gap_ns, seen.away_ns) == (5 * MS, 10 * MS)


def test_a_sleepers_gaps_began_half_a_sleep_earlier() -> None:
    seen = observe(watch(0, 100 * MS, (10 * MS, 5 * MS), resolution=MS))
    assert seen.gaps == (Gap(10 * MS - MS // 2, 5 * MS + MS // 2),)


def test_an_unused_quota_at_the_start_does_not_count() -> None:
    """An idle vCPU runs for longer at first: whole cycles alone give the share."""
    gaps = [(12 * MS + 10 * MS * k, 6 * MS) for k in range(5)]
    share = share_of([observe(watch(0, 61 * MS, *gaps))])
    assert share.share == pytest.approx(0.4)
    assert share.cycles == 4


def test_what_comes_between_two_turns_begins_no_cycle() -> None:
    """Short absences, of the host's own making, count as such, but the quota's cycles are whole."""
    quota = [(10 * MS + 40 * MS * k, 20 * MS) for k in range(2)]
    for at in (2, 5, 8, 33, 36, 39, 42, 46):
        gaps = sorted([*quota, (at * MS, MS)])
        share = share_of([observe(watch(0, 78 * MS, *gaps))])
        assert share.cycles == 1, at
        assert share.share == pytest.approx(0.5 if at < 10 else 0.475), at


def test_the_guests_own_interrupts_are_neither_gaps_nor_a_part_of_gaps() -> None:
    gaps = [(9 * MS + 10 * MS * k, 5 * MS + 200_000) for k in range(6)]
    ticks = [(6 * MS + 10 * MS * k, 550_000) for k in range(6)]
    seen = observe(watch(0, 64 * MS, *sorted([*gaps, *ticks]), blip=200_000))
    assert {gap.length_ns for gap in seen.gaps} == {5 * MS}
    assert share_of([seen]).share == pytest.approx(0.5)
    quick = observe(watch(0, 64 * MS, *ticks, blip=20_000))
    assert len(quick.gaps) == 6, "where interrupts take little, that is not theirs"


def test_a_gap_that_the_window_cuts_off_is_open_whatever_interrupts_take() -> None:
    seen = observe(watch(0, 100 * MS, (10 * MS, 5 * MS), (95 * MS, 5 * MS), blip=200_000))
    assert seen.open_gap_ns == 5 * MS


def test_without_whole_cycles_the_error_is_large() -> None:
    one = share_of([observe(watch(0, 20 * MS, (5 * MS, 5 * MS)))])
    assert (one.share, one.cycles) == (0.75, 0)
    assert one.error > 5 * share_of([observe(watch(0, 20 * MS))]).error


@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**8)), max_size=40),
    st.integers(1, 10**9),
    st.sampled_from([0, MS]),
)
def test_any_watch_gives_a_share(gaps: list[tuple[int, int]], end: int, resolution: int) -> None:
    seen = observe(watch(0, end, *gaps, resolution=resolution))
    share = share_of([seen])
    assert 0 <= share.share <= 1
    assert share.error > 0
    assert 0 <= seen.away_ns <= seen.elapsed_ns


def test_one_odd_sample_changes_nothing() -> None:
    tracker = ShareTracker()
    for _ in range(8):
        tracker.add(sample(0.5))
    assert tracker.add(sample(0.1)) is Verdict.SUSPECT
    assert tracker.add(sample(0.5)) is Verdict.STEADY
    assert tracker.published == tracker.mean == 0.5


def test_a_confirmed_change_counts_at_once() -> None:
    tracker = ShareTracker()
    for _ in range(8):
        tracker.add(sample(0.5))
    assert tracker.add(sample(0.2)) is Verdict.SUSPECT
    assert tracker.add(sample(0.2)) is Verdict.CHANGED
    assert tracker.published == pytest.approx(0.2)


def test_a_sample_across_the_change_is_not_averaged_in() -> None:
    tracker = ShareTracker()
    for _ in range(8):
        tracker.add(sample(0.8))
    for share in (0.5, 0.2):
        assert tracker.add(sample(share)) is Verdict.SUSPECT
    assert tracker.add(sample(0.2)) is Verdict.CHANGED
    assert tracker.published == pytest.approx(0.2)


def test_a_share_that_never_rests_is_averaged() -> None:
    tracker = ShareTracker()
    for k in range(100):
        tracker.add(sample(0.3 if k % 2 else 0.7))
    changes = tracker.changes
    for k in range(100):
        tracker.add(sample(0.3 if k % 2 else 0.7))
    assert tracker.changes == changes
    assert tracker.mean == pytest.approx(0.5, abs=0.15)


def test_slow_drift_is_followed() -> None:
    tracker = ShareTracker()
    for k in range(100):
        tracker.add(sample(0.9 - k * 0.004))
    assert tracker.published == pytest.approx(0.504, abs=0.05)
