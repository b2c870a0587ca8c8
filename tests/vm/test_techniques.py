"""The techniques of the policy vsched in real kernels, the oldest and the newest."""

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

pytestmark = [pytest.mark.vm, pytest.mark.alone]

OBJECT = f"{GUEST_DIR}/vsched.bpf.o"
WAKES = 50


@pytest.fixture(scope="module", params=["oldest", "newest"])
def outcome(
    request: pytest.FixtureRequest, guests: Guests, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """Everything below, run in one VM."""
    built: Path = build_object("vsched", tmp_path_factory.mktemp("vsched") / "vsched.bpf.o")
    path = {"object_path": OBJECT}
    names = ("hide", "harvest", "bias")
    return guests.run(
        request.param,
        [Step(f"guest_techniques:{name}", path, name) for name in names],
        files={"vsched.bpf.o": built},
        shape=Shape(cpus="4"),
        timeout_s=600,
    )


def test_a_straggler_is_hidden_and_comes_back(outcome: Outcome) -> None:
    result = value(outcome, "hide")
    # JSON has no numbers as keys
    assert result["equal"].get("3", 0) > WAKES / 2, "where it was is better than elsewhere"
    assert result["hidden"].get("3", 0) <= WAKES / 10, "unless it does harm"
    assert result["lent"].get("3", 0) > WAKES / 2, "idle is better than busy"
    assert result["shown"].get("3", 0) > WAKES / 2
    assert (result["stats"]["hidden"], result["stats"]["shown"]) == (1, 1)


def test_who_may_use_a_hidden_vcpu_does(outcome: Outcome) -> None:
    result = value(outcome, "hide")
    assert result["idle class"].get("3", 0) > WAKES / 2
    assert result["pinned_ns"] > 100_000_000


def test_running_tasks_are_taken_to_vcpus_that_stay(outcome: Outcome) -> None:
    result = value(outcome, "harvest")
    assert result["stats"]["harvests"] >= 1
    assert result["vcpus"][0] in {2, 3}
    assert result["vcpus"][1] == 1, "the one that may run nowhere else"
    assert min(result["ran_ns"]) > 0


def test_small_tasks_wake_where_they_wait_least(outcome: Outcome) -> None:
    result = value(outcome, "bias")
    assert result["stats"]["biased_idle"] > WAKES / 2
