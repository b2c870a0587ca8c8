"""Guest side of tests/vm/test_numa.py: processes that have homes on NUMA nodes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.bpf.homes import Homes
from scx_vsched.errors import UserError
from scx_vsched.runtime.session import fed
from scx_vsched.topology.sysfs import read_kernel_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scx_vsched.bpf.loader import Attached
    from scx_vsched.vm.agent import Guest

SPIN = ["sh", "-c", "while :; do :; done"]
FORKER = ["sh", "-c", "while :; do (i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done); done"]
FOLLOW_S = 20.0
POLL_S = 0.02
HUGE = 1 << 40


@contextlib.contextmanager
def _spinning(count: int, command: Sequence[str] = SPIN) -> Iterator[list[int]]:
    running = [subprocess.Popen(command, start_new_session=True) for _ in range(count)]
    try:
        yield [process.pid for process in running]
    finally:
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()


def _nodes_of(pids: Sequence[int]) -> list[int]:
    """The node on which each last ran: field 39 of /proc/PID/stat."""
    of_vcpu = read_kernel_nodes().of_vcpu
    found = []
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        found.append(of_vcpu[int(fields[36])])
    return found


def _until(pids: Sequence[int], nodes: Sequence[int]) -> float:
    """Seconds until all run where they shall; the bound if they do not."""
    start = time.monotonic()
    while (waited := time.monotonic() - start) < FOLLOW_S:
        if _nodes_of(pids) == list(nodes):
            return waited
        time.sleep(POLL_S)
    return FOLLOW_S


def _seen(pids: Sequence[int], seconds: float) -> list[list[int]]:
    """The nodes on which each was seen in that time."""
    seen: list[set[int]] = [set() for _ in pids]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for nodes, node in zip(seen, _nodes_of(pids), strict=True):
            nodes.add(node)
        time.sleep(POLL_S)
    return [sorted(nodes) for nodes in seen]


def _stats(running: Attached) -> dict[str, int]:
    return {name: count for name, count in running.stats().items() if name.startswith("numa")}


def stay(guest: Guest, object_path: str, seconds: float) -> dict[str, Any]:
    """Two processes stay where they were told, follow when they are told otherwise."""
    del guest
    with fed(Path(object_path), timeout_ms=8000) as (obj, _), obj.attach() as running:
        homes = Homes(obj)
        with _spinning(2) as pids:
            for pid, node in zip(pids, (3, 1), strict=True):
                homes.set(pid, node, fixed=True)
            first = _until(pids, (3, 1))
            kept = _seen(pids, seconds)
            start = time.monotonic()
            for pid, node in zip(pids, (0, 2), strict=True):
                homes.set(pid, node, fixed=True)
            told = time.monotonic() - start
            second = _until(pids, (0, 2))
            moved = _seen(pids, seconds)
            try:
                homes.set(pids[0], 9)
                refused = ""
            except UserError as error:
                refused = error.message
        time.sleep(0.5)
        info = running.exit_info()
        return {
            "nodes": homes.nodes(),
            "first_s": first,
            "second_s": second,
            "told_s": told,
            "kept": kept,
            "moved": moved,
            "refused": refused,
            "left": len(list(obj.map("homes").keys())),
            "stats": _stats(running),
            "exit": info.summary() if info else None,
        }


def _vcpus_of_children(parent: int) -> list[int]:
    """Where each last ran; fields 4 and 39 of /proc/PID/stat, which every kernel has."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found.append(int(fields[36]))
    return found


def children(guest: Guest, object_path: str, sightings: int) -> dict[str, Any]:
    """What a process forks stays at its home."""
    del guest
    of_vcpu = read_kernel_nodes().of_vcpu
    with fed(Path(object_path), timeout_ms=8000) as (obj, _), obj.attach() as running:
        homes = Homes(obj)
        with _spinning(1, FORKER) as pids:
            homes.set(pids[0], 2, fixed=True)
            seen: list[int] = []
            start = time.monotonic()
            # a look at all processes is slow in an emulated guest
            while len(seen) < sightings and time.monotonic() - start < FOLLOW_S:
                seen += [of_vcpu[vcpu] for vcpu in _vcpus_of_children(pids[0])]
                time.sleep(POLL_S)
        info = running.exit_info()
        return {"seen": seen, "exit": info.summary() if info else None}


def crowd(guest: Guest, object_path: str, seconds: float) -> dict[str, Any]:
    """Processes crowd one node: those with little memory cross, those with much of it wait."""
    del guest
    results: dict[str, Any] = {}
    for name, memory in (("small", 1), ("huge", HUGE)):
        with fed(Path(object_path), timeout_ms=8000) as (obj, _), obj.attach() as running:
            homes = Homes(obj)
            with _spinning(4) as pids:
                for pid in pids:
                    homes.set(pid, 1, memory_bytes=memory)
                time.sleep(2)
                results[name] = {"seen": _seen(pids, seconds), "stats": _stats(running)}
            info = running.exit_info()
            results[name]["exit"] = info.summary() if info else None
    return {**results, "exit": results["small"].pop("exit") or results["huge"].pop("exit")}


def _ran_ns(pid: int) -> int:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def offline(guest: Guest, object_path: str) -> dict[str, Any]:
    """All vCPUs of a node go offline under processes that are fixed there, and come back."""
    del guest
    node = 3
    vcpus = [vcpu for vcpu, on in enumerate(read_kernel_nodes().of_vcpu) if on == node]
    switches = [Path(f"/sys/devices/system/cpu/cpu{vcpu}/online") for vcpu in vcpus]
    with fed(Path(object_path), timeout_ms=8000) as (obj, _), obj.attach() as running:
        homes = Homes(obj)
        with _spinning(3) as pids:
            for pid in pids:
                homes.set(pid, node, fixed=True)
            _until(pids, (node, node, node))
            try:
                for switch in switches:
                    switch.write_text("0")
                before = [_ran_ns(pid) for pid in pids]
                time.sleep(2)
                after = [_ran_ns(pid) for pid in pids]
            finally:
                for switch in switches:
                    switch.write_text("1")
            back = _until(pids, (node, node, node))
        info = running.exit_info()
        return {
            "progress_ns": [now - then for now, then in zip(after, before, strict=True)],
            "back_s": back,
            "exit": info.summary() if info else None,
        }
