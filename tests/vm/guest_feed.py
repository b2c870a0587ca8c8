"""Guest side of tests/vm/test_feed.py: the topology changes while the scheduler is at work."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import shutil
import struct
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.runtime.session import document_topology, fed
from scx_vsched.topology.convert import build_topology
from scx_vsched.topology.domains import numbered
from scx_vsched.topology.measure import Activity, VCpuMeasure
from scx_vsched.topology.prediction import Forecast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scx_vsched.bpf.feed import Feed
    from scx_vsched.bpf.loader import Attached, SchedulerObject
    from scx_vsched.topology.model import Topology
    from scx_vsched.vm.agent import Guest

CPUS = Path("/sys/devices/system/cpu")
VCPUS = 4
SPIN = ["sh", "-c", "while :; do :; done"]
NAP_S = 0.004
CHANGE_S = 0.1
ADVANCE_S = 20.0  # at most, for every queue to be used
HOTPLUG_S = 60.0

libc = ctypes.CDLL(None)


@dataclasses.dataclass(frozen=True, slots=True)
class Scheduler:
    """A scheduler at work, and what feeds it."""

    obj: SchedulerObject
    feed: Feed
    running: Attached

    def clock(self, vcpu: int) -> int:
        """The vCPU's virtual time, ns; `struct vcpu` in templates/guest/maps.h.j2."""
        return int(struct.unpack_from("=Q", self.obj.map("vcpus").read(vcpu), 24)[0])

    def caches(self) -> list[tuple[int, int, int, int]]:
        """Each cache's virtual time, waiting tasks, and online vCPUs in both topologies."""
        table = self.obj.map("vcpus")
        return [struct.unpack_from("=QIII", table.read(index), 64) for index in range(VCPUS)]

    def exit_summary(self) -> str | None:
        """Why it left, or None while it is at work."""
        info = self.running.exit_info()
        return info.summary() if info else None


@contextlib.contextmanager
def _scheduler(object_path: str, topology: Topology | None = None) -> Iterator[Scheduler]:
    with (
        fed(Path(object_path), topology=topology, timeout_ms=8000) as (obj, feed),
        obj.attach() as running,
    ):
        yield Scheduler(obj, feed, running)


def topology(
    *,
    llcs: Sequence[int] = (0, 0, 0, 0),
    nodes: Sequence[int] = (0, 0, 0, 0),
    stacks: Sequence[int] = (0, 1, 2, 3),
    capacities: Mapping[int, int] | None = None,
) -> Topology:
    """Four vCPUs in these caches, nodes and stacks; capacities of 1024 unless given."""
    domains = numbered(
        {v: (stacks[v], stacks[v], llcs[v], nodes[v], nodes[v]) for v in range(VCPUS)}
    )
    measures = {
        vcpu: VCpuMeasure(capacity=capacity, activity=Activity(100.0, 3e6, 3e6, 3e6))
        for vcpu, capacity in (capacities or {}).items()
    }
    return build_topology(domains, measures, llc_distance=lambda _a, _b: 1.0)


def _changing() -> list[Topology]:
    """One after the other, each with another placement than the one before."""
    return [
        topology(llcs=(0, 0, 1, 1)),
        topology(llcs=(0, 1, 2, 3)),
        topology(llcs=(0, 1, 0, 1), capacities={2: 500}),
        topology(llcs=(0, 0, 1, 1), nodes=(0, 0, 1, 1)),
        topology(stacks=(0, 0, 2, 3)),
        topology(llcs=(0, 1, 2, 3), nodes=(0, 1, 0, 1), capacities={0: 100, 3: 900}),
    ]


@contextlib.contextmanager
def _running(*argvs: Sequence[str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes = []
    try:
        for argv in argvs:
            processes.append(
                subprocess.Popen(argv, stdout=subprocess.DEVNULL, start_new_session=True)
            )
        yield processes
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
        for process in processes:
            process.wait()


def _ran_ns(process: subprocess.Popen[bytes]) -> int:
    return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[0])


def _all_advanced(before: Sequence[tuple[int, ...]], after: Sequence[tuple[int, ...]]) -> bool:
    """Whether the clock of every cache's queue has moved on."""
    return all(b[0] > a[0] for a, b in zip(before, after, strict=True))


def change(guest: Guest, object_path: str, rounds: int) -> dict[str, Any]:
    """Change the topology six times a round under spinners and, where installed, messages.

    `progress_ns` is what each spinner ran in the last two seconds, without changes.
    """
    messages = [["hackbench", "-g", "2", "-l", "1000000"]] if shutil.which("hackbench") else []
    with (
        _scheduler(object_path, topology()) as scheduler,
        _running(*[SPIN] * (2 * VCPUS), *messages) as processes,
    ):
        time.sleep(0.5)
        alone = scheduler.caches()
        moves, slowest = 0, 0.0
        for one in _changing() * rounds:
            before = time.monotonic()
            moves += scheduler.feed.update(one)
            slowest = max(slowest, time.monotonic() - before)
            time.sleep(CHANGE_S)
        guest.progress(f"{moves} changes")
        apart = [scheduler.caches(), scheduler.caches()]
        started = time.monotonic()
        # a vCPU of a busy host may be away for a second
        while time.monotonic() - started < ADVANCE_S and not _all_advanced(*apart):
            time.sleep(0.2)
            apart[1] = scheduler.caches()
        before_ns = [_ran_ns(process) for process in processes[: 2 * VCPUS]]
        time.sleep(2)
        after_ns = [_ran_ns(process) for process in processes[: 2 * VCPUS]]
        return {
            "moves": moves,
            "slowest_s": slowest,
            "epoch": scheduler.feed.epoch,
            "fixed": scheduler.feed.fixed,
            "stats": scheduler.running.stats(),
            "alone": [cache[0] for cache in alone],
            "apart": [[cache[0] for cache in caches] for caches in apart],
            "progress_ns": [b - a for a, b in zip(before_ns, after_ns, strict=True)],
            "state": guest.scheduler_state(),
            "exit": scheduler.exit_summary(),
        }


@contextlib.contextmanager
def _hotplug(vcpu: int) -> Iterator[list[int]]:
    """Take a vCPU offline and online for the length of the block; yields the number of times."""
    done, count = threading.Event(), [0]
    switch = CPUS / f"cpu{vcpu}" / "online"

    def toggle() -> None:
        while not done.is_set():
            switch.write_text("0")
            done.wait(0.05)
            switch.write_text("1")
            done.wait(0.05)
            count[0] += 1

    thread = threading.Thread(target=toggle)
    thread.start()
    try:
        yield count
    finally:
        done.set()
        thread.join()


def hotplug(guest: Guest, object_path: str, times: int) -> dict[str, Any]:
    """Change the topology while vCPU 3 comes and goes; what each cache counts in the end."""
    with _scheduler(object_path) as scheduler, _running(*[SPIN] * (VCPUS + 1)) as processes:
        with _hotplug(VCPUS - 1) as toggles:
            moves, end = 0, time.monotonic() + HOTPLUG_S
            while toggles[0] < times and time.monotonic() < end:
                for one in _changing():
                    moves += scheduler.feed.update(one)
        scheduler.feed.update(topology(llcs=(0, 0, 0, 1)))
        scheduler.feed.update(topology(llcs=(0, 1, 2, 2)))
        before_ns = [_ran_ns(process) for process in processes]
        time.sleep(2)
        copy = scheduler.feed.epoch & 1
        return {
            "moves": moves,
            "hotplugs": toggles[0],
            "counted": [cache[2 + copy] for cache in scheduler.caches()],
            "progress_ns": [
                _ran_ns(process) - before
                for process, before in zip(processes, before_ns, strict=True)
            ],
            "state": guest.scheduler_state(),
            "exit": scheduler.exit_summary(),
        }


def _wakes(last: int, count: int = 50) -> dict[int, int]:
    """Where a task wakes that last ran on the vCPU `last`, time and again."""
    seen: Counter[int] = Counter()
    for _ in range(count):
        os.sched_setaffinity(0, {last})
        time.sleep(NAP_S)
        os.sched_setaffinity(0, range(VCPUS))
        time.sleep(NAP_S)
        seen[libc.sched_getcpu()] += 1
    return dict(seen)


def avoid(guest: Guest, object_path: str) -> dict[str, Any]:
    """Where a task wakes that last ran on vCPU 1: equal, weak, stacked, the only idle one."""
    del guest
    with _scheduler(object_path, topology()) as scheduler:
        found: dict[str, Any] = {"equal": _wakes(1)}
        scheduler.feed.update(topology(capacities={1: 300}))
        found["weak"] = _wakes(1)
        scheduler.feed.update(topology(stacks=(0, 0, 2, 3)))
        found["stacked"] = _wakes(1)
        scheduler.feed.update(topology(stacks=(0, 0, 2, 3), llcs=(0, 0, 1, 1)))
        found["stacked, another cache"] = _wakes(1)
        with _running(*[SPIN] * (VCPUS - 1)) as spinners:
            for spinner, vcpu in zip(spinners, (0, 2, 3), strict=True):
                os.sched_setaffinity(spinner.pid, {vcpu})
            time.sleep(0.2)
            found["only idle one"] = _wakes(1)
        found["stats"] = scheduler.running.stats()
        found["exit"] = scheduler.exit_summary()
        return found


def document(guest: Guest, object_path: str, topology_path: str) -> dict[str, Any]:
    """Where a task wakes that last ran on vCPU 1, by what a document says of the vCPUs."""
    del guest
    with _scheduler(object_path, document_topology(Path(topology_path))) as scheduler:
        return {
            "capacities": [vcpu.capacity for vcpu in scheduler.feed.topology.vcpus],
            "wakes": _wakes(1),
            "exit": scheduler.exit_summary(),
        }


def capacity(guest: Guest, object_path: str, seconds: float) -> dict[str, Any]:
    """By how much a vCPU's virtual time advances for what its one spinner ran, per capacity."""
    del guest
    with _scheduler(object_path, topology()) as scheduler, _running(SPIN) as (spinner,):
        os.sched_setaffinity(spinner.pid, {2})
        rates = {}
        for share in (1024, 256, 512):
            scheduler.feed.update(topology(capacities={2: share}))
            time.sleep(0.1)  # one slice at least, so that what comes is charged anew
            ran, vtime = _ran_ns(spinner), scheduler.clock(2)
            time.sleep(seconds)
            rates[share] = (scheduler.clock(2) - vtime) / (_ran_ns(spinner) - ran)
        activity = scheduler.feed.activity(2)
        scheduler.feed.note_probed(12345, {1: Forecast(67890, 4e6, 0.9, None)})
        return {
            "rates": rates,
            "epoch": scheduler.feed.epoch,
            "capacities": scheduler.running.stats()["capacities"],
            "heartbeat_age_ns": time.monotonic_ns() - activity[0],
            "probed": [scheduler.feed.activity(vcpu)[5:] for vcpu in (0, 1)],
            "exit": scheduler.exit_summary(),
        }
