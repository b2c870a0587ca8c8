"""`scx_vsched cluster` from outside: output, every option, messages; claims and pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import pytest
from commands import Done, command
from workloads import workload, write_part

from scx_vsched.cluster.claims import CLAIMS, Verdict, judge
from scx_vsched.cluster.compare import Comparison, compare, estimate
from scx_vsched.cluster.generate import generate
from scx_vsched.cluster.metrics import Result
from scx_vsched.cluster.plot import PICTURES, draw_series, save_pictures
from scx_vsched.cluster.population import Load
from scx_vsched.cluster.setup import Setup
from scx_vsched.cluster.simulator import simulate
from scx_vsched.errors import UserError
from scx_vsched.numa.policies import THESIS_POLICIES, parse_policy

if TYPE_CHECKING:
    from pathlib import Path


def cluster(*arguments: str | Path) -> Done:
    """The command in this process."""
    return command("cluster", *arguments)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour of 48 machines that have much to do."""
    folder = tmp_path_factory.mktemp("cli") / "trace"
    generate(folder, 48, 1, seed=2, load=Load(0.6))
    return folder


def run(trace: Path, *arguments: str | Path) -> dict[str, Any]:
    """The JSON of a run."""
    done = cluster("run", trace, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_generate_then_run(tmp_path: Path) -> None:
    done = cluster("generate", tmp_path / "t", "--machines", "8", "--hours", "0.5")
    assert (done.returncode, done.stderr) == (0, "")
    assert "8 machines" in done.stdout
    shown = cluster("run", tmp_path / "t")
    assert shown.returncode == 0
    assert "mean CPU in use" in shown.stdout
    assert "memory moved" in shown.stdout
    assert "on 8 machines" in shown.stderr


@pytest.mark.parametrize(
    ("option", "value"), [("--seed", "1"), ("--mean-cpu", "0.2"), ("--swing", "0.9")]
)
def test_every_option_of_generate_matters(tmp_path: Path, option: str, value: str) -> None:
    common = ("--machines", "8", "--hours", "0.5")
    cluster("generate", tmp_path / "a", *common)
    cluster("generate", tmp_path / "b", *common, option, value)
    name = "task_usage/part-00000-of-00001.csv.gz"
    assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "b" / name).read_bytes()


def test_json_has_the_run_and_each_step(trace: Path) -> None:
    data = run(trace)
    assert data["policy"] == "sorted:memory-asc"
    assert data["trace"]["tasks"] == data["summary"]["tasks"] > 0
    assert data["setup"]["cell_size"] == 4
    series = data["series"]
    assert {len(values) for values in series.values()} == {120}
    assert series["bytes_moved"][-1] == data["summary"]["bytes_moved"] > 0


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--policy", "coarse"),
        ("--machines", "40"),
        ("--workload-machines", "40"),
        ("--capacity", "0.4"),
        ("--allocation-ratio", "0.6"),
        ("--cell-size", "8"),
        ("--step-s", "60"),
        ("--balance-steps", "5"),
        ("--priority-below", "9"),
        ("--max-cpu-below", "0.1"),
        ("--rest-s", "1200"),
        ("--warning", "0.6"),
        ("--least-batch", "0.05"),
        ("--least-gap", "0.3"),
        ("--budget-mib", "500"),
        ("--memory-gib", "128"),
        ("--targets", "1"),
        ("--link-gib-s", "0.05"),
        ("--seed", "1"),
    ],
)
def test_every_option_of_run_matters(trace: Path, option: str, value: str) -> None:
    assert run(trace, option, value)["summary"] != run(trace)["summary"]


def test_most_moved_matters_to_coarse_and_capacity_can_be_the_traces(trace: Path) -> None:
    coarse = ("--policy", "coarse")
    assert run(trace, *coarse, "--most-moved", "0.2")["summary"] != run(trace, *coarse)["summary"]
    assert run(trace, "--capacity", "trace")["setup"]["capacity"] is None


def test_options_that_need_another_matter_with_it(trace: Path) -> None:
    crowded = ("--allocation-ratio", "2")
    slow = ("--link-gib-s", "0.05")
    for common, option in (
        (("--policy", "priced"), ("--least-gain", "100")),
        (crowded, ("--cell-queue",)),
        (slow, ("--moving-speed", "0.1")),
    ):
        assert run(trace, *common, *option)["summary"] != run(trace, *common)["summary"]


def test_compare_shows_all_of_the_thesis_with_intervals(trace: Path, tmp_path: Path) -> None:
    done = cluster("compare", trace, "--seeds", "3", "--plot", tmp_path / "pictures")
    assert done.returncode == 0, done.stderr
    for policy in THESIS_POLICIES:
        assert f"\n{policy} " in done.stdout
    assert " ± " in done.stdout
    assert "the thesis says" in done.stdout
    names = ["bytes-moved.svg", "cpu.svg", "gini.svg"]
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == names


def test_compare_as_json(trace: Path) -> None:
    chosen = ("--policy", "no_migration", "--policy", "coarse")
    done = cluster("compare", trace, "--seeds", "2", "--seed", "7", *chosen, "--json")
    data = json.loads(done.stdout)
    assert [(one["policy"], one["seed"]) for one in data["runs"]] == [
        ("no_migration", 7), ("no_migration", 8), ("coarse", 7), ("coarse", 8),
    ]  # fmt: skip
    assert data["means"]["coarse"]["bytes_moved"]["half_width"] is not None
    assert [(c["metric"], c["less"], c["more"]) for c in data["claims"]] == [
        ("cpu", "no_migration", "coarse"), ("gini", "coarse", "no_migration"),
    ]  # fmt: skip
    alone = run(trace, "--policy", "coarse", "--seed", "8")
    assert alone["summary"] == data["runs"][3]["summary"]


def test_mistakes_are_told_without_a_traceback(trace: Path, tmp_path: Path) -> None:
    for arguments, text in (
        (("run", trace, "--policy", "sorted:disk"), "there is no policy 'sorted:disk'"),
        (("run", trace, "--capacity", "big"), "--capacity big is neither"),
        (("run", trace, "--capacity", "0"), "--capacity 0 is neither"),
        (("run", trace, "--workload-machines", "999"), "has 48 machines"),
        (("run", tmp_path), "task_events holds no part"),
        (("run", tmp_path / "absent"), "is no folder"),
        (("compare", trace, "--policy", "fine", "--policy", "sorted:none"), "named twice"),
        (("generate", trace), "exists already"),
    ):
        done = cluster(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("error: "), done.stderr
        assert text in done.stderr


def test_without_polars_or_matplotlib_it_says_what_to_install(trace: Path, tmp_path: Path) -> None:
    with patch.dict(sys.modules, {"polars": None}):
        for done in (cluster("run", trace), cluster("generate", tmp_path / "t")):
            assert "pip install 'scx_vsched[cluster]'" in done.stderr
    with patch.dict(sys.modules, {"scx_vsched.cluster.plot": None}):
        done = cluster("run", trace, "--plot", tmp_path)
        assert "pip install 'scx_vsched[plot]'" in done.stderr


def test_what_was_skipped_is_said(trace: Path, tmp_path: Path) -> None:
    for part in trace.rglob("*.gz"):
        copy = tmp_path / part.relative_to(trace)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(part.read_bytes())
    write_part(tmp_path, "task_usage", ["600000000,900000000,1,0,5" + "," * 15], 7)
    assert "task_usage: rows of tasks that are not simulated: 1" in cluster("run", tmp_path).stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from scx_vsched.cli import app; import scx_vsched.cli.cluster; "
        "print({'numpy', 'polars', 'matplotlib', 'networkx', 'dask'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "set()"


def made_up(cpu: dict[str, list[float]]) -> Comparison:
    """Results that have nothing but CPU."""
    blank = simulate(workload(3), parse_policy("no_migration"), Setup(8))
    runs = {}
    for name, values in cpu.items():
        policy = parse_policy(name)
        runs[policy] = tuple(
            Result(policy, seed, replace(blank.summary, cpu=value), blank.series)
            for seed, value in enumerate(values)
        )
    return Comparison(runs)


@pytest.mark.parametrize(
    ("coarse", "verdict"),
    [
        ([0.510, 0.611, 0.711], Verdict.AGREES),  # always more, however much seeds differ
        ([0.490, 0.589, 0.689], Verdict.DIFFERS),
        ([0.51, 0.59, 0.70], Verdict.OPEN),
    ],
)
def test_claims_are_judged_pair_by_pair(coarse: list[float], verdict: Verdict) -> None:
    found = judge(made_up({"no_migration": [0.5, 0.6, 0.7], "coarse": coarse}))
    assert found[0].claim.metric == "cpu"
    assert found[0].verdict is verdict


def test_one_seed_leaves_claims_open_and_all_claims_can_be_judged() -> None:
    one = made_up({str(policy): [0.5 + i / 10] for i, policy in enumerate(THESIS_POLICIES)})
    assert {found.verdict for found in judge(one)} == {Verdict.OPEN}
    assert len(judge(one)) == len(CLAIMS)


def test_an_interval_is_students() -> None:
    found = estimate([1.0, 2.0, 3.0])
    assert (found.mean, found.half_width) == (2, pytest.approx(4.303 / 3**0.5, rel=1e-3))
    assert estimate([4.0]).half_width is None


def test_policies_of_a_seed_are_compared_on_the_same_workload() -> None:
    asked = []

    def tasks(seed: int) -> Any:
        asked.append(seed)
        return workload(50, seed)

    chosen = [parse_policy("no_migration"), parse_policy("fine")]
    compare(tasks, chosen, Setup(8, seed=3), 2)
    assert asked == [3, 4]


def test_pictures_name_every_policy_and_are_the_same_each_time(tmp_path: Path) -> None:
    results = [simulate(workload(60), policy, Setup(8)) for policy in THESIS_POLICIES]
    for picture in PICTURES:
        figure = draw_series(picture, results, "below")
        texts = [text.get_text() for text in figure.axes[0].texts]
        assert texts == [str(policy) for policy in THESIS_POLICIES]
        heights = sorted(text.xyann[1] for text in figure.axes[0].texts)
        assert (np.diff(heights) > 0).all()  # no name covers another
        assert len(figure.axes[0].lines) == len(results)
    one, two = (save_pictures(results, tmp_path / name, "below") for name in "ab")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        save_pictures(results, tmp_path / "file", "below")
