"""The balancer: looks, plans, acts, and says what it did."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from scx_vsched.numa.acting import Actor
from scx_vsched.numa.budget import ByteBudget, MoveLog
from scx_vsched.numa.files import Skips
from scx_vsched.numa.nodes import read_nodes, with_cpus
from scx_vsched.numa.observing import Observer, View
from scx_vsched.numa.planning import Plan, plan
from scx_vsched.numa.records import GroupState, NodeState, Round
from scx_vsched.numa.saved import SavedFile
from scx_vsched.numa.settings import Places, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scx_vsched.numa.homes import Affinity, Homes
    from scx_vsched.numa.migrate import MemoryMover

__all__ = ["Balancer", "boot_s"]

_LAST_MOVES = 50  # that are told


def boot_s() -> float:
    """Seconds since boot, by which the kernel says when processes were born."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Balancer:
    """Balances one machine in rounds; `undo` puts everything back."""

    def __init__(
        self,
        settings: Settings,
        lost: Callable[[], Mapping[int, float]],
        *,
        places: Places | None = None,
        saved: SavedFile | None = None,
        clock: Callable[[], float] = boot_s,
        affinity: Affinity | None = None,
        memory: MemoryMover | None = None,
    ) -> None:
        """`lost` says what each vCPU lacks of its capacity, 1024 for all of it.

        Raises UserError on a machine of one node.
        """
        places = places or Places()
        with_cpus(read_nodes(places.sys))
        self.settings = settings
        self.skips = Skips()
        self.actor = Actor(
            settings,
            self.skips,
            places,
            saved or SavedFile(proc=places.proc, sys=places.sys),
            memory,
        )
        self.last: Round | None = None
        self._observer = Observer(settings, self.skips, places, lost, affinity)
        self._clock = clock
        self._log = MoveLog()
        self._budget = ByteBudget(settings.budget_bytes_s, clock())
        self._moves: deque[dict[str, Any]] = deque(maxlen=_LAST_MOVES)
        self._totals = {"rounds": 0, "moves": 0, "memory_bytes": 0, "stayed_bytes": 0}

    def bind_with(self, homes: Homes | None) -> None:
        """Bind processes with `homes` from now on; None while no scheduler is at work."""
        self.actor.bind_with(homes)

    def round(self) -> Round:
        """Look, plan and act once."""
        now_s = self._clock()
        view = self.look(now_s)
        self._log.keep_only(view.processes.keys())
        found = Plan(())
        if self.actor.ready:
            found = plan(
                self.settings.policy,
                view.loads,
                view.groups,
                self.settings.damping,
                budget_bytes=self._budget.left(now_s),
                most_bytes=int(self._budget.most),
            )
        records = self.actor.act(found, view)
        for step in found.steps:
            if step.source != step.target:  # who refused rests as well
                self._log.note(step.group.members, now_s)
            for who in step.group.members:
                self._observer.moved(who)
        for record in records:
            self._budget.spend(record.memory_bytes)
            self._totals["memory_bytes"] += record.memory_bytes
            self._totals["stayed_bytes"] += record.stayed_bytes
            self._moves.append(asdict(record))
        self._totals["rounds"] += 1
        self._totals["moves"] += sum(record.source != record.target for record in records)
        self.last = Round(
            now_s,
            _nodes(view),
            self._groups(view),
            tuple(records),
            found.waiting,
            found.too_big,
        )
        return self.last

    def look(self, now_s: float | None = None) -> View:
        """Look only: loads are of the time since the look before."""
        at_s = self._clock() if now_s is None else now_s
        return self._observer.look(
            at_s,
            self.actor.homes,
            lambda members: self._log.rested(members, at_s, self.settings.damping),
        )

    def undo(self) -> None:
        """Put everything back but memory, which stays where it is."""
        self.actor.undo()

    def status(self) -> dict[str, Any]:
        """What there is and what was done, in what JSON can hold."""
        last = self.last
        return {
            "policy": str(self.settings.policy),
            "dry_run": self.settings.dry_run,
            "period_s": self.settings.period_s,
            "budget_bytes_s": self.settings.budget_bytes_s,
            "now_s": self._clock(),
            "at_s": last.at_s if last else None,
            "nodes": [asdict(node) for node in last.nodes] if last else [],
            "groups": [asdict(group) for group in last.groups] if last else [],
            "waiting": last.waiting if last else 0,
            "too_big": last.too_big if last else 0,
            "moves": list(self._moves),
            "totals": {**self._totals, "most_moves_per_minute": self._log.most_per_minute},
            "skipped": dict(self.skips),
        }

    def _groups(self, view: View) -> tuple[GroupState, ...]:
        homes = self.actor.homes
        return tuple(
            GroupState(
                tuple(pid for pid, _ in group.members),
                group.name,
                next((homes[who] for who in group.members if who in homes), group.node),
                round(group.load, 1),
                sum(group.memory.values()),
                group.fixed,
                any(who in homes for who in group.members),
            )
            for group in view.groups
        )


def _nodes(view: View) -> tuple[NodeState, ...]:
    loads = {load.node: load for load in view.loads}
    return tuple(
        NodeState(
            node.id,
            len(node.cpus),
            loads[node.id].capacity if node.id in loads else 0.0,
            round(loads[node.id].lost, 1) if node.id in loads else 0.0,
            round(loads[node.id].used, 1) if node.id in loads else 0.0,
            node.memory_bytes,
            node.free_bytes,
        )
        for node in view.nodes
    )
