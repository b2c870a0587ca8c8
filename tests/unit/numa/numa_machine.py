"""A machine in a folder: /proc and /sys as far as the balancer reads them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - it is called
from typing import TYPE_CHECKING

from scx_vsched.numa.settings import Places

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HZ = 100
KERNEL_THREAD = 0x00200000
MIB = 1 << 20


@dataclass
class Task:
    """A process of one thread, or of as many as `cpus` names vCPUs."""

    pid: int
    comm: str = "worker"
    cpus: tuple[int, ...] = (0,)
    nice: int = 0
    parent: int = 1
    start: int = 100
    kernel: bool = False
    real_time: bool = False
    cgroup: str = ""
    run_ns: dict[int, int] = field(default_factory=dict)
    wait_ns: dict[int, int] = field(default_factory=dict)
    state: str = "S"
    # Memory: (node, MiB) of anonymous pages, and shared mappings (inode, node, MiB, rights).
    own: dict[int, int] = field(default_factory=dict)
    shared: list[tuple[int, int, int, str]] = field(default_factory=list)
    pipes: tuple[int, ...] = ()


class Machine:
    """Writes the files; `run` lets time pass."""

    def __init__(self, root: Path, nodes: int = 4, vcpus: int = 2, distance: int = 20) -> None:
        self.root = root
        self.places = Places(str(root / "proc"), str(root / "sys"))
        self.proc, self.sys = root / "proc", root / "sys"
        self.now_s = 1000.0
        self.tasks: dict[int, Task] = {}
        self.affinity: dict[int, set[int]] = {}
        self.cpus = {n: tuple(range(n * vcpus, (n + 1) * vcpus)) for n in range(nodes)}
        everything = [cpu for cpus in self.cpus.values() for cpu in cpus]
        base = self.sys / "devices/system/node"
        self._put(base / "online", f"0-{nodes - 1}" if nodes > 1 else "0")
        for node, cpus in self.cpus.items():
            folder = base / f"node{node}"
            self._put(folder / "cpulist", ",".join(map(str, cpus)))
            row = [10 if node == other else distance for other in self.cpus]
            self._put(folder / "distance", " ".join(map(str, row)))
            self._put(
                folder / "meminfo",
                f"Node {node} MemTotal:       1048576 kB\nNode {node} MemFree:         524288 kB\n",
            )
        self._put(self.sys / "devices/system/cpu/online", f"0-{everything[-1]}")
        self._put(self.sys / "devices/virtual/workqueue/cpumask", "ff\n")
        self.irqs = {24: "0-7", 25: "3"}
        for irq, text in self.irqs.items():
            self._put(self.proc / f"irq/{irq}/smp_affinity_list", text + "\n")
        self._put(self.proc / "stat", "cpu  0 0 0 0 0 0 0 0 0 0\n")

    @property
    def all_cpus(self) -> set[int]:
        return {cpu for cpus in self.cpus.values() for cpu in cpus}

    def add(self, *tasks: Task) -> None:
        """Tasks that may run anywhere, and write their files."""
        for task in tasks:
            self.tasks[task.pid] = task
            for number in range(len(task.cpus)):
                self.affinity[task.pid + number] = self.all_cpus
            self._write(task)

    def end(self, pid: int) -> None:
        """The process is gone."""
        del self.tasks[pid]
        shutil.rmtree(self.proc / str(pid))

    def move(self, pid: int, *cpus: int) -> None:
        """Its threads run on these vCPUs from now on."""
        self.tasks[pid].cpus = cpus
        self._write(self.tasks[pid])

    def run(self, seconds: float, wants: Mapping[int, float]) -> None:
        """Time passes; each thread of the processes in `wants` wants that part of a vCPU."""
        self.now_s += seconds
        for pid, part in wants.items():
            task = self.tasks[pid]
            for number in range(len(task.cpus)):
                task.run_ns[number] = task.run_ns.get(number, 0) + int(seconds * part * 1e9)
            self._write(task)

    def clock(self) -> float:
        """Seconds since boot."""
        return self.now_s

    def get(self, tid: int) -> set[int]:
        """A thread's affinity."""
        if tid not in self.affinity:
            raise ProcessLookupError(3, "No such process")
        return set(self.affinity[tid])

    def set(self, tid: int, cpus: set[int]) -> None:
        """Change a thread's affinity."""
        self.get(tid)
        self.affinity[tid] = set(cpus)

    def _write(self, task: Task) -> None:
        folder = self.proc / str(task.pid)
        ticks = sum(task.run_ns.values()) * HZ // 1_000_000_000
        self._put(folder / "stat", _stat(task, task.cpus[0], ticks))
        self._put(folder / "cgroup", f"0::/{task.cgroup}\n")
        for number, cpu in enumerate(task.cpus):
            thread = folder / "task" / str(task.pid + number)
            self._put(thread / "stat", _stat(task, cpu, ticks))
            ran, waited = task.run_ns.get(number, 0), task.wait_ns.get(number, 0)
            self._put(thread / "schedstat", f"{ran} {waited} 5\n")
        maps, numa = _mappings(task)
        self._put(folder / "maps", maps)
        self._put(folder / "numa_maps", numa)
        self._put(folder / "smaps_rollup", "55 ---p 0 0:0 0 [rollup]\nRss: 4096 kB\nPss: 4096 kB\n")
        (folder / "fd").mkdir(exist_ok=True)
        for number, inode in enumerate(task.pipes):
            link = folder / "fd" / str(number)
            if not link.is_symlink():
                link.symlink_to(f"pipe:[{inode}]")  # whose mode says both ends, as a socket's does

    @staticmethod
    def _put(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _stat(task: Task, cpu: int, ticks: int) -> str:
    fields = ["0"] * 50
    fields[0], fields[1] = task.state, str(task.parent)
    fields[6] = str(KERNEL_THREAD if task.kernel else 0)
    fields[11], fields[16], fields[17] = str(ticks), str(task.nice), str(len(task.cpus))
    fields[19], fields[36] = str(task.start), str(cpu)
    fields[38] = "1" if task.real_time else "0"
    return f"{task.pid} ({task.comm}) {' '.join(fields)}\n"


def _mappings(task: Task) -> tuple[str, str]:
    """maps and numa_maps."""
    maps = ["00400000-00401000 r-xp 00000000 08:01 77 /bin/worker"]
    numa = ["00400000 default file=/bin/worker mapped=1 N0=1 kernelpagesize_kB=4"]
    pages = {node: size * 256 for node, size in task.own.items()}
    if pages:
        text = " ".join(f"N{node}={count}" for node, count in pages.items())
        maps.append("10000000-20000000 rw-p 00000000 00:00 0 [heap]")
        numa.append(f"10000000 default anon={sum(pages.values())} {text} kernelpagesize_kB=4")
    for number, (inode, node, size, rights) in enumerate(task.shared):
        start = 0x70000000 + number * 0x1000000
        maps.append(f"{start:08x}-{start + 0x1000000:08x} {rights} 00000000 00:01 {inode} /memfd:x")
        numa.append(f"{start:08x} default file=/memfd:x dirty=1 N{node}={size * 256} "
                    "kernelpagesize_kB=4")  # fmt: skip
    return "\n".join(maps) + "\n", "\n".join(numa) + "\n"


class Binder:
    """Stands where a scheduler's homes would be; `refuses` and `gone` fail."""

    def __init__(self) -> None:
        self.homes: dict[int, int] = {}
        self.fixed: set[int] = set()
        self.refuses: set[int] = set()
        self.calls: list[tuple[int, int]] = []

    def set(self, tgid: int, node: int, *, fixed: bool = False, memory_bytes: int = 0) -> None:
        assert memory_bytes >= 0
        if tgid in self.refuses:
            raise PermissionError(1, "Operation not permitted")
        self.homes[tgid] = node
        self.calls.append((tgid, node))
        if fixed:
            self.fixed.add(tgid)

    def remove(self, tgid: int) -> None:
        self.homes.pop(tgid, None)

    def clear(self) -> None:
        self.homes.clear()
        self.fixed.clear()


class Memory:
    """Moves memory of a Machine's tasks."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.moved = 0

    def move(self, pid: int, sources: Iterable[int], target: int) -> int:
        task = self._machine.tasks.get(pid)
        if task is None:
            raise ProcessLookupError(3, "No such process")
        for node in [node for node in sources if node != target]:
            size = task.own.pop(node, 0)
            self.moved += size * MIB
            task.own[target] = task.own.get(target, 0) + size
            task.shared = [
                (i, target if at == node else at, mib, rights) for i, at, mib, rights in task.shared
            ]
        self._machine._write(task)
        return 0
