"""Guest side of the VM tests: how fairly CPU time is shared, and what schedulers survive."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.vm.guest_sched import attached
from scx_vsched.vm.guest_verify import exercise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scx_vsched.vm.agent import Guest

CGROUPS = Path("/sys/fs/cgroup")
CPUS = Path("/sys/devices/system/cpu")
SETTLE_S = 1.0


@contextlib.contextmanager
def _hogs(
    nices: list[int], weights: list[int], cpu: int | None
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Spinning processes, one for each nice value, each in a cgroup of its weight (0: none)."""
    groups = [CGROUPS / f"hog{number}" for number in range(len(nices))]
    running = []
    try:
        for nice, weight, group in zip(nices, weights, groups, strict=True):
            process = subprocess.Popen(["nice", "-n", str(nice), "sh", "-c", "while :; do :; done"])
            running.append(process)
            if cpu is not None:
                os.sched_setaffinity(process.pid, {cpu})
            if weight:
                group.mkdir()
                (group / "cpu.weight").write_text(str(weight))
                (group / "cgroup.procs").write_text(str(process.pid))
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()
        for group in groups:
            if group.exists():
                group.rmdir()


def _ran_ns(process: subprocess.Popen[bytes]) -> int:
    return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[0])


def _online(cpu: int, online: bool) -> None:
    (CPUS / f"cpu{cpu}" / "online").write_text("1" if online else "0")


def share(
    guest: Guest,
    object_path: str,
    seconds: float,
    nices: list[int],
    weights: list[int],
    pinned: bool,
) -> dict[str, Any]:
    """CPU time that hogs get of one vCPU in `seconds`, in nanoseconds, under the scheduler.

    `pinned` binds them to the last vCPU by affinity; otherwise every vCPU but the first is taken
    offline while the scheduler is attached.
    """
    del guest
    others = range(1, os.cpu_count() or 1)
    with attached(object_path) as scheduler:
        if not pinned:
            for cpu in others:
                _online(cpu, False)
        try:
            with _hogs(nices, weights, max(others) if pinned else None) as hogs:
                time.sleep(SETTLE_S)
                before = [_ran_ns(hog) for hog in hogs]
                time.sleep(seconds)
                after = [_ran_ns(hog) for hog in hogs]
        finally:
            if not pinned:
                for cpu in others:
                    _online(cpu, True)
        return {
            "ran_ns": [now - then for then, now in zip(before, after, strict=True)],
            "exit_info": scheduler.exit_info(),
        }


@contextlib.contextmanager
def _hotplug() -> Iterator[list[int]]:
    """Take vCPUs offline and online for the length of the block; yields the number of times."""
    done = threading.Event()
    count = [0]
    errors: list[OSError] = []

    def toggle() -> None:
        cpus = list(range(1, os.cpu_count() or 1))
        while not done.is_set():
            for online in (False, True):
                for cpu in cpus:
                    try:
                        _online(cpu, online)
                    except OSError as error:
                        errors.append(error)
                done.wait(0.2)
            count[0] += 1

    thread = threading.Thread(target=toggle)
    thread.start()
    try:
        yield count
    finally:
        done.set()
        thread.join()
        for cpu in range(1, os.cpu_count() or 1):
            _online(cpu, True)
    if errors:
        raise RuntimeError(f"hotplug failed {len(errors)} times, first: {errors[0]}")


def _left(name: str, seconds: float) -> list[str]:
    """Processes called `name` that are still there after `seconds`, each with its state.

    Zombies are none: the guest's init overlooks one now and then when many end at once.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = []
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                text = status.read_text()
                if text.startswith(f"Name:\t{name}") and "State:\tZ" not in text:
                    state = text.partition("State:\t")[2].partition("\n")[0]
                    allowed = text.partition("Cpus_allowed_list:\t")[2].partition("\n")[0]
                    stack = (status.parent / "stack").read_text()
                    found.append(f"{status.parent.name} {state}, vCPUs {allowed}: {stack}")
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def stress(guest: Guest, object_path: str, stressor: str, seconds: int) -> dict[str, Any]:
    """Run a stress-ng stressor under the scheduler while vCPUs come and go.

    `finished` is false where stress-ng was still there a minute after its time: a lost task.
    """
    argv = [
        *("stress-ng", f"--{stressor}", "4", "--timeout", str(seconds)),
        *("--temp-path", "/tmp", "--metrics-brief"),
    ]
    with attached(object_path) as scheduler:
        with _hotplug() as toggles:
            process = subprocess.Popen(
                argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            try:
                output = process.communicate(timeout=seconds + 60)[0]
            except subprocess.TimeoutExpired:
                process.kill()
                output = process.communicate()[0]
                output += "\n(was killed)"
            state = guest.scheduler_state()
        return {
            "finished": "(was killed)" not in output,
            "exit_code": process.returncode,
            "output": output[-2000:],
            "hotplugs": toggles[0],
            "state": state,
            "exit_info": scheduler.exit_info(),
            "stats": scheduler.stats(),
            "left": _left("stress-ng", 10),
        }


def work(guest: Guest, object_path: str, seconds: float) -> dict[str, Any]:
    """Messages and spinners under the scheduler; what each vCPU that is there did."""
    before = _busy_ticks()
    result = exercise(guest, object_path, seconds)
    after = _busy_ticks()
    return {
        **result,
        "busy_ticks": {cpu: after[cpu] - before[cpu] for cpu in before},
        "nodes": sorted(path.name for path in Path("/sys/devices/system/node").glob("node[0-9]*")),
    }


def _busy_ticks() -> dict[str, int]:
    rows = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    return {
        row[0]: sum(int(field) for field in row[1:4])
        for row in rows
        if row[0].startswith("cpu") and row[0] != "cpu"
    }


def hang(guest: Guest) -> None:
    """Never end."""
    del guest
    while True:
        time.sleep(60)


def crash(guest: Guest) -> None:
    """Bring the kernel down."""
    del guest
    Path("/proc/sysrq-trigger").write_text("c")
