"""vCPUs that are offline, or go: what has been seen to go wrong there.

- A task allowed on as many vCPUs as were online, some of them offline, was taken for one that may
  run anywhere, and claimed idle vCPUs that it must not use.
- On 6.18 a vCPU that went offline under spinning tasks was seen to wait for ever for the last of
  them (docs/core.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scx_vsched.vm.job import GUEST_DIR, Step
from scx_vsched.vm.machine import Shape

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Guests

pytestmark = pytest.mark.vm

OBJECT = f"{GUEST_DIR}/core.bpf.o"
NAPS = 400
UNPLUGS = 20


def test_no_idle_vcpu_is_claimed_for_who_must_not_use_it(guests: Guests, core_object: Path) -> None:
    outcome = guests.run(
        "newest",
        [Step("guest_offline:choices", {"object_path": OBJECT, "naps": NAPS})],
        files={"core.bpf.o": core_object},
        shape=Shape(cpus="4,sockets=2,cores=2,threads=1"),
        timeout_s=120,
    )
    step = outcome.steps[0]
    assert step.ok, step.traceback
    assert step.value["exit_info"] is None
    # A few are those of other tasks; it was once for each nap.
    assert step.value["claimed"] < NAPS / 10


def test_a_vcpu_goes_offline_under_spinning_tasks(guests: Guests, core_object: Path) -> None:
    outcome = guests.run(
        "long-term",
        [Step("guest_offline:unplug", {"object_path": OBJECT, "times": UNPLUGS})],
        files={"core.bpf.o": core_object},
        shape=Shape(cpus="3"),
        timeout_s=120,
    )
    step = outcome.steps[0]
    assert step.ok, step.traceback
    assert step.value["exit_info"] is None
    assert step.value["hotplug"] == 2 * UNPLUGS
