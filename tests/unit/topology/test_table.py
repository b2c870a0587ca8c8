"""The table for the terminal: what must leap to the eye does so without colour."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from vcpu_graphs import flat, hpvm, rcvm

from scx_vsched.topology.graph import VCpuGraph
from scx_vsched.topology.measure import Origin, Prediction, Snapshot, VCpuMeasure
from scx_vsched.topology.table import graph_table, headline, remarks


def rows(graph: VCpuGraph, now_ns: int | None = None) -> list[str]:
    """The table's lines as text without colour, the heads first."""
    out = io.StringIO()
    Console(file=out, width=200, no_color=True).print(graph_table(graph, now_ns))
    return out.getvalue().splitlines()


def test_stacked_pair_and_stragglers_are_words() -> None:
    lines = rows(rcvm())
    assert [line.endswith("STRAGGLER") for line in (s.rstrip() for s in lines[1:])] == [
        v in {8, 9} for v in range(12)
    ]
    assert "STACKED with 11" in lines[11]
    assert "STACKED with 10" in lines[12]
    assert sum("STACKED" in line for line in lines) == 2


def test_wrong_claims_are_marked_and_only_they() -> None:
    lines = rows(rcvm())
    assert all(line.count("≠") == 1 for line in lines[1:11])
    assert all(line.count("≠") == 2 for line in lines[11:])
    assert not any("≠" in line for line in rows(hpvm()))


def test_bars_grow_with_capacity() -> None:
    capacities = (0, 100, 512, 1024)
    graph = VCpuGraph(
        flat(4),
        snapshot=Snapshot(Origin.MEASURED),
        measures={v: VCpuMeasure(capacity=c) for v, c in enumerate(capacities)},
    )
    bars = [line.count("█") for line in rows(graph)[1:]]
    assert bars == [0, 1, 6, 12]


def test_numbers_are_in_the_table() -> None:
    line = rows(rcvm())[1 + 8]
    for cell in ("51", "0.05", "50.0", "19.00", "22.80"):
        assert f" {cell} " in line


@pytest.mark.parametrize(
    ("now_ms", "said"),
    [(5, "in 5.0 ms, 90% sure"), (12, "in 4.0 ms, 90% sure"), (29, "in 5.0 ms, 90% sure")],
)
def test_periodic_prediction_rolls_on(now_ms: int, said: str) -> None:
    graph = VCpuGraph(
        flat(1),
        snapshot=Snapshot(Origin.MEASURED),
        measures={0: VCpuMeasure(capacity=5, prediction=Prediction(10_000_000, 0.9, 6_000_000))},
    )
    assert said in rows(graph, now_ms * 1_000_000)[1]


def test_unmeasured_vcpu_gives_the_reason() -> None:
    graph = VCpuGraph(
        flat(2),
        snapshot=Snapshot(Origin.MEASURED),
        measures={0: VCpuMeasure(capacity=900), 1: VCpuMeasure(unavailable="offline")},
    )
    line = rows(graph)[2]
    assert "not measured" in line
    assert line.rstrip().endswith("offline")


def test_claimed_graph_has_no_empty_columns() -> None:
    head = rows(VCpuGraph(flat(2), snapshot=Snapshot(Origin.CLAIMED)))[0]
    assert "capacity" not in head
    assert head.split() == ["vCPU", "thread", "core", "LLC", "socket", "node", "remarks"]


def test_headline_and_remarks_sum_up() -> None:
    graph = rcvm()
    assert headline(graph).startswith("12 vCPUs, measured, 2026-11-21T14:00:00")
    assert remarks(graph)[1:] == [
        "stacked: vCPUs 10-11 are one hardware thread",
        "stragglers: 8-9",
        "≠ differs from what the guest was told",
    ]


def test_notes_of_the_prober_are_remarks() -> None:
    snapshot = Snapshot(Origin.MEASURED, notes=("steal is not reported",))
    assert remarks(VCpuGraph(flat(2), snapshot=snapshot)) == ["steal is not reported"]
