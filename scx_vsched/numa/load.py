"""How much of each node is taken: by its host, and by what runs there.

What the host takes is measured by the probers on idle vCPUs too (capacity below the full one).
Without them it is steal, which accrues only while a vCPU has work: a node without work then looks
free (giantvm.md, "Gaps to mend").
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from scx_vsched.numa.files import read
from scx_vsched.numa.nodes import cpu_nodes
from scx_vsched.policies.numa import WHOLE_PERCENT
from scx_vsched.topology.model import FULL_CAPACITY

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from scx_vsched.numa.nodes import NumaNode
    from scx_vsched.numa.processes import Process
    from scx_vsched.topology.model import Topology

__all__ = ["NodeLoad", "StealMeter", "lost_by_cpu", "node_loads", "place_of"]

_LEAST_AVAILABLE = 0.02  # of a node: a measure of nothing at all is never so sure


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """A node's CPU, 1024 for a vCPU: all of it, what its host takes, what tasks want of it."""

    node: int
    capacity: float
    lost: float
    used: float

    @property
    def available(self) -> float:
        """What the host leaves, never nothing."""
        return max(self.capacity - self.lost, _LEAST_AVAILABLE * self.capacity)

    def speed(self, more: float = 0.0) -> float:
        """What a task gets of a full vCPU, 0 to 1, when tasks want `more` than they do now.

        A task uses one vCPU at most, so that room beside it does not make it faster; where tasks
        want more than there are vCPUs they share.
        """
        crowd = max(1.0, (self.used + more) / self.capacity)
        return self.left / crowd

    @property
    def left(self) -> float:
        """What the host leaves of the node, 0 to 1."""
        return self.available / self.capacity


def lost_by_cpu(topology: Topology) -> dict[int, float]:
    """What each vCPU lacks of its full capacity, as it was measured."""
    return {vcpu.id: float(FULL_CAPACITY - vcpu.capacity) for vcpu in topology.vcpus}


def node_loads(
    nodes: Sequence[NumaNode],
    lost: Mapping[int, float],
    processes: Sequence[Process],
    homes: Mapping[tuple[int, int], int],
    critical: Collection[tuple[int, int]] = (),
) -> list[NodeLoad]:
    """The loads of `nodes`; a process that has a home counts there, others where they last ran.

    On a node that its host takes a part of, the vCPUs that `critical` processes there need, half of
    them at most, are left out together with these: the policy numa keeps them.
    """
    on_node = cpu_nodes(nodes)
    used = dict.fromkeys((node.id for node in nodes), 0.0)
    needed = dict(used)
    for process in processes:
        home = homes.get(process.key)
        sums = needed if process.key in critical else used
        for cpu, load in process.by_cpu.items():
            node = on_node.get(cpu) if home is None else home
            if node in sums:
                sums[node] += load
    return [_node_load(node, lost, used[node.id], needed[node.id]) for node in nodes if node.cpus]


def _node_load(node: NumaNode, lost: Mapping[int, float], used: float, needed: float) -> NodeLoad:
    """The load of one node; `needed` of it by critical processes."""
    vcpus = len(node.cpus)
    capacity = float(vcpus * FULL_CAPACITY)
    taken = sum(min(FULL_CAPACITY, lost.get(cpu, 0.0)) for cpu in node.cpus)
    if not needed or (capacity - taken) * 100 >= WHOLE_PERCENT * capacity:
        return NodeLoad(node.id, capacity, taken, used + needed)
    left = vcpus - min(ceil(needed / FULL_CAPACITY), vcpus // 2)
    return NodeLoad(
        node.id,
        float(left * FULL_CAPACITY),
        taken * left / vcpus,
        used if left < vcpus else used + needed,
    )


def place_of(process: Process, on_node: Mapping[int, int]) -> int | None:
    """The node where most of its load last ran; None for one without any."""
    by_node: dict[int, float] = {}
    for cpu, load in process.by_cpu.items():
        if cpu in on_node:
            by_node[on_node[cpu]] = by_node.get(on_node[cpu], 0.0) + load
    return max(sorted(by_node), key=lambda node: by_node[node]) if by_node else None


class StealMeter:
    """What steal takes from each vCPU, by /proc/stat; it says nothing of idle ones."""

    def __init__(self, proc: str = "/proc") -> None:
        self._path = f"{proc}/stat"
        self._before: dict[int, tuple[int, int]] = {}

    def lost(self) -> dict[int, float]:
        """By vCPU, since the last call: 1024 for all of its time. Empty at the first."""
        try:
            lines = read(self._path).splitlines()
        except OSError:
            return {}
        found = {}
        for line in lines:
            name, *fields = line.split()
            if not (name.startswith("cpu") and name[3:].isdigit() and len(fields) >= 8):
                continue
            # user and nice contain what guests of this machine use (fields 9 and 10).
            total, stolen = sum(map(int, fields[:8])), int(fields[7])
            cpu = int(name[3:])
            if cpu in self._before and total > self._before[cpu][0]:
                before = self._before[cpu]
                part = max(0, stolen - before[1]) / (total - before[0])
                found[cpu] = part * FULL_CAPACITY
            self._before[cpu] = total, stolen
        return found
