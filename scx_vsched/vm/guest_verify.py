"""Guest side of `vm verify`: objects through this kernel's verifier, and at work for a moment."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.bpf.feed import feed_constants
from scx_vsched.bpf.loader import SchedulerObject
from scx_vsched.topology import claimed_topology
from scx_vsched.vm.guest_sched import attached

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scx_vsched.vm.agent import Guest

__all__ = ["exercise", "verify_object"]


def verify_object(guest: Guest, object_path: str, vcpus: int = 0) -> dict[str, Any]:
    """Load the object and let go of it: per program what the verifier did, and the load's time.

    The verifier takes the number of vCPUs as constant; `vcpus` is that of a large guest in place of
    this guest's own, so that loops over them are walked as far as they go.
    """
    del guest
    with SchedulerObject.open(Path(object_path)) as obj:
        feed_constants(obj, vcpus or len(claimed_topology().vcpus))
        started = time.monotonic()
        obj.load(verifier_stats=True)
        load_ms = (time.monotonic() - started) * 1000
        return {
            "load_ms": round(load_ms, 1),
            "programs": [dataclasses.asdict(program) for program in obj.programs],
        }


def exercise(guest: Guest, object_path: str, seconds: float) -> dict[str, Any]:
    """Attach the object, keep every vCPU busy for `seconds`, detach.

    Returns the statistics, why it left if it did, and sched_ext's state while it was at work.
    """
    with attached(object_path) as scheduler:
        with _load():
            time.sleep(seconds)
            state = guest.scheduler_state()
        return {
            "attach_ms": round(scheduler.attach_ms, 1),
            "state": state,
            "stats": scheduler.stats(),
            "exit_info": scheduler.exit_info(),
        }


@contextlib.contextmanager
def _load() -> Iterator[None]:
    """Spinners, more than vCPUs, and messages between many tasks where hackbench is installed."""
    argvs = [["sh", "-c", "while :; do :; done"]] * ((os.cpu_count() or 1) + 1)
    if shutil.which("hackbench"):
        argvs.append(["hackbench", "-g", "2", "-l", "1000000"])
    running = [
        subprocess.Popen(argv, stdout=subprocess.DEVNULL, start_new_session=True) for argv in argvs
    ]
    try:
        yield
    finally:
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
        for process in running:
            process.wait()
