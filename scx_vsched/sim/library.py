"""The engine with a policy as a shared library, and what user space does with a scheduler in it."""

from __future__ import annotations

import _ctypes
import contextlib
import ctypes
from ctypes import c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scx_vsched.bpf.domains import STATE_MAP
from scx_vsched.bpf.feed import Feed
from scx_vsched.bpf.homes import Homes
from scx_vsched.bpf.libbpf import BpfError
from scx_vsched.bpf.node_table import NODES_MAP
from scx_vsched.errors import UserError
from scx_vsched.sim import layout
from scx_vsched.sim.layout import NEVER
from scx_vsched.sim.probing import Findings
from scx_vsched.topology.nodes import KernelNodes

if TYPE_CHECKING:
    from pathlib import Path

    from scx_vsched.sim.machine import Machine

__all__ = ["Feeder", "Library"]


# Variables of the object, which are maps in the kernel.
_VARIABLES = {STATE_MAP: "policy_domains", NODES_MAP: "nodes"}


class Library:
    """The engine with a policy, loaded afresh: unloading it forgets all of its state."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        for function in ("sim_setup", "sim_run"):
            getattr(self._library, function).restype = ctypes.POINTER(layout.Result)
        self._library.sim_sizes.restype = c_uint64
        self._library.sim_map_values.restype = ctypes.c_void_p
        self._library.sim_hash.restype = ctypes.c_void_p
        for which, table in enumerate(layout.SHARED):
            if self._library.sim_sizes(which) != ctypes.sizeof(table):
                raise AssertionError(f"layout.{table.__name__} differs from the engine's")

    def close(self) -> None:
        self._library.sim_end()
        _ctypes.dlclose(self._library._handle)

    def call(self, function: str, *tables: Any) -> Any:
        return getattr(self._library, function)(*map(ctypes.byref, tables)).contents

    def set_constant(self, name: str, value: int, size: int = 4) -> None:
        """As SchedulerObject does it before the object is loaded."""
        cell = c_uint32.in_dll(self._library, name)
        self.poke(ctypes.addressof(cell), value.to_bytes(size, "little"))

    def program(self, name: str) -> _Program:
        """The program of user space called `name`, as SchedulerObject has it."""
        return _Program(self._library, name)

    def poke(self, address: int, raw: bytes) -> None:
        self._library.sim_poke(ctypes.c_void_p(address), raw, c_uint32(len(raw)))

    def set_tunable(self, slot: int, raw: bytes) -> None:
        for name in ("tunables", "frozen_tunables"):
            # not every policy freezes one
            with contextlib.suppress(ValueError):
                base = ctypes.addressof(ctypes.c_char.in_dll(self._library, name))
                self.poke(base + 8 * slot, raw)

    def map(self, name: str) -> Any:
        """The array or hash called `name`; KeyError without one."""
        if state := self._library.sim_hash(name.encode()):
            return _Hash(self._library, state)
        if variable := _VARIABLES.get(name):
            return _Table(ctypes.addressof(ctypes.c_char.in_dll(self._library, variable)), 1, 0)
        entries, size = c_uint32(), c_uint32()
        address = self._library.sim_map_values(
            name.encode(), ctypes.byref(entries), ctypes.byref(size)
        )
        if not address:
            raise KeyError(name)
        return _Table(address, entries.value, size.value)

    def has_map(self, name: str) -> bool:
        """As SchedulerObject.has_map."""
        try:
            self.map(name)
        except (KeyError, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Program:
    library: Any
    name: str

    def test_run(self) -> _Run:
        """As bpf.object.Program.test_run."""
        return _Run(
            self.library.sim_program(ctypes.cast(getattr(self.library, self.name), c_void_p))
        )


@dataclass(frozen=True, slots=True)
class _Run:
    retval: int


@dataclass(frozen=True, slots=True)
class _Table:
    address: int
    entries: int
    value_size: int

    def write(self, index: int, raw: bytes) -> None:
        """As bpf.libbpf.Map.write."""
        if len(raw) != self.value_size or not 0 <= index < self.entries:
            raise ValueError(f"{len(raw)} bytes for entry {index} of {self.value_size} bytes")
        ctypes.memmove(self.address + index * self.value_size, raw, self.value_size)

    def read(self, index: int) -> bytes:
        return ctypes.string_at(self.address + index * self.value_size, self.value_size)

    def shared(self, size: int) -> memoryview:
        """As bpf.object.Map.shared."""
        return memoryview((ctypes.c_char * size).from_address(self.address)).cast("B")


@dataclass(frozen=True, slots=True)
class _Hash:
    """A map by u32 keys."""

    library: Any
    state: int

    def write(self, key: int, raw: bytes) -> None:
        """As bpf.object.Map.write."""
        number = c_uint32(key)
        err = self.library.sim_hash_update(c_void_p(self.state), ctypes.byref(number), raw, 0)
        if err:
            raise BpfError("cannot write", -err)

    def delete(self, key: int) -> bool:
        """As bpf.object.Map.delete."""
        number = c_uint32(key)
        return bool(self.library.sim_hash_delete(c_void_p(self.state), ctypes.byref(number)) == 0)


class Feeder:
    """What user space does while the scheduler runs: it hands over what it is told or finds out."""

    def __init__(self, library: Library, machine: Machine) -> None:
        topology = machine.topology()
        self._machine = machine
        self._findings = Findings(machine)
        # only they know of nodes, and of fewer than a machine may have
        nodes = (
            KernelNodes(tuple(vcpu.node for vcpu in topology.vcpus), machine.distances)
            if library.has_map(NODES_MAP)
            else None
        )
        # a step of the simulation is atomic: no operation is ever under way
        self._feed = Feed(
            library,  # type: ignore[arg-type]
            topology,
            topology,
            wait=lambda: None,
            nodes=nodes,
        )
        self._homes = Homes(library) if library.has_map("homes") else None  # type: ignore[arg-type]

    def update(self, number: int) -> int:
        """Hands the topology `number` over; called by the engine, which takes no exceptions."""
        try:
            self._feed.update(self._machine.topology(number))
        except (BpfError, ValueError):
            return 1
        return 0

    def home(self, pid: int, node: int, memory_bytes: int, fixed: int) -> int:
        """Makes a node the home of a process, or takes its home away; called like `update`."""
        if not self._homes:
            return 0
        try:
            if memory_bytes == NEVER:
                self._homes.remove(pid)
            else:
                self._homes.set(pid, node, fixed=bool(fixed), memory_bytes=memory_bytes)
        except UserError:
            return 1
        return 0

    def probed(self, watch: Any) -> int:
        """Takes in what a prober saw of a vCPU; 1 if it is to be looked at again, -1 in trouble."""
        try:
            found = self._findings.add(watch.contents)
            self._feed.update(found.topology)
            self._feed.note_probed(found.at_ns, found.forecasts)
        except (BpfError, ValueError):
            return -1
        return int(found.suspect)
