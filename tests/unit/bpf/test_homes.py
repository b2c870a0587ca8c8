"""Homes of processes, written into memory instead of a kernel's map."""

from __future__ import annotations

import errno
import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scx_vsched.bpf.btf import Btf, BtfKind
from scx_vsched.bpf.build import build
from scx_vsched.bpf.feed import Feed
from scx_vsched.bpf.homes import MAX_PID, Homes
from scx_vsched.bpf.libbpf import BpfError
from scx_vsched.bpf.node_table import NODES_MAP
from scx_vsched.bpf.object import Object
from scx_vsched.errors import UserError
from scx_vsched.policies import builtin_policies
from scx_vsched.sim.machine import simple_machine
from scx_vsched.topology.nodes import MAX_HOME_NODES, KernelNodes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NODE_SIZE = 320


class Hash:
    """Stands where a map of the kernel would."""

    def __init__(self, room: int) -> None:
        self.max_entries = room
        self.values: dict[int, bytes] = {}
        self.error = 0

    def write(self, key: int, value: bytes) -> None:
        if self.error:
            raise BpfError("cannot write map homes", self.error)
        if key not in self.values and len(self.values) == self.max_entries:
            raise BpfError("cannot write map homes", errno.E2BIG)
        self.values[key] = value

    def delete(self, key: int | bytes) -> bool:
        number = key if isinstance(key, int) else int.from_bytes(key, "little")
        return self.values.pop(number, None) is not None

    def keys(self) -> Iterator[bytes]:
        for key in list(self.values):
            yield key.to_bytes(4, "little")


class Memory:
    """A map that is written in place."""

    def __init__(self, size: int) -> None:
        self.memory = bytearray(size)

    def shared(self, size: int) -> memoryview:
        return memoryview(self.memory)[:size]


class Scheduler:
    """Stands where a loaded object would; vCPUs are on the nodes 0, 2 and 5."""

    def __init__(self, room: int = 100) -> None:
        self.homes = Hash(room)
        self.nodes = Memory(NODE_SIZE * MAX_HOME_NODES)
        for node in (0, 2, 5):
            struct.pack_into("=I", self.nodes.memory, NODE_SIZE * node + 16, 2)
        self.meta = SimpleNamespace(policy="Core")
        self.ran: list[str] = []

    def has_map(self, name: str) -> bool:
        return name == "homes"

    def map(self, name: str) -> Any:
        return {"homes": self.homes, NODES_MAP: self.nodes}[name]

    def program(self, name: str) -> Any:
        return SimpleNamespace(test_run=lambda: self.ran.append(name))


def homes_of(scheduler: Scheduler) -> Homes:
    return Homes(cast("Any", scheduler))


def test_a_home_is_written_and_put_in_force() -> None:
    scheduler = Scheduler()
    homes = homes_of(scheduler)
    assert homes.nodes() == (0, 2, 5)
    homes.set(42, 5, fixed=True, memory_bytes=123)
    assert scheduler.homes.values == {42: struct.pack("=IIQ", 5, 1, 123)}
    homes.set(42, 2)
    assert scheduler.homes.values == {42: struct.pack("=IIQ", 2, 0, 0)}
    assert scheduler.ran == ["vsched_rehome"] * 2


def test_what_is_removed_is_put_in_force_and_what_is_not_there_is_not() -> None:
    scheduler = Scheduler()
    homes = homes_of(scheduler)
    homes.set(1, 0)
    homes.remove(7)
    homes.remove(-1)
    assert len(scheduler.ran) == 1
    homes.remove(1)
    assert len(scheduler.ran) == 2
    for tgid in range(1, 50):
        homes.set(tgid, 2)
    scheduler.ran.clear()
    homes.clear()
    homes.clear()
    assert scheduler.homes.values == {}
    assert scheduler.ran == ["vsched_rehome"], "once for all of them"


@given(st.integers(-(2**70), 2**70), st.integers(-(2**70), 2**70), st.integers(-(2**70), 2**70))
def test_bad_input_is_refused_and_changes_nothing(tgid: int, node: int, memory: int) -> None:
    scheduler = Scheduler()
    homes = homes_of(scheduler)
    good = 1 <= tgid <= MAX_PID and node in {0, 2, 5} and 0 <= memory < 2**64
    if good:
        homes.set(tgid, node, memory_bytes=memory)
        return
    with pytest.raises(UserError):
        homes.set(tgid, node, memory_bytes=memory)
    homes.remove(tgid)
    assert scheduler.homes.values == {}
    assert scheduler.ran == []


@pytest.mark.parametrize(
    ("tgid", "node", "message"),
    [(0, 0, "not the number of a process"), (1, 3, "node 3, which has no vCPU")],
)
def test_what_is_wrong_is_named(tgid: int, node: int, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        homes_of(Scheduler()).set(tgid, node)
    assert caught.value.hint


def test_a_full_table_is_named_and_other_errors_are_the_kernels() -> None:
    scheduler = Scheduler(room=1)
    homes = homes_of(scheduler)
    homes.set(1, 0)
    with pytest.raises(UserError, match="no room for the home of process 2: 1 have one"):
        homes.set(2, 0)
    scheduler.homes.error = errno.EPERM
    with pytest.raises(BpfError) as caught:
        homes.set(1, 0)
    assert caught.value.errno == errno.EPERM


def test_a_scheduler_without_homes_is_named() -> None:
    scheduler = Scheduler()
    scheduler.has_map = lambda _: False  # type: ignore[method-assign]
    with pytest.raises(UserError, match="the policy Core keeps no process on a NUMA node") as error:
        homes_of(scheduler)
    assert "numa" in error.value.hint


# ---- What the feed tells of nodes ----


class Tables(Scheduler):
    """The maps that a feed writes, too."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes.memory[:] = bytes(len(self.nodes.memory))
        self.others = {"vcpus": (128, 8), "activities": (64, 8), "llcs": (524, 2048)}

    def has_map(self, name: str) -> bool:
        return name == NODES_MAP

    def map(self, name: str) -> Any:
        if name not in self.others:
            return super().map(name)
        size, entries = self.others[name]
        table = Memory(size * entries)
        table.value_size = size  # type: ignore[attr-defined]
        table.write = lambda *_: None  # type: ignore[attr-defined]
        return table


def test_nodes_are_written_with_the_kernels_numbers() -> None:
    tables = Tables()
    topology = simple_machine(8).topology()
    nodes = KernelNodes((0, 0, 3, 3, 3, 1, 1, 1), {(0, 3): 40, (0, 1): 12, (0, 0): 10})
    feed = Feed(cast("Any", tables), topology, topology, nodes=nodes)
    assert [vcpu.node for vcpu in feed.topology.vcpus] == [0, 0, 3, 3, 3, 1, 1, 1]
    first, vcpus, nr_near, *rest = struct.unpack_from("=12x III 128H", tables.nodes.memory, 0)
    assert (first, vcpus, nr_near) == (0, 2, 2)
    assert rest[:3] == [1, 3, 0], "nearest first"
    assert (rest[64], rest[65], rest[67], rest[66]) == (10, 12, 40, 20)
    assert struct.unpack_from("=12x III", tables.nodes.memory, 3 * NODE_SIZE) == (2, 3, 2)
    assert homes_of_nodes(tables) == (0, 1, 3)


def homes_of_nodes(tables: Tables) -> tuple[int, ...]:
    tables.has_map = lambda _: True  # type: ignore[method-assign]
    return homes_of(tables).nodes()


def test_layouts_are_those_of_the_object(tmp_path: Path) -> None:
    out = tmp_path / "numa.bpf.o"
    build(builtin_policies()["numa"], out)
    with Object(out.read_bytes()) as obj:
        btf = Btf(obj.raw_btf())
    found = {}
    for name in ("node", "home"):
        kind = btf.find(BtfKind.STRUCT, name)
        assert kind
        found[name] = {m.name: m.offset for m in kind.members} | {"size": kind.value}
    node = found["node"]
    assert (node["first"], node["possible"], node["nr_near"]) == (12, 16, 20)
    assert (node["near"], node["distances"], node["size"]) == (24, 152, NODE_SIZE)
    assert list(found["home"].items()) == [
        ("node", 0), ("flags", 4), ("memory_bytes", 8), ("size", 16),
    ]  # fmt: skip
