"""The table of `numa bench`, and the profile under it."""

from __future__ import annotations

from typing import Any

import pytest

from scx_vsched.vm.lab.placing import place
from scx_vsched.vm.lab.profile import load_profile
from scx_vsched.vm.numa_bench import ARMS, PROFILE, SECONDS, Bench, Measured, _server
from scx_vsched.vm.numa_report import bench_table, reactions


def measured(arm: str, number: int, rate: float, p99: float, **other: Any) -> Measured:
    fields = {"totals": {}, "moves": (), "error": ""} | other
    return Measured(arm, number, rate, {"p99": p99}, **fields)


def move(at_s: float, source: int) -> dict[str, Any]:
    return {"at_s": at_s, "source": source}


def test_the_profile_takes_three_nodes_in_turn_and_fits_two_cpus() -> None:
    plan = place(load_profile(PROFILE), [0, 1])
    assert plan.factor == 1.0
    free = [{v // 2 for v, s in enumerate(stage.shapes) if s.share > 0.4} for stage in plan.stages]
    assert free == [{0}, {2}, {1}]
    assert len(plan.machine().numa) == 4
    assert plan.stages[-1].at_s < SECONDS


def test_the_server_is_described_for_the_native_program() -> None:
    assert all(word.lstrip("-").isdigit() for word in _server(8).split())


def test_a_row_for_each_arm_with_ratios_by_pairs() -> None:
    bench = Bench(2, 24.0)
    totals = {"memory_bytes": 48 << 20, "moves": 3, "most_moves_per_minute": 2}
    for number in range(2):
        bench.results += [
            measured("kernel", number, 100, 4000),
            measured("kernel, coarse", number, 120, 4000, totals=totals),
            measured("numa, sorted", number, 200, 2000, totals=totals),
            measured("kernel, server alone", number, 0, 2000),
            measured("numa, server alone", number, 0, 1900),
        ]
    rows = {line.split("|")[1].strip(): line for line in bench_table(bench).splitlines()[2:]}
    assert list(rows) == list(dict.fromkeys(found.arm for found in bench.results))
    cells = [cell.strip() for cell in rows["numa, sorted"].split("|")]
    assert cells[3].startswith("2.000")
    assert cells[4].startswith("1.667")
    assert cells[6].startswith("1.053")
    assert cells[7:10] == ["48", "3", "2"]


def test_what_failed_is_told() -> None:
    bench = Bench(1, 24.0)
    bench.results = [measured(ARMS[0].name, 0, 0, 0, error="no")]
    assert "Failed: kernel, round 1: no" in bench_table(bench)


@pytest.mark.parametrize(
    ("moves", "times"),
    [
        ([], []),
        ([move(9.5, 0), move(9.0, 3), move(17.25, 2)], [1.5, 1.25]),
        ([move(7.0, 0), move(17.0, 0)], []),
    ],
)
def test_reactions_are_moves_off_the_node_that_was_taken(
    moves: list[dict[str, Any]], times: list[float]
) -> None:
    found = measured("numa, sorted", 0, 1, 1, moves=tuple(moves))
    assert reactions(found, [8.0, 16.0]) == times
