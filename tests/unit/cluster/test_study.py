"""`cluster report`: each experiment has its runs, each claim a verdict, each picture a line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from commands import command

from scx_vsched.cluster.claims import CLAIMS
from scx_vsched.cluster.generate import generate
from scx_vsched.cluster.population import Load
from scx_vsched.cluster.setup import Setup
from scx_vsched.cluster.study import EXPERIMENTS, Study

if TYPE_CHECKING:
    from pathlib import Path


def test_runs_are_there_once_and_machines_scale() -> None:
    study = Study(Setup(800), 5)
    runs = study.runs()
    assert len(set(runs)) == len(runs)
    assert {run.setup.seed for run in runs} == set(range(5))
    assert study.values("machines") == (700, 750, 800, 850, 900)
    assert Study(Setup(80), 1).values("machines") == (70, 75, 80, 85, 90)


def test_the_thesiss_ranges_are_covered() -> None:
    assert (min(EXPERIMENTS["ratio"].values), max(EXPERIMENTS["ratio"].values)) == (0.5, 1.4)
    assert (min(EXPERIMENTS["cell size"].values), max(EXPERIMENTS["cell size"].values)) == (2, 16)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on half an hour of 16 machines."""
    folder = tmp_path_factory.mktemp("study")
    generate(folder / "trace", 16, 0.5, seed=2, load=Load(0.6))
    done = command(
        *("cluster", "report", folder / "trace", "--out", folder / "docs", "--seeds", "2"),
        *("--workers", "1", "--results", folder / "runs.parquet"),
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_claim_has_a_verdict(report: Path) -> None:
    text = (report / "docs" / "cluster-report.md").read_text()
    verdicts = re.findall(r"\| (agrees|differs|open) \|", text.partition("## Beyond")[0])
    orders = 6
    assert len(verdicts) == len(CLAIMS) + orders + 2 * 5
    assert "nan" not in text.lower()
    assert " ± " in text


def test_all_pictures_are_there(report: Path) -> None:
    text = (report / "docs" / "cluster-report.md").read_text()
    named = set(re.findall(r"\]\((.+?\.svg)\)", text))
    assert len(named) == 9
    assert {path.name for path in (report / "docs").glob("*.svg")} == named


def test_the_same_again_is_the_same_and_simulates_nothing(report: Path) -> None:
    before = {path.name: path.read_bytes() for path in (report / "docs").iterdir()}
    kept = (report / "runs.parquet").read_bytes()
    done = command(
        *("cluster", "report", report / "trace", "--out", report / "again", "--seeds", "2"),
        *("--dask", "tcp://127.0.0.1:1", "--results", report / "runs.parquet"),
    )
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in (report / "again").iterdir()} == before
    assert (report / "runs.parquet").read_bytes() == kept
