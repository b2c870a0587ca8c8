"""Reading a trace: what the files say, what is missing in them, and what is wrong with them."""

from __future__ import annotations

import gzip
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from workloads import UNIT, event, usage, write_part, write_trace

from scx_vsched.cluster import parts
from scx_vsched.cluster.events import read_attempts, read_machines
from scx_vsched.cluster.schema import MACHINE_EVENTS, TASK_EVENTS, TASK_USAGE, Event
from scx_vsched.cluster.workload import Workload, load_workload
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

SUBMIT, SCHEDULE, EVICT, FINISH = Event.SUBMIT, Event.SCHEDULE, Event.EVICT, Event.FINISH
ONE = [event(700, SUBMIT, machine=""), event(710, SCHEDULE), event(1500, FINISH)]
ITS_USAGE = [usage(710, end_s=900, cpu=0.1), usage(900, cpu=0.2), usage(1200, cpu=0.3)]


def test_tables_have_the_columns_of_the_schema() -> None:
    assert [len(table.columns) for table in (TASK_EVENTS, TASK_USAGE, MACHINE_EVENTS)] == [
        13,
        20,
        6,
    ]
    for table in (TASK_EVENTS, TASK_USAGE, MACHINE_EVENTS):
        assert len(table.kinds) == len(table.columns) == len(set(table.columns))
        assert set(table.mandatory) <= set(table.columns)
    at = TASK_EVENTS.columns.index
    assert (at("event"), at("priority"), at("cpu_request")) == (5, 8, 9)
    at = TASK_USAGE.columns.index
    assert (at("cpu"), at("assigned_memory"), at("max_cpu")) == (5, 7, 13)
    assert at("accesses_per_instruction") == 16


def test_a_task_comes_out_as_the_files_have_it(tmp_path: Path) -> None:
    work = load_workload(write_trace(tmp_path, ONE, ITS_USAGE))
    assert len(work) == 1
    assert work.submit_s.tolist() == [100]  # the trace starts at 600 s
    assert work.duration_s.tolist() == [790]
    assert work.request.tolist() == [UNIT // 10]
    assert (work.cpu / UNIT).tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert (work.memory / UNIT).tolist() == pytest.approx([0.02] * 3)  # assigned, not canonical
    assert work.phase_s.tolist() == [110]  # scheduled 110 s into a period
    assert work.length_s == 900
    assert work.skipped == {}


def test_times_before_and_after_the_trace(tmp_path: Path) -> None:
    for after in (2**63 - 1, 2**64 - 1):
        folder = tmp_path / str(after)
        rows = [event(0, SUBMIT), event(0, SCHEDULE), event(after, FINISH)]
        work = load_workload(write_trace(folder, rows, [usage(600)]))
        assert work.submit_s.tolist() == [0]
        assert work.duration_s.tolist() == [np.inf]
        assert work.skipped == {"task_events: after the trace": 1}


def test_an_evicted_task_is_two_attempts_each_with_its_usage(tmp_path: Path) -> None:
    rows = [
        *(event(600, SUBMIT), event(600, SCHEDULE), event(1300, EVICT)),
        *(event(1400, SUBMIT), event(1500, SCHEDULE), event(2000, FINISH)),
    ]
    samples = [usage(600, cpu=0.1), usage(1200, end_s=1300, cpu=0.2), usage(1500, cpu=0.3)]
    work = load_workload(write_trace(tmp_path, rows, samples))
    assert work.submit_s.tolist() == [0, 800]
    assert work.duration_s.tolist() == [700, 500]
    # The period without a row repeats the one before it.
    assert (work.cpu / UNIT).tolist() == pytest.approx([0.1, 0.1, 0.2, 0.3])
    assert work.offset.tolist() == [0, 3]


def test_an_attempt_whose_end_is_not_recorded_ends_with_the_next(tmp_path: Path) -> None:
    rows = [event(600, SCHEDULE), event(1000, SUBMIT), event(1100, SCHEDULE)]
    write_trace(tmp_path, rows, [])
    attempts = read_attempts(tmp_path, Counter())
    assert (attempts.end_us[0], attempts.submit_us[0]) == (1000e6, 600e6)
    assert attempts.submit_us[1] == 1000e6


def test_missing_fields_are_counted_and_replaced(tmp_path: Path) -> None:
    rows = [event(700, SUBMIT), event(710, SCHEDULE, cpu=""), event(1500, FINISH)]
    samples = [
        usage(710, end_s=900, memory="", max_cpu="NaN", accesses=""),
        usage(900, accesses=0.03),
        usage(1200, accesses=250.0),
    ]
    work = load_workload(write_trace(tmp_path, rows, samples))
    assert work.request.tolist() == [0]
    assert (work.memory / UNIT).tolist() == pytest.approx([0.01, 0.02, 0.02])
    assert (work.max_cpu / UNIT).tolist() == pytest.approx([0.05, 0.06, 0.06])
    assert work.accesses.tolist() == pytest.approx([0.03] * 3)  # the median of what is known
    assert work.skipped == {
        "task_events: no CPU request (taken as 0)": 1,
        "task_usage: outliers of accesses per instruction (taken as missing)": 1,
    }


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    rows = [
        *ONE,
        event(800, SUBMIT, job=2),
        event(800, SCHEDULE, job=3),
        event(800, SCHEDULE, job=4, priority=""),
        event(900, 12, job=1),
        event(900, SCHEDULE, index=-3),
    ]
    samples = [
        *ITS_USAGE,
        usage(600, job=99),
        usage(600, end_s=650),
        usage(1200, cpu="NaN"),
        usage(1200, cpu=-1),
        usage(1200, cpu=0.4),
        usage(1200, end_s=1e13),
        usage(1200, index=-3),
    ]
    work = load_workload(write_trace(tmp_path, rows, samples))
    assert len(work) == 1
    assert (work.cpu / UNIT).tolist() == pytest.approx([0.1, 0.2, 0.4])
    assert work.skipped == {
        "task_events: rows without a mandatory value": 1,
        "task_events: rows out of order (sorted, not left out)": 1,
        "task_events: submitted, never scheduled": 1,
        "task_events: unknown event types": 1,
        "task_events: rows whose task index no trace has": 1,
        "task_usage: rows of times that no trace has": 1,
        "tasks without usage": 1,
        "task_usage: rows for a period that has another (the later counts)": 1,
        "task_usage: rows from when the task did not run": 1,
        "task_usage: rows of tasks that are not simulated": 2,
        "task_usage: rows without a sound CPU rate": 2,
    }


def test_rows_in_any_order_give_the_same_tasks(tmp_path: Path) -> None:
    rows = [*ONE, event(700, SUBMIT, job=2), event(800, SCHEDULE, job=2)]
    samples = [*ITS_USAGE, usage(900, job=2)]
    straight = load_workload(write_trace(tmp_path / "a", rows, samples))
    mixed = load_workload(write_trace(tmp_path / "b", rows[::-1], samples[::-1]))
    assert mixed.skipped == {"task_events: rows out of order (sorted, not left out)": 3}
    for name in ("submit_s", "duration_s", "request", "phase_s"):
        assert sorted(getattr(straight, name)) == sorted(getattr(mixed, name))
    assert sorted(straight.cpu) == sorted(mixed.cpu)


def machine(number: int, kind: int = 0, cpu: str = "0.5", time_us: int = 0) -> str:
    """A row of machine_events."""
    return f"{time_us},{number},{kind},p,{cpu},0.5"


def test_tasks_on_unknown_machines_are_skipped(tmp_path: Path) -> None:
    rows = [*ONE, event(700, SCHEDULE, job=2, machine=77), event(700, SCHEDULE, job=3, machine="")]
    write_trace(tmp_path, rows, [*ITS_USAGE, usage(900, job=2), usage(900, job=3)])
    write_part(tmp_path, "machine_events", [machine(5)])
    work = load_workload(tmp_path)
    assert len(work) == 1
    assert work.skipped["tasks on unknown machines"] == 2


def test_a_machine_has_the_capacity_that_it_was_first_added_with(tmp_path: Path) -> None:
    rows = [machine(5, 2, "0.1", 9), machine(5, 0, "1"), machine(6, 0, ""), machine(5, 0, "0.2", 8)]
    write_part(tmp_path, "machine_events", rows)
    assert read_machines(tmp_path, Counter()) == {5: 1.0, 6: 0.0}


def many(tmp_path: Path) -> Path:
    rows, samples = [], []
    for job in range(40):
        rows += [event(700, SCHEDULE, job=job, machine=job % 8)]
        samples += [usage(900, job=job)]
    return write_trace(tmp_path, rows, samples)


def test_a_part_of_the_machines_brings_its_own_tasks(tmp_path: Path) -> None:
    folder = many(tmp_path)
    some = load_workload(folder, 3, seed=1)
    assert (len(some), len(some.capacity)) == (15, 3)
    with pytest.raises(UserError, match="has 8 machines, 9 were asked for"):
        load_workload(folder, 9)


def test_parts_are_read_in_pieces_and_as_plain_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_workload(many(tmp_path))
    monkeypatch.setattr(parts, "_PIECE_BYTES", 100)
    pieces = load_workload(tmp_path)
    for name in Workload.__slots__:
        assert np.array_equal(getattr(whole, name), getattr(pieces, name)), name
    for path in tmp_path.rglob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()).rstrip(b"\n"))
        path.unlink()
    assert np.array_equal(load_workload(tmp_path).cpu, whole.cpu)


class TestBrokenFiles:
    def load(self, folder: Path) -> str:
        """The message that loading ends with."""
        with pytest.raises(UserError) as caught:
            load_workload(folder)
        return caught.value.message

    def test_truncated(self, tmp_path: Path) -> None:
        write_trace(tmp_path, ONE, ITS_USAGE)
        path = write_part(tmp_path, "task_usage", [usage(t) for t in range(900, 9000)], 1)
        path.write_bytes(path.read_bytes()[:-100])
        message = self.load(tmp_path)
        assert f"{path} is cut off" in message

    def test_no_gzip(self, tmp_path: Path) -> None:
        write_trace(tmp_path, ONE, ITS_USAGE)
        path = tmp_path / "task_events" / "part-00001-of-00500.csv.gz"
        path.write_text("hello")
        assert f"{path}: broken compressed data" in self.load(tmp_path)
        path = write_part(tmp_path, "task_events", ONE, 1)
        path.write_bytes(path.read_bytes()[:20] + b"\xff" * 30 + path.read_bytes()[50:])
        assert f"{path}: broken compressed data" in self.load(tmp_path)

    @pytest.mark.parametrize(
        ("row", "width"), [(ONE[1] + ",1", 14), (ONE[1].rpartition(",")[0], 12), ("", 1)]
    )
    def test_wrong_width(self, tmp_path: Path, row: str, width: int) -> None:
        write_trace(tmp_path, [ONE[0], row, ONE[2]], ITS_USAGE)
        assert f".csv.gz:2: {width} columns instead of 13" in self.load(tmp_path)

    def test_rows_too_short_and_too_long_do_not_hide_each_other(self, tmp_path: Path) -> None:
        write_trace(tmp_path, [ONE[0], ONE[1] + ",1", ONE[2].rpartition(",")[0]], ITS_USAGE)
        assert ".csv.gz:2: 14 columns instead of 13" in self.load(tmp_path)
        write_trace(tmp_path, [ONE[0].rpartition(",")[0], ONE[1] + ",1", ONE[2]], ITS_USAGE)
        assert ".csv.gz:1: 12 columns instead of 13" in self.load(tmp_path)

    def test_nothing_there(self, tmp_path: Path) -> None:
        assert "is no folder" in self.load(tmp_path / "absent")
        assert "task_events holds no part-*.csv.gz" in self.load(tmp_path)
        write_part(tmp_path, "task_events", ONE)
        assert "task_usage holds no part-*.csv.gz" in self.load(tmp_path)
        write_part(tmp_path, "task_usage", [])
        assert "holds no usage" in self.load(tmp_path)
        write_part(tmp_path, "task_events", [])
        assert "holds no events" in self.load(tmp_path)

    def test_nothing_in_common(self, tmp_path: Path) -> None:
        write_trace(tmp_path, ONE, [usage(900, job=2)])
        assert "no task has both events and usage" in self.load(tmp_path)
        write_trace(tmp_path, ONE[:1], ITS_USAGE)
        assert "no task was ever scheduled" in self.load(tmp_path)
        write_trace(tmp_path, [event(700, SCHEDULE, machine="")], ITS_USAGE)
        assert "no task ran on the machines that were chosen" in self.load(tmp_path)
