"""Control groups around single threads: bandwidth and freezing, in version 1 and version 2.

Version 1 takes threads one by one (`tasks`) in the hierarchies of the controllers `cpu` and
`freezer`; version 2 needs the process in a group whose children are threaded
(Documentation/admin-guide/cgroup-v2.rst, "Threads"). Groups are named after the process that made
them and its start time, so that leftovers of a process that is gone can be told from groups in use.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Groups", "Hierarchies", "find_hierarchies", "owner_name", "remove", "remove_stale"]

_PREFIX = "scx_vsched-"
_REMOVE_S = 5.0  # threads leave a group only after they have been thawed and have exited
# The VM goes before everything else, so that what is taken from it is what the profile takes.
_SHARES_MAX, _WEIGHT_MAX = 262_144, 10_000


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """Where control groups are mounted, as far as this project uses them.

    `cpu` and `freezer` are version 1; `unified` is version 2, `unified_cpu` whether it has the
    controller `cpu`.
    """

    cpu: Path | None = None
    freezer: Path | None = None
    unified: Path | None = None
    unified_cpu: bool = False

    @property
    def roots(self) -> tuple[Path, ...]:
        """Every mount, for those who look for leftovers."""
        found = (self.cpu, self.freezer, self.unified)
        return tuple(dict.fromkeys(root for root in found if root is not None))


def find_hierarchies(mountinfo: str | None = None) -> Hierarchies:
    """The hierarchies in `mountinfo`, the text of /proc/self/mountinfo (default: ours)."""
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    v1: dict[str, Path] = {}
    unified = None
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        place = Path(before.split()[4])
        if kind == "cgroup2":
            unified = unified or place
        elif kind == "cgroup":
            for option in options.split(","):
                v1.setdefault(option, place)
    controllers = ""
    if unified is not None:
        with contextlib.suppress(OSError):
            controllers = (unified / "cgroup.controllers").read_text()
    return Hierarchies(v1.get("cpu"), v1.get("freezer"), unified, "cpu" in controllers.split())


def owner_name(pid: int) -> str | None:
    """The name of groups that process `pid` makes; None when there is no such process."""
    try:
        # The command name may hold spaces and parentheses; the fields follow the last one.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return f"{_PREFIX}{pid}-{fields[19]}"  # the start time, in clock ticks since boot


def remove_stale(hierarchies: Hierarchies) -> list[str]:
    """Remove groups of processes that are gone; their names."""
    gone = []
    for root in hierarchies.roots:
        for group in root.glob(f"{_PREFIX}*"):
            pid = group.name.removeprefix(_PREFIX).partition("-")[0]
            if pid.isdigit() and owner_name(int(pid)) != group.name:
                remove(hierarchies, group.name)
                gone.append(group.name)
    return sorted(set(gone))


def remove(hierarchies: Hierarchies, name: str) -> bool:
    """Thaw, empty and remove the groups `name`; False when some could not be removed."""
    pending = [root / name for root in hierarchies.roots]
    deadline = time.monotonic() + _REMOVE_S
    while True:
        pending = [group for group in pending if not _removed(group)]
        if not pending or time.monotonic() > deadline:
            return not pending
        time.sleep(0.02)


def _removed(group: Path) -> bool:
    if not group.is_dir():
        return True
    for each in (*_children(group), group):
        _thaw(each)
        _empty(each, group.parent)
    try:
        for child in _children(group):
            child.rmdir()
        group.rmdir()
    except OSError:
        return False
    return True


def _children(group: Path) -> list[Path]:
    return [path for path in group.iterdir() if path.is_dir()]


def _thaw(group: Path) -> None:
    for name, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
        if (group / name).exists():
            with contextlib.suppress(OSError):
                (group / name).write_text(value)


def _empty(group: Path, into: Path) -> None:
    """Move everything in `group` to `into`; version 1 by threads, version 2 by processes."""
    unified = (group / "cgroup.freeze").exists()
    source = "cgroup.threads" if unified else "tasks"
    with contextlib.suppress(OSError):
        for tid in (group / source).read_text().split():
            with contextlib.suppress(OSError):
                if unified:
                    (into / "cgroup.procs").write_text(_process_of(tid))
                else:
                    (into / "tasks").write_text(tid)


def _process_of(tid: str) -> str:
    for line in Path(f"/proc/{tid}/status").read_text().splitlines():
        if line.startswith("Tgid:"):
            return line.split()[1]
    return tid


class Groups:
    """Groups of one thread each, for the threads of process `pid`, made by this process.

    `remove` ends them, which a keeper does (see keeper.py) and not this class: restoring must work
    the same way however this process ends.
    """

    def __init__(self, hierarchies: Hierarchies, pid: int, threads: Mapping[int, int]) -> None:
        """Make the groups for `threads` (vCPU: thread id).

        Raises:
            UserError: no control groups that could be used, or they cannot be written to.
        """
        self._hierarchies = hierarchies
        name = owner_name(os.getpid())
        assert name is not None  # noqa: S101 - this process exists
        self.name = name
        self._pid, self._threads = pid, dict(threads)
        self._ready: set[Path] = set()

    def set_quota(self, vcpu: int, quota_us: int | None, period_us: int) -> None:
        """Limit vCPU's thread to `quota_us` in `period_us`; None lifts the limit."""
        h = self._hierarchies
        if h.cpu is None and not h.unified_cpu:
            raise UserError(
                "this host has no control groups for CPU bandwidth",
                "mount cgroup2, with the controller cpu, on /sys/fs/cgroup",
            )
        if h.cpu is not None:
            group = self._v1_group(h.cpu, vcpu)
            # In this order every step is valid, whatever was set before.
            self._write(group / "cpu.cfs_quota_us", "-1")
            if quota_us is not None:
                self._write(group / "cpu.cfs_period_us", str(period_us))
                self._write(group / "cpu.cfs_quota_us", str(quota_us))
        else:
            group = self._v2_group(vcpu)
            limit = "max 100000" if quota_us is None else f"{quota_us} {period_us}"
            self._write(group / "cpu.max", limit)

    def freezer(self, vcpu: int) -> tuple[Path, str, str]:
        """The file that freezes vCPU's thread, and what to write to freeze and to thaw it."""
        h = self._hierarchies
        if h.freezer is not None:
            return self._v1_group(h.freezer, vcpu) / "freezer.state", "FROZEN", "THAWED"
        if h.unified is not None:
            return self._v2_group(vcpu) / "cgroup.freeze", "1", "0"
        raise UserError("this host has no freezer", "mount cgroup2 on /sys/fs/cgroup")

    def throttled(self, vcpu: int) -> tuple[int, int] | None:
        """How often bandwidth control stopped vCPU's thread, and for how long in ns."""
        h = self._hierarchies
        for root in (h.cpu, h.unified if h.unified_cpu else None):
            if root is not None:
                return _throttled(root / self.name / f"vcpu{vcpu}" / "cpu.stat")
        return None

    def _v1_group(self, root: Path, vcpu: int) -> Path:
        parent, group = root / self.name, root / self.name / f"vcpu{vcpu}"
        if group not in self._ready:
            self._make(parent)
            if (parent / "cpu.shares").exists():
                self._write(parent / "cpu.shares", str(_SHARES_MAX))
            self._make(group)
            self._write(group / "tasks", str(self._threads[vcpu]))
            self._ready.add(group)
        return group

    def _v2_group(self, vcpu: int) -> Path:
        root = self._hierarchies.unified
        assert root is not None  # noqa: S101 - the callers looked
        parent = root / self.name
        group = parent / f"vcpu{vcpu}"
        if group not in self._ready:
            if parent not in self._ready:
                with_cpu = self._hierarchies.unified_cpu
                if with_cpu:
                    self._write(root / "cgroup.subtree_control", "+cpu")
                self._make(parent)
                self._write(parent / "cgroup.procs", str(self._pid))
                for each in self._threads:
                    self._make(parent / f"vcpu{each}")
                    self._write(parent / f"vcpu{each}" / "cgroup.type", "threaded")
                if with_cpu:
                    self._write(parent / "cgroup.subtree_control", "+cpu")
                    self._write(parent / "cpu.weight", str(_WEIGHT_MAX))
                self._ready.add(parent)
            self._write(group / "cgroup.threads", str(self._threads[vcpu]))
            self._ready.add(group)
        return group

    def _make(self, group: Path) -> None:
        try:
            group.mkdir(exist_ok=True)
        except OSError as error:
            raise self._refused(group, error) from None

    def _write(self, path: Path, text: str) -> None:
        try:
            path.write_text(text)
        except OSError as error:
            raise self._refused(path, error) from None

    @staticmethod
    def _refused(path: Path, error: OSError) -> UserError:
        return UserError(
            f"the host's control groups cannot be changed: {path}: {error.strerror}",
            "shaping a VM needs root on the host, and control groups that are not read-only",
        )


def _throttled(path: Path) -> tuple[int, int] | None:
    try:
        fields = dict(_pairs(path.read_text().splitlines()))
    except OSError:
        return None
    time_ns = fields.get("throttled_time", fields.get("throttled_usec", 0) * 1000)
    return fields.get("nr_throttled", 0), time_ns


def _pairs(lines: Iterable[str]) -> Iterator[tuple[str, int]]:
    for line in lines:
        name, _, value = line.partition(" ")
        if value.isdigit():
            yield name, int(value)
