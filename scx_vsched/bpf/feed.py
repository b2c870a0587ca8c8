"""Hands the topology to a scheduler object: constants before it is loaded, tables after.

The layouts are those of `struct vcpu` and `struct llc_info` in templates/guest/maps.h.j2.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from scx_vsched.topology.model import MAX_NEAR, Topology

if TYPE_CHECKING:
    from scx_vsched.bpf.loader import SchedulerObject

__all__ = ["feed_constants", "feed_tables"]

_VCPU = struct.Struct("=IIII48x")  # llc, node, capacity, next; then what BPF writes
_LLC = struct.Struct(f"=II{2 * MAX_NEAR}I")  # first, nr_near, (llc, distance)…


def feed_constants(obj: SchedulerObject, topology: Topology) -> None:
    """Sets what the verifier takes as constant. To be called before `obj.load()`."""
    obj.set_constant("nr_vcpu_ids", len(topology.vcpus))
    obj.set_constant("nr_llcs", len(topology.llcs))
    obj.set_constant("nr_nodes", topology.nr_nodes)
    obj.set_constant("smt", int(topology.smt))


def feed_tables(obj: SchedulerObject, topology: Topology) -> None:
    """Writes the vCPU and cache tables. To be called between `obj.load()` and `obj.attach()`."""
    vcpus, llcs = obj.map("vcpus"), obj.map("llcs")
    members: dict[int, list[int]] = {llc.index: [] for llc in topology.llcs}
    for vcpu in topology.vcpus:
        members[vcpu.llc].append(vcpu.id)
    following = {
        member: after
        for ring in members.values()
        for member, after in zip(ring, ring[1:] + ring[:1], strict=True)
    }
    for vcpu in topology.vcpus:
        raw = _VCPU.pack(vcpu.llc, vcpu.node, vcpu.capacity, following[vcpu.id])
        vcpus.write(vcpu.id, raw)
    for llc in topology.llcs:
        near = llc.near[:MAX_NEAR]
        flat = [number for pair in near for number in pair]
        flat += [0] * (2 * MAX_NEAR - len(flat))
        llcs.write(llc.index, _LLC.pack(members[llc.index][0], len(near), *flat))
