"""Processes stay on the NUMA nodes that they are given, on the oldest and the newest kernel.

One boot for each kernel, with four nodes of two vCPUs, runs everything; the tests judge what it
brought back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from outcomes import value

from scx_vsched.vm.job import GUEST_DIR, Step
from scx_vsched.vm.machine import Shape
from scx_vsched.vm.run import build_object

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Guests

    from scx_vsched.vm.boot import Outcome

pytestmark = pytest.mark.vm

OBJECT = f"{GUEST_DIR}/numa.bpf.o"
SIGHTINGS = 8  # of children, one at a time
FOUR_NODES = Shape(
    cpus="8",
    memory="2G",
    numa=tuple(f"512M,cpus={first}-{first + 1}" for first in (0, 2, 4, 6)),
    distances=("0,1=20", "0,2=40", "0,3=40", "1,2=40", "1,3=40", "2,3=20"),
)


@pytest.fixture(scope="module")
def numa_object(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_object("numa", tmp_path_factory.mktemp("numa") / "numa.bpf.o")


@pytest.fixture(scope="module", params=["oldest", "newest"])
def outcome(request: pytest.FixtureRequest, guests: Guests, numa_object: Path) -> Outcome:
    """Everything below, run in one VM."""
    path = {"object_path": OBJECT}
    return guests.run(
        request.param,
        [
            Step("guest_numa:stay", {**path, "seconds": 2.0}, "stay"),
            Step("guest_numa:children", {**path, "sightings": SIGHTINGS}, "children"),
            Step("guest_numa:crowd", {**path, "seconds": 2.0}, "crowd"),
            Step("guest_numa:offline", path, "offline"),
        ],
        files={"numa.bpf.o": numa_object},
        shape=FOUR_NODES,
        timeout_s=300,
    )


def test_two_processes_stay_where_they_were_told(outcome: Outcome) -> None:
    result = value(outcome, "stay")
    assert result["nodes"] == [0, 1, 2, 3]
    assert result["first_s"] < 5
    assert result["kept"] == [[3], [1]]


def test_they_follow_when_their_homes_are_moved(outcome: Outcome) -> None:
    result = value(outcome, "stay")
    assert result["second_s"] < 2
    assert result["moved"] == [[0], [2]]
    assert result["stats"]["numa_home"] >= 2
    assert "node 9, which has no vCPU" in result["refused"]


def test_a_process_takes_its_home_along_when_it_ends(outcome: Outcome) -> None:
    assert value(outcome, "stay")["left"] == 0


def test_children_run_at_home(outcome: Outcome) -> None:
    assert value(outcome, "children")["seen"] == [2] * SIGHTINGS


def test_only_processes_with_little_memory_cross(outcome: Outcome) -> None:
    result = value(outcome, "crowd")
    small, huge = result["small"], result["huge"]
    assert len({node for nodes in small["seen"] for node in nodes}) > 1
    assert small["stats"]["numa_crossed"] > 0
    assert huge["seen"] == [[1]] * 4


def test_a_node_that_loses_its_vcpus_keeps_nobody(outcome: Outcome) -> None:
    result = value(outcome, "offline")
    assert min(result["progress_ns"]) > 0, result["progress_ns"]
    assert result["back_s"] < 5
