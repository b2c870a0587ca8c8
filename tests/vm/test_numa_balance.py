"""`run --numa` in a guest of four nodes: who comes together, who leaves, what is put back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from outcomes import value

from scx_vsched.numa.history import read_history
from scx_vsched.vm.job import GUEST_DIR, Step
from scx_vsched.vm.machine import Shape

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Guests

    from scx_vsched.vm.boot import Outcome

pytestmark = [pytest.mark.vm, pytest.mark.alone]

FOUR_NODES = Shape(
    cpus="8",
    memory="2G",
    numa=tuple(f"512M,cpus={2 * node}-{2 * node + 1}" for node in range(4)),
    distances=("0,1=20", "2,3=20", "0,2=40", "0,3=40", "1,2=40", "1,3=40"),
)
CORE = f"{GUEST_DIR}/core.bpf.o"


@pytest.fixture(scope="module")
def outcome(guests: Guests, core_object: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Everything on four nodes, seen in one VM."""
    return guests.run(
        "oldest",
        [
            Step("guest_balance:together", {"object_path": CORE}, "core"),
            Step("guest_balance:follow", {"object_path": CORE, "policy": "sorted"}, "sorted"),
            Step("guest_balance:follow", {"object_path": CORE, "policy": "coarse"}, "coarse"),
        ],
        files={"core.bpf.o": core_object},
        shape=FOUR_NODES,
        timeout_s=300,
    )


class TestTogether:
    def test_two_that_share_a_buffer_are_on_one_node_within_five_seconds(
        self, outcome: Outcome
    ) -> None:
        found = value(outcome, "core")
        assert found["joined_s"] is not None
        assert found["joined_s"] < 5
        assert len(found["homes"]) == 1

    def test_they_stay_there(self, outcome: Outcome) -> None:
        found = value(outcome, "core")
        assert len(found["seen"]) > 5
        assert {node for nodes in found["seen"] for node in nodes} == set(found["homes"])
        assert found["document"]["totals"]["most_moves_per_minute"] <= 1

    def test_the_status_says_who_is_where_and_why(self, outcome: Outcome) -> None:
        found = value(outcome, "core")
        assert "shares memory" in found["status"]
        nodes = found["document"]["nodes"]
        assert [node["vcpus"] for node in nodes] == [2, 2, 2, 2]
        assert all(node["memory_bytes"] > 300 << 20 for node in nodes)

    def test_everything_is_put_back_at_the_end(self, outcome: Outcome) -> None:
        found = value(outcome, "core")
        assert found["ended"]["code"] == 0, found["ended"]["err"]
        assert found["ended"]["state"] == "disabled"
        assert found["affinities"] == [list(range(8))] * 2
        assert found["restored"]
        assert not found["left"]


@pytest.mark.parametrize("policy", ["sorted", "coarse"])
def test_a_task_leaves_a_node_that_the_host_takes(outcome: Outcome, policy: str) -> None:
    found = value(outcome, policy)
    assert found["moves"], found["document"]
    assert found["moves"][0]["source"] == found["taken"]
    assert found["node"] == found["moves"][0]["target"] != found["taken"]
    assert found["reacted_s"] < 5


def test_its_memory_follows(outcome: Outcome) -> None:
    [move] = value(outcome, "sorted")["moves"]
    assert move["memory_bytes"] > 0


def test_coarse_takes_workqueues_along(outcome: Outcome) -> None:
    found = value(outcome, "coarse")
    assert any("workqueue" in path for path in found["changed"])
    assert value(outcome, "sorted")["changed"] == {}


def test_what_a_killed_run_leaves_can_be_put_back(outcome: Outcome) -> None:
    for policy in ("sorted", "coarse"):
        found = value(outcome, policy)
        assert found["left"]
        assert found["restored"]["code"] == 0
        assert "put back" in found["restored"]["out"]
        assert found["same"]
        assert found["affinity"] == list(range(8))


def test_the_record_can_be_drawn(outcome: Outcome, tmp_path: Path) -> None:
    path = tmp_path / "numa.jsonl"
    path.write_text(value(outcome, "sorted")["record"])
    history = read_history(path)
    assert sum(len(found.moves) for found in history.rounds) >= 1


def test_one_node_is_told(guests: Guests, core_object: Path) -> None:
    outcome = guests.run(
        "oldest",
        [Step("guest_balance:one_node", {"object_path": CORE}, "one")],
        files={"core.bpf.o": core_object},
        shape=Shape(cpus="2"),
        timeout_s=150,
    )
    found = value(outcome, "one")
    for how in ("run", "plan"):
        assert found[how]["code"] == 1
        assert "one NUMA node" in found[how]["err"]
        assert "Traceback" not in found[how]["err"]
    assert found["run"]["state"] == "disabled"
