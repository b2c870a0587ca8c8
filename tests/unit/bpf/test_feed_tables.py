"""The tables of a scheduler, written into memory instead of a kernel's maps."""

from __future__ import annotations

import errno
import struct
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from scx_vsched.bpf import feed as module
from scx_vsched.bpf.btf import Btf, BtfKind
from scx_vsched.bpf.feed import Feed
from scx_vsched.bpf.libbpf import BpfError
from scx_vsched.bpf.object import Object, TestRun
from scx_vsched.topology.convert import build_topology
from scx_vsched.topology.domains import numbered
from scx_vsched.topology.hints import Ticks
from scx_vsched.topology.measure import Activity, VCpuMeasure
from scx_vsched.topology.model import MAX_LLCS
from scx_vsched.topology.prediction import Forecast

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scx_vsched.topology.model import Topology

VCPUS = 4


class Table:
    """Stands where a Map would, with shared memory of its own."""

    def __init__(self, value_size: int, entries: int) -> None:
        self.value_size = value_size
        self.memory = bytearray(value_size * entries)

    def write(self, key: int, value: bytes) -> None:
        assert len(value) == self.value_size
        self.memory[key * self.value_size : (key + 1) * self.value_size] = value

    def read(self, key: int) -> bytes:
        return bytes(self.memory[key * self.value_size : (key + 1) * self.value_size])

    def shared(self, size: int) -> memoryview:
        return memoryview(self.memory)[:size]


class Programs:
    """Stands where a loaded object would; its programs answer as they are told."""

    def __init__(self) -> None:
        self.tables = {
            "vcpus": Table(128, VCPUS),
            "activities": Table(64, VCPUS),
            "llcs": Table(524, 2 * MAX_LLCS),
        }
        self.ran: list[str] = []
        self.answers: list[int] = []

    def map(self, name: str) -> Table:
        return self.tables[name]

    def has_map(self, name: str) -> bool:
        return name in self.tables

    def program(self, name: str) -> Any:
        outer = self

        class Program:
            def test_run(self) -> TestRun:
                outer.ran.append(name)
                switches = name == "vsched_switch_topology"
                answer = outer.answers.pop(0) if switches and outer.answers else 0
                return TestRun(-answer & 0xFFFFFFFF, b"", 0)

        return Program()

    def spot(self, vcpu: int, copy: int) -> tuple[int, ...]:
        """llc, node, next, stack."""
        return struct.unpack_from("=4H", self.tables["vcpus"].read(vcpu), 8 * copy)

    def measures(self, vcpu: int) -> tuple[int, ...]:
        """latency_us, capacity and pace."""
        return struct.unpack_from("=IH14xH", self.tables["vcpus"].read(vcpu), 16)


def topology(
    llcs: Sequence[int] = (0, 0, 0, 0),
    *,
    stacks: Sequence[int] = (0, 1, 2, 3),
    cores: Sequence[int] = (0, 1, 2, 3),
    capacity: int = 1024,
    latency_ns: float = 0.0,
) -> Topology:
    """Four vCPUs, of which vCPU 1 has this capacity and latency."""
    domains = numbered({v: (stacks[v], cores[v], llcs[v], 0, 0) for v in range(VCPUS)})
    activity = Activity(100.0, latency_ns, latency_ns, latency_ns)
    measures = {1: VCpuMeasure(capacity=capacity, activity=activity)}
    return build_topology(domains, measures, llc_distance=lambda _a, _b: 1.0)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    monkeypatch.setattr(module, "_RETRY_S", 0.0)
    found = Programs()
    monkeypatch.setattr(module, "grace_period", lambda: found.ran.append("grace period"))
    return found


def feed_of(programs: Programs, first: Topology, claimed: Topology | None = None) -> Feed:
    return Feed(cast("Any", programs), first, claimed or first)


def test_both_copies_begin_alike(programs: Programs) -> None:
    feed_of(programs, topology((0, 1, 0, 1), capacity=300, latency_ns=4e6))
    for copy in (0, 1):
        assert programs.spot(2, copy) == (0, 0, 0, 2)
        assert programs.spot(1, copy) == (1, 0, 3, 1)
    assert programs.measures(1) == (4000, 300, 300)
    assert programs.ran == []


def test_another_placement_goes_to_the_other_copy_and_then_to_both(programs: Programs) -> None:
    feed = feed_of(programs, topology())
    seen = []

    def watch(name: str) -> Any:
        seen.append((name, programs.spot(3, 0)[0], programs.spot(3, 1)[0]))
        return Programs.program(programs, name)

    programs.program = watch  # type: ignore[method-assign]
    assert feed.update(topology((0, 0, 1, 1)))
    assert seen == [("vsched_switch_topology", 0, 1), ("vsched_settle", 0, 1)]
    assert programs.ran == ["vsched_switch_topology", "grace period", "vsched_settle"]
    assert programs.spot(3, 0) == programs.spot(3, 1) == (1, 0, 2, 3)
    assert feed.epoch == 1


def test_caches_of_the_new_copy_begin_with_a_member(programs: Programs) -> None:
    feed = feed_of(programs, topology())
    feed.update(topology((0, 0, 1, 1)))
    first, _, nr_near, near, distance = struct.unpack_from(
        "=5I", programs.tables["llcs"].read(MAX_LLCS + 1)
    )
    assert (first, nr_near, near, distance) == (2, 1, 0, 2)


def test_capacities_alone_move_nothing(programs: Programs) -> None:
    feed = feed_of(programs, topology())
    assert not feed.update(topology(capacity=256))
    assert programs.ran == ["vsched_weigh"]
    assert programs.measures(1) == (0, 256, 256)
    assert not feed.update(topology(capacity=256))
    assert programs.ran == ["vsched_weigh"], "nothing was new"
    assert feed.topology.vcpus[1].capacity == 256


def test_a_pace_of_its_own_is_new_too(programs: Programs) -> None:
    first = topology(capacity=256)
    feed = feed_of(programs, first)
    vcpus = [replace(vcpu, pace=900) if vcpu.id == 1 else vcpu for vcpu in first.vcpus]
    assert not feed.update(replace(first, vcpus=tuple(vcpus)))
    assert programs.measures(1) == (0, 256, 900)
    assert programs.ran == ["vsched_weigh"]


def test_a_latency_is_news_only_when_it_differs_much(programs: Programs) -> None:
    feed = feed_of(programs, topology(latency_ns=4e6))
    feed.update(topology(latency_ns=4.9e6))
    assert programs.measures(1)[0] == 4000
    feed.update(topology(latency_ns=5.1e6))
    assert programs.measures(1)[0] == 5100
    assert programs.ran == ["vsched_weigh"]


def test_a_vcpu_that_comes_or_goes_meanwhile_means_once_more(programs: Programs) -> None:
    feed = feed_of(programs, topology())
    programs.answers = [errno.EAGAIN, errno.EAGAIN]
    assert feed.update(topology((0, 0, 1, 1)))
    assert programs.ran.count("vsched_switch_topology") == 3


def test_while_vcpus_come_and_go_the_next_update_tries_again(programs: Programs) -> None:
    feed = feed_of(programs, topology())
    programs.answers = [errno.EAGAIN] * 1000
    assert not feed.update(topology((0, 0, 1, 1), capacity=100))
    assert programs.ran[-1] == "vsched_weigh"
    programs.answers = []
    assert feed.update(topology((0, 0, 1, 1), capacity=100))
    assert not feed.fixed


def test_a_kernel_that_cannot_move_tasks_keeps_the_placement(programs: Programs) -> None:
    feed = feed_of(programs, topology())
    programs.answers = [errno.EOPNOTSUPP]
    assert not feed.update(topology((0, 0, 1, 1), capacity=100))
    assert feed.fixed
    assert programs.ran[-1] == "vsched_weigh", "capacities are in force nevertheless"
    assert not feed.update(topology((0, 1, 2, 3), capacity=200))
    assert programs.ran.count("vsched_switch_topology") == 1
    assert programs.spot(3, 0)[0] == 0
    assert feed.topology == topology(capacity=200)


def test_what_the_kernel_refuses_is_an_error(programs: Programs) -> None:
    feed = feed_of(programs, topology())
    programs.answers = [errno.ENOMEM]
    with pytest.raises(BpfError):
        feed.update(topology((0, 0, 1, 1)))


def test_kernels_siblings_count_only_where_they_are_true(programs: Programs) -> None:
    claimed = topology(cores=(0, 0, 2, 2))
    feed = feed_of(programs, claimed)

    def known(copy: int) -> int:
        return int(struct.unpack_from("=II", programs.tables["llcs"].read(copy * MAX_LLCS))[1])

    assert known(0) == 1
    feed.update(topology(cores=(0, 1, 0, 1)))
    assert known(1) == 0
    feed.update(claimed)
    assert known(0) == 1


def test_no_siblings_are_known_without_any(programs: Programs) -> None:
    feed_of(programs, topology())
    assert struct.unpack_from("=II", programs.tables["llcs"].read(0))[1] == 0


def test_what_the_prober_saw_leaves_the_ticks_alone(programs: Programs) -> None:
    feed = feed_of(programs, topology())
    programs.tables["activities"].write(1, struct.pack("=7Q2B6x", 1, 2, 3, 4, 5, 0, 0, 1, 1))
    feed.note_probed(1000, {1: Forecast(2000, 4e6, 0.9, None)})
    assert feed.activity(1) == (1, 2, 3, 4, 5, 1000, 2000)
    assert programs.tables["activities"].read(1)[56:58] == b"\1\1"


def test_absences_that_repeat_say_when_the_vcpu_was_given_back(programs: Programs) -> None:
    programs.tables["usages"] = Table(128, VCPUS)
    feed = feed_of(programs, topology())

    def told(vcpu: int) -> tuple[int, ...]:
        return struct.unpack_from("=2Q", programs.tables["usages"].read(vcpu))

    feed.note_probed(95_000_000, {1: Forecast(100_000_000, 4e6, 0.9, 1e7)})
    assert told(1) == (84_000_000, 10_000_000)
    assert told(0) == (0, 0)
    feed.note_probed(99_000_000, {1: Forecast(100_000_000, 4e6, 0.9, None)})
    assert told(1)[1] == 0, "now they come at random"


def test_ticks_are_counted_where_the_policy_keeps_account(programs: Programs) -> None:
    assert feed_of(programs, topology()).ticks() == {}
    programs.tables["usages"] = Table(128, VCPUS)
    feed = feed_of(programs, topology())
    programs.tables["activities"].write(1, struct.pack("=7Q2B6x", 1, 2, 3, 10, 5_000, 0, 0, 0, 0))
    programs.tables["usages"].write(1, struct.pack("=3Q104x", 0, 0, 70_000))
    tick_ns = round(time.clock_getres(6) * 1e9)  # CLOCK_MONOTONIC_COARSE
    assert feed.ticks()[1] == Ticks(70_000, 10, 5_000, tick_ns)
    assert feed.ticks()[0] == Ticks(0, 0, 0, tick_ns)


def test_layouts_are_those_of_the_object(core_object: Path) -> None:
    with Object(core_object.read_bytes()) as obj:
        btf = Btf(obj.raw_btf())
    found = {}
    for name in ("vcpu", "spot", "activity", "llc_info"):
        kind = btf.find(BtfKind.STRUCT, name)
        assert kind
        found[name] = {m.name: m.offset for m in kind.members} | {"size": kind.value}
    vcpu, activity, llc = found["vcpu"], found["activity"], found["llc_info"]
    assert (vcpu["spots"], vcpu["latency_us"], vcpu["capacity"]) == (0, 16, 20)
    assert (vcpu["pace"], vcpu["size"]) == (36, 128)
    assert list(found["spot"].items()) == [
        ("llc", 0), ("node", 2), ("next", 4), ("stack", 6), ("size", 8),
    ]  # fmt: skip
    assert (activity["probed_ns"], activity["next_gap_ns"], activity["size"]) == (40, 48, 64)
    assert (llc["first"], llc["siblings_known"], llc["nr_near"], llc["size"]) == (0, 4, 8, 524)
