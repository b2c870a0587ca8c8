"""Guest side of the VM tests: the recorder of tasks, written in Python, at work."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

from scx_vsched.sim.recorder import activity, as_text, record
from scx_vsched.sim.sched_trace import trace_workload

if TYPE_CHECKING:
    from scx_vsched.vm.agent import Guest

LOAD = "while :; do sleep 0.1; done"


def watch(guest: Guest, seconds: float) -> dict[str, Any]:
    """Records processes that come and go, and reads the record as a workload."""
    guest.progress("recording")
    load = subprocess.Popen(["sh", "-c", LOAD])
    try:
        found = record(seconds)
    finally:
        load.kill()
        load.wait()
    workload = trace_workload(as_text(found), "record")
    return {
        "lost": found.lost,
        "programs": sorted({program.name.split()[0] for program in workload.programs}),
        "busy": [vcpu.busy_ns / (found.end_ns - found.start_ns) for vcpu in activity(found)],
    }
