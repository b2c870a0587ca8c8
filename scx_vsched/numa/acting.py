"""Does what was planned, and undoes all of it at the end."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING

from scx_vsched.numa.files import read
from scx_vsched.numa.homes import AffinityHomes
from scx_vsched.numa.irqs import Helpers, put_back
from scx_vsched.numa.migrate import KernelMemory
from scx_vsched.numa.policies import Kind
from scx_vsched.numa.processes import parse_stat
from scx_vsched.numa.records import MoveRecord
from scx_vsched.numa.saved import Saved

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from scx_vsched.numa.files import Skips
    from scx_vsched.numa.homes import Homes
    from scx_vsched.numa.migrate import MemoryMover
    from scx_vsched.numa.observing import View
    from scx_vsched.numa.planning import Group, Plan, Step
    from scx_vsched.numa.saved import SavedFile
    from scx_vsched.numa.settings import Places, Settings

    type Who = tuple[int, int]

__all__ = ["Actor"]

_PAGE = 4096  # what migrate_pages counts in is the system's page; a guest's is this, or larger


class Actor:
    """Binds processes, moves memory, interrupts and workqueues; `homes` says who is bound where.

    The scheduler that binds may end and another one begin: `bind_with` says so.
    """

    def __init__(
        self,
        settings: Settings,
        skips: Skips,
        places: Places,
        saved: SavedFile,
        memory: MemoryMover | None = None,
    ) -> None:
        self.homes: dict[Who, int] = {}
        self._settings = settings
        self._skips = skips
        self._proc = places.proc
        self._saved = saved
        self._memory = memory or KernelMemory()
        self._helpers = Helpers(skips, places.proc, places.sys)
        self._held: set[Who] = set()
        self._binder: Homes | None = None
        self._lock = threading.Lock()

    def bind_with(self, homes: Homes | None) -> None:
        """Bind with `homes` from now on, all that was bound too; None while there is nothing."""
        with self._lock:
            self._release()
            self._binder = homes
            for (pid, start), node in list(self.homes.items()):
                if homes is None:
                    continue
                try:
                    self._set(pid, start, node, 0)
                except OSError as error:
                    self._skips.note("moves", error)
                    del self.homes[pid, start]

    @property
    def ready(self) -> bool:
        """Whether anything can be done: a scheduler is at work, or nothing is to be done anyway."""
        return self._binder is not None or self._settings.dry_run

    def act(self, plan: Plan, view: View) -> list[MoveRecord]:
        """Do it; what was done. Nothing of it is an error: what vanished or refused is counted."""
        with self._lock:
            if not self.ready:
                return []
            self._forget(view.processes.keys())
            for group in plan.released:
                for who in group.members:
                    self._remove(who)
            for group in view.groups:
                self._hold(group)
            records = [record for step in plan.steps if (record := self._step(step, view))]
            if records and self._settings.policy.kind is Kind.COARSE:
                self._move_helpers(plan.steps[-1].target, view)
            return records

    def undo(self) -> None:
        """Everything is as it was before, but for memory: it stays where it is."""
        with self._lock:
            self._release()
            self.homes.clear()
            put_back(self._helpers.before, self._skips)
            self._helpers.before.clear()
            self._saved.remove()

    def _hold(self, group: Group) -> None:
        """Keep those that are fixed where they are, once and for all."""
        for who in group.firm:
            if who in self._held or self._settings.dry_run:
                continue
            self._held.add(who)
            try:
                self._set(*who, group.node, sum(group.memory.values()), fixed=True)
            except OSError as error:
                self._skips.note("fixed", error)

    def _release(self) -> None:
        """What binds binds nobody any more."""
        self._held.clear()
        if self._binder is not None:
            try:
                self._binder.clear()
            except OSError as error:
                self._skips.note("homes", error)

    def _step(self, step: Step, view: View) -> MoveRecord | None:
        """None where nobody of the group could be bound, or somebody refused: then none of them."""
        former = {who: self.homes.get(who) for who in step.group.members}
        if self._settings.dry_run:
            there = [who for who in step.group.members if who not in step.group.still]
        else:
            there = []
            for who in step.group.members:
                if who in step.group.still:
                    continue  # it is where the others go
                try:
                    if former[who] != step.target:
                        self._set(*who, step.target, sum(step.group.memory.values()))
                except ProcessLookupError as error:
                    self._skips.note("moves", error)
                    continue
                except OSError as error:
                    self._skips.note("moves", error)
                    self._take_back(there, former)
                    return None
                self.homes[who] = step.target
                there.append(who)
        if not there:
            return None
        size, stayed = step.memory_bytes, 0
        if self._settings.keep_memory:
            size = 0
        elif size and not self._settings.dry_run:
            pids = [pid for pid, start in there if former[pid, start] != step.target]
            stayed = min(size, sum(self._move_memory(pid, step) for pid in pids))
        return MoveRecord(
            view.at_s,
            tuple(pid for pid, _ in there),
            step.group.name,
            step.source,
            step.target,
            size - stayed,
            stayed,
            step.why,
        )

    def _take_back(self, members: Sequence[Who], former: Mapping[Who, int | None]) -> None:
        """A group never splits: where one refuses, the others go back to where they were bound."""
        for who in members:
            node = former[who]
            if node is None:
                self._remove(who)
                continue
            self.homes[who] = node
            try:
                self._set(*who, node, 0)
            except OSError as error:
                self._skips.note("moves", error)

    def _set(
        self, pid: int, start: int, node: int, memory_bytes: int, *, fixed: bool = False
    ) -> None:
        """Bind the process to `node`; raises OSError."""
        assert self._binder is not None  # noqa: S101 - `act` looks first
        try:
            if parse_stat(read(f"{self._proc}/{pid}/stat")).start != start:
                raise ProcessLookupError(errno.ESRCH, "another process has its number")
        except (FileNotFoundError, ValueError):
            raise ProcessLookupError(errno.ESRCH, "it is gone") from None
        if isinstance(self._binder, AffinityHomes) and not fixed:
            self._save((pid, start, node))
        self._binder.set(pid, node, fixed=fixed, memory_bytes=memory_bytes)

    def _remove(self, who: Who) -> None:
        if self.homes.pop(who, None) is not None and self._binder is not None:
            try:
                self._binder.remove(who[0])
            except OSError as error:
                self._skips.note("moves", error)

    def _forget(self, alive: Collection[Who]) -> None:
        """The scheduler need not remember those that are gone."""
        self._held &= set(alive)
        bound = {pid for pid, _ in self.homes.keys() & alive}
        for who in self.homes.keys() - alive:
            if who[0] in bound:
                del self.homes[who]  # its number belongs to another one that is bound
            else:
                self._remove(who)

    def _move_memory(self, pid: int, step: Step) -> int:
        """Move its memory; the bytes that stayed, all of the group's where that failed."""
        try:
            return self._memory.move(pid, step.group.memory, step.target) * _PAGE
        except OSError as error:
            self._skips.note("memory", error)
            return step.memory_bytes

    def _move_helpers(self, target: int, view: View) -> None:
        if self._settings.dry_run:
            return
        self._helpers.look()
        self._save()
        for node in view.nodes:
            if node.id == target:
                self._helpers.move(node.cpus)

    def _save(self, about: tuple[int, int, int] | None = None) -> None:
        """Keep what is to be undone; `about` to be bound is (number, start, node)."""
        bound = self._binder.bound if isinstance(self._binder, AffinityHomes) else None
        if bound and about:
            bound = bound.with_one(*about)
        self._saved.save(Saved(self._saved.owner(), dict(self._helpers.before), bound))
