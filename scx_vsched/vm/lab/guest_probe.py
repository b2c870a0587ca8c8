"""The guest's side of the accuracy measurement: probers at work while the host shapes the VM."""

# ruff: noqa: PLC0415 - probers are slow to import under TCG, and only some steps need them

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from typing import TYPE_CHECKING, Any

from scx_vsched.vm.lab.guest import phase

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from contextlib import AbstractContextManager

    from scx_vsched.vm.agent import Guest

__all__ = ["busy_vcpus", "probe_overhead", "probe_shares", "probe_stacks", "prober_cost"]

_NS = 1_000_000_000
_FIRST_NS = 2 * _NS
_PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def busy_vcpus(busy: bool, vcpus: Collection[int] | None = None) -> Iterator[None]:
    """An ordinary task spins on each of `vcpus`, by default all, which wants all the time then."""
    chosen = sorted(os.sched_getaffinity(0) if vcpus is None else vcpus)
    children = [_spinner(vcpu) for vcpu in chosen] if busy else []
    try:
        yield
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _spinner(vcpu: int) -> int:
    child = os.fork()
    if child:
        return child
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.sched_setaffinity(0, {vcpu})
    while True:
        pass


def probe_shares(guest: Guest, name: str, seconds: float, busy: bool) -> dict[str, Any]:
    """Run the probers for `seconds` while phase `name` is on; what they say of each vCPU."""
    from scx_vsched.topology.native import NativeMachine
    from scx_vsched.topology.prober import Prober

    machine = NativeMachine()
    with phase(guest, name), busy_vcpus(busy):
        prober = Prober(machine)
        prober.first(_FIRST_NS)
        *_, snapshot = prober.run(_NS, round(seconds * _NS))
    found: dict[str, Any] = {}
    for vcpu, measure in snapshot.measures.items():
        activity = measure.activity
        found[str(vcpu)] = {
            "share": measure.share,
            "capacity": measure.capacity,
            "mean_away_ns": activity.mean_ns if activity else None,
            "p95_away_ns": activity.p95_ns if activity else None,
        }
    return {"vcpus": found}


def probe_overhead(
    guest: Guest, name: str, seconds: float, busy: bool, probing: bool
) -> dict[str, Any]:
    """What probing costs in phase `name`: see `prober_cost`."""
    return prober_cost(seconds, busy, probing, phase(guest, name))


def prober_cost(
    seconds: float, busy: bool, probing: bool, during: AbstractContextManager[None]
) -> dict[str, Any]:
    """Let the probers run for `seconds` in the context `during`, or nothing where not `probing`.

    All that `scx_vsched probe --watch` does, topology included, but for the display. The first
    measurement comes before, since its cost comes once.
    """
    from scx_vsched.topology.native import NativeMachine
    from scx_vsched.topology.prober import Prober
    from scx_vsched.topology.upkeep import TopologyProbe
    from scx_vsched.topology.verify import Verifier
    from scx_vsched.topology.vtop import probe_topology

    machine = NativeMachine()
    with busy_vcpus(busy):
        prober = Prober(machine, TopologyProbe(probe_topology, Verifier))
        prober.first(_FIRST_NS)
        with during:
            used_ns, began_ns = time.process_time_ns(), time.monotonic_ns()
            if probing:
                for _ in prober.run(round(seconds * _NS), round(seconds * _NS)):
                    pass
            else:
                time.sleep(seconds)
            wall_ns = time.monotonic_ns() - began_ns
            used_ns = time.process_time_ns() - used_ns
    vcpus = len(machine.vcpus())
    return {"seconds": wall_ns / _NS, "vcpus": vcpus, "overhead": used_ns / wall_ns / vcpus}


def probe_stacks(
    guest: Guest, name: str, times: int, busy: bool, vcpus: Sequence[int]
) -> list[dict[str, Any]]:
    """Probe the topology of `vcpus` `times` times in phase `name`.

    The stacks that each probe found, and its effort.
    """
    from scx_vsched.topology.chosen import ChosenVCpus
    from scx_vsched.topology.native import NativeMachine
    from scx_vsched.topology.vtop import probe_topology

    machine = ChosenVCpus(NativeMachine(), vcpus)
    found = []
    with phase(guest, name), busy_vcpus(busy, vcpus):
        for number in range(times):
            began = time.monotonic()
            topology = probe_topology(machine)
            stacks: dict[int, list[int]] = {}
            for vcpu, domains in topology.domains.items():
                stacks.setdefault(domains.stack, []).append(vcpu)
            found.append(
                {
                    "stacks": sorted(sorted(each) for each in stacks.values() if len(each) > 1),
                    "unknown": sorted(topology.unknown),
                    "pair_probes": topology.effort.pair_probes,
                    "seconds": time.monotonic() - began,
                }
            )
            guest.progress(f"{name}: probe {number + 1} of {times}")
    return found
