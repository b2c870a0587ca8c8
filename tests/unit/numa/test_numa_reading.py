"""What is read of /proc and /sys: loads, memory, shares, sockets, nodes."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

import pytest
from numa_machine import MIB, Machine, Task

from scx_vsched.errors import UserError
from scx_vsched.numa.files import Skips
from scx_vsched.numa.groups import Channels, form_groups
from scx_vsched.numa.load import StealMeter, lost_by_cpu, node_loads
from scx_vsched.numa.memory import read_memory, referenced_part
from scx_vsched.numa.migrate import KernelMemory, _mask
from scx_vsched.numa.nodes import read_nodes, with_cpus
from scx_vsched.numa.processes import Watcher, parse_stat
from scx_vsched.numa.shares import Mapped, Shares, parse_maps, read_shares
from scx_vsched.numa.sockets import parse_answers, unix_peers
from scx_vsched.topology.model import Llc, Topology, VCpuPlace

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


class TestProcesses:
    def test_a_load_is_what_threads_ran_and_waited(self, machine: Machine) -> None:
        machine.add(Task(10, cpus=(0, 3)))
        watcher = Watcher(Skips(), machine.places.proc, 100)
        watcher.look(machine.now_s)
        machine.run(1.0, {10: 0.5})
        watcher.look(machine.now_s)
        machine.tasks[10].wait_ns = {0: 500_000_000}
        machine.run(1.0, {10: 0.5})
        [process] = watcher.look(machine.now_s)
        assert process.by_cpu == pytest.approx({0: 1024, 3: 512}, abs=2)

    def test_a_young_process_has_the_load_of_its_life(self, machine: Machine) -> None:
        machine.add(Task(10, start=99_800, run_ns={0: 1_000_000_000}))
        [process] = Watcher(Skips(), machine.places.proc, 100).look(machine.now_s)
        assert process.load == pytest.approx(512, abs=8)

    def test_an_old_one_that_is_seen_first_has_none(self, machine: Machine) -> None:
        machine.add(Task(10, start=100, run_ns={0: 10**12}))
        [process] = Watcher(Skips(), machine.places.proc, 100).look(machine.now_s)
        assert process.load == 0

    def test_zombies_and_kernel_threads_are_none(self, machine: Machine) -> None:
        machine.add(Task(10, state="Z"), Task(11, kernel=True))
        assert Watcher(Skips(), machine.places.proc, 100).look(machine.now_s) == []

    def test_init_is_left_alone_since_others_inherit_where_it_is_bound(
        self, machine: Machine
    ) -> None:
        machine.add(Task(1), Task(10))
        [process] = Watcher(Skips(), machine.places.proc, 100).look(machine.now_s)
        assert process.pid == 10

    def test_a_name_may_hold_anything(self) -> None:
        fields = " ".join(["S", *["0"] * 49])
        assert parse_stat(f"7 (a) b (c) {fields}").comm == "a) b (c"
        with pytest.raises(ValueError, match="stat"):
            parse_stat("7 (x) S 1 2")

    def test_this_machine_can_be_read(self) -> None:
        skips = Skips()
        found = Watcher(skips).look(10.0)
        assert os.getpid() not in {process.pid for process in found}
        assert skips["processes: unreadable"] == 0


class TestMemory:
    def test_own_and_shared_memory_by_node(self, machine: Machine) -> None:
        machine.add(Task(10, own={0: 3, 2: 1}, shared=[(9, 1, 5, "rw-s")]))
        mapped = read_shares(10, machine.places.proc).mapped
        found = read_memory(10, mapped, 0, Skips(), machine.places.proc)
        assert found.own == {0: 3 * MIB, 2: MIB}
        assert found.shared == {("memory 00:01", "9"): {1: 5 * MIB}}

    def test_without_nodes_the_rollup_must_do(self, machine: Machine) -> None:
        machine.add(Task(10, own={0: 3}))
        (machine.proc / "10/numa_maps").unlink()
        skips = Skips()
        found = read_memory(10, {}, 2, skips, machine.places.proc)
        assert found.own == {2: 4096 * 1024}
        assert skips == {"numa_maps: vanished": 1}

    def test_huge_pages_count_whole(self, machine: Machine) -> None:
        machine.add(Task(10))
        line = "7f0000000000 default anon=2 dirty=2 N1=2 kernelpagesize_kB=2048\n"
        (machine.proc / "10/numa_maps").write_text(line)
        assert read_memory(10, {}, 0, Skips(), machine.places.proc).own == {1: 4 * MIB}

    def test_what_was_referenced_is_told_and_cleared(self, machine: Machine) -> None:
        machine.add(Task(10))
        (machine.proc / "10/smaps_rollup").write_text("Rss: 1000 kB\nReferenced: 250 kB\n")
        (machine.proc / "10/clear_refs").write_text("")
        assert referenced_part(10, machine.places.proc) == 0.25
        assert (machine.proc / "10/clear_refs").read_text() == "1"
        assert referenced_part(11, machine.places.proc) is None

    def test_masks_of_nodes(self) -> None:
        assert list(_mask([0, 3], 4)) == [9]
        assert list(_mask([64], 65)) == [0, 1]

    def test_a_process_that_is_gone_has_no_memory_to_move(self) -> None:
        with pytest.raises(OSError):
            KernelMemory().move(1 << 22, [1], 0)

    def test_nothing_to_move_asks_nobody(self) -> None:
        assert KernelMemory().move(1 << 22, [0], 0) == 0


class TestShares:
    def test_devices_and_private_mappings_are_no_shares(self) -> None:
        text = """\
10000000-10001000 rw-s 00000000 00:06 5 /dev/dri/card0
10002000-10003000 rw-s 00000000 00:18 6 /dev/shm/buffer
10004000-10005000 rw-s 00000000 00:01 7 /dev/zero (deleted)
10006000-10007000 r--s 00000000 08:01 8 /usr/lib/locale
10008000-10009000 rw-p 00000000 08:01 9 /usr/lib/libc.so
1000a000-1000b000 rw-s 00000000 00:01 32769 /SYSV00000000 (deleted)
1000c000-1000d000 rw-s 00000000 00:00 0 anon_inode:[perf_event]
"""
        found = parse_maps(text)
        assert {mapped.key[1] for mapped in found.values()} == {"6", "7", "8", "32769"}
        assert {m.key[1] for m in found.values() if m.writable} == {"6", "7", "32769"}

    def test_both_ends_of_a_socket_are_one_channel(self, machine: Machine) -> None:
        for pid, inode in ((10, 700), (11, 701)):
            machine.add(Task(pid))
            (machine.proc / f"{pid}/fd/3").symlink_to(f"socket:[{inode}]")
        peers = {"700": "701", "701": "700"}
        first, second = (read_shares(pid, machine.places.proc, peers) for pid in (10, 11))
        assert first.reads == second.writes == {("socket", "700")}

    def test_the_ends_of_a_real_pipe_are_told_apart(self) -> None:
        reader, writer = os.pipe()
        try:
            number = str(os.fstat(reader).st_ino)
            found = read_shares(os.getpid())
            os.close(writer)
            closed = read_shares(os.getpid())
        finally:
            os.close(reader)
        assert ("pipe", number) in found.reads & found.writes
        assert ("pipe", number) in closed.reads - closed.writes

    def test_two_that_write_to_one_log_do_not_talk(self) -> None:
        log = frozenset({("pipe", "1")})
        shares = {
            (1, 0): Shares({}, writes=log),
            (2, 0): Shares({}, writes=log),
            (3, 0): Shares({}, reads=log),
        }
        channels = Channels({})
        channels.follow(shares, [(1, 0), (2, 0)])
        assert form_groups(shares, channels) == [((1, 0),), ((2, 0),), ((3, 0),)]
        channels.follow(shares, [(1, 0), (3, 0)])
        assert form_groups(shares, channels) == [((1, 0), (3, 0)), ((2, 0),)]

    def test_a_hub_joins_nobody(self) -> None:
        hub, others = (1, 1), [(n, 1) for n in range(2, 12)]
        channels = Channels({})
        shares = {who: Shares({}, writes=frozenset({("pipe", str(who[0]))})) for who in others}
        shares[hub] = Shares({}, reads=frozenset(("pipe", str(n)) for n in range(2, 12)))
        channels.follow(shares, list(shares))
        assert len(form_groups(shares, channels)) == 11

    def test_groups_grow_over_several_shares(self) -> None:
        def share(*inodes: str) -> Shares:
            return Shares({n: Mapped(("memory", inode), True) for n, inode in enumerate(inodes)})

        shares = {(1, 0): share("a"), (2, 0): share("a", "b"), (3, 0): share("b"), (4, 0): share()}
        assert form_groups(shares, Channels({})) == [((1, 0), (2, 0), (3, 0)), ((4, 0),)]

    def test_peers_of_this_machine(self) -> None:
        one, other = socket.socketpair()
        with one, other:
            numbers = [str(os.fstat(each.fileno()).st_ino) for each in (one, other)]
            peers = unix_peers()
        if not peers:
            pytest.skip("this kernel tells no peers of sockets")
        assert peers[numbers[0]] == numbers[1]

    def test_answers_that_are_cut_off_say_nothing(self) -> None:
        whole = struct.pack("=IHHII", 32, 20, 0, 1, 0) + struct.pack(
            "=BBBBIII", 1, 1, 1, 0, 5, 0, 0
        )
        assert parse_answers(whole) == ({}, False)
        assert parse_answers(whole[:20]) == ({}, False)
        assert parse_answers(b"") == ({}, True)


class TestLoads:
    def test_the_host_and_tasks_take_from_a_node(self, machine: Machine) -> None:
        machine.add(Task(10, cpus=(1,)))
        watcher = Watcher(Skips(), machine.places.proc, 100)
        watcher.look(machine.now_s)
        machine.run(2.0, {10: 1})
        processes = watcher.look(machine.now_s)
        nodes = read_nodes(machine.places.sys)
        loads = node_loads(nodes, {0: 512.0, 7: 1024.0}, processes, {})
        assert [(load.lost, round(load.used)) for load in loads] == [
            (512, 1024), (0, 0), (0, 0), (1024, 0),
        ]  # fmt: skip
        assert loads[0].speed() == pytest.approx(0.75)
        assert loads[0].speed(1024 + 2048) == pytest.approx(0.375)
        assert loads[3].speed() == pytest.approx(0.5)
        at_home = node_loads(nodes, {}, processes, {processes[0].key: 2})
        assert [round(load.used) for load in at_home] == [0, 0, 1024, 0]

    def test_vcpus_that_critical_processes_need_are_left_out_where_the_host_takes_a_part(
        self, machine: Machine
    ) -> None:
        machine.add(Task(10, cpus=(1,)), Task(11, cpus=(0,), nice=-5))
        watcher = Watcher(Skips(), machine.places.proc, 100)
        watcher.look(machine.now_s)
        machine.run(2.0, {10: 1, 11: 0.1})
        processes = watcher.look(machine.now_s)
        nodes = read_nodes(machine.places.sys)
        critical = [process.key for process in processes if process.nice < 0]
        whole, *_ = node_loads(nodes, {0: 50.0}, processes, {}, critical)
        assert (whole.capacity, round(whole.used)) == (2048, 1126)
        taken, *_ = node_loads(nodes, {0: 512.0, 1: 512.0}, processes, {}, critical)
        assert (taken.capacity, taken.lost, round(taken.used)) == (1024, 512, 1024)
        unasked, *_ = node_loads(nodes, {0: 512.0, 1: 512.0}, processes, {})
        assert (unasked.capacity, unasked.lost, round(unasked.used)) == (2048, 1024, 1126)

    def test_what_is_measured_is_lost(self) -> None:
        topology = Topology(
            (VCpuPlace(0, 0, 0, 0, capacity=300),), (Llc(0, 0, ()),), nr_nodes=1, smt=False
        )
        assert lost_by_cpu(topology) == {0: 724.0}

    def test_steal_is_what_is_lost_without_probers(self, machine: Machine) -> None:
        def write(user: int, steal: int) -> None:
            (machine.proc / "stat").write_text(f"cpu 1 1\ncpu0 {user} 0 0 0 0 0 0 {steal} 0 0\n")

        write(100, 0)
        meter = StealMeter(machine.places.proc)
        assert meter.lost() == {}
        write(150, 50)
        assert meter.lost() == {0: 512.0}


class TestNodes:
    def test_nodes_with_distances_and_memory(self, machine: Machine) -> None:
        nodes = read_nodes(machine.places.sys)
        assert [node.cpus for node in nodes] == [(0, 1), (2, 3), (4, 5), (6, 7)]
        assert nodes[0].distances == ((0, 10), (1, 20), (2, 20), (3, 20))
        assert (nodes[0].memory_bytes, nodes[0].free_bytes) == (1 << 30, 1 << 29)

    def test_a_kernel_without_nodes_has_one(self, tmp_path: Path) -> None:
        folder = tmp_path / "devices/system/cpu"
        folder.mkdir(parents=True)
        (folder / "online").write_text("0-3\n")
        [node] = read_nodes(str(tmp_path))
        assert node.cpus == (0, 1, 2, 3)
        with pytest.raises(UserError, match="nowhere to move"):
            with_cpus([node])

    def test_no_sysfs_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no CPU"):
            read_nodes(str(tmp_path))
