"""The default policy at work in VMs on the oldest and the newest kernel.

One boot for each kernel runs everything; the tests judge what it brought back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from scx_vsched.vm.job import GUEST_DIR, Step

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Guests

    from scx_vsched.vm.boot import Outcome

pytestmark = [pytest.mark.vm, pytest.mark.alone]

OBJECT = f"{GUEST_DIR}/core.bpf.o"
FAIR_S = 10.0
STRESSORS = ("schedpolicy", "affinity", "fork", "futex")

# Cases of CPU time shared on one vCPU: nice values, cgroup weights, wanted ratio, tolerance.
# 1024 and 335 are the kernel's weights of nice 0 and 5 (sched_prio_to_weight in kernel/sched).
SHARES = {
    "equals by affinity": ([0, 0], [0, 0], True, 1.0, 0.02),
    "equals on the only vCPU": ([0, 0], [0, 0], False, 1.0, 0.02),
    "nice 0 and 5": ([0, 5], [0, 0], True, 1024 / 335, 0.10),
    "cgroups 1024 and 100": ([0, 0], [1024, 100], True, 1024 / 100, 0.10),
}


@pytest.fixture(scope="module", params=["oldest", "newest"])
def outcome(
    request: pytest.FixtureRequest, guests: Guests, core_object: Path, long_run: bool
) -> Outcome:
    """Everything below, run in one VM."""
    seconds = 60 if long_run else 8
    steps = [
        Step(
            "guest_jobs:share",
            {
                "object_path": OBJECT,
                "seconds": FAIR_S,
                "nices": nices,
                "weights": weights,
                "pinned": pinned,
            },
            name,
        )
        for name, (nices, weights, pinned, _, _) in SHARES.items()
    ]
    steps += [
        Step(
            "guest_jobs:stress",
            {"object_path": OBJECT, "stressor": stressor, "seconds": seconds},
            stressor,
        )
        for stressor in STRESSORS
    ]
    return guests.run(
        request.param, steps, files={"core.bpf.o": core_object}, timeout_s=900 + 8 * seconds
    )


def value(outcome: Outcome, name: str) -> Any:
    """What the step called `name` returned."""
    step = next(each for each in outcome.steps if each.name == name)
    assert step.ok, f"{outcome.where}: {step.traceback}"
    return step.value


@pytest.mark.parametrize("case", SHARES)
def test_cpu_time_is_shared_by_weight(outcome: Outcome, case: str) -> None:
    result = value(outcome, case)
    *_, wanted, tolerance = SHARES[case]
    assert result["exit_info"] is None
    first, second = result["ran_ns"]
    assert first / second == pytest.approx(wanted, rel=tolerance), outcome.where
    assert first + second == pytest.approx(FAIR_S * 1e9, rel=0.15), "the vCPU was not kept busy"


@pytest.mark.parametrize("stressor", STRESSORS)
def test_survives_stress_with_hotplug(outcome: Outcome, stressor: str) -> None:
    result = value(outcome, stressor)
    assert result["exit_info"] is None, result["exit_info"]["summary"]
    assert result["state"] == "enabled"
    assert result["finished"], f"a task was lost: {result['output']}"
    assert result["exit_code"] == 0, result["output"]
    assert result["left"] == [], "tasks were lost"
    assert result["hotplugs"] >= 3
    assert any(result["stats"].values())


def test_nothing_is_left_attached(outcome: Outcome) -> None:
    assert outcome.scheduler == "disabled"
    assert outcome.facts["clocksource"] == "tsc"
