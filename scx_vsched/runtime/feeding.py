"""Measures the vCPUs beside a scheduler at work, and hands it what changed.

Nothing here imports networkx, which an emulated guest takes seconds for.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Self

from scx_vsched.bpf.libbpf import BpfError
from scx_vsched.errors import UserError
from scx_vsched.runtime.display import notice
from scx_vsched.topology.convert import build_topology, llc_latency, with_measures
from scx_vsched.topology.domains import combine
from scx_vsched.topology.sysfs import read_claims

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from scx_vsched.bpf.feed import Feed
    from scx_vsched.topology.domains import Domains
    from scx_vsched.topology.hints import Ticks
    from scx_vsched.topology.measured import MeasuredTopology
    from scx_vsched.topology.model import Topology
    from scx_vsched.topology.prediction import Forecast
    from scx_vsched.topology.snapshot import ProbeSnapshot

    type Snapshots = Callable[
        [Mapping[int, Domains], threading.Event, Callable[[], Mapping[int, Ticks]]],
        Iterator[ProbeSnapshot],
    ]

__all__ = ["Feeding", "TopologySource", "placement_text"]

# A forecast that is less sure is none.
_SURE = 0.5


class TopologySource:
    """Makes the scheduler's topology of one snapshot after another."""

    def __init__(self, claims: Mapping[int, Domains]) -> None:
        self._claims = claims
        self._found: MeasuredTopology | None = None
        self._placement = self._place(None)

    def topology(self, snapshot: ProbeSnapshot) -> Topology:
        """What is known: measured as far as it could be, else as claimed."""
        if snapshot.topology is not self._found:
            self._found = snapshot.topology
            self._placement = self._place(snapshot.topology)
        return with_measures(self._placement, snapshot.measures)

    def _place(self, found: MeasuredTopology | None) -> Topology:
        domains = combine(found.domains if found else {}, self._claims)
        pairs = found.pairs.items() if found else ()
        latencies = found.class_latency_ns if found else {}
        distance = llc_latency(domains, pairs, latencies)
        return build_topology(domains, llc_distance=distance, told=self._claims)


class Feeding:
    """Probes in a thread of its own while its context is open; without that it does nothing.

    The scheduler may end and another one begin meanwhile: what is known stays. `topology` is the
    latest, None before the first measurement.
    """

    def __init__(
        self, snapshots: Snapshots | None = None, say: Callable[[str], None] = notice
    ) -> None:
        """`snapshots` is what probes, by default `scx_vsched.runtime.probing.snapshots`.

        `say` gets a line for each thing to know.
        """
        self.topology: Topology | None = None
        self._snapshots = snapshots
        self._say = say
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._feed: Feed | None = None
        self._thread = threading.Thread(target=self._work, name="prober", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    @contextlib.contextmanager
    def following(self, feed: Feed) -> Iterator[None]:
        """Hand what is found to `feed` for the length of the block."""
        with self._lock:
            self._feed = feed
        try:
            yield
        finally:
            with self._lock:
                self._feed = None

    def _work(self) -> None:
        try:
            self._probe()
        except UserError as error:
            self._say(f"warning: no vCPU is measured: {error.message}")
        except BpfError as error:
            self._say(f"warning: the scheduler is told no more of the vCPUs: {error}")

    def _probe(self) -> None:
        probe = self._snapshots
        if probe is None:
            # Takes seconds in an emulated guest, where the scheduler is at work meanwhile.
            from scx_vsched.runtime.probing import snapshots  # noqa: PLC0415

            probe = snapshots
        claims = read_claims().domains
        source = TopologySource(claims)
        last: tuple[ProbeSnapshot, Feed | None] | None = None
        for snapshot in probe(claims, self._stopping, self._ticks):
            if last is not None and last[0] is snapshot and last[1] is self._feed:
                continue  # nothing new, and nobody new to tell
            last = snapshot, self._feed
            self.topology = source.topology(snapshot)
            sure = {
                vcpu: forecast
                for vcpu, forecast in snapshot.forecasts.items()
                if forecast.confidence >= _SURE
            }
            with self._lock:
                if self._feed:
                    self._hand_over(self._feed, self.topology, snapshot.at_ns, sure)
                    if snapshot.topology:
                        self._feed.note_pairs(snapshot.topology.pairs)

    def _ticks(self) -> Mapping[int, Ticks]:
        with self._lock:
            return self._feed.ticks() if self._feed else {}

    def _hand_over(
        self, feed: Feed, topology: Topology, at_ns: int, forecasts: Mapping[int, Forecast]
    ) -> None:
        fixed = feed.fixed
        if feed.update(topology):
            self._say(f"topology {feed.epoch}: {placement_text(feed.topology)}")
        if feed.fixed and not fixed:
            self._say(
                "warning: on this kernel the scheduler keeps the placement that it began with; "
                "capacities it follows"
            )
        feed.note_probed(at_ns, forecasts)


def placement_text(topology: Topology) -> str:
    """What is where, in a line: "4 vCPUs, 2 caches, 1 node; stacked: 2+3"."""
    stacks: dict[int, list[str]] = {}
    for vcpu in topology.vcpus:
        stacks.setdefault(vcpu.stack, []).append(str(vcpu.id))
    stacked = ["+".join(members) for members in stacks.values() if len(members) > 1]
    counts = (
        (len(topology.vcpus), "vCPU"),
        (len(topology.llcs), "cache"),
        (topology.nr_nodes, "node"),
    )
    text = ", ".join(f"{number} {what}{'s' if number != 1 else ''}" for number, what in counts)
    return text + (f"; stacked: {', '.join(stacked)}" if stacked else "")
