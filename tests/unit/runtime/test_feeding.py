"""What the prober finds on its way to the scheduler, without either."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from scx_vsched.bpf.libbpf import BpfError
from scx_vsched.errors import UserError
from scx_vsched.runtime.feeding import Feeding, TopologySource, placement_text
from scx_vsched.topology.domains import Domains, numbered
from scx_vsched.topology.measure import Activity, Evidence, VCpuMeasure
from scx_vsched.topology.measured import Effort, MeasuredTopology
from scx_vsched.topology.prediction import Forecast
from scx_vsched.topology.snapshot import ProbeSnapshot
from scx_vsched.topology.steal import SourceEvidence

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scx_vsched.topology.model import Topology

CLAIMS = numbered({vcpu: (vcpu, vcpu, 0, 0, 0) for vcpu in range(4)})
STACKED = numbered({0: (0, 0, 0, 0, 0), 1: (0, 0, 0, 0, 0), 2: (2, 2, 2, 0, 0)})


def found(domains: Mapping[int, Domains]) -> MeasuredTopology:
    return MeasuredTopology(domains, {}, {}, {}, (), Effort())


def snapshot(
    topology: MeasuredTopology | None = None, *, capacity: int = 512, at_ns: int = 1
) -> ProbeSnapshot:
    return ProbeSnapshot(
        at_ns=at_ns,
        measures={0: VCpuMeasure(capacity=capacity, activity=Activity(10.0, 4e6, 5e6, 6e6))},
        estimates={},
        forecasts={0: Forecast(70, 4e6, 0.9, 1e7), 1: Forecast(80, 4e6, 0.2, None)},
        evidence=SourceEvidence(Evidence.GAPS, "there is no steal", 0, None),
        topology=topology,
        topology_changes=0,
        overhead=None,
        degradations=(),
        settings={},
    )


class Recorded:
    """Stands where a Feed would: keeps what it is given."""

    def __init__(self, *, fixed: bool = False, error: Exception | None = None) -> None:
        self.epoch = 0
        self.fixed = False
        self.topologies: list[Topology] = []
        self.probed: list[tuple[int, dict[int, Forecast]]] = []
        self._becomes_fixed = fixed
        self._error = error

    @property
    def topology(self) -> Topology:
        return self.topologies[-1]

    def update(self, topology: Topology) -> bool:
        if self._error:
            raise self._error
        self.topologies.append(topology)
        self.fixed = self._becomes_fixed
        self.epoch += not self.fixed
        return not self.fixed

    def note_pairs(self, pairs: Mapping[tuple[int, int], Any]) -> None:
        self.pairs = pairs

    def note_probed(self, at_ns: int, forecasts: dict[int, Forecast]) -> None:
        self.probed.append((at_ns, forecasts))


def feed_all(feed: Any, *snapshots: ProbeSnapshot) -> Feeding:
    """Hand these to `feed`, one after the other."""
    begin, ended = threading.Event(), threading.Event()

    def probe(
        _claims: object, _stopping: threading.Event, _ticks: object
    ) -> Iterator[ProbeSnapshot]:
        begin.wait(10)
        yield from snapshots
        ended.set()

    feeding = Feeding(probe)
    with feeding, feeding.following(feed):
        begin.set()
        feeding._thread.join(10)
    return feeding


def test_what_was_not_measured_is_as_claimed() -> None:
    source = TopologySource(CLAIMS)
    topology = source.topology(snapshot())
    assert [vcpu.capacity for vcpu in topology.vcpus] == [512, 1024, 1024, 1024]
    assert topology.vcpus[0].latency_ns == 4_000_000
    assert len(topology.llcs) == 1


def test_a_new_topology_takes_the_place_of_claims() -> None:
    source = TopologySource(CLAIMS)
    topology = source.topology(snapshot(found(STACKED)))
    assert [vcpu.stack for vcpu in topology.vcpus] == [0, 0, 2, 3]
    assert topology.vcpus[2].llc != topology.vcpus[0].llc
    assert source.topology(snapshot(found(CLAIMS))).vcpus[1].stack == 1


def test_snapshots_reach_the_scheduler(capsys: pytest.CaptureFixture[str]) -> None:
    feed = Recorded()
    measured = found(STACKED)
    feeding = feed_all(feed, snapshot(measured), snapshot(measured, capacity=300, at_ns=9))
    assert [topology.vcpus[0].capacity for topology in feed.topologies] == [512, 300]
    sure = Forecast(70, 4e6, 0.9, 1e7)
    assert feed.probed == [(1, {0: sure}), (9, {0: sure})], "a forecast in doubt is none"
    assert feeding.topology == feed.topology
    assert "stacked: 0+1" in capsys.readouterr().err


def test_nobody_is_told_the_same_twice() -> None:
    feed, known = Recorded(), snapshot()
    feed_all(feed, known, known, snapshot(capacity=300))
    assert [topology.vcpus[0].capacity for topology in feed.topologies] == [512, 300]


def test_nothing_is_handed_over_without_a_scheduler() -> None:
    feeding = Feeding(lambda _claims, _stopping, _ticks: iter([snapshot()]))
    with feeding:
        feeding._thread.join(10)
    assert feeding.topology is not None, "but it is there for the next one"


def test_a_kernel_that_cannot_move_tasks_is_told_of_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    feed_all(Recorded(fixed=True), snapshot(), snapshot())
    assert capsys.readouterr().err.count("keeps the placement") == 1


@pytest.mark.parametrize("error", [BpfError("cannot change the topology", 5), UserError("no")])
def test_the_scheduler_goes_on_where_feeding_fails(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    feed_all(Recorded(error=error), snapshot())
    assert "warning: " in capsys.readouterr().err


def test_a_prober_that_sleeps_ends_at_once() -> None:
    slept = threading.Event()

    def probe(
        _claims: object, stopping: threading.Event, _ticks: object
    ) -> Iterator[ProbeSnapshot]:
        slept.set()
        assert stopping.wait(60)
        yield from ()

    with Feeding(probe):
        assert slept.wait(10)


def test_a_line_says_what_is_where() -> None:
    topology = TopologySource(CLAIMS).topology(snapshot())
    assert placement_text(topology) == "4 vCPUs, 1 cache, 1 node"
    vcpus = (*topology.vcpus[:3], replace(topology.vcpus[3], stack=2, core=topology.vcpus[2].core))
    assert placement_text(replace(topology, vcpus=vcpus)).endswith("; stacked: 2+3")


def test_no_graph_library_is_imported_in_a_guest() -> None:
    code = "import sys, scx_vsched.runtime.probing; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"networkx", "numpy", "matplotlib"} & set(done.stdout.split())
