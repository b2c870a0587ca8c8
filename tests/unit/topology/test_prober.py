"""The loop: what it publishes, what it costs, and that it copes with what goes wrong."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from probing import MS, SECOND, TOPOLOGY, load, machine, prober, quota

from scx_vsched.errors import UserError
from scx_vsched.topology.assembly import measured_graph
from scx_vsched.topology.chosen import ChosenVCpus
from scx_vsched.topology.document import document_text, parse_document
from scx_vsched.topology.domains import Domains
from scx_vsched.topology.looks import LookSettings
from scx_vsched.topology.measure import Origin, Snapshot
from scx_vsched.topology.native import NativeMachine
from scx_vsched.topology.prober import Prober
from scx_vsched.topology.records import Relation
from scx_vsched.topology.synthetic import (
    Always,
    Change,
    Hierarchy,
    Steal,
    SyntheticMachine,
    SyntheticSpec,
    VCpuSpec,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from scx_vsched.topology.records import Availability, Demand

INTERRUPT_S = 0.1


def test_a_first_measurement_takes_no_longer_than_told() -> None:
    synthetic = machine(*(VCpuSpec(quota(0.5, 20), load=load(busy=b)) for b in (True, False)))
    loop = prober(synthetic)
    start = synthetic.now_ns()
    heard: list[float] = []
    loop.first(2 * SECOND, lambda _what, part: heard.append(part))
    assert synthetic.now_ns() - start < 2.6 * SECOND
    assert heard == sorted(heard)
    measures = loop.snapshot().measures
    assert [measures[vcpu].share for vcpu in measures] == pytest.approx([0.5, 0.5], abs=0.04)


def test_snapshots_come_in_time_and_say_it_all() -> None:
    synthetic = machine(
        VCpuSpec(quota(1 / 3, 18), load=Always()), VCpuSpec(), steal=Steal.TRUE, seed=2
    )
    loop = prober(synthetic, topology=TOPOLOGY)
    loop.first(2 * SECOND)
    start = synthetic.now_ns()
    snapshots = list(loop.run(2 * SECOND, 10 * SECOND))
    assert [(s.at_ns - start) / SECOND for s in snapshots] == pytest.approx(
        [2, 4, 6, 8, 10], abs=0.7
    )
    last = snapshots[-1]
    shaped = last.measures[0]
    assert shaped.capacity == pytest.approx(341, abs=20)
    assert shaped.steal_share == pytest.approx(1 / 3, abs=0.03)
    assert shaped.gap_share == pytest.approx(1 / 3, abs=0.03)
    assert shaped.activity
    assert shaped.activity.mean_ns == pytest.approx(12 * MS, rel=0.1)
    assert shaped.prediction
    assert shaped.prediction.period_ns == pytest.approx(18 * MS, rel=0.01)
    assert shaped.prediction.confidence > 0.5
    assert last.measures[1].capacity == 1024
    assert last.topology
    assert last.overhead is not None
    assert 0 < last.overhead < 0.02
    assert last.degradations == ()


def test_a_snapshot_is_made_anew_only_after_something_was_seen() -> None:
    synthetic = machine(VCpuSpec(quota(0.5, 10)), VCpuSpec())
    loop = prober(synthetic, topology=TOPOLOGY)
    loop.first(2 * SECOND)
    known = loop.snapshot()
    synthetic.sleep_ns(100 * MS)
    assert loop.snapshot() is known
    assert all(now is not known for now in loop.run(3 * SECOND, 3 * SECOND))


def test_the_graph_holds_what_was_measured() -> None:
    synthetic = machine(VCpuSpec(quota(0.5, 10)), VCpuSpec())
    loop = prober(synthetic, topology=TOPOLOGY)
    loop.first(2 * SECOND)
    claims = {vcpu: Domains(vcpu, vcpu, 0, 0, 0) for vcpu in range(2)}
    graph = measured_graph(loop.snapshot(), claims, Snapshot(Origin.MEASURED))
    assert graph.snapshot.notes == loop.snapshot().degradations != ()
    assert graph.snapshot.settings["period_ns"] == LookSettings().period_ns
    assert graph.measures[0].capacity == pytest.approx(512, abs=25)
    read = parse_document(document_text(graph, loop.watches()))
    assert read.graph == graph
    assert {watch.vcpu for watch in read.availability} == {0, 1}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Hierarchy.regular(llcs=2, cores=4), Hierarchy.regular(llcs=2, cores=4).permuted(2)),
        (Hierarchy.regular(cores=4), Hierarchy.regular(cores=4).stacked((0, 3))),
        (
            Hierarchy.regular(cores=12),
            Hierarchy.regular(cores=12).stacked(*((v, v + 6) for v in range(6))),
        ),
    ],
    ids=["caches", "newly stacked", "all newly stacked"],
)
@pytest.mark.parametrize("seed", range(3))
def test_a_changed_topology_is_found_within_two_periods(
    before: Hierarchy, after: Hierarchy, seed: int
) -> None:
    at = 13 * SECOND + seed * 700 * MS
    synthetic = SyntheticMachine(
        SyntheticSpec(before, changes=(Change(at, hierarchy=after),)), seed
    )
    loop = prober(synthetic, topology=TOPOLOGY)
    loop.first(SECOND)
    assert next(loop.run(at - synthetic.now_ns())).topology_changes == 0
    found = list(loop.run(SECOND, 9 * SECOND))
    noticed = next(s.at_ns for s in found if s.topology_changes)
    assert noticed - at <= 2 * 4 * SECOND
    topology = found[-1].topology
    assert topology
    own = topology.domains
    for vcpu in own:
        assert (own[vcpu].llc == own[0].llc) == (after.relation(0, vcpu) <= Relation.LLC)
        assert (own[vcpu].stack == own[0].stack) == (after.relation(0, vcpu) == Relation.STACKED)


def test_an_offline_vcpu_is_named_and_the_others_are_measured() -> None:
    changes = (Change(5 * SECOND, offline=frozenset({1})),)
    synthetic = machine(*(VCpuSpec(quota(0.5, 10)) for _ in range(3)), changes=changes)
    loop = prober(synthetic, topology=TOPOLOGY)
    loop.first(2 * SECOND)
    *_, last = loop.run(SECOND, 8 * SECOND)
    assert last.measures[1].unavailable == "offline"
    assert "vCPU 1 is not measured: offline." in last.degradations
    assert last.measures[2].capacity == pytest.approx(512, abs=30)


def test_a_machine_that_counts_no_steal_is_named() -> None:
    loop = prober(machine(VCpuSpec()), limits=("The clock is bad.",))
    loop.first(SECOND)
    found = loop.snapshot().degradations
    assert "The kernel counts no steal: capacities come from gaps alone." in found
    assert "The clock is bad." in found


class _Strict(SyntheticMachine):
    """Counts watches at the same time on one vCPU, and loses all results now and then."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.busy: set[int] = set()
        self.calls = 0

    def watch(
        self, vcpus: Collection[int], duration_ns: int, demand: Demand
    ) -> dict[int, Availability]:
        assert not self.busy.intersection(vcpus), "two probes on one vCPU"
        assert 0 < duration_ns < SECOND
        self.busy.update(vcpus)
        found = super().watch(vcpus, duration_ns, demand)
        self.busy.clear()
        self.calls += 1
        return {} if self.calls % 5 == 0 else found


def test_lost_watches_are_survived_and_probes_never_overlap() -> None:
    spec = SyntheticSpec(
        Hierarchy.regular(cores=3),
        vcpus={0: VCpuSpec(quota(0.5, 10)), 1: VCpuSpec(quota(0.2, 20), load=Always())},
    )
    synthetic = _Strict(spec, 1)
    loop = prober(synthetic)
    loop.first(2 * SECOND)
    *_, last = loop.run(SECOND, 10 * SECOND)
    assert last.measures[0].share == pytest.approx(0.5, abs=0.05)
    assert last.measures[1].share == pytest.approx(0.2, abs=0.05)


def test_only_chosen_vcpus_are_probed() -> None:
    synthetic = machine(*(VCpuSpec() for _ in range(4)), offline=frozenset({3}))
    chosen = ChosenVCpus(synthetic, {1, 3})
    assert (chosen.vcpus(), chosen.unavailable()) == ((1,), {3: "offline"})
    loop = Prober(chosen, cpu_ns=lambda: 0, seed=1)
    loop.first(SECOND)
    assert set(loop.snapshot().estimates) == {1}
    with pytest.raises(UserError, match="no vCPU 9"):
        ChosenVCpus(synthetic, {1, 9})


def test_an_interrupt_ends_it_within_100_ms_and_leaves_no_thread() -> None:
    """On the real machine, in the middle of a long first measurement."""
    loop = Prober(NativeMachine(), TOPOLOGY)
    threads = threading.active_count()
    for delay_s in (0.15, 0.4, 0.7):
        sent: list[float] = []

        def interrupt() -> None:
            sent.append(time.monotonic())  # noqa: B023 - joined within the round
            signal.raise_signal(signal.SIGINT)

        timer = threading.Timer(delay_s, interrupt)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            while True:
                loop.first(5 * SECOND)
        late_s = time.monotonic() - sent[0]
        timer.join()
        assert late_s < INTERRUPT_S + 0.15, "with some grace for a loaded machine"
        assert threading.active_count() == threads
