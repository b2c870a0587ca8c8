"""Timelines, traces and reports show what the run did."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path  # noqa: TC003 - pytest's fixtures are annotated

import pytest
from typer.testing import CliRunner

from scx_vsched.cli.app import app
from scx_vsched.sim.compare import compare
from scx_vsched.sim.machine import HostThread, simple_machine
from scx_vsched.sim.profile import machine_named
from scx_vsched.sim.report import plain, quantile
from scx_vsched.sim.run import Options, Outcome, Record
from scx_vsched.sim.scheduler import prepare
from scx_vsched.sim.svg import timeline_svg
from scx_vsched.sim.timeline import Span, chrome_trace, timeline
from scx_vsched.sim.workload_file import load_workload

MS = 1_000_000


def run(policy: str = "core") -> Outcome:
    machine = machine_named("rcvm", contended=True)
    options = Options(end_ns=100 * MS, trace_limit=100_000)
    return prepare(policy).run(machine, load_workload("requests", machine), options)


def test_spans_are_as_long_as_the_vcpus_were_busy_and_there() -> None:
    outcome = run()
    spans = timeline(outcome.trace, len(outcome.vcpus), outcome.now_ns)
    for number, vcpu in enumerate(outcome.vcpus):
        hosted = sum(span.end_ns - span.start_ns for span in spans.hosted[number])
        assert hosted == vcpu.hosted_ns
        assert sum(s.end_ns - s.start_ns for s in spans.running[number]) >= vcpu.busy_ns
    assert len(spans.moves) == outcome.migrations


def test_a_part_of_a_timeline_is_cut_at_its_ends() -> None:
    steps = [
        Record(0, "host_in", 0, None, 0),
        Record(2, "switch_in", 0, 7, 0),
        Record(6, "host_out", 0, 7, 0),
        Record(9, "slept", 0, 7, 0),
    ]
    spans = timeline(steps, 1, 10).cut(4, 8)
    assert spans.hosted[0] == [Span(4, 6)]
    assert spans.running[0] == [Span(4, 8, 7)]


def test_decisions_are_shown_by_the_statistic_that_counts_them() -> None:
    outcome = run()
    told = [step.why for step in outcome.trace if step.kind == "decision"]
    for name in ("idle_previous", "idle_llc"):
        assert told.count(name) == outcome.stats[name] > 0
    spans = timeline(outcome.trace, len(outcome.vcpus), outcome.now_ns)
    assert {move.why for move in spans.moves} >= {"idle_llc"}


def test_the_picture_is_svg_with_a_row_for_each_vcpu_and_the_same_each_time() -> None:
    outcome = run()
    spans = timeline(outcome.trace, len(outcome.vcpus), outcome.now_ns)
    picture = timeline_svg(spans, "a < b & c")
    root = ET.fromstring(picture)
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "a < b & c"
    assert [text for text in texts if str(text).startswith("vCPU")] == [
        f"vCPU {n}" for n in range(12)
    ]
    assert picture == timeline_svg(spans, "a < b & c")


def test_the_trace_is_what_perfetto_reads() -> None:
    outcome = run()
    events = chrome_trace(outcome.trace, len(outcome.vcpus), outcome.now_ns)["traceEvents"]
    assert {event["ph"] for event in events} == {"M", "X", "i"}
    assert all(event["dur"] >= 0 for event in events if event["ph"] == "X")
    names = {event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert names == {f"vCPU {n}" for n in range(12)}


@pytest.mark.parametrize("policy", ["core", "default"])
def test_the_command_writes_both_and_prints_json(tmp_path: Path, policy: str) -> None:
    picture, trace = tmp_path / "run.svg", tmp_path / "run.json"
    arguments = ["rcvm", "requests", "--policy", policy, "--seconds", "0.2", "--json"]
    files = ["--timeline", str(picture), "--trace", str(trace)]
    told = CliRunner().invoke(app, ["sim", "run", *arguments, *files])
    assert told.exit_code == 0
    found = json.loads(told.stdout)
    assert found["policy"] == policy
    assert found["latency"]["latency"]["p95_us"] > 0
    assert len(found["vcpus"]) == 12
    assert picture.read_text(encoding="utf-8").startswith("<svg")
    assert json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]


def test_comparing_says_how_sure_it_is() -> None:
    arguments = ["2", "requests", "--seconds", "0.5", "--seeds", "3", "--json"]
    rows = json.loads(CliRunner().invoke(app, ["sim", "compare", *arguments]).stdout)["rows"]
    ratio = next(row for row in rows if row["measure"] == "latency p95")["ratios"]["core"]
    assert ratio["low"] <= ratio["high"]


def test_time_that_is_taken_away_is_told() -> None:
    thread = HostThread(0, quota_ns=5 * MS, period_ns=10 * MS, phase_ns=0)
    machine = simple_machine(1)
    half = type(machine)(vcpus=machine.vcpus, pcpus=machine.pcpus, threads=(thread,))
    outcome = prepare("default").run(half, load_workload("compute", half), Options(end_ns=100 * MS))
    vcpu = plain(outcome, 0.1)["vcpus"][0]
    assert vcpu["stolen_ms"] == pytest.approx(50, abs=1)
    assert vcpu["busy_ms"] == pytest.approx(50, abs=1)


def test_quantiles_are_values_that_were_seen() -> None:
    assert [quantile(range(1, 101), part) for part in (0, 0.5, 0.95, 0.99, 1)] == [
        1,
        50,
        95,
        99,
        100,
    ]
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


def test_runs_shared_by_processes_give_the_same_comparison() -> None:
    machine = simple_machine(2)
    load = load_workload("mixed", machine)
    schedulers = [prepare("default"), prepare("core")]
    options = Options(end_ns=50_000_000)
    told: list[tuple[int, int]] = []
    apart = compare(
        schedulers, machine, load, options, 2, jobs=2, tell=lambda *done: told.append(done)
    )
    assert apart == compare(schedulers, machine, load, options, 2)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
