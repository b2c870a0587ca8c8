"""The table of NUMA nodes of a scheduler that keeps processes on them.

The layout is that of `struct node` in templates/guest/homes.h.j2, of which user space writes what
says where nodes are.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from scx_vsched.topology.nodes import MAX_HOME_NODES

if TYPE_CHECKING:
    from scx_vsched.bpf.loader import SchedulerObject
    from scx_vsched.topology.nodes import KernelNodes

__all__ = ["NODES_MAP", "known_nodes", "write_nodes"]

NODES_MAP = ".bss.nodes"

_PLACE = struct.Struct(f"=III {MAX_HOME_NODES}H {MAX_HOME_NODES}H")
"""first, possible, nr_near, near[], distances[]"""
_PLACE_AT, _SIZE = 12, 320


def write_nodes(obj: SchedulerObject, nodes: KernelNodes) -> None:
    """Say where nodes are: in force at once."""
    table = obj.map(NODES_MAP).shared(_SIZE * MAX_HOME_NODES)
    for node in nodes.numbers:
        near = nodes.near(node)
        _PLACE.pack_into(
            table,
            node * _SIZE + _PLACE_AT,
            nodes.of_vcpu.index(node),
            nodes.of_vcpu.count(node),
            len(near),
            *(*near, *[0] * (MAX_HOME_NODES - len(near))),
            *(nodes.distance(node, other) for other in range(MAX_HOME_NODES)),
        )


def known_nodes(obj: SchedulerObject) -> tuple[int, ...]:
    """The nodes with vCPUs that were written, ascending."""
    table = obj.map(NODES_MAP).shared(_SIZE * MAX_HOME_NODES)
    places = (_PLACE.unpack_from(table, node * _SIZE + _PLACE_AT) for node in range(MAX_HOME_NODES))
    return tuple(node for node, (_, possible, *_) in enumerate(places) if possible)
