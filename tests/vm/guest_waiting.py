"""Guest side of tests/vm/test_waiting.py: tasks that must not wait for ever."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.vm.guest_sched import attached

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scx_vsched.vm.agent import Guest

SPIN = ["sh", "-c", "while :; do :; done"]
NAP_S = 0.01


@contextlib.contextmanager
def _spinning(count: int, vcpus: set[int]) -> Iterator[list[subprocess.Popen[bytes]]]:
    running = []
    try:
        for _ in range(count):
            process = subprocess.Popen(SPIN)
            running.append(process)
            os.sched_setaffinity(process.pid, vcpus)
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def _longest_nap(seconds: float) -> float:
    """How much later than asked a sleep ends, at worst."""
    worst, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        before = time.monotonic()
        time.sleep(NAP_S)
        worst = max(worst, time.monotonic() - before - NAP_S)
    return worst


def _longest_wait(pid: int, seconds: float) -> float:
    """The longest time for which the task `pid`, which spins, did not run."""
    clock = Path(f"/proc/{pid}/schedstat")
    worst, ran, since, end = 0.0, "", time.monotonic(), time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        current = clock.read_text().split()[0]
        if current != ran:
            ran, since = current, now
        worst = max(worst, now - since)
        time.sleep(0.1)
    return worst


def crowd(guest: Guest, object_path: str, max_wait_s: int) -> dict[str, Any]:
    """Crowd vCPU 1 while vCPU 0 runs one task, and see who waits there.

    `nap_s` is by how much a pinned sleeper beside four spinners oversleeps, `idle_s` how long a
    SCHED_IDLE task waits at most while 30 more spinners join.
    """
    with (
        attached(object_path, {"max_wait_s": max_wait_s}) as scheduler,
        _spinning(1, {0}),
        _spinning(4, {1}),
    ):
        guest.progress("letting the clocks diverge")
        time.sleep(8)
        os.sched_setaffinity(0, {1})
        nap = _longest_nap(3)
        os.sched_setaffinity(0, {0, 1})
        guest.progress("crowding a SCHED_IDLE task")
        with _spinning(1, {1}) as lowest:
            os.sched_setscheduler(lowest[0].pid, os.SCHED_IDLE, os.sched_param(0))
            time.sleep(3)
            with _spinning(30, {1}):
                idle = _longest_wait(lowest[0].pid, 14)
        return {
            "nap_s": nap,
            "idle_s": idle,
            "rescued": scheduler.stats()["rescued"],
            "exit_info": scheduler.exit_info(),
        }
