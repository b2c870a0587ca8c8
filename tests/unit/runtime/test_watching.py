"""What is told of vCPUs and decisions: from maps to sentences, views and OpenMetrics."""

from __future__ import annotations

import io
import json
import os
import struct
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from elftools.elf.elffile import ELFFile
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from typer.testing import CliRunner

from scx_vsched.bpf.btf import Btf
from scx_vsched.bpf.build import build
from scx_vsched.bpf.elf import read_object
from scx_vsched.bpf.model import META_FORMAT, ObjectMeta, StatMeta
from scx_vsched.bpf.records import Layout
from scx_vsched.cli.monitor import app
from scx_vsched.errors import UserError
from scx_vsched.policies import builtin_policies
from scx_vsched.runtime import watching
from scx_vsched.runtime.explaining import as_lines
from scx_vsched.runtime.metrics import as_openmetrics, read_all, serve
from scx_vsched.runtime.reading import Reading
from scx_vsched.runtime.socket import StatsClient, StatsServer, describe_stats
from scx_vsched.runtime.view import looks
from scx_vsched.runtime.watching import watch_commands, why_hidden

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

META = ObjectMeta(
    META_FORMAT, "0", "Example", "", "guest", (), (),
    (StatMeta("kept", "ran on"), StatMeta("queued_llc", "queued for a cache"),
     StatMeta("harvests", "running tasks taken to another vCPU")),
    (), (),
)  # fmt: skip
VCPU = {
    "capacity": 1024, "latency_us": 0, "running": 0, "running_pid": 0, "running_class": 0,
    "queued": 0, "spots[0].llc": 0, "spots[0].node": 0, "spots[0].stack": 0,
    "spots[1].llc": 0, "spots[1].node": 0, "spots[1].stack": 0,
}  # fmt: skip
ACTIVITY = {"online": 1, "gaps": 0, "gaps_ns": 0}


class Scheduler:
    """Stands for one that is attached, on as many vCPUs as this machine has."""

    meta = META
    noted = 16

    def __init__(self) -> None:
        count = os.cpu_count() or 1
        self.vcpus = [{**VCPU, "spots[0].stack": n, "spots[1].stack": n} for n in range(count)]
        self.activities = [dict(ACTIVITY) for _ in range(count)]
        self.usages = [{"hidden": 0, "pid": 0} for _ in range(count)]
        self.decisions = [
            {"at_ns": 5, "pid": 1, "vcpu": 0, "source": 0, "stat": 0, "before": 3},
            {"at_ns": 0, "pid": 0, "vcpu": 0, "source": 0, "stat": 0, "before": 0},
            {"at_ns": 9, "pid": os.getpid(), "vcpu": 1, "source": 0, "stat": 2, "before": 1},
        ]

    def records(self, name: str, count: int | None = None) -> list[dict[str, int]]:
        rows: list[dict[str, int]] = getattr(self, name)
        return rows[:count]

    def number(self, name: str) -> int:
        return {"epoch": 0, "nr_decisions": self.noted}[name]

    def tunables(self) -> dict[str, int]:
        return {"straggler_in": 35, "straggler_out": 50, "small_us": 3000}

    def task_record(self, pidfd: int) -> dict[str, int] | None:
        return {"burst_ns": 200_000, "interval_ns": 5_000_000, "moved_ns": 0}

    def stats(self) -> dict[str, int]:
        return {"kept": 7, "queued_llc": 8, "harvests": 9}

    def histograms(self) -> dict[str, list[int]]:
        return {}


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler()


@pytest.fixture
def path(scheduler: Scheduler, tmp_path: Path) -> Iterator[Path]:
    reading = Reading("Example")
    where = tmp_path / "stats"
    reading.meter.start()
    with (
        reading.following(scheduler),  # type: ignore[arg-type]
        StatsServer(reading.answer, describe_stats(META.stats), where, watch_commands(reading)),
    ):
        yield where


def _asked(path: Path, what: str, **arguments: Any) -> Any:
    with StatsClient(path) as client:
        return client.request(what, arguments)


def test_vcpus_are_told_with_what_runs_there(scheduler: Scheduler, path: Path) -> None:
    scheduler.vcpus[0] |= {"running": 1, "running_class": 1, "queued": 2}
    scheduler.usages[0]["pid"] = os.getpid()
    scheduler.activities[-1]["online"] = 0
    first, *_, last = _asked(path, "vcpus")
    assert (first["state"], first["pid"], first["queued"]) == ("best effort", os.getpid(), 2)
    assert first["task"]
    assert last["state"] == "offline"


def test_a_hidden_vcpu_says_why() -> None:
    tunables = {"straggler_in": 35, "straggler_out": 50}
    assert why_hidden(3, 2, 900, 900, tunables) == "shares a hardware thread with vCPU 2"
    assert "12 % of the mean capacity, below 35 %" in why_hidden(3, 3, 108, 900, tunables)
    assert "shown again from 50 %" in why_hidden(3, 3, 400, 900, tunables)
    assert why_hidden(3, 3, 108, 900, {}) == "the policy's is_harmful says so"


def test_the_newest_decision_comes_first(path: Path) -> None:
    found = _asked(path, "decisions")
    assert found["noted"]
    assert [(d["pid"], d["counter"]) for d in found["decisions"]] == [
        (os.getpid(), "harvests"), (1, "kept"),
    ]  # fmt: skip
    assert [d["before"] for d in found["decisions"]] == ["queued_llc", ""]


def test_a_task_is_explained_in_sentences(path: Path) -> None:
    lines = as_lines(_asked(path, "explain", pid=os.getpid()))
    text = "\n".join(lines)
    assert "running tasks taken to another vCPU (harvests)" in text
    assert "came from vCPU 0 to vCPU 1" in text
    assert "counted just before: queued_llc" in text
    assert "runs for 200 us each time it wakes, every 5 ms; that is small: BVS places it" in text


def test_who_took_a_queued_task_is_told(scheduler: Scheduler, path: Path) -> None:
    found = _asked(path, "explain", pid=os.getpid())
    here = found["vcpu"]["vcpu"]
    found["decision"] |= {"counter": "queued_llc", "vcpu": here + 1}
    assert f"vCPU {here} was there first and took it" in as_lines(found)


def test_without_notes_the_way_to_have_them_is_told(scheduler: Scheduler, path: Path) -> None:
    scheduler.noted, scheduler.decisions = 0, []
    assert any("run --explain" in line for line in as_lines(_asked(path, "explain", pid=1)))


@pytest.mark.parametrize(("pid", "what"), [("4000000", "no task"), ("x", "needs a pid")])
def test_who_is_not_there_cannot_be_explained(path: Path, pid: str, what: str) -> None:
    with pytest.raises(UserError, match=what):
        _asked(path, "explain", pid=pid)


def test_pinned_and_foreign_tasks_are_told_apart(scheduler: Scheduler, path: Path) -> None:
    found = _asked(path, "explain", pid=os.getpid())
    lines = as_lines({**found, "allowed": [1], "ours": False, "policy": 1})
    assert any("vCPU 1 only" in line for line in lines)
    assert lines[-1].endswith("(its class is real-time (fifo))")
    hidden = as_lines({**found, "allowed": [0, 1], "hidden": [1, 2]})
    assert any("vCPUs 1, hidden" in line for line in hidden)


def test_the_view_shows_all_of_it(path: Path) -> None:
    result = CliRunner().invoke(app, ["--once", "--interval", "0.1", "--socket", str(path)])
    assert result.exit_code == 0, result.output
    for text in ("Example", "last decisions", "harvested by IVH", "harvests: running tasks"):
        assert text in result.output
    result = CliRunner().invoke(
        app, ["--once", "--interval", "0.1", "--json", "--socket", str(path)]
    )
    assert json.loads(result.output)["totals"]["kept"] == 7


def test_looks_end_with_the_scheduler(scheduler: Scheduler, tmp_path: Path) -> None:
    reading, where = Reading("Example"), tmp_path / "stats"
    with reading.following(scheduler):  # type: ignore[arg-type]
        meta = describe_stats(META.stats)
        server = StatsServer(reading.answer, meta, where, watch_commands(reading))
        with server:
            found = looks(where, 0.1)
            assert next(found).policy == "Example"
    assert not list(found)


def test_openmetrics_has_every_counter_and_vcpu(path: Path) -> None:
    text = as_openmetrics(lambda: read_all(path))
    found = {family.name: family for family in text_string_to_metric_families(text)}
    assert found["vsched_harvests"].samples[0].value == 9
    assert found["vsched_harvests"].documentation.startswith("running tasks taken")
    assert len(found["vsched_vcpu_capacity_ratio"].samples) == os.cpu_count()
    assert found["vsched"].samples[0].labels == {"policy": "Example"}


def test_openmetrics_are_served(path: Path) -> None:
    server, thread = serve(lambda: read_all(path), "127.0.0.1:29917")
    try:
        with urllib.request.urlopen("http://127.0.0.1:29917/metrics", timeout=10) as answer:
            assert b"vsched_kept_total 7.0" in answer.read()
        with pytest.raises(UserError, match="cannot listen"):
            serve(lambda: read_all(path), "127.0.0.1:29917")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_bad_addresses_and_contradictions_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not an address"):
        serve(lambda: ({}, {}, ()), "here")
    with pytest.raises(UserError, match="no running scheduler"):
        read_all(tmp_path / "stats")
    result = CliRunner().invoke(app, ["--openmetrics", "--explain", "1"])
    assert isinstance(result.exception, UserError)


def test_records_are_read_by_the_names_of_their_members(tmp_path: Path) -> None:
    out = tmp_path / "vsched.o"
    build(builtin_policies()["vsched"], out)
    btf = Btf(section_of(read_object(out), ".BTF"))
    struct_id = next(t.id for t in btf if t.name == "decision")
    layout = Layout(btf, struct_id)
    raw = struct.pack("=QiiiHH", 5, -7, 2, 1, 3, 4)
    assert layout.read(raw) == {
        "at_ns": 5, "pid": -7, "vcpu": 2, "source": 1, "stat": 3, "before": 4,
    }  # fmt: skip
    vcpu = Layout(btf, next(t.id for t in btf if t.name == "vcpu"))
    names = vcpu.read(bytes(btf.size(vcpu_id(btf)))).keys()
    assert set(VCPU) <= set(names), "as watching.py asks for them"
    activity = Layout(btf, next(t.id for t in btf if t.name == "activity"))
    assert set(ACTIVITY) <= set(activity.read(bytes(64)))
    assert watching.DECISIONS


def vcpu_id(btf: Btf) -> int:
    return next(t.id for t in btf if t.name == "vcpu")


def section_of(data: bytes, name: str) -> bytes:
    section = ELFFile(io.BytesIO(data)).get_section_by_name(name)
    assert section is not None
    found: bytes = section.data()
    return found
