"""What is made of measurements: jobs and events, records, ratios, tables."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from scx_vsched.errors import UserError
from scx_vsched.vm.baseline import Change, compare, load_baseline, save_baseline
from scx_vsched.vm.bench import BenchReport, read_cost, read_throughput
from scx_vsched.vm.bench_report import as_markdown
from scx_vsched.vm.bpf_stats import counting, counting_ns
from scx_vsched.vm.costs import CostReport, _cost
from scx_vsched.vm.costs import as_markdown as costs_markdown
from scx_vsched.vm.intervals import ratio
from scx_vsched.vm.job import Job, Step, decode
from scx_vsched.vm.verify import (
    KernelReport,
    ObjectReport,
    ProgramReport,
    feature_sets,
    instructions,
)
from scx_vsched.vm.verify_report import as_data, as_table, joined, load_reports, summary
from scx_vsched.vm.verify_report import as_markdown as verify_markdown

if TYPE_CHECKING:
    from pathlib import Path


def test_job_survives_the_way_into_the_guest() -> None:
    job = Job(
        (Step("m:f", {"a": [1, "x"]}, "name", required=True), Step("m:g")), ("/p",), ("/tmp/x",)
    )
    assert Job.from_json(job.to_json()) == job
    assert [step.title for step in job.steps] == ["name", "g"]


@pytest.mark.parametrize("line", ["", "{", '"text"', "[1]", '{"a": 1}', '{"event": 3}', "\x00"])
def test_what_is_no_event(line: str) -> None:
    assert decode(line) is None


KEY = ("6.12", "Core", "smt", "enqueue")


@pytest.mark.parametrize(
    ("before", "now", "grown"),
    [
        (1000, 1200, False),
        (1000, 1201, True),
        (10_000, 11_000, False),
        (10_000, 11_001, True),
        (5000, 100, False),
    ],
)
def test_growth_beyond_share_and_slack(before: int, now: int, grown: bool) -> None:
    found = compare({KEY: before}, {KEY: now}).regressions
    assert found == ((Change(KEY, before, now),) if grown else ())


def test_new_programs_are_named() -> None:
    assert compare({}, {KEY: 5}).new == (KEY,)
    assert str(Change(KEY, 1000, 2000)) == "6.12 Core smt enqueue: 1,000 → 2,000 instructions"


def test_record_is_written_sorted_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    recorded = {KEY: 5, ("6.12", "Core", "none", "b"): 2, ("6.12", "Core", "none", "a"): 1}
    save_baseline(path, recorded)
    assert load_baseline(path) == recorded
    before = path.read_text()
    save_baseline(path, dict(reversed(recorded.items())))
    assert path.read_text() == before
    assert load_baseline(tmp_path / "absent") == {}


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2, "insns": {}}', '{"format": 1}'])
def test_damaged_record(tmp_path: Path, text: str) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(UserError, match="not a record"):
        load_baseline(path)


def test_every_combination_of_features_full_first() -> None:
    assert feature_sets(("a", "b")) == [("a", "b"), ("a",), ("b",), ()]
    assert len(feature_sets("abc")) == 8
    of_many = feature_sets("abcde")
    assert (of_many[0], of_many[-1]) == (tuple("abcde"), ())
    assert [len(features) for features in of_many] == [5, *[4] * 5, *[1] * 5, 0]
    assert len(set(of_many)) == 12


def test_ratio_of_equal_rounds() -> None:
    exact = ratio([2.0, 4.0, 8.0], [1.0, 2.0, 4.0])
    assert (exact.value, exact.low, exact.high, exact.rounds) == pytest.approx((2, 2, 2, 3))


def test_single_round_decides_nothing() -> None:
    single = ratio([2.0], [1.0])
    assert (single.value, single.low, single.high) == (2.0, 0.0, math.inf)
    with pytest.raises(ValueError, match="no rounds"):
        ratio([], [])


def test_interval_holds_the_truth_as_often_as_it_says() -> None:
    source = random.Random(5)
    held = 0
    for _ in range(2000):
        default = [math.exp(source.gauss(0, 0.05)) for _ in range(6)]
        ours = [0.9 * math.exp(source.gauss(0, 0.05)) for _ in range(6)]
        found = ratio(ours, default)
        held += found.low <= 0.9 <= found.high
    assert 0.93 < held / 2000 < 0.97


REPORTS = [
    KernelReport(
        "6.12",
        "6.12.1",
        "tcg",
        (
            ObjectReport(
                "Core", "smt", 120.0, (ProgramReport("enqueue", 900, 10, 5, 7),), "", {"x": 1}
            ),
            ObjectReport("Core", "none", 0.0, (), "refused"),
        ),
    ),
    KernelReport("7.3", "7.3.4", "", (), "did not boot", lost=2),
]


def test_verify_reports() -> None:
    assert instructions(REPORTS) == {("6.12", "Core", "smt", "enqueue"): 900}
    comparison = compare({("6.12", "Core", "smt", "enqueue"): 100}, instructions(REPORTS))
    lines = summary(REPORTS, comparison)
    assert lines[0] == "7.3.4: did not boot"
    assert "6.12.1: Core with none: refused" in lines
    assert "grown: 6.12 Core smt enqueue: 100 → 900 instructions" in lines
    assert lines[-1] == "1 of 2 objects verified on 1 of 2 kernels"
    data = as_data(REPORTS, comparison)
    assert json.loads(json.dumps(data))["ok"] is False
    assert data["kernels"][0]["objects"][0]["programs"][0]["insns"] == 900
    page = verify_markdown(REPORTS, "# Title")
    assert "| Core | smt | 900 / 120 ms | - |" in page
    assert "| enqueue | 900 | 0 |" in page
    assert as_table(REPORTS).row_count == 2


def test_what_was_verified_before_is_joined_with_what_is_verified_now(tmp_path: Path) -> None:
    path = tmp_path / "before.json"
    path.write_text(json.dumps(as_data(REPORTS, compare({}, {}))))
    assert load_reports(path) == REPORTS
    (program,) = REPORTS[0].objects[0].programs
    again = ObjectReport("Core", "smt", 90.0, (replace(program, insns=800),))
    other = ObjectReport("Fifo", "smt", 90.0, (program,))
    now = [
        KernelReport("7.3", "7.3.4", "tcg", (other,)),
        KernelReport("6.18", "6.18.15", "tcg", (other,)),
        KernelReport("6.12", "6.12.1", "tcg", (again,)),
    ]
    oldest, middle, newest = joined(REPORTS, now)
    assert oldest.objects == (again,)  # with the policy's other sets, which today's has not
    assert middle == now[1]
    assert newest == now[0]  # it boots now
    assert joined([oldest], [replace(now[0], series="6.12", release="6.12.1")])[0].objects == (
        again,
        other,
    )


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"kernels": [{"series": "6.12"}]}'])
def test_what_is_no_result_of_verify_is_said_to_be_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "before.json"
    with pytest.raises(UserError, match="cannot read"):
        load_reports(path)
    path.write_text(text)
    with pytest.raises(UserError, match="holds no results of vm verify"):
        load_reports(path)


def test_bench_report() -> None:
    cost = {
        "wall_s": 2.0,
        "vcpus": 2,
        "programs": [{"name": "enqueue", "calls": 1000, "time_ns": 4_000_000}],
    }
    (operation,) = read_cost(cost)
    assert (operation.calls_per_s, operation.ns_per_call, operation.share) == (500, 4000, 0.001)
    rates = {"first": [90.0, 99.0], "ours": [100.0, 110.0], "second": [90.0, 99.0]}
    (throughput,) = read_throughput({"rates": {"hackbench": rates}})
    assert throughput.ratio.value == pytest.approx(10 / 9)
    assert throughput.twin.value == pytest.approx(1.0)
    assert throughput.default == (94.5, 90.0, 99.0)
    page = as_markdown(
        [BenchReport("core", "Linux 7.3.4", False, 0.015, 0.003, (operation,), (throughput,))]
    )
    assert "## core on Linux 7.3.4" in page
    assert "1.50% of the vCPUs' time, 0.30% of which is the kernel's counting" in page
    assert "nothing was measured" in page
    assert "| enqueue | 500 | 4,000 | 0.10% |" in page
    assert "not 3% worse" in page


def test_costs_are_told_beside_those_of_the_reference() -> None:
    def raw(enqueue_ns: int, dispatch_ns: int) -> dict[str, Any]:
        times = {"vsched_enqueue": enqueue_ns, "vsched_dispatch": dispatch_ns, "vsched_running": 1}
        return {
            "programs": [
                {"name": name, "calls": 10, "time_ns": 10 * ns} for name, ns in times.items()
            ]
        }

    report = CostReport(
        "Linux 7.3.4",
        _cost("core", raw(100, 290)),
        (_cost("bvt", raw(200, 620)),),
        _cost("core", raw(110, 320)),
    )
    assert report.times(report.policies[0]) == pytest.approx(2.0)
    assert report.policies[0].ns_per_run == pytest.approx(821)
    page = costs_markdown([report])
    assert "## Linux 7.3.4" in page
    assert "| `bvt` | - | 200 | 620 | 1 | - | - | 820 | 2.00 | 821 |" in page
    with pytest.raises(UserError, match="sedf ran nothing"):
        _cost("sedf", {"programs": []})


def test_the_counting_shows_even_where_nothing_is_done() -> None:
    try:
        with counting():
            assert 1 < counting_ns() < 100_000
    except OSError:
        pytest.skip("this needs root and a kernel that counts")
