"""The balancer beside a scheduler at work: a thread, and what the statistics socket answers.

It looks at the nodes' lost capacity several times a second, which costs next to nothing, and
starts a round early when a node changed: its reaction does not wait for the period.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from scx_vsched.errors import UserError
from scx_vsched.numa.balancer import Balancer
from scx_vsched.numa.history import Recorder
from scx_vsched.numa.homes import AffinityHomes
from scx_vsched.numa.load import StealMeter, lost_by_cpu
from scx_vsched.numa.nodes import cpu_nodes, read_nodes
from scx_vsched.numa.saved import SavedFile
from scx_vsched.numa.scheduler_homes import SchedulerHomes
from scx_vsched.numa.settings import Places
from scx_vsched.topology.model import FULL_CAPACITY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from scx_vsched.bpf.loader import SchedulerObject
    from scx_vsched.numa.homes import Homes
    from scx_vsched.numa.settings import Settings
    from scx_vsched.runtime.socket import Command
    from scx_vsched.topology.model import Topology

__all__ = ["NO_BALANCER", "Balancing", "Losses", "changed"]

NO_BALANCER = "the scheduler at work has no balancer"

_LOOK_S = 0.25
_LEAST_BETWEEN_S = 0.5  # two rounds, whatever happens
_STEAL_S = 1.0  # it is counted in ticks: over less than that it says little
_CHANGE = 0.1  # of a node's capacity: what starts a round early


class Losses:
    """What each vCPU lacks: as measured, or by steal while nobody measures."""

    def __init__(self, topology: Callable[[], Topology | None], places: Places) -> None:
        self._topology = topology
        self._steal = StealMeter(places.proc)
        self._stolen: dict[int, float] = {}
        self._at_s = -_STEAL_S

    def __call__(self) -> Mapping[int, float]:
        """1024 for all of a vCPU's time."""
        topology = self._topology()
        if topology is not None:
            return lost_by_cpu(topology)
        now = time.monotonic()
        if now - self._at_s >= _STEAL_S:
            self._stolen, self._at_s = self._steal.lost() or self._stolen, now
        return self._stolen


def changed(before: Mapping[int, float], now: Mapping[int, float]) -> bool:
    """Whether a node's lost share is another one by enough to look at everything."""
    return any(abs(share - before.get(node, 0.0)) >= _CHANGE for node, share in now.items())


class Balancing:
    """Balances while its context is open, with what `following` says binds processes."""

    def __init__(
        self,
        settings: Settings,
        topology: Callable[[], Topology | None],
        say: Callable[[str], None],
        *,
        places: Places | None = None,
        saved: SavedFile | None = None,
    ) -> None:
        """`topology` gives the latest measured one. `say` gets a line for each thing to know.

        Raises UserError on a machine of one node, and for a record that cannot be written.
        """
        places = places or Places()
        self._places = places
        self._say = say
        self._saved = saved or SavedFile(proc=places.proc, sys=places.sys)
        self._losses = Losses(topology, places)
        self._nodes = read_nodes(places.sys)
        self._balancer = Balancer(settings, self._losses, places=places, saved=self._saved)
        self._recorder = Recorder(settings.record, settings) if settings.record else None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="balancer", daemon=True)

    def __enter__(self) -> Self:
        """Raises UserError while another balancer is at work."""
        restored = self._saved.claim()
        if restored is not None:
            self._say(
                f"put back what a balancer left that was killed: {restored.files} files, "
                f"{restored.processes} processes"
            )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._balancer.undo()
        if self._recorder is not None:
            self._recorder.close()
        if skips := self._balancer.skips:
            self._say("skipped while balancing: " + _counted(skips))

    @contextlib.contextmanager
    def following(self, obj: SchedulerObject | None) -> Iterator[None]:
        """Bind processes with the scheduler's homes for the length of the block.

        By affinities where it has none, or where there is none of ours.
        """
        self._balancer.bind_with(self._homes(obj))
        try:
            yield
        finally:
            self._balancer.bind_with(None)

    def commands(self) -> dict[str, Command]:
        """What the scheduler's socket answers."""

        def status(_: Mapping[str, Any]) -> dict[str, Any]:
            return self._balancer.status()

        return {"numa": status}

    def _homes(self, obj: SchedulerObject | None) -> Homes:
        if obj is not None:
            try:
                return SchedulerHomes(obj)
            except UserError:
                self._say(f"{obj.meta.policy} knows no homes: tasks are bound by their affinities")
        skips = self._balancer.skips
        return AffinityHomes(read_nodes(self._places.sys), skips, proc=self._places.proc)

    def _work(self) -> None:
        due = 0.0
        before: Mapping[int, float] = {}
        while not self._stopping.is_set():
            now, lost = time.monotonic(), self._lost_shares()
            if now >= due or (
                changed(before, lost)
                and now >= due - self._balancer.settings.period_s + _LEAST_BETWEEN_S
            ):
                due, before = now + self._balancer.settings.period_s, lost
                try:
                    self._round()
                except UserError as error:
                    self._say(f"warning: the balancer ended: {error.message}")
                    return
            self._stopping.wait(_LOOK_S)

    def _round(self) -> None:
        self._nodes = read_nodes(self._places.sys)  # vCPUs may come and go
        found = self._balancer.round()
        for move in found.moves:
            if move.source != move.target:
                pids = ", ".join(map(str, move.pids))
                would = "would go" if self._balancer.settings.dry_run else "went"
                self._say(
                    f"{move.name} ({pids}) {would} from node {move.source} to {move.target}: "
                    f"{move.why}"
                )
        if self._recorder is not None:
            self._recorder.add(found)

    def _lost_shares(self) -> dict[int, float]:
        """By node: what its vCPUs lack of their capacity, as the last measurement has it."""
        on_node, lost = cpu_nodes(self._nodes), self._losses()
        sizes = {node.id: len(node.cpus) * FULL_CAPACITY for node in self._nodes if node.cpus}
        shares = dict.fromkeys(sizes, 0.0)
        for cpu, part in lost.items():
            if cpu in on_node:
                shares[on_node[cpu]] += part / sizes[on_node[cpu]]
        return shares


def _counted(skips: Mapping[str, int]) -> str:
    return ", ".join(f"{what} ({number})" for what, number in sorted(skips.items()))
