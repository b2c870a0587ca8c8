"""`scx_vsched probe` from outside, on the machine at hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from scx_vsched.topology.document import parse_document, read_document

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-m", "scx_vsched", "probe"]
ENVIRONMENT = {**os.environ, "TERM": "dumb", "COLUMNS": "200"}


def probe(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=60,
        check=False,
    )


def test_once_it_prints_a_table_of_all_vcpus() -> None:
    done = probe("--duration", "0.5")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "measured" in lines[0]
    assert lines[1].split()[0] == "vCPU"
    rows = [line.split()[0] for line in lines[2:] if line.split()[:1] and line.split()[0].isdigit()]
    assert {int(row) for row in rows} >= os.sched_getaffinity(0)


def test_json_is_a_document_and_the_file_is_another(tmp_path: Path) -> None:
    done = probe("--duration", "0.5", "--json", "--output", tmp_path / "seen.json")
    assert done.returncode == 0, done.stderr
    document = parse_document(done.stdout)
    assert document.availability
    for vcpu in os.sched_getaffinity(0):
        measure = document.graph.measures[vcpu]
        assert measure.capacity is not None
        assert 0 < measure.capacity <= 1024
    assert read_document(tmp_path / "seen.json").graph.vcpus == document.graph.vcpus


def test_explain_shows_both_sources_and_the_reason() -> None:
    done = probe("--duration", "0.5", "--explain")
    assert done.returncode == 0, done.stderr
    assert "Capacity comes from " in done.stdout
    assert "While probes watched, gaps: " in done.stdout
    assert "samples while" in done.stdout
    with_json = probe("--duration", "0.5", "--explain", "--json")
    parse_document(with_json.stdout)
    assert "Capacity comes from " in with_json.stderr


def test_only_the_chosen_vcpus_are_measured() -> None:
    chosen = min(os.sched_getaffinity(0))
    done = probe("--duration", "0.3", "--json", "--vcpus", str(chosen))
    assert done.returncode == 0, done.stderr
    measures = parse_document(done.stdout).graph.measures
    assert [v for v, m in measures.items() if m.capacity is not None] == [chosen]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--vcpus", "none"), "--vcpus none: not a list of vCPUs"),
        (("--vcpus", "100000"), "this machine has no vCPU 100000"),
        (("--duration", "0.2", "--output", "/nonexistent/x.json"), "/nonexistent/x.json: No such"),
    ],
)
def test_mistakes_are_said_in_one_message(arguments: tuple[str, ...], message: str) -> None:
    done = probe(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_watch_prints_a_document_each_interval_until_interrupted() -> None:
    with subprocess.Popen(
        [*COMMAND, "--watch", "0.5", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdout
        assert process.stderr
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert process.wait(timeout=10) == 130
        took_s = time.monotonic() - began
        assert "Traceback" not in process.stderr.read()
    assert took_s < 1.5, "most of it is Python's own end"
    times = [json.loads(line)["snapshot"]["monotonic_ns"] for line in lines]
    assert times == sorted(times)
    graphs = parse_document("".join(lines))
    assert graphs.availability


def test_watch_ends_by_itself_after_its_duration() -> None:
    done = probe("--watch", "0.4", "--duration", "0.8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("vCPUs, measured") == 3
