"""The default policy in guests of odd shapes: more possible than online vCPUs, nodes without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scx_vsched.topology.sysfs import parse_cpu_list
from scx_vsched.vm.job import GUEST_DIR, Step
from scx_vsched.vm.machine import Shape

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Guests

pytestmark = pytest.mark.vm

# Two sockets of two cores with two threads, of which two vCPUs never come up: to the scheduler they
# are as if absent. (Absent ones cannot be had under TCG: where Linux knows no hypervisor it ignores
# what ACPI says of them.) Two nodes with vCPUs and a third that has memory only.
ODD = Shape(
    cpus="8,sockets=2,cores=2,threads=2",
    kernel_args=("maxcpus=6",),
    memory="2G",
    numa=("768M,cpus=0-3", "768M,cpus=4-7", "512M"),
    distances=("0,1=20", "0,2=30", "1,2=30"),
)


@pytest.mark.parametrize("role", ["oldest", "newest"])
def test_odd_topology(guests: Guests, core_object: Path, role: str) -> None:
    arguments = {"object_path": f"{GUEST_DIR}/core.bpf.o", "seconds": 5.0}
    outcome = guests.run(
        role,
        [Step("guest_jobs:work", arguments)],
        files={"core.bpf.o": core_object},
        shape=ODD,
        timeout_s=600,
    )
    step = outcome.steps[0]
    assert step.ok, step.traceback
    assert outcome.facts["possible"] == "0-7"
    # one thread of each core comes first
    assert len(parse_cpu_list(outcome.facts["online"])) == 6
    assert step.value["nodes"] == ["node0", "node1", "node2"]
    assert step.value["exit_info"] is None, step.value["exit_info"]["summary"]
    assert step.value["state"] == "enabled"
    # Spinners outnumber the vCPUs, so each must have been used on both nodes.
    assert len(step.value["busy_ticks"]) == 6
    assert min(step.value["busy_ticks"].values()) > 50, step.value["busy_ticks"]
    assert outcome.scheduler == "disabled"
