"""The claimed topology, from sysfs trees of known shapes and from this machine's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scx_vsched.errors import UserError
from scx_vsched.topology import Llc, Topology, VCpuPlace, claimed_topology
from scx_vsched.topology.sysfs import parse_cpu_list, read_claims


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


class Sysfs:
    """A sysfs tree in the making."""

    def __init__(self, root: Path, possible: str) -> None:
        self.root = root
        self.cpus = root / "devices/system/cpu"
        write(self.cpus / "possible", possible)

    def cpu(self, number: int, package: int, core: int, l3: str = "") -> None:
        """An online CPU; `l3` is the list of CPUs that share its level-3 cache, if it has one."""
        base = self.cpus / f"cpu{number}"
        write(base / "topology/physical_package_id", str(package))
        write(base / "topology/core_id", str(core))
        caches = [(1, "Data", str(number)), (1, "Instruction", str(number)), (2, "Unified", "")]
        for index, (level, kind, shared) in enumerate([*caches, (3, "Unified", l3)]):
            if shared or (level == 3 and l3):
                write(base / f"cache/index{index}/level", str(level))
                write(base / f"cache/index{index}/type", kind)
                write(base / f"cache/index{index}/shared_cpu_list", shared)

    def nodes(self, cpulists: list[str], distances: list[str]) -> None:
        base = self.root / "devices/system/node"
        write(base / "online", f"0-{len(cpulists) - 1}")
        for node, (cpulist, row) in enumerate(zip(cpulists, distances, strict=True)):
            write(base / f"node{node}/cpulist", cpulist)
            write(base / f"node{node}/distance", row)


@given(st.sets(st.integers(0, 2000)))
def test_cpu_list_inverts_the_kernels_notation(numbers: set[int]) -> None:
    ordered = sorted(numbers)
    parts: list[list[int]] = []
    for number in ordered:
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    text = ",".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)
    assert parse_cpu_list(text + "\n") == ordered


def test_pairs_of_siblings_under_two_caches(tmp_path: Path) -> None:
    sysfs = Sysfs(tmp_path, "0-7")
    for cpu in range(8):
        sysfs.cpu(cpu, package=cpu // 4, core=cpu // 2 % 2, l3="0-3" if cpu < 4 else "4-7")
    topology = claimed_topology(tmp_path)
    assert topology.smt
    assert [vcpu.llc for vcpu in topology.vcpus] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [vcpu.core for vcpu in topology.vcpus] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert topology.llcs == (Llc(0, 0, ((1, 2),)), Llc(1, 0, ((0, 2),)))


def test_nearer_nodes_come_first(tmp_path: Path) -> None:
    sysfs = Sysfs(tmp_path, "0-3")
    for cpu in range(4):
        sysfs.cpu(cpu, package=cpu, core=0, l3=str(cpu))
    sysfs.nodes(["0", "1", "2", "3"], ["10 40 20 40", "40 10 40 20", "20 40 10 40", "40 20 40 10"])
    topology = claimed_topology(tmp_path)
    assert topology.nr_nodes == 4
    assert topology.llcs[0].near == ((2, 3), (1, 3), (3, 3))
    assert topology.llcs[3].near == ((1, 3), (0, 3), (2, 3))


def test_node_without_cpus_is_no_place_to_schedule(tmp_path: Path) -> None:
    sysfs = Sysfs(tmp_path, "0-1")
    for cpu in range(2):
        sysfs.cpu(cpu, package=0, core=cpu, l3="0-1")
    sysfs.nodes(["", "0-1"], ["10 20", "20 10"])
    topology = claimed_topology(tmp_path)
    assert topology.nr_nodes == 1
    assert {vcpu.node for vcpu in topology.vcpus} == {0}


def test_package_stands_in_for_a_cache_that_is_not_described(tmp_path: Path) -> None:
    sysfs = Sysfs(tmp_path, "0-3")
    for cpu in range(4):
        sysfs.cpu(cpu, package=cpu // 2, core=cpu % 2)
    assert [vcpu.llc for vcpu in claimed_topology(tmp_path).vcpus] == [0, 0, 1, 1]


def test_claims_know_sockets_beside_caches_and_nodes(tmp_path: Path) -> None:
    """Two packages of two caches; the second package reaches over two NUMA nodes."""
    sysfs = Sysfs(tmp_path, "0-7")
    for cpu in range(8):
        pair = f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}"
        sysfs.cpu(cpu, package=cpu // 4, core=cpu % 4, l3=pair)
    sysfs.nodes(["0-5", "6-7"], ["10 21", "21 10"])
    claims = read_claims(tmp_path)
    own = claims.domains
    assert [own[cpu].llc for cpu in range(8)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [own[cpu].socket for cpu in range(8)] == [0, 0, 0, 0, 1, 1, 2, 2]
    assert [own[cpu].node for cpu in range(8)] == [0, 0, 0, 0, 0, 0, 1, 1]
    assert [own[cpu].stack for cpu in range(8)] == list(range(8))
    assert claims.node_distances == {(0, 0): 10, (0, 1): 21, (1, 0): 21, (1, 1): 10}


def test_offline_vcpu_joins_the_nearest_below(tmp_path: Path) -> None:
    sysfs = Sysfs(tmp_path, "0-5")
    for cpu in (0, 1, 4):
        sysfs.cpu(cpu, package=cpu // 4, core=cpu % 4, l3="0-3" if cpu < 4 else "4-5")
    topology = claimed_topology(tmp_path)
    assert [vcpu.llc for vcpu in topology.vcpus] == [0, 0, 0, 0, 1, 1]
    assert len({vcpu.core for vcpu in topology.vcpus}) == 6
    assert not topology.smt


def test_sysfs_without_cpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="describes no CPU"):
        claimed_topology(tmp_path)


def test_this_machine() -> None:
    topology = claimed_topology()
    assert len(topology.vcpus) >= (os.cpu_count() or 1)
    for vcpu in topology.vcpus:
        path = Path(f"/sys/devices/system/cpu/cpu{vcpu.id}/topology/thread_siblings_list")
        if path.exists():
            siblings = parse_cpu_list(path.read_text())
            assert len({topology.vcpus[other].core for other in siblings}) == 1


@pytest.mark.parametrize(
    ("vcpus", "llcs", "nodes", "reason"),
    [
        ((), (), 1, "has no vCPU"),
        ((VCpuPlace(1, 0, 0, 0),), (Llc(0, 0, ()),), 1, "not numbered from 0"),
        ((VCpuPlace(0, 1, 0, 0),), (Llc(0, 0, ()),), 1, "unknown cache 1"),
        ((VCpuPlace(0, 0, 1, 0),), (Llc(0, 0, ()),), 2, "different NUMA nodes"),
        ((VCpuPlace(0, 0, 0, 0, 1025),), (Llc(0, 0, ()),), 1, "capacity 1025"),
        ((VCpuPlace(0, 0, 0, 0),), (Llc(0, 0, ()),), 2000, "2000 NUMA nodes"),
    ],
)
def test_impossible_topologies_are_refused(
    vcpus: tuple[VCpuPlace, ...], llcs: tuple[Llc, ...], nodes: int, reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        Topology(vcpus, llcs, nodes, smt=False)
