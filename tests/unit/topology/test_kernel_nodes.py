"""The kernel's NUMA nodes: from sysfs, and a measured topology cut where they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_sysfs import Sysfs

from scx_vsched.errors import UserError
from scx_vsched.sim.machine import simple_machine
from scx_vsched.topology.measure import Origin, PairMeasure
from scx_vsched.topology.model import OTHER_NODE, SAME_NODE
from scx_vsched.topology.nodes import MAX_HOME_NODES, KernelNodes, cut_at_nodes
from scx_vsched.topology.records import Relation
from scx_vsched.topology.sysfs import read_kernel_nodes

if TYPE_CHECKING:
    from pathlib import Path


def test_nodes_have_the_kernels_numbers_and_distances(tmp_path: Path) -> None:
    sysfs = Sysfs(tmp_path, "0-5")
    sysfs.nodes(["0-1", "", "2-3"], ["10 12 40", "12 10 20", "40 20 10"])
    (tmp_path / "devices/system/cpu/cpu5/node0").mkdir(parents=True)
    nodes = read_kernel_nodes(tmp_path)
    assert nodes.of_vcpu == (0, 0, 2, 2, 2, 0), "4 is offline, and so is 5, whose link is left"
    assert nodes.numbers == (0, 2), "node 1 has memory alone"
    assert (nodes.distance(0, 2), nodes.distance(2, 2), nodes.distance(0, 9)) == (40, 10, 20)


def test_a_kernel_without_numa_has_one_node(tmp_path: Path) -> None:
    Sysfs(tmp_path, "0-2")
    nodes = read_kernel_nodes(tmp_path)
    assert nodes.of_vcpu == (0, 0, 0)
    assert nodes.near(0) == ()


def test_this_machine_has_a_node_for_each_vcpu() -> None:
    assert read_kernel_nodes().of_vcpu


def test_nodes_are_near_by_their_distance() -> None:
    nodes = KernelNodes((0, 1, 2, 3), {(2, 0): 40, (2, 1): 12})
    assert nodes.near(2) == (1, 3, 0)
    assert KernelNodes((0, 1, 2, 3), {}).near(2) == (3, 0, 1), (
        "not all of them begin with the first"
    )


def measured(relation: Relation, latency_ns: float | None) -> PairMeasure:
    return PairMeasure(relation, Origin.MEASURED, latency_ns)


def test_measured_latencies_say_how_far_nodes_are() -> None:
    nodes = KernelNodes((0, 0, 1, 1, 2), {(0, 1): 20, (1, 0): 20, (0, 2): 40})
    pairs = {
        (0, 1): measured(Relation.SOCKET, 100.0),
        (2, 3): measured(Relation.LLC, 40.0),
        (0, 2): measured(Relation.APART, 6000.0),
        (1, 3): measured(Relation.APART, 8000.0),
        (1, 4): measured(Relation.APART, None),
    }
    found = nodes.with_measured(pairs)
    assert found.distance(0, 1) == found.distance(1, 0) == 700
    assert found.distance(0, 2) == 40, "nobody measured that"
    assert nodes.with_measured({(0, 2): pairs[0, 2]}) == nodes, "far compared with what?"
    near = {(0, 1): pairs[0, 1], (0, 2): measured(Relation.LLC, 90.0)}
    assert nodes.with_measured(near).distance(0, 1) == 10, "they are one machine in truth"


@pytest.mark.parametrize("node", [-1, MAX_HOME_NODES])
def test_nodes_beyond_the_tables_are_named(node: int) -> None:
    with pytest.raises(UserError, match=f"vCPU 1 is on NUMA node {node}"):
        KernelNodes((0, node), {})


def test_a_topology_of_other_vcpus_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="nodes of 2 vCPUs for 4"):
        cut_at_nodes(simple_machine(4).topology(), KernelNodes((0, 1), {}))


def test_caches_end_where_nodes_do() -> None:
    topology = simple_machine(8, per_llc=4).topology()
    cut = cut_at_nodes(topology, KernelNodes((0, 0, 0, 0, 0, 0, 7, 7), {(0, 7): 30}))
    assert [vcpu.llc for vcpu in cut.vcpus] == [0, 0, 0, 0, 1, 1, 2, 2]
    assert [vcpu.node for vcpu in cut.vcpus] == [0, 0, 0, 0, 0, 0, 7, 7]
    assert cut.llcs[1].near == ((0, SAME_NODE), (2, OTHER_NODE))
    assert cut.llcs[2].near == ((1, OTHER_NODE), (0, OTHER_NODE)), (
        "its own cache's other part first"
    )


def test_what_agrees_with_the_kernel_stays_as_it_is() -> None:
    topology = simple_machine(12, per_llc=2, nodes=3).topology()
    nodes = KernelNodes(tuple(vcpu.node for vcpu in topology.vcpus), {})
    assert cut_at_nodes(topology, nodes) == topology


@given(st.data())
def test_every_cache_lies_within_a_node_and_knows_all_others(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    per_llc = data.draw(st.integers(1, count))
    numbers = data.draw(
        st.lists(st.integers(0, MAX_HOME_NODES - 1), min_size=count, max_size=count)
    )
    cut = cut_at_nodes(
        simple_machine(count, per_llc=per_llc).topology(), KernelNodes(tuple(numbers), {})
    )
    for vcpu, node in zip(cut.vcpus, numbers, strict=True):
        assert (vcpu.node, cut.llcs[vcpu.llc].node) == (node, node)
    for llc in cut.llcs:
        assert sorted(other for other, _ in llc.near) == [
            other.index for other in cut.llcs if other is not llc
        ]
        kinds = [distance for _, distance in llc.near]
        assert kinds == sorted(kinds), "those of the own node first"
