"""The topology changes while the scheduler is at work, on the oldest and the newest kernel.

One boot for each kernel runs everything; the tests judge what it brought back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from outcomes import value
from vcpu_graphs import flat, measure, probed

from scx_vsched.topology.document import document_text
from scx_vsched.vm.job import GUEST_DIR, Step
from scx_vsched.vm.machine import Shape

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Guests

    from scx_vsched.vm.boot import Outcome

pytestmark = pytest.mark.vm

OBJECT = f"{GUEST_DIR}/core.bpf.o"
DOCUMENT = f"{GUEST_DIR}/topology.json"
SECONDS = 1_000_000_000
WAKES = 50


@pytest.fixture(scope="module", params=["oldest", "newest"])
def outcome(
    request: pytest.FixtureRequest,
    guests: Guests,
    core_object: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Outcome:
    """Everything below, run in one VM."""
    shares = {vcpu: measure(2 if vcpu == 1 else 10, 10) for vcpu in range(4)}
    known = tmp_path_factory.mktemp("topology") / "topology.json"
    known.write_text(document_text(probed(flat(4), shares)))
    path = {"object_path": OBJECT}
    return guests.run(
        request.param,
        [
            Step("guest_feed:change", {**path, "rounds": 2}, "change"),
            Step("guest_feed:hotplug", {**path, "times": 6}, "hotplug"),
            Step("guest_feed:avoid", path, "avoid"),
            Step("guest_feed:document", {**path, "topology_path": DOCUMENT}, "document"),
            Step("guest_feed:capacity", {**path, "seconds": 2.0}, "capacity"),
        ],
        files={"core.bpf.o": core_object, "topology.json": known},
        shape=Shape(cpus="4"),
        timeout_s=300,
    )


def test_no_task_is_lost_while_the_topology_changes(outcome: Outcome) -> None:
    result = value(outcome, "change")
    assert result["state"] == "enabled"
    assert not result["fixed"]
    assert result["epoch"] == result["moves"] == result["stats"]["topologies"] == 12
    assert result["stats"]["settled"] > 0, "tasks waited whose cache was another one then"
    assert min(result["progress_ns"]) > 0, result["progress_ns"]
    # it waits for a grace period, among 90 tasks on vCPUs that share the host's CPUs: seconds
    assert result["slowest_s"] < 60


def test_queues_of_new_caches_are_used(outcome: Outcome) -> None:
    result = value(outcome, "change")
    assert result["alone"][0] > 0
    assert result["alone"][1:] == [0, 0, 0], "at first there was one cache"
    before, after = result["apart"]
    assert all(b > a for a, b in zip(before, after, strict=True)), "then there were four"


def test_vcpus_come_and_go_while_the_topology_changes(outcome: Outcome) -> None:
    result = value(outcome, "hotplug")
    assert result["state"] == "enabled"
    assert result["moves"] >= 6
    assert result["hotplugs"] >= 6
    assert result["counted"][:3] == [1, 1, 2]
    assert min(result["progress_ns"]) > 0, result["progress_ns"]


def test_waking_tasks_avoid_weak_and_stacked_vcpus(outcome: Outcome) -> None:
    result = value(outcome, "avoid")
    # JSON has no numbers as keys
    assert result["equal"].get("1", 0) > WAKES / 2, "the vCPU that a task ran on is best"
    for case in ("weak", "stacked", "stacked, another cache"):
        assert result[case].get("1", 0) <= WAKES / 10, (case, result[case])
    assert result["stacked, another cache"].get("0", 0) > WAKES / 2, "the nearest strong one"
    assert result["only idle one"].get("1", 0) > WAKES / 2, "but idle is better than busy"


def test_a_document_takes_the_place_of_claims(outcome: Outcome) -> None:
    result = value(outcome, "document")
    assert result["exit"] is None
    assert result["capacities"] == [1024, 205, 1024, 1024]
    assert result["wakes"].get("1", 0) <= WAKES / 10, "the weak one"


def test_time_counts_by_the_new_capacity(outcome: Outcome) -> None:
    result = value(outcome, "capacity")
    assert result["epoch"] == 0, "nothing has moved"
    assert result["capacities"] == 3
    rates = result["rates"]
    assert rates["1024"] == pytest.approx(1.0, rel=0.1)
    assert rates["256"] == pytest.approx(0.25, rel=0.1)
    assert rates["512"] == pytest.approx(0.5, rel=0.1)


def test_activity_is_there_for_policies(outcome: Outcome) -> None:
    result = value(outcome, "capacity")
    assert result["heartbeat_age_ns"] < SECONDS, "a busy vCPU tells by its ticks"
    assert result["probed"] == [[12345, 0], [12345, 67890]]
