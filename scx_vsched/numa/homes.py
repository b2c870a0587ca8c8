"""What binds processes to nodes: the scheduler's own homes, or affinities where it has none.

Affinities are what the thesis's script used. They work under any scheduler, but a task that is
bound cannot help itself when its node is full.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from scx_vsched.numa.files import names_in, read
from scx_vsched.numa.processes import parse_stat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scx_vsched.numa.files import Skips
    from scx_vsched.numa.nodes import NumaNode

__all__ = ["Affinity", "AffinityHomes", "Bound", "Homes", "KernelAffinity"]

_INIT = 1

type Cpus = set[int]


class Homes(Protocol):
    """Binds processes (by number) to nodes (by the kernel's number); raises OSError."""

    def set(self, tgid: int, node: int, *, fixed: bool = False, memory_bytes: int = 0) -> None:
        """Bind a process with all its threads; `fixed` ones stay whatever happens."""

    def remove(self, tgid: int) -> None:
        """Bind it no more; nothing happens to one that is not bound."""

    def clear(self) -> None:
        """Bind none."""


class Affinity(Protocol):
    """Where a thread may run; raises OSError."""

    def get(self, tid: int) -> Cpus:
        """The vCPUs that it may use."""

    def set(self, tid: int, cpus: Cpus) -> None:
        """Let it use these only."""


class KernelAffinity:
    """The kernel's affinities."""

    def get(self, tid: int) -> Cpus:
        """The vCPUs that thread `tid` may use."""
        return os.sched_getaffinity(tid)

    def set(self, tid: int, cpus: Cpus) -> None:
        """Let thread `tid` use `cpus` only."""
        os.sched_setaffinity(tid, cpus)


@dataclass(frozen=True, slots=True)
class Bound:
    """What was bound: processes (number, start), the nodes used, ticks at which it all began."""

    processes: tuple[tuple[int, int], ...]
    nodes: tuple[int, ...]
    since: int

    def with_one(self, pid: int, start: int, node: int) -> Bound:
        """The same with one more process, bound to `node`."""
        return Bound(
            tuple({**dict(self.processes), pid: start}.items()),
            tuple(sorted({*self.nodes, node})),
            self.since,
        )


class AffinityHomes:
    """Homes as affinities of threads. `clear` puts back what was there, in descendants too.

    A process that somebody else has bound cannot be moved. Children inherit affinities: who is
    bound to a node that was used here, and descends from a process that was moved, gets all vCPUs
    back; an orphan, whose parents are not known any more, does if it was born meanwhile.
    """

    def __init__(
        self,
        nodes: Sequence[NumaNode],
        skips: Skips,
        *,
        proc: str = "/proc",
        affinity: Affinity | None = None,
        bound: Bound | None = None,
    ) -> None:
        """`bound` is what another one had bound, for this one to clear."""
        self._cpus = {node.id: set(node.cpus) for node in nodes}
        self._all = set().union(*self._cpus.values())
        self._skips = skips
        self._proc = proc
        self._affinity = affinity or KernelAffinity()
        before = bound or Bound((), (), self._youngest())
        self._moved = {pid: start for pid, start in before.processes if self._start(pid) == start}
        self._used = set(before.nodes)
        self._born = before.since

    def set(self, tgid: int, node: int, *, fixed: bool = False, memory_bytes: int = 0) -> None:
        """Raises PermissionError for a process that somebody else has bound."""
        del memory_bytes
        if fixed:
            return  # it is left as its owner wants it
        threads = self._threads(tgid)
        if not threads:
            raise ProcessLookupError(f"process {tgid} is gone")
        own = self._sets()
        for tid in threads:
            found = self._get(tid)
            if found and not found >= self._all and not (found in own and self._descends(tgid)):
                raise PermissionError(f"process {tgid} is bound by somebody else")
        self._moved[tgid] = self._start(tgid)
        self._used.add(node)
        for tid in threads:
            self._put(tid, self._cpus[node])

    @property
    def bound(self) -> Bound:
        """What `clear` would undo."""
        return Bound(tuple(self._moved.items()), tuple(sorted(self._used)), self._born)

    def remove(self, tgid: int) -> None:
        """Let it run anywhere again."""
        if tgid in self._moved:
            self._free(tgid, self._sets())

    def clear(self) -> None:
        """Let all of them run anywhere again, with what they have started meanwhile."""
        own = self._sets()
        if own:
            for name in names_in(self._proc):
                if name.isdigit() and self._descends(int(name)):
                    self._free(int(name), own)
        self._moved.clear()
        self._used.clear()

    def _free(self, tgid: int, own: Sequence[Cpus]) -> None:
        for tid in self._threads(tgid):
            if self._get(tid) in own:
                self._put(tid, self._all)

    def _sets(self) -> list[Cpus]:
        return [self._cpus[node] for node in self._used if node in self._cpus]

    def _descends(self, tgid: int) -> bool:
        """Whether it was moved, or comes of one that was, as far as that can be known."""
        young = False
        while tgid > _INIT:
            if tgid in self._moved:
                return True
            try:
                stat = parse_stat(read(f"{self._proc}/{tgid}/stat"))
            except (OSError, ValueError):
                return False
            if stat.kernel:
                return False
            young, tgid = stat.start >= self._born, stat.parent
        return young and tgid == _INIT

    def _youngest(self) -> int:
        """When the youngest process was born, in ticks since boot."""
        numbers = [int(name) for name in names_in(self._proc) if name.isdigit()]
        return max(map(self._start, numbers), default=0)

    def _start(self, pid: int) -> int:
        """When process `pid` was born, -1 for none."""
        try:
            return parse_stat(read(f"{self._proc}/{pid}/stat")).start
        except (OSError, ValueError):
            return -1

    def _threads(self, tgid: int) -> list[int]:
        return [int(tid) for tid in names_in(f"{self._proc}/{tgid}/task")]

    def _get(self, tid: int) -> Cpus:
        try:
            return self._affinity.get(tid)
        except OSError as error:
            self._skips.note("affinities", error)
            return set()

    def _put(self, tid: int, cpus: Cpus) -> None:
        try:
            self._affinity.set(tid, cpus)
        except OSError as error:
            self._skips.note("affinities", error)
