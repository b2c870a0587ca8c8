"""Changing tunables of a running scheduler over its socket, and what its histograms show."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from scx_vsched.bpf.loader import check_tunables
from scx_vsched.bpf.model import META_FORMAT, HistogramMeta, ObjectMeta, StatMeta, TunableMeta
from scx_vsched.cli.tune import app
from scx_vsched.errors import UserError
from scx_vsched.runtime.display import TextLines
from scx_vsched.runtime.histograms import Histogram, flatten, gather, without_buckets
from scx_vsched.runtime.reading import Reading
from scx_vsched.runtime.socket import StatsClient, StatsServer, describe_stats
from scx_vsched.runtime.stats import json_line, text_line
from scx_vsched.runtime.tuning import tune_commands, tune_running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

META = ObjectMeta(
    META_FORMAT, "0", "Example", "", "guest", (),
    (
        TunableMeta("slice_us", "u64", 4000, 100, 100_000, "us", "length of a slice"),
        TunableMeta("bias", "s64", 0, -5, 5, "", "a bias"),
        TunableMeta("depth", "u64", 3, 1, 8, "", "depth", frozen=True),
    ),
    (StatMeta("queued", "tasks queued"),),
    (HistogramMeta("waits", "ns", "how long tasks waited"),),
    (),
)  # fmt: skip


class Scheduler:
    """Stands for one that is attached."""

    def __init__(self) -> None:
        self.values = {t.name: t.default for t in META.tunables}
        self.waits = [0] * 64

    def stats(self) -> dict[str, int]:
        return {"queued": 7}

    def histograms(self) -> dict[str, list[int]]:
        return {"waits": self.waits}

    def tunables(self) -> dict[str, int]:
        return self.values

    def tune(self, values: Mapping[str, int]) -> None:
        check_tunables(META, values, running=True)
        self.values |= values


@pytest.fixture
def reading() -> Reading:
    return Reading("Example")


@pytest.fixture
def path(reading: Reading, tmp_path: Path) -> Iterator[Path]:
    where = tmp_path / "stats"
    meta = describe_stats(META.stats, META.histograms)
    with StatsServer(reading.answer, meta, where, tune_commands(META, reading)):
        yield where


def test_without_values_all_are_listed(reading: Reading, path: Path) -> None:
    with reading.following(Scheduler()):  # type: ignore[arg-type]
        found = tune_running({}, path)
    assert [(t.name, t.value, t.min, t.max, t.frozen) for t in found] == [
        ("slice_us", 4000, 100, 100_000, False),
        ("bias", 0, -5, 5, False),
        ("depth", 3, 1, 8, True),
    ]


def test_a_change_is_in_force_and_outlives_a_restart(reading: Reading, path: Path) -> None:
    scheduler = Scheduler()
    with reading.following(scheduler):  # type: ignore[arg-type]
        found = tune_running({"slice_us": 700, "bias": -5}, path)
    assert scheduler.values == {"slice_us": 700, "bias": -5, "depth": 3}
    assert [t.value for t in found] == [700, -5, 3]
    assert reading.tuned == {"slice_us": 700, "bias": -5}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("slice_us", 99, "out of range: 100 to 100000 us"),
        ("slice", 5000, "no tunable slice"),
        ("depth", 4, "depth is frozen"),
    ],
)
def test_what_is_refused_changes_nothing(
    reading: Reading, path: Path, name: str, value: int, message: str
) -> None:
    scheduler = Scheduler()
    with reading.following(scheduler), pytest.raises(UserError, match=message):  # type: ignore[arg-type]
        tune_running({"bias": 5, name: value}, path)
    assert scheduler.values == {"slice_us": 4000, "bias": 0, "depth": 3}
    assert reading.tuned == {}


@pytest.mark.parametrize("value", [True, None, 1.5, "five", [1], {}])
def test_values_that_are_no_integers_are_refused(
    reading: Reading, path: Path, value: object
) -> None:
    with reading.following(Scheduler()), StatsClient(path) as client:  # type: ignore[arg-type]
        with pytest.raises(UserError, match="bias is not an integer"):
            client.request("tune", {"bias": value})
        assert client.request("tune", {"bias": "-0x2"})[1]["value"] == -2


def test_between_two_lives_nothing_is_changed(path: Path) -> None:
    with pytest.raises(UserError, match="no scheduler is at work just now"):
        tune_running({"bias": 1}, path)


def test_the_command(reading: Reading, path: Path) -> None:
    scheduler = Scheduler()
    with reading.following(scheduler):  # type: ignore[arg-type]
        listed = CliRunner().invoke(app, ["--socket", str(path)])
        changed = CliRunner().invoke(app, ["slice_us=0x1000", "--socket", str(path)])
        as_json = CliRunner().invoke(app, ["--json", "--socket", str(path)])
        wrong = CliRunner().invoke(app, ["slice_us", "--socket", str(path)])
    assert "slice_us = 4000     us    (100 to 100000, default 4000) length" in listed.output
    assert "default 3, frozen)" in listed.output
    assert changed.output.startswith("slice_us = 4096")
    assert "bias" not in changed.output
    assert json.loads(as_json.output)[0]["value"] == 4096
    assert isinstance(wrong.exception, UserError)
    assert "slice_us: not NAME=INTEGER" in wrong.exception.message
    assert scheduler.values["slice_us"] == 4096


def test_no_scheduler_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no running scheduler answers"):
        tune_running({}, tmp_path / "nobody")


# ---- Histograms ----


def test_percentiles_are_upper_ends_of_buckets() -> None:
    buckets = [0] * 64
    buckets[3], buckets[5], buckets[10] = 50, 40, 10
    histogram = Histogram(tuple(buckets))
    assert histogram.count == 100
    assert [histogram.percentile(p) for p in (1, 50, 51, 90, 91, 99)] == [7, 7, 31, 31, 1023, 1023]
    assert Histogram((0,) * 64).percentile(50) == 0
    assert histogram.plain()["buckets"] == {"7": 50, "31": 40, "1023": 10}


def test_buckets_are_counters_until_they_are_shown(capsys: Any) -> None:
    scheduler, reading = Scheduler(), Reading("Example")
    reading.meter.start()
    with reading.following(scheduler):  # type: ignore[arg-type]
        scheduler.waits[4] = 3
        reading.meter.sample(reading.counters())
        scheduler.waits[2] = 1
        sample = reading.meter.sample(reading.counters())
        answer = reading.answer()
    assert gather(sample.deltas)["waits"].count == 1
    assert without_buckets(sample.totals) == {"queued": 7}
    assert "queued=0 [waits: 1 p50<=3 p90<=3 p99<=3]" in text_line(sample)
    found = json.loads(json_line("interval", sample))
    assert found["totals"] == {"queued": 7}
    assert found["histograms"]["waits"]["count"] == 1
    assert found["histogram_totals"]["waits"]["buckets"] == {"3": 1, "15": 3}
    assert (answer["waits_count"], answer["waits_p50"], answer["waits_p99"]) == (4, 15, 15)
    TextLines().summary(sample, {})
    assert "waits: 4 p50<=15" in capsys.readouterr().out


def test_counts_survive_a_restart() -> None:
    reading = Reading("Example")
    reading.meter.start()
    for _ in range(2):
        scheduler = Scheduler()
        scheduler.waits[1] = 5
        with reading.following(scheduler):  # type: ignore[arg-type]
            pass
        reading.restarted()
    assert gather(reading.meter.total(reading.counters()))["waits"].count == 10


def test_flattening_is_undone_by_gathering() -> None:
    buckets = {"a": list(range(64)), "b": [1] * 64}
    assert {n: list(h.buckets) for n, h in gather(flatten(buckets)).items()} == buckets
