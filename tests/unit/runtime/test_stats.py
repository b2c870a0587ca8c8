"""Counters over time, across restarts, and how they are shown."""

from __future__ import annotations

import json
import time

from scx_vsched.bpf.model import StatMeta
from scx_vsched.runtime.reading import Reading, RestartBudget
from scx_vsched.runtime.stats import Meter, Sample, help_text, json_line, text_line

SAMPLE = Sample(
    12.5, 1.0, {"queued": 3, "stolen": 0, "idle": 0}, {"queued": 9, "stolen": 0, "idle": 4}
)


class Counting:
    """Stands where an attached scheduler would: counters that only grow."""

    def __init__(self) -> None:
        self.count = 0

    def stats(self) -> dict[str, int]:
        self.count += 1
        return {"queued": self.count}

    def histograms(self) -> dict[str, list[int]]:
        return {}


def test_deltas_and_totals() -> None:
    meter = Meter()
    first = meter.sample({"queued": 10, "stolen": 0})
    second = meter.sample({"queued": 25, "stolen": 1})
    assert first.deltas == first.totals == {"queued": 10, "stolen": 0}
    assert second.deltas == {"queued": 15, "stolen": 1}
    assert second.totals == {"queued": 25, "stolen": 1}
    assert 0 <= second.interval_s <= second.elapsed_s


def test_totals_go_on_after_a_restart() -> None:
    meter = Meter()
    meter.sample({"queued": 10})
    meter.carry_over({"queued": 12})
    sample = meter.sample({"queued": 3})
    assert sample.totals == {"queued": 15}
    assert sample.deltas == {"queued": 5}
    meter.carry_over({"queued": 4})
    assert meter.total({"queued": 1}) == {"queued": 17}


def test_reading_keeps_the_last_counters() -> None:
    reading, running = Reading("core"), Counting()
    with reading.following(running):  # type: ignore[arg-type]
        assert reading.counters() == {"queued": 1}
        assert reading.answer()["queued"] == 2
    assert reading.counters() == reading.counters() == {"queued": 3}


def test_reading_adds_up_restarts() -> None:
    reading = Reading("core")
    for life in range(3):
        if life:
            reading.restarted()
        with reading.following(Counting()):  # type: ignore[arg-type]
            reading.counters()
    answer = reading.answer()
    assert (answer["restarts"], answer["queued"], answer["policy"]) == (2, 6, "core")


def test_text_leaves_out_what_never_moved() -> None:
    assert text_line(SAMPLE) == "[    12.5s] queued=3 idle=0"
    assert "nothing" in text_line(Sample(0.0, 0.0, {"queued": 0}, {"queued": 0}))


def test_json_has_everything_in_one_line() -> None:
    line = json_line("interval", SAMPLE, {"policy": "core"})
    assert "\n" not in line
    assert json.loads(line) == {
        "type": "interval",
        "elapsed_s": 12.5,
        "interval_s": 1.0,
        "stats": SAMPLE.deltas,
        "totals": SAMPLE.totals,
        "policy": "core",
    }


def test_help_is_aligned() -> None:
    lines = help_text([StatMeta("a", "one"), StatMeta("long_name", "two")]).splitlines()
    assert lines == ["a          one", "long_name  two"]
    assert help_text([]) == ""


def test_restarts_in_a_row_are_bounded() -> None:
    budget = RestartBudget(limit=3, settled_s=60)
    assert [budget.take(lived_s=1) for _ in range(4)] == [True, True, True, False]
    assert not budget.take(lived_s=59.9)
    assert [budget.take(lived_s=60) for _ in range(5)] == [True] * 5


def test_clock_starts_on_request() -> None:
    meter = Meter()
    assert (meter.running, meter.elapsed_s) == (False, 0.0)
    assert meter.sample({"queued": 1}).elapsed_s == 0.0
    meter.start()
    time.sleep(0.01)
    assert meter.running
    assert 0.01 <= meter.sample({"queued": 1}).elapsed_s < 10
