"""`monitor`, `--explain` and OpenMetrics of a scheduler at work in a real kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from outcomes import value

from scx_vsched.vm.job import GUEST_DIR, Step
from scx_vsched.vm.machine import Shape
from scx_vsched.vm.run import build_object

if TYPE_CHECKING:
    from conftest import Guests

    from scx_vsched.vm.boot import Outcome

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def outcome(guests: Guests, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Everything below, seen in one VM."""
    built = build_object("vsched", tmp_path_factory.mktemp("vsched") / "vsched.bpf.o")
    path = {"object_path": f"{GUEST_DIR}/vsched.bpf.o"}
    return guests.run(
        "oldest",
        [Step("guest_monitor:watch", path, "watch")],
        files={"vsched.bpf.o": built},
        shape=Shape(cpus="3"),
        timeout_s=240,
    )


def test_every_vcpu_is_shown_with_what_runs_there(outcome: Outcome) -> None:
    seen = value(outcome, "watch")["json"]
    assert [vcpu["vcpu"] for vcpu in seen["vcpus"]] == [0, 1, 2]
    assert all(vcpu["online"] and vcpu["capacity"] == 1024 for vcpu in seen["vcpus"])
    assert {vcpu["state"] for vcpu in seen["vcpus"]} & {"busy", "idle"}
    assert seen["policy"] == "VSched"
    assert sum(seen["rates"].values()) > 0


def test_decisions_name_task_and_reason(outcome: Outcome) -> None:
    seen = value(outcome, "watch")["json"]
    assert seen["noted"]
    assert seen["decisions"]
    for decision in seen["decisions"]:
        assert decision["counter"] in seen["totals"]
        assert 0 <= decision["vcpu"] < 3
        assert 0 <= seen["now_ns"] - decision["at_ns"] < 120e9
    ages = [decision["at_ns"] for decision in seen["decisions"]]
    assert ages == sorted(ages, reverse=True)


def test_the_view_is_text_where_no_terminal_is(outcome: Outcome) -> None:
    text = value(outcome, "watch")["text"]
    assert "last decisions" in text
    assert "placed by BVS" in text
    assert "Traceback" not in text


def test_a_task_is_explained(outcome: Outcome) -> None:
    found = value(outcome, "watch")
    spinner = found["spinner"]
    assert spinner["ours"]
    assert spinner["decision"]["pid"] == spinner["pid"]
    assert "it may run on vCPU 0 only" in found["pinned"]
    assert "there is no task 4000000" in found["nobody"]


def test_openmetrics_are_printed_and_served(outcome: Outcome) -> None:
    found = value(outcome, "watch")
    assert found["openmetrics"].endswith("# EOF\n")
    for text in (found["openmetrics"], found["served"]):
        assert 'vsched_vcpu_capacity_ratio{vcpu="2"} 1.0' in text
        assert "vsched_kept_total" in text
