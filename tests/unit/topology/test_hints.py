"""What a scheduler's ticks contradict is looked at at once, and nothing else is for that."""

from __future__ import annotations

import pytest
from probing import MS, SECOND, TOPOLOGY, load, quota

from scx_vsched.topology.hints import Hints, Known, Ticks
from scx_vsched.topology.prober import Prober
from scx_vsched.topology.synthetic import (
    Change,
    Hierarchy,
    SyntheticMachine,
    SyntheticSpec,
    VCpuSpec,
)

HALF = 500 * MS
TICK = 4 * MS
AT = 60 * SECOND


class Dear(SyntheticMachine):
    """Each watch also costs `extra_ns`, as on an emulated machine; a scheduler sees its ticks."""

    def __init__(self, spec: SyntheticSpec, ticking: tuple[int, ...], extra_ns: int) -> None:
        super().__init__(spec, 1)
        self.extra_ns = extra_ns
        self._ticking = {vcpu: [0, 0, 0] for vcpu in ticking}
        self._counted_ns = self.now_ns()

    def spent_ns(self) -> int:
        return self.counters.cpu_ns + self.extra_ns * (self.counters.watches + self.counters.rounds)

    def ticks(self) -> dict[int, Ticks]:
        now = self.now_ns()
        if now > self._counted_ns:
            for vcpu, counted in self._ticking.items():
                passed = now - self._counted_ns
                counted[0] += passed
                counted[2] += round(passed * (1 - self.share(vcpu, self._counted_ns, now)))
            self._counted_ns = now
        return {vcpu: Ticks(*counted, TICK) for vcpu, counted in self._ticking.items()}


def seen_after_s(
    before: tuple[float, ...],
    after: tuple[float, ...],
    *,
    hints: bool,
    extra_ns: int = 60 * MS,
) -> list[float]:
    """How long after the change each vCPU's capacity is known; the first two are busy."""

    def specs(shares: tuple[float, ...]) -> dict[int, VCpuSpec]:
        return {v: VCpuSpec(quota(s, 10), load=load(busy=v < 2)) for v, s in enumerate(shares)}

    change = Change(AT, vcpus=specs(after))
    spec = SyntheticSpec(Hierarchy.regular(cores=len(before)), specs(before), changes=(change,))
    machine = Dear(spec, (0, 1), extra_ns)
    told = {"ticks": machine.ticks} if hints else {}
    loop = Prober(machine, TOPOLOGY, cpu_ns=machine.spent_ns, seed=1, **told)
    loop.first(2 * SECOND)
    found: dict[int, float] = {}
    for seen in loop.run(HALF, AT + 40 * SECOND - machine.now_ns()):
        if seen.at_ns > AT:
            for vcpu, share in enumerate(after):
                if abs(seen.measures[vcpu].capacity / 1024 - share) < 0.1:
                    found.setdefault(vcpu, (seen.at_ns - AT) / SECOND)
    return [found.get(vcpu, float("inf")) for vcpu in range(len(after))]


def test_a_guest_that_moved_is_known_in_seconds_where_looks_are_dear() -> None:
    before, after = (0.7, 0.7, 0.2, 0.2), (0.2, 0.2, 0.7, 0.7)
    assert max(seen_after_s(before, after, hints=True)) <= 4
    assert max(seen_after_s(before, after, hints=False)) > 10, "else the test says nothing"


def test_a_weak_vcpu_that_gets_its_time_back_is_seen_though_nothing_runs_there() -> None:
    found = seen_after_s((0.9, 0.9, 0.05), (0.9, 0.9, 0.9), hints=False, extra_ns=25 * MS)
    assert found[2] <= 6


def ticks(covered: int, away: int = 0, unsure: int = 0) -> dict[int, Ticks]:
    """Of vCPU 0; each late tick leaves open a tick's time."""
    return {0: Ticks(covered, unsure // TICK, away, TICK)}


def known(share: float, absence_ms: float = 3) -> dict[int, Known]:
    return {0: Known(share, absence_ms * MS)}


def counted(*samples: tuple[float, float, float], absence_ms: float = 3) -> list[str]:
    """What is to be done after each half second: take over a share, look, or nothing.

    Samples are the least and the most of the share by ticks, and the one that is known.
    """
    hints, covered, away, unsure, now, found = Hints(), 0, 0, 0, 0, []
    hints.add(now, ticks(0), known(1.0))
    for least, most, share in samples:
        now += HALF
        covered += HALF
        away += round(HALF * (1 - most))
        unsure += round(HALF * (most - least))
        shifts = hints.add(now, ticks(covered, away, unsure), known(share, absence_ms))
        told = f"now {shifts[0].share:.2f}" if shifts else ""
        found.append(told or ("look" if hints.pending else ""))
        if hints.pending:
            hints.settle(0, now, share)
    return found


@pytest.mark.parametrize(
    ("samples", "found"),
    [
        ([(0.4, 0.6, 0.5)] * 4, [""] * 4),
        ([(0.2, 0.45, 0.5)] * 8, [""] * 8),
        ([(0.0, 0.38, 0.5)] * 2, ["", "now 0.19"]),
        ([(0.1, 0.24, 0.5)], ["now 0.17"]),
        ([(0.8, 0.9, 0.5)], ["look"]),
        ([(0.65, 0.8, 0.5)] * 2, ["", "look"]),
        ([(0.3, 0.36, 0.5), (0.64, 0.8, 0.5)] * 4, [""] * 8),
    ],
    ids=["as known", "a little off", "less twice", "far less", "far more", "more", "to and fro"],
)
def test_beyond_doubt_or_time_and_again_counts(
    samples: list[tuple[float, float, float]], found: list[str]
) -> None:
    assert counted(*samples) == found


def test_more_is_believed_where_ticks_would_have_shown_the_absences() -> None:
    assert counted((0.8, 0.9, 0.5), absence_ms=3) == ["look"]
    assert counted((0.8, 0.9, 0.5), absence_ms=8) == ["now 0.85"]


def test_ticks_tell_how_long_absences_are() -> None:
    hints = Hints()
    hints.add(0, ticks(0), known(0.9))
    # ten of 30 ms, each seen between 28 and 32 ms
    shift = hints.add(HALF, ticks(HALF, 280 * MS, 40 * MS), known(0.9))[0]
    assert shift.absence_ns == pytest.approx(30 * MS)
    assert shift.share == pytest.approx(0.4)


def test_what_was_taken_over_may_change_again_before_a_look() -> None:
    hints = Hints()
    hints.add(0, ticks(0), known(0.9))
    assert hints.add(HALF, ticks(HALF, 200 * MS), known(0.9))[0].share == pytest.approx(0.6)
    later = hints.add(2 * HALF, ticks(2 * HALF, 600 * MS), known(0.6))
    assert later[0].share == pytest.approx(0.2)
    assert hints.settle(0, 2 * HALF, 0.2)


def quota_ticks(run_ms: float, period_ms: float, phase_ms: float, until_ns: int) -> Ticks:
    """What a kernel with a tick every 4 ms counts of a busy vCPU under a quota."""
    period, run, phase = (round(ms * MS) for ms in (period_ms, run_ms, phase_ms))
    last = late = late_ns = 0
    at = TICK
    while at < until_ns:
        since = (at + phase) % period
        came = at if since < run else at + period - since
        if came - last - TICK >= MS:
            late, late_ns = late + 1, late_ns + came - last - TICK
        last, at = came, (came // TICK + 1) * TICK
    return Ticks(last, late, late_ns, TICK)


@pytest.mark.parametrize(
    ("run_ms", "period_ms"),
    [(7, 10), (2, 10), (4, 8), (6, 18), (2, 6), (12, 18), (1, 20), (50, 100), (18, 40), (1, 2)],
)
def test_a_steady_vcpu_is_never_taken_for_another(run_ms: float, period_ms: float) -> None:
    for phase_ms in (0, 0.7, 1.9, 3.1):
        hints = Hints()
        for half in range(60):
            found = quota_ticks(run_ms, period_ms, phase_ms, half * HALF + 1)
            share = known(run_ms / period_ms, period_ms - run_ms)
            assert not hints.add(half * HALF, {0: found}, share), phase_ms


def test_who_is_seldom_wanted_may_seem_to_be_there_always() -> None:
    hints = Hints()
    for seconds in range(20):
        assert not hints.add(seconds * SECOND, ticks(seconds * HALF), known(0.5))
    assert not hints.pending
    hints = Hints()
    for seconds in range(20):
        hints.add(seconds * SECOND, ticks(seconds * SECOND), known(0.5))
    assert hints.pending


def test_what_ticks_always_show_is_not_looked_at_for_ever() -> None:
    found = counted(*[(0.9, 1.0, 0.5)] * 480)
    assert 1 <= found[:20].count("look") <= 4
    assert found[120:].count("look") <= 3


def test_noise_is_believed_ever_less_often() -> None:
    found = counted(*[(0.1, 0.2, 0.5) if n // 4 % 2 else (0.45, 0.6, 0.5) for n in range(480)])
    assert sum(map(bool, found)) <= 8


def test_a_new_scheduler_counts_from_nothing() -> None:
    hints = Hints()
    hints.add(0, ticks(10 * SECOND), known(0.5))
    assert not hints.add(HALF, ticks(HALF, HALF), known(0.5))


def test_time_under_probes_does_not_count() -> None:
    hints = Hints()
    hints.add(0, ticks(0), known(1.0))
    hints.restart(HALF, ticks(HALF, HALF))
    assert not hints.add(SECOND, ticks(SECOND, HALF), known(1.0))
