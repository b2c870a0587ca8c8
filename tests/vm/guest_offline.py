"""Guest side of tests/vm/test_offline.py: vCPUs that are offline, or go."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.vm.guest_sched import attached

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scx_vsched.vm.agent import Guest

SPIN = ["sh", "-c", "while :; do :; done"]


@contextlib.contextmanager
def _at_work(*tasks: tuple[list[str], set[int]]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Commands, each on the vCPUs beside it, until the block ends."""
    running = []
    try:
        for argv, vcpus in tasks:
            process = subprocess.Popen(argv)
            running.append(process)
            os.sched_setaffinity(process.pid, vcpus)
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _offline(vcpu: int) -> Iterator[None]:
    switch = Path(f"/sys/devices/system/cpu/cpu{vcpu}/online")
    switch.write_text("0")
    try:
        yield
    finally:
        switch.write_text("1")


def _napper(naps: int) -> list[str]:
    loop = f"import time\nfor _ in range({naps}): time.sleep(0.005)"
    return [sys.executable, "-S", "-c", loop]


def choices(guest: Guest, object_path: str, naps: int) -> dict[str, Any]:
    """Wake a task `naps` times that may not use the idle vCPU beside its own.

    Four vCPUs in two caches, those of the second offline. The task may run on 0, 2 and 3: on more
    than are online, but not on 1. 0 is busy, 1 is idle but for short naps of its own.
    """
    del guest
    with attached(object_path) as scheduler:
        napper = subprocess.Popen(_napper(naps))
        os.sched_setaffinity(napper.pid, {0, 2, 3})
        others = ((SPIN, {0}), (_napper(1_000_000), {1}))
        with _offline(2), _offline(3), _at_work(*others):
            time.sleep(0.5)
            before = scheduler.stats()["idle_llc"]
            napper.wait()
            claimed = scheduler.stats()["idle_llc"] - before
        return {"claimed": claimed, "exit_info": scheduler.exit_info()}


def unplug(guest: Guest, object_path: str, times: int) -> dict[str, Any]:
    """Take vCPU 1 offline and online again `times` times while pinned and free tasks spin."""
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    try:
        with (
            attached(object_path) as scheduler,
            _at_work(*[(SPIN, {1})] * 2, *[(SPIN, everywhere)] * 4),
        ):
            for number in range(times):
                guest.progress(f"unplugging vCPU 1, time {number + 1}")
                with _offline(1):
                    time.sleep(0.2)
                time.sleep(0.2)
            return {"hotplug": scheduler.stats()["hotplug"], "exit_info": scheduler.exit_info()}
    finally:
        os.sched_setaffinity(0, everywhere)
