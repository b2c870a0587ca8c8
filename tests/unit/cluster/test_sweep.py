"""`cluster sweep`: the grid, the same results whoever simulates, nothing lost, Dask's addresses."""

from __future__ import annotations

import json
import socket
import sys
import time
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import polars as pl
import pytest
from commands import Done, command
from distributed import LocalCluster

from scx_vsched.cli.cluster_options import SimulationOptions
from scx_vsched.cli.cluster_variations import parse_variations, variations
from scx_vsched.cluster import dask_runs
from scx_vsched.cluster.generate import generate
from scx_vsched.cluster.population import Load
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLICIES = ("--policy", "no_migration", "--policy", "priced")
GRID = ("--vary", "cell-size=2,4", "--vary", "allocation-ratio=0.5,1", *POLICIES, "--seeds", "2")


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half an hour of 16 machines."""
    folder = tmp_path_factory.mktemp("sweep") / "trace"
    generate(folder, 16, 0.5, seed=2, load=Load(0.6))
    return folder


def sweep(trace: Path, *arguments: str | Path) -> Done:
    """The command in this process, where it simulates too unless it is told otherwise."""
    return command("cluster", "sweep", trace, "--workers", "1", *arguments)


def rows(trace: Path, *arguments: str | Path) -> list[dict[str, Any]]:
    """The runs as JSON."""
    done = sweep(trace, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["runs"]
    return found


class TestVariations:
    def test_lists_ranges_and_no_limit(self) -> None:
        assert parse_variations(
            ["machines=700:900:50", "allocation-ratio=0.5:0.8:0.1", "budget-mib=none,500",
             "capacity=trace,0.5", "cell-queue=true,false", "--least-gap=0"]
        ) == {
            "machines": [700, 750, 800, 850, 900],
            "allocation_ratio": [0.5, 0.6, 0.7, 0.8],
            "budget_mib": [None, 500],
            "capacity": ["trace", "0.5"],
            "cell_queue": [True, False],
            "least_gap": [0.0],
        }  # fmt: skip

    def test_all_combinations_in_order(self) -> None:
        found = variations(
            SimulationOptions(seed=7), parse_variations(["cell-size=2,4", "rest-s=0,9"])
        )
        assert [(one.cell_size, one.rest_s, one.seed) for _, one in found] == [
            (2, 0, 7), (2, 9, 7), (4, 0, 7), (4, 9, 7),
        ]  # fmt: skip
        assert found[1][0] == {"cell_size": 2, "rest_s": 9}

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            (["cell-size"], "not NAME=VALUES"),
            (["cells=2"], "not NAME=VALUES"),
            (["seed=1,2"], "not NAME=VALUES"),
            (["cell-size=2", "cell-size=4"], "twice"),
            (["cell-size=2,2"], "twice"),
            (["cell-size=0"], "out of range"),
            (["moving-speed=1.5"], "out of range"),
            (["cell-size=two"], "'two' is no value"),
            (["cell-size="], "'' is no value"),
            (["cell-size=1.5"], "'1.5' is no value"),
            (["cell-size=none"], "'none' is no value"),
            (["cell-size=4:2:1"], "is no value"),
            (["cell-size=2:4"], "is no value"),
            (["warning=0:1:0"], "is no value"),
            (["warning=nan"], "'nan' is no value"),
            (["warning=0:1:1e-9"], "is no value"),
            (["cell-queue=yes"], "'yes' is no value"),
        ],
    )
    def test_mistakes(self, texts: list[str], message: str) -> None:
        with pytest.raises(UserError, match="--vary") as caught:
            parse_variations(texts)
        assert message in caught.value.message


def test_every_point_policy_and_seed_has_a_row_in_order(trace: Path) -> None:
    found = rows(trace, *GRID, "--seed", "3")
    keys = [(r["cell_size"], r["allocation_ratio"], r["policy"], r["seed"]) for r in found]
    assert keys == [
        (cell, ratio, policy, seed)
        for cell in (2, 4)
        for ratio in (0.5, 1.0)
        for policy in ("no_migration", "priced")
        for seed in (3, 4)
    ]
    alone = command(
        "cluster", "run", trace, "--json", "--policy", "priced", "--cell-size", "4", "--seed", "4"
    )
    summary = json.loads(alone.stdout)["summary"]
    assert {name: found[-1][name] for name in summary} == summary


def test_the_number_of_machines_varies_not_what_runs_on_them(trace: Path) -> None:
    found = rows(trace, "--vary", "machines=12,16,20", "--policy", "fine", "--seeds", "1")
    assert len({one["tasks"] for one in found}) == 1
    assert [one["machines"] for one in found] == [12, 16, 20]
    some = rows(trace, "--vary", "machines=12,20", "--workload-machines", "8", "--seeds", "1")
    assert some[0]["tasks"] < found[0]["tasks"]


def test_a_table_with_intervals(trace: Path) -> None:
    done = sweep(trace, *GRID)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("priced") == 4
    assert " ± " in done.stdout
    assert "allocation ratio" in done.stdout


def test_workers_do_not_change_a_bit(trace: Path, tmp_path: Path) -> None:
    sweep(trace, *GRID, "--out", tmp_path / "one.json")
    sweep(trace, *GRID, "--workers", "2", "--out", tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_an_interrupted_sweep_goes_on_where_it_was(trace: Path, tmp_path: Path, kind: str) -> None:
    out, whole = tmp_path / f"r.{kind}", tmp_path / f"whole.{kind}"
    real, simulated = dask_runs.simulate_all, []

    def some(*arguments: Any) -> Iterator[Any]:
        for outcome in real(*arguments):
            if len(simulated) == 5:
                raise KeyboardInterrupt
            simulated.append(outcome)
            yield outcome

    with patch.object(dask_runs, "simulate_all", some):
        done = sweep(trace, *GRID, "--out", out)
    assert done.returncode == 130
    assert "5 of 16 runs are kept" in done.stderr
    partial = tmp_path / f"r.{kind}.partial"
    assert len(partial.read_text().splitlines()) == 5
    # The last line may be half written when the machine goes down.
    partial.write_text(partial.read_text()[:-20])
    simulated.clear()

    def rest(*arguments: Any) -> Iterator[Any]:
        for outcome in real(*arguments):
            simulated.append(outcome)
            yield outcome

    with patch.object(dask_runs, "simulate_all", rest):
        assert sweep(trace, *GRID, "--out", out).returncode == 0
    assert len(simulated) == 12
    assert not partial.exists()
    sweep(trace, *GRID, "--out", whole)
    assert out.read_bytes() == whole.read_bytes()
    # All there: nothing is simulated, and more is added to what there is.
    fresh = rows(trace, *GRID)
    with patch.object(dask_runs, "simulate_all", side_effect=AssertionError):
        assert rows(trace, *GRID, "--out", out) == fresh
    sweep(trace, "--vary", "cell-size=8", "--policy", "fine", "--seeds", "1", "--out", out)
    kept = (
        json.loads(out.read_text())["runs"] if kind == "json" else pl.read_parquet(out).to_dicts()
    )
    assert [one["policy"] for one in kept] == ["fine", *[one["policy"] for one in fresh]]


def test_files_that_cannot_be_used(trace: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text("[1]")
    (tmp_path / "odd.parquet").write_text("hello")
    (tmp_path / "file").write_text("")
    (tmp_path / "bad.json.partial").write_text("{\n{\n")
    small = ("--vary", "cell-size=4", "--policy", "fine", "--seeds", "1", "--out")
    sweep(trace, *small, tmp_path / "ok.json")
    for name, text in (
        ("odd.json", "holds no results of a sweep"),
        ("odd.parquet", "holds no results of a sweep"),
        ("bad.json", "is damaged"),
        ("r.csv", "kept as .json or .parquet"),
        ("file/r.json", "/file"),
    ):
        done = sweep(trace, *small, tmp_path / name)
        assert done.returncode == 1
        assert text in done.stderr
    other = sweep(trace, "--workload-machines", "8", *small, tmp_path / "ok.json")
    assert "results of another trace" in other.stderr


def test_a_mistake_in_one_point_is_told_before_anything_runs(trace: Path) -> None:
    done = sweep(trace, "--vary", "machines=16,20", "--capacity", "trace", "--policy", "fine")
    assert done.returncode == 1
    assert done.stderr.startswith("error: 16 machines of the trace cannot lend")


class TestDask:
    one = ("--vary", "cell-size=2", "--policy", "fine", "--seeds", "2")

    def test_a_cluster_by_its_address_gives_the_same(self, trace: Path) -> None:
        with LocalCluster(
            n_workers=2, processes=False, protocol="tcp://", dashboard_address=None
        ) as cluster:
            there = rows(trace, *self.one, "--dask", cluster.scheduler_address)
        assert there == rows(trace, *self.one)

    def test_addresses_that_do_not_answer(self, trace: Path) -> None:
        with socket.socket() as silent, socket.socket() as closed:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            closed.bind(("127.0.0.1", 0))
            for address in (
                f"tcp://127.0.0.1:{silent.getsockname()[1]}",
                f"tcp://127.0.0.1:{closed.getsockname()[1]}",
                "nonsense",
                "carrier-pigeon://loft:1",
            ):
                started = time.monotonic()
                done = sweep(trace, *self.one, "--dask", address)
                assert done.returncode == 1
                assert done.stderr.startswith(f"error: no Dask scheduler answers at {address} (")
                assert time.monotonic() - started < 15

    def test_a_scheduler_without_workers(self, trace: Path) -> None:
        with LocalCluster(
            n_workers=0, processes=False, protocol="tcp://", dashboard_address=None
        ) as cluster:
            done = sweep(trace, *self.one, "--dask", cluster.scheduler_address)
        assert "has no workers" in done.stderr

    def test_without_dask_it_says_what_to_install(self, trace: Path) -> None:
        with patch.dict(sys.modules, {"scx_vsched.cluster.dask_runs": None}):
            done = sweep(trace, *self.one)
        assert "pip install 'scx_vsched[cluster]'" in done.stderr
