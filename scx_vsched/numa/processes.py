"""The processes of this machine, and what CPU each of them wants.

A thread wants the time that it ran and the time that it waited for a vCPU: two threads that share
one vCPU want two. Both are in schedstat (Documentation/scheduler/sched-stats.rst). Threads are
looked at only in processes that ran since the last look; anything may vanish at any moment.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.numa.files import names_in, read
from scx_vsched.topology.model import FULL_CAPACITY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scx_vsched.numa.files import Skips

__all__ = ["Process", "Stat", "Watcher", "parse_stat"]

_KERNEL_THREAD = 0x00200000  # PF_KTHREAD of include/linux/sched.h, in the field `flags`
_REAL_TIME = frozenset({1, 2, 6})  # SCHED_FIFO, SCHED_RR, SCHED_DEADLINE
_GONE = frozenset("ZXx")
_FORGET_KERNEL_S = 30.0
_INIT = 1  # what it starts would inherit where it is bound
_LEAST_AGE_S = 0.2  # of a process, for its load to say anything


@dataclass(frozen=True, slots=True)
class Stat:
    """What /proc/PID/stat or /proc/PID/task/TID/stat says; times in ticks of the clock."""

    comm: str
    state: str
    parent: int
    kernel: bool
    ran: int
    nice: int
    threads: int
    start: int
    cpu: int
    real_time: bool


@dataclass(frozen=True, slots=True)
class Process:
    """A process of user space.

    `load` is the CPU that it wants, 1024 for a vCPU; `by_cpu` says where its threads last ran, by
    the same measure. `active` says whether it ran since the look before. `key` tells it from
    others of the same number.
    """

    pid: int
    start: int
    comm: str
    uid: int
    nice: int
    real_time: bool
    cgroup: str
    threads: int
    load: float
    by_cpu: Mapping[int, float]
    active: bool

    @property
    def key(self) -> tuple[int, int]:
        """Number and start: what no other process ever has."""
        return self.pid, self.start


@dataclass(slots=True)
class _Known:
    """What was read of a process before; `threads` are ns by thread: (ran, waited)."""

    at_s: float
    ran: int
    threads: dict[int, tuple[int, int]]
    cgroup: str
    uid: int


def parse_stat(text: str) -> Stat:
    """Raises ValueError for what is no such line."""
    head, _, rest = text.rpartition(")")
    fields = rest.split()
    if len(fields) < 39:
        raise ValueError(f"not a line of stat: {text[:80]!r}")
    return Stat(
        comm=head.partition("(")[2],
        state=fields[0],
        parent=int(fields[1]),
        kernel=bool(int(fields[6]) & _KERNEL_THREAD),
        ran=int(fields[11]) + int(fields[12]),
        nice=int(fields[16]),
        threads=int(fields[17]),
        start=int(fields[19]),
        cpu=int(fields[36]),
        real_time=int(fields[38]) in _REAL_TIME,
    )


class Watcher:
    """Looks at all processes again and again; loads are of the time between two looks."""

    def __init__(self, skips: Skips, proc: str = "/proc", tick_hz: int = 0) -> None:
        self._proc = proc
        self._skips = skips
        self._hz = tick_hz or os.sysconf("SC_CLK_TCK")
        self._known: dict[tuple[int, int], _Known] = {}
        self._kernel: set[int] = set()
        self._forget_s = 0.0
        self._left_alone = {_INIT, os.getpid()}

    def look(self, now_s: float) -> list[Process]:
        """All processes but kernel threads, init and this one; `now_s` is seconds since boot.

        The load of one that was not seen before is that of its life, if it is young.
        """
        if now_s >= self._forget_s:  # numbers are used again some day
            self._kernel.clear()
            self._forget_s = now_s + _FORGET_KERNEL_S
        found: list[Process] = []
        known: dict[tuple[int, int], _Known] = {}
        for name in names_in(self._proc):
            if not name.isdigit():
                continue
            pid = int(name)
            if pid in self._kernel or pid in self._left_alone:
                continue
            try:
                process, seen = self._process(pid, now_s)
            except OSError as error:
                self._skips.note("processes", error)
                continue
            except ValueError:
                self._skips["processes: unreadable"] += 1
                continue
            if process is not None and seen is not None:
                found.append(process)
                known[process.key] = seen
        self._known = known
        return found

    def _process(self, pid: int, now_s: float) -> tuple[Process | None, _Known | None]:
        folder = f"{self._proc}/{pid}"
        stat = parse_stat(read(f"{folder}/stat"))
        if stat.kernel:
            self._kernel.add(pid)
            return None, None
        if stat.state in _GONE:
            return None, None
        before = self._known.get((pid, stat.start))
        if before is None:
            cgroup, uid = _cgroup(read(f"{folder}/cgroup")), os.stat(folder).st_uid  # noqa: PTH116 - fast
            born_s = stat.start / self._hz
            young = now_s - born_s < _FORGET_KERNEL_S and now_s - born_s >= _LEAST_AGE_S
            before = _Known(born_s if young else now_s, 0 if young else stat.ran, {}, cgroup, uid)
        wall_s = now_s - before.at_s
        active = stat.ran > before.ran
        threads = before.threads
        by_cpu: dict[int, float] = {}
        if wall_s > 0 and (active or threads):
            by_cpu, threads = self._threads(pid, stat, before, wall_s)
        load = sum(by_cpu.values())
        process = Process(
            pid,
            stat.start,
            stat.comm,
            before.uid,
            stat.nice,
            stat.real_time,
            before.cgroup,
            stat.threads,
            load,
            by_cpu,
            active,
        )
        threads = threads if active or load else {}
        return process, _Known(now_s, stat.ran, threads, before.cgroup, before.uid)

    def _threads(
        self, pid: int, stat: Stat, before: _Known, wall_s: float
    ) -> tuple[dict[int, float], dict[int, tuple[int, int]]]:
        """What the threads want by the vCPU where they last ran, and what they have had by now."""
        by_cpu: dict[int, float] = {}
        now: dict[int, tuple[int, int]] = {}
        strange: list[int] = []  # vCPUs of threads that had not been looked at before
        for name in names_in(f"{self._proc}/{pid}/task"):
            folder = f"{self._proc}/{pid}/task/{name}"
            try:
                cpu = stat.cpu if stat.threads == 1 else parse_stat(read(f"{folder}/stat")).cpu
                ran, waited = (int(word) for word in read(f"{folder}/schedstat").split()[:2])
            except (OSError, ValueError):
                self._skips["threads: vanished or without schedstat"] += 1
                continue
            now[int(name)] = ran, waited
            last = before.threads.get(int(name))
            if last is None:
                strange.append(cpu)
                continue
            wanted = max(0, ran - last[0]) + max(0, waited - last[1])
            by_cpu[cpu] = by_cpu.get(cpu, 0.0) + min(1.0, wanted / 1e9 / wall_s) * FULL_CAPACITY
        # Of threads that are seen for the first time the process's own account must do.
        ran_s = (stat.ran - before.ran) / self._hz
        rest = ran_s / wall_s * FULL_CAPACITY - sum(by_cpu.values())
        if rest > 0 and (strange or not by_cpu):
            places = strange or [stat.cpu]
            share = min(FULL_CAPACITY, rest / len(places))
            for cpu in places:
                by_cpu[cpu] = by_cpu.get(cpu, 0.0) + share
        return by_cpu, now


def _cgroup(text: str) -> str:
    """The path of the cgroup of version 2, without the slash in front; else that of the first."""
    lines = text.splitlines()
    for line in lines:
        if line.startswith("0::"):
            return line[3:].lstrip("/")
    return lines[0].rpartition(":")[2].lstrip("/") if lines else ""
