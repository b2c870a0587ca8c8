"""The NUMA nodes of this machine as the kernel tells them: vCPUs, distances, memory.

Source: Documentation/ABI/stable/sysfs-devices-node of the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.numa.files import names_in, read
from scx_vsched.topology.sysfs import parse_cpu_list

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NumaNode", "cpu_nodes", "read_nodes", "with_cpus"]

_KIB = 1024


@dataclass(frozen=True, slots=True)
class NumaNode:
    """A node by the kernel's number, with its online vCPUs; `distances` are to (node, distance)."""

    id: int
    cpus: tuple[int, ...]
    memory_bytes: int
    free_bytes: int
    distances: tuple[tuple[int, int], ...]


def read_nodes(sys: str = "/sys") -> tuple[NumaNode, ...]:
    """The online nodes in the order of their numbers, those without vCPUs included.

    A kernel without NUMA has one node with all vCPUs. Raises UserError where sysfs says nothing.
    """
    base = f"{sys}/devices/system/node"
    try:
        online = parse_cpu_list(read(f"{base}/online"))
    except (OSError, ValueError):
        online = [int(n[4:]) for n in names_in(base) if n.startswith("node") and n[4:].isdigit()]
    nodes = [node for number in sorted(online) if (node := _read_node(base, number, online))]
    return tuple(nodes) or (_whole_machine(sys),)


def _read_node(base: str, number: int, online: Sequence[int]) -> NumaNode | None:
    folder = f"{base}/node{number}"
    try:
        cpus = parse_cpu_list(read(f"{folder}/cpulist"))
        row = [int(word) for word in read(f"{folder}/distance").split()]
        meminfo = read(f"{folder}/meminfo")
    except (OSError, ValueError):  # taken offline meanwhile
        return None
    memory = {}
    for line in meminfo.splitlines():
        words = line.split()  # Node 0 MemTotal: 2034876 kB
        if len(words) >= 4 and words[3].isdigit():
            memory[words[2]] = int(words[3]) * _KIB
    return NumaNode(
        number,
        tuple(cpus),
        memory.get("MemTotal:", 0),
        memory.get("MemFree:", 0),
        tuple(zip(online, row, strict=False)),
    )


def _whole_machine(sys: str) -> NumaNode:
    try:
        cpus = parse_cpu_list(read(f"{sys}/devices/system/cpu/online"))
    except (OSError, ValueError):
        raise UserError(f"{sys} describes no CPU", "is sysfs mounted?") from None
    return NumaNode(0, tuple(cpus), 0, 0, ((0, 10),))


def with_cpus(nodes: Sequence[NumaNode]) -> tuple[NumaNode, ...]:
    """Those among which tasks can move; raises UserError where there are fewer than two."""
    found = tuple(node for node in nodes if node.cpus)
    if len(found) < 2:
        beside = len(nodes) - len(found)
        more = f" and {beside} with memory only" if beside else ""
        raise UserError(
            f"this machine has one NUMA node with vCPUs{more}: there is nowhere to move a task to",
            "run without --numa; a VM gets nodes by its -numa options, see `scx_vsched vm --help`",
        )
    return found


def cpu_nodes(nodes: Sequence[NumaNode]) -> dict[int, int]:
    """Which node each online vCPU is on."""
    return {cpu: node.id for node in nodes for cpu in node.cpus}
