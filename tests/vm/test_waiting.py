"""Nobody waits for ever.

With one clock for a cache, a task that woke on a crowded vCPU was placed at the time of the fastest
one; a SCHED_IDLE task waited until the kernel's watchdog ended the scheduler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from scx_vsched.vm.job import GUEST_DIR, Step
from scx_vsched.vm.machine import Shape

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Guests

pytestmark = [pytest.mark.vm, pytest.mark.alone]

OBJECT = f"{GUEST_DIR}/core.bpf.o"
MAX_WAIT_S = 3


@pytest.fixture(scope="module")
def crowd(guests: Guests, core_object: Path) -> dict[str, Any]:
    """What the job brought back from its VM."""
    outcome = guests.run(
        "long-term",
        [
            Step("guest_waiting:crowd", {"object_path": OBJECT, "max_wait_s": MAX_WAIT_S}, "crowd"),
        ],
        files={"core.bpf.o": core_object},
        shape=Shape(cpus="3"),
        timeout_s=300,
    )
    assert outcome.steps[0].ok, outcome.steps[0].traceback
    result: dict[str, Any] = outcome.steps[0].value
    return result


def test_a_sleeper_wakes_on_a_crowded_vcpu(crowd: dict[str, Any]) -> None:
    assert crowd["exit_info"] is None
    # four spinners of one slice each, and the host's own noise
    assert crowd["nap_s"] < 0.5


def test_the_smallest_weight_runs_within_the_bound(crowd: dict[str, Any]) -> None:
    assert crowd["rescued"] >= 1
    # the bound, its granularity, and 36 slices of those that were started just before, on vCPUs
    # that a busy host may give half of its time only; 56 s were seen without a bound
    assert crowd["idle_s"] < MAX_WAIT_S + 4
