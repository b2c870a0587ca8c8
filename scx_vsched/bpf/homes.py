"""Homes of processes: the NUMA nodes on which the scheduler keeps their tasks.

The table is `homes` in templates/guest/homes.h.j2, its values are `struct home`. A process without
an entry is at home where it first ran, or where its parent was when it was forked.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from scx_vsched.bpf.libbpf import BpfError
from scx_vsched.bpf.node_table import known_nodes
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from scx_vsched.bpf.loader import SchedulerObject

__all__ = ["MAX_PID", "Homes"]

MAX_PID = 1 << 22  # PID_MAX_LIMIT on 64 bits (include/linux/threads.h)

_HOME = struct.Struct("=IIQ")  # node, flags, memory_bytes
_FIXED = 1
_MAP, _PROGRAM = "homes", "vsched_rehome"


class Homes:
    """The homes that were set, of one loaded scheduler. Not for use by several threads.

    Nodes are numbered as the kernel does (/sys/devices/system/node). What is set is in force when
    the call returns: tasks that run elsewhere are told to leave, those that wait have been moved,
    those that sleep follow when they wake. The entry of a process goes with it.
    """

    def __init__(self, obj: SchedulerObject) -> None:
        """To be called after the object was loaded; UserError for one without the feature numa."""
        if not obj.has_map(_MAP):
            raise UserError(
                f"the policy {obj.meta.policy} keeps no process on a NUMA node",
                "run one with the feature numa, such as the built-in policy numa",
            )
        self._obj = obj
        self._homes = obj.map(_MAP)

    def nodes(self) -> tuple[int, ...]:
        """The nodes that have vCPUs, ascending; only these can be homes."""
        return known_nodes(self._obj)

    def set(self, tgid: int, node: int, *, fixed: bool = False, memory_bytes: int = 0) -> None:
        """Make `node` the home of the process `tgid`, that is of all of its threads.

        A `fixed` process never waits for a vCPU of another node. Of others the scheduler takes a
        task to another node where waiting costs more than the pages that follow: `memory_bytes` is
        how much the process has used of late, 0 unknown. Children inherit home and firmness when
        they are forked.

        Raises UserError for what cannot be a process or a home, and when too many have one.
        """
        if not 1 <= tgid <= MAX_PID:
            raise UserError(f"{tgid} is not the number of a process", f"they are 1 to {MAX_PID}")
        if not 0 <= memory_bytes < 1 << 64:
            raise UserError(f"process {tgid} cannot use {memory_bytes} bytes of memory")
        known = self.nodes()
        if node not in known:
            raise UserError(
                f"process {tgid} cannot be at home on node {node}, which has no vCPU",
                f"nodes with vCPUs: {', '.join(map(str, known))}",
            )
        try:
            self._homes.write(tgid, _HOME.pack(node, _FIXED if fixed else 0, memory_bytes))
        except BpfError as error:
            if error.errno != errno.E2BIG:
                raise
            raise UserError(
                f"no room for the home of process {tgid}: {self._homes.max_entries} have one",
                "remove those of processes that need none any more",
            ) from None
        self._apply()

    def remove(self, tgid: int) -> None:
        """Treat the process like those that nobody set a home for; it stays where it is.

        Nothing happens to one that has none.
        """
        if 1 <= tgid <= MAX_PID and self._homes.delete(tgid):
            self._apply()

    def clear(self) -> None:
        """Remove all."""
        # not while they are listed: what follows one that is gone is the first again
        keys = list(self._homes.keys())
        removed = [self._homes.delete(key) for key in keys]
        if any(removed):
            self._apply()

    def _apply(self) -> None:
        self._obj.program(_PROGRAM).test_run()
