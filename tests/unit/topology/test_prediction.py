"""When a vCPU goes next: a quota is predictable, chance is not, and the confidence says which."""

from __future__ import annotations

from random import Random as Chance

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probing import MS, SECOND, watch

from scx_vsched.topology.evidence import Observation, observe
from scx_vsched.topology.prediction import predict


def seen(
    starts_and_lengths: list[tuple[int, int]], windows: list[tuple[int, int]]
) -> list[Observation]:
    """The gaps as spinners in those windows see them."""
    found = []
    for begin, end in windows:
        gaps = [
            (max(start, begin), min(start + length, end) - max(start, begin))
            for start, length in starts_and_lengths
            if start < end and start + length > begin
        ]
        found.append(observe(watch(begin, end, *gaps)))
    return found


def quota(
    run_ms: float, period_ms: float, until_ns: int, phase_ms: float = 0
) -> list[tuple[int, int]]:
    """The gaps of a quota."""
    period = round(period_ms * MS)
    first = round((phase_ms + run_ms) * MS)
    length = period - round(run_ms * MS)
    return [(first + k * period, length) for k in range(until_ns // period)]


WINDOWS = [(k * SECOND, k * SECOND + 200 * MS) for k in range(6)]


@pytest.mark.parametrize(("run", "period"), [(6, 18), (2, 6), (12, 18), (4, 8), (1, 20), (50, 100)])
def test_a_quota_is_predicted_with_confidence(run: float, period: float) -> None:
    gaps = quota(run, period, 8 * SECOND, 0.7)
    chance = Chance(1)
    found = seen(gaps, WINDOWS)
    for _ in range(20):
        now = 5_200 * MS + chance.randrange(500 * MS)
        forecast = predict(found, now)
        assert forecast
        assert forecast.period_ns == pytest.approx(period * MS, rel=0.001)
        true = next(start for start, _ in gaps if start >= now)
        off = (forecast.at_ns - true + period * MS / 2) % (period * MS) - period * MS / 2
        assert abs(off) <= max(0.1 * period * MS, 0.6 * MS)
        assert forecast.length_ns == pytest.approx((period - run) * MS, rel=0.05)
        assert forecast.confidence > 0.5


def test_random_gaps_get_a_low_confidence() -> None:
    for seed in range(10):
        chance = Chance(seed)
        at, gaps = 0, []
        while at < 8 * SECOND:
            at += round(chance.expovariate(1 / (8 * MS)))
            length = round(chance.expovariate(1 / (6 * MS))) + 1
            gaps.append((at, length))
            at += length
        forecast = predict(seen(gaps, WINDOWS), 5_300 * MS)
        assert forecast
        assert forecast.confidence < 0.3
        assert forecast.at_ns > 5_300 * MS


def test_near_regular_gaps_without_a_raster_are_not_trusted_far_ahead() -> None:
    """Each cycle begins where the last one ended: the phase is lost after some cycles."""
    for seed in range(10):
        chance = Chance(seed)
        at, gaps = 0, []
        while at < 8 * SECOND:
            at += round(chance.gauss(8, 1.5) * MS)
            gaps.append((at, 4 * MS))
            at += 4 * MS
        forecast = predict(seen(gaps, WINDOWS), 6_000 * MS)
        assert forecast
        assert forecast.confidence < 0.5


def test_confidence_fades_with_time() -> None:
    found = seen(quota(6, 18, 8 * SECOND), WINDOWS)
    soon, later = predict(found, 5_300 * MS), predict(found, 30 * SECOND)
    assert soon
    assert later
    assert later.confidence < soon.confidence / 2


def test_no_gap_no_forecast() -> None:
    assert predict([], 0) is None
    assert predict(seen([], WINDOWS), 6 * SECOND) is None


def test_a_single_gap_gives_a_mean_and_little_confidence() -> None:
    forecast = predict(seen([(100 * MS, 5 * MS)], WINDOWS), 6 * SECOND)
    assert forecast
    assert forecast.period_ns is None
    assert forecast.confidence < 0.3


@given(
    st.lists(st.tuples(st.integers(0, 2 * SECOND), st.integers(1, 300 * MS)), max_size=30),
    st.integers(0, 20 * SECOND),
)
def test_any_gaps_give_a_forecast_in_bounds(gaps: list[tuple[int, int]], now: int) -> None:
    windows = [(0, 300 * MS), (600 * MS, 900 * MS), (SECOND, 3 * SECOND)]
    forecast = predict(seen(sorted(gaps), windows), now)
    if forecast:
        assert 0 <= forecast.confidence <= 1
        assert forecast.at_ns >= now - 1
        assert forecast.length_ns > 0
