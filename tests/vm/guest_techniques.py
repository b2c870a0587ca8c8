"""Guest side of tests/vm/test_techniques.py: BVS, IVH and RWC by what the scheduler is told.

No vCPU is really taken away here; what is tested is that a real kernel does what the policy asks.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guest_feed import SPIN, VCPUS, _ran_ns, _running, _scheduler, _wakes, topology

LONGEST_S = 20.0

if TYPE_CHECKING:
    import subprocess

    from scx_vsched.vm.agent import Guest


def _vcpu_of(process: subprocess.Popen[bytes]) -> int:
    """Where it runs, or ran last: proc(5), /proc/PID/stat, processor."""
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[36])


def hide(guest: Guest, object_path: str) -> dict[str, Any]:
    """Where a task wakes that last ran on vCPU 3, a straggler, with vCPU 2 idle and busy."""
    del guest
    with (
        _scheduler(object_path, topology()) as scheduler,
        _running(*[SPIN] * (VCPUS - 2)) as others,
        contextlib.ExitStack() as later,
    ):
        for spinner, vcpu in zip(others, range(VCPUS - 2), strict=True):
            os.sched_setaffinity(spinner.pid, {vcpu})
        time.sleep(0.5)
        found: dict[str, Any] = {"equal": _wakes(3)}
        scheduler.feed.update(topology(capacities={3: 100}))
        found["hidden"] = _wakes(3)
        (last,) = later.enter_context(_running(SPIN))
        os.sched_setaffinity(last.pid, {VCPUS - 2})
        time.sleep(0.5)
        found["lent"] = _wakes(3)
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        found["idle class"] = _wakes(3)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        with _running(SPIN) as (pinned,):
            os.sched_setaffinity(pinned.pid, {3})
            time.sleep(1)
            found["pinned_ns"] = _ran_ns(pinned)
        scheduler.feed.update(topology(capacities={3: 900}))
        found["shown"] = _wakes(3)
        found["stats"] = scheduler.running.stats()
        found["exit"] = scheduler.exit_summary()
        return found


def harvest(guest: Guest, object_path: str) -> dict[str, Any]:
    """Where a spinner is that began on a vCPU which is said to be taken away, and one that must."""
    del guest
    shaped = topology(capacities={0: 500, 1: 500, 2: 1000, 3: 1000})
    with _scheduler(object_path, shaped) as scheduler, _running(SPIN, SPIN) as spinners:
        free, stays = spinners
        os.sched_setaffinity(stays.pid, {1})
        # the host takes vCPUs away here, too, and timers come late: then a task stays for now;
        # and whoever waits for a moment is taken by an idle vCPU without being harvested
        end = time.monotonic() + LONGEST_S
        while scheduler.running.stats()["harvests"] < 1 and time.monotonic() < end:
            os.sched_setaffinity(free.pid, {0})
            time.sleep(0.1)
            os.sched_setaffinity(free.pid, range(VCPUS))
            time.sleep(0.5)
        time.sleep(1)
        before = [_ran_ns(spinner) for spinner in spinners]
        time.sleep(1)
        return {
            "vcpus": [_vcpu_of(spinner) for spinner in spinners],
            "ran_ns": [_ran_ns(s) - b for s, b in zip(spinners, before, strict=True)],
            "stats": scheduler.running.stats(),
            "exit": scheduler.exit_summary(),
        }


def bias(guest: Guest, object_path: str) -> dict[str, Any]:
    """Where a small task wakes that last ran on vCPU 1, which is away for 3 ms at once."""
    del guest
    with _scheduler(object_path, topology(capacities={0: 512, 1: 512})) as scheduler:
        return {
            "woke": _wakes(1),
            "stats": scheduler.running.stats(),
            "exit": scheduler.exit_summary(),
        }
