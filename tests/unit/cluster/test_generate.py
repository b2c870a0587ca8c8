"""Generated traces: the schema, the shape that was asked for, and the same bytes each time."""

from __future__ import annotations

import gzip
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from scx_vsched.cluster.events import read_attempts, read_machines
from scx_vsched.cluster.generate import Written, generate
from scx_vsched.cluster.population import Load, diurnal
from scx_vsched.cluster.workload import load_workload
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Written]:
    """Three hours of 60 machines."""
    folder = tmp_path_factory.mktemp("trace")
    return folder, generate(folder, 60, 3, seed=4)


def files(folder: Path) -> dict[str, bytes]:
    """All parts."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.gz"))}


def test_the_same_seed_gives_the_same_bytes(trace: tuple[Path, Written], tmp_path: Path) -> None:
    generate(tmp_path / "again", 60, 3, seed=4)
    assert files(tmp_path / "again") == files(trace[0])
    generate(tmp_path / "other", 60, 3, seed=5)
    assert files(tmp_path / "other") != files(trace[0])


def test_parts_and_columns_are_those_of_the_schema(trace: tuple[Path, Written]) -> None:
    folder, written = trace
    assert sorted(files(folder)) == [
        "machine_events/part-00000-of-00001.csv.gz",
        *[f"task_events/part-0000{n}-of-00003.csv.gz" for n in range(3)],
        *[f"task_usage/part-0000{n}-of-00003.csv.gz" for n in range(3)],
    ]
    rows = Counter[str]()
    for name, data in files(folder).items():
        table = name.partition("/")[0]
        lines = gzip.decompress(data).decode().splitlines()
        rows[table] += len(lines)
        width = {"task_events": 13, "task_usage": 20, "machine_events": 6}[table]
        assert {line.count(",") for line in lines} == {width - 1}
    assert rows == {
        "task_events": written.events,
        "task_usage": written.usage_rows,
        "machine_events": 60,
    }


def test_it_reads_back_with_nothing_lost(trace: tuple[Path, Written]) -> None:
    folder, written = trace
    work = load_workload(folder)
    assert set(work.skipped) <= {
        "task_usage: outliers of accesses per instruction (taken as missing)"
    }
    attempts = read_attempts(folder, Counter())
    assert len(work) == len(attempts)
    tasks = len(set(zip(attempts.job.tolist(), attempts.index.tolist(), strict=True)))
    assert tasks == written.tasks < len(attempts)  # some were evicted and came back
    assert read_machines(folder, Counter()) is not None
    assert work.length_s == 3 * 3600


def test_load_is_prioritised_and_heavy_tailed(trace: tuple[Path, Written]) -> None:
    attempts = read_attempts(trace[0], Counter())
    free = (attempts.priority < 2).mean()
    assert 0.2 < free < 0.7
    assert (attempts.priority >= 9).any()
    sizes = np.sort(np.unique(attempts.job, return_counts=True)[1])[::-1]
    assert sizes[: len(sizes) // 10].sum() > 0.4 * sizes.sum()  # few jobs have most tasks
    ended = attempts.end_us < 2**62
    ran_s = (attempts.end_us - attempts.schedule_us)[ended] / 1e6
    assert np.mean(ran_s) > 1.3 * np.median(ran_s)


def mean_cpu(folder: Path) -> float:
    """CPU in use, of all machines', as the usage says."""
    work = load_workload(folder)
    machines = read_machines(folder, Counter())
    assert machines is not None
    return float(work.cpu.sum()) / 1e7 * 300 / work.length_s / sum(machines.values())


def test_load_is_what_was_asked_for(tmp_path: Path) -> None:
    generate(tmp_path / "low", 400, 1, load=Load(mean_cpu=0.2))
    generate(tmp_path / "high", 400, 1, load=Load(mean_cpu=0.6))
    # Periods that a task began or ended in count in full here, which adds to it.
    assert mean_cpu(tmp_path / "low") == pytest.approx(0.2, rel=0.4)
    assert mean_cpu(tmp_path / "high") == pytest.approx(0.6, rel=0.4)


def test_days_have_a_rhythm() -> None:
    day = [diurnal(hour * 3600, 0.25) for hour in range(24)]
    assert np.mean(day) == pytest.approx(1)
    assert (max(day), min(day)) == pytest.approx((1.25, 0.75))
    assert np.argmax(day) == 19  # the trace starts at 19:00
    assert {diurnal(hour * 3600, 0) for hour in range(24)} == {1}


def test_another_trace_is_not_overwritten(trace: tuple[Path, Written]) -> None:
    with pytest.raises(UserError, match="exists already"):
        generate(trace[0], 5, 1)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Not a directory"):
        generate(tmp_path / "file", 5, 1)
