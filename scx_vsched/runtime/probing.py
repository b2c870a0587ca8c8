"""This machine's prober as a stream of snapshots. Slow to import in an emulated guest."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from scx_vsched.topology.native import NativeMachine
from scx_vsched.topology.prober import Prober
from scx_vsched.topology.upkeep import TopologyProbe
from scx_vsched.topology.verify import Verifier
from scx_vsched.topology.vtop import probe_topology

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from scx_vsched.topology.domains import Domains
    from scx_vsched.topology.hints import Ticks
    from scx_vsched.topology.records import Availability, Demand, PairSample
    from scx_vsched.topology.snapshot import ProbeSnapshot

__all__ = ["snapshots"]

_SECOND_NS = 1_000_000_000
# How long the first measurement of capacities may take; the topology's follows it.
_FIRST_NS = 2 * _SECOND_NS
_EVERY_NS = _SECOND_NS // 2


class _StoppedError(Exception):
    """Nobody wants to know any more."""


class _OwnMachine(NativeMachine):
    """This machine, until `stopping` is set: then every probe raises _StoppedError."""

    def __init__(self, stopping: threading.Event) -> None:
        super().__init__()
        self._stopping = stopping

    def _go_on(self) -> None:
        if self._stopping.is_set():
            raise _StoppedError

    def sleep_ns(self, duration_ns: int) -> None:
        if self._stopping.wait(duration_ns / _SECOND_NS):
            raise _StoppedError

    def pair_probes(
        self, pairs: Sequence[tuple[int, int]], budget_ns: int, samples: int
    ) -> dict[tuple[int, int], PairSample]:
        self._go_on()
        return super().pair_probes(pairs, budget_ns, samples)

    def watch(
        self, vcpus: Collection[int], duration_ns: int, demand: Demand
    ) -> dict[int, Availability]:
        self._go_on()
        return super().watch(vcpus, duration_ns, demand)


def snapshots(
    claims: Mapping[int, Domains],
    stopping: threading.Event,
    ticks: Callable[[], Mapping[int, Ticks]],
) -> Iterator[ProbeSnapshot]:
    """What is known of this machine's vCPUs twice a second, until `stopping` is set.

    `claims` are the domains that the guest was told, `ticks` what a scheduler at work has counted:
    vCPUs that it contradicts are looked at at once. A probe under way when `stopping` is set ends
    within its budget, well below a second.
    """
    prober = Prober(
        _OwnMachine(stopping),
        TopologyProbe(partial(probe_topology, claims=claims), Verifier),
        ticks=ticks,
    )
    with contextlib.suppress(_StoppedError):
        prober.first(_FIRST_NS)
        yield prober.snapshot()
        yield from prober.run(_EVERY_NS)
