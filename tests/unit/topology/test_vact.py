"""How often and for how long a vCPU is away, against machines that know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from probing import MS, SECOND, load, machine, rounds, watch

from scx_vsched.topology.evidence import observe
from scx_vsched.topology.synthetic import Pattern, Periodic, Random, VCpuSpec
from scx_vsched.topology.vact import ActivityLog
from scx_vsched.topology.vcap import Vcap

if TYPE_CHECKING:
    from scx_vsched.topology.measure import Activity


def activity(pattern: Pattern, *, busy: bool, seed: int = 0, seconds: int = 20) -> Activity:
    synthetic = machine(VCpuSpec(pattern, load=load(busy=busy)), seed=seed)
    vcap, log = Vcap(synthetic, seed=seed), ActivityLog()
    end = synthetic.now_ns() + seconds * SECOND
    while synthetic.now_ns() < end:
        synthetic.sleep_ns(max(vcap.due_ns() - synthetic.now_ns(), 0))
        for look in vcap.look().values():
            log.add(look)
    found = log.activity()
    assert found
    return found


@pytest.mark.parametrize("busy", [True, False])
@pytest.mark.parametrize("away", [2, 3, 5, 8, 12, 20])
def test_mean_length_of_a_quotas_gaps_is_right_within_15_percent(away: int, busy: bool) -> None:
    for run in (3, 7, 20):
        found = activity(Periodic(run * MS, (run + away) * MS, 371_234), busy=busy)
        assert found.mean_ns == pytest.approx(away * MS, rel=0.15), run
        assert found.gaps_per_s == pytest.approx(1000 / (run + away), rel=0.15), run


@pytest.mark.parametrize("busy", [True, False])
@pytest.mark.parametrize("away", [2, 5, 10, 20])
def test_mean_length_of_irregular_gaps_is_right_within_15_percent(away: int, busy: bool) -> None:
    for seed in range(3):
        pattern = Random(8 * MS, away * MS, shape=20.0)
        found = activity(pattern, busy=busy, seed=seed, seconds=40)
        assert found.mean_ns == pytest.approx(away * MS, rel=0.15), seed


def test_a_sleepers_view_of_exponential_gaps_is_corrected() -> None:
    """A third of such gaps are too short for it."""
    means = [
        activity(Random(8 * MS, 2 * MS, shape=1.0), busy=True, seed=seed).mean_ns
        for seed in range(8)
    ]
    assert sum(means) / len(means) == pytest.approx(2 * MS, rel=0.15)


def test_what_comes_beside_a_quota_does_not_make_its_gaps_shorter() -> None:
    log = ActivityLog()
    gaps = [(10 * MS + k * 40 * MS, 20 * MS) for k in range(10)]
    short = [(35 * MS + k * 40 * MS, MS) for k in range(5)]
    log.add([observe(watch(0, 410 * MS, *sorted([*gaps, *short])))])
    found = log.activity()
    assert found
    assert found.mean_ns == pytest.approx(20 * MS, rel=0.02)


def test_p95_and_maximum_show_the_long_ones() -> None:
    log = ActivityLog()
    gaps = [(10 * MS + k * 20 * MS, 2 * MS) for k in range(40)]
    gaps[20] = (gaps[20][0], 9 * MS)
    log.add([observe(watch(0, 900 * MS, *gaps))])
    found = log.activity()
    assert found
    assert (found.p95_ns, found.max_ns) == (2 * MS, 9 * MS)


def test_since_when_it_runs() -> None:
    log = ActivityLog()
    log.add([observe(watch(0, 50 * MS, (10 * MS, 5 * MS)))])
    assert log.activity().active_since_ns == 15 * MS  # type: ignore[union-attr]
    log.add([observe(watch(100 * MS, 150 * MS, (145 * MS, 5 * MS)))])
    assert log.activity().active_since_ns is None  # type: ignore[union-attr]
    log.add([observe(watch(200 * MS, 250 * MS))])
    assert log.activity().active_since_ns == 200 * MS  # type: ignore[union-attr]


def test_never_away_and_never_watched() -> None:
    log = ActivityLog()
    assert log.activity() is None
    assert log.forecast(0) is None
    log.add([observe(watch(0, 50 * MS))])
    found = log.activity()
    assert found
    assert (found.gaps_per_s, found.mean_ns, found.max_ns) == (0, 0, 0)


def test_the_log_is_bounded() -> None:
    log = ActivityLog()
    for k in range(3000):
        start = k * 10 * MS
        log.add(
            [
                observe(
                    watch(start, start + 9 * MS, *((start + i * MS, MS // 2) for i in range(1, 8)))
                )
            ]
        )
    recent = log.recent()
    assert sum(len(seen.gaps) for seen in recent) <= 4096
    assert recent[-1].end_ns - recent[0].start_ns <= 20 * SECOND


def test_rounds_come_to_an_end() -> None:
    synthetic = machine(VCpuSpec())
    assert len(list(rounds(Vcap(synthetic, seed=0), synthetic, 2 * SECOND))) < 100
