"""Machines that no rule was made for: drawn at random, the same for the same number.

Groups of vCPUs each have their own way of being taken away: never, by a quota, by the clock, or at
random times without any pattern.
"""

from __future__ import annotations

import random
from dataclasses import replace

from scx_vsched.sim.machine import HostThread, Machine, simple_machine

__all__ = ["unseen_machine"]

_MS = 1_000_000
_PERIODS_MS = (5, 7, 10, 15, 25, 40)
_LEAST_NS = _MS // 5
_WINDOWS = 200  # of a pattern that looks like none


def unseen_machine(number: int) -> Machine:
    """4 to 24 vCPUs with shares of 0.15 to 0.9; some have rivals, siblings, a stacked pair."""
    rng = random.Random(number)  # noqa: S311 - the same machine each time
    threads_of_core = rng.choice((1, 1, 2))
    vcpus = threads_of_core * rng.randint(4, 24 // threads_of_core)
    machine = simple_machine(vcpus, threads=threads_of_core, per_llc=rng.choice((0, 0, 4)))
    contended = rng.random() < 0.5
    threads: list[HostThread] = []
    rivals: list[HostThread] = []
    while len(threads) < vcpus:
        kind = rng.choice(("always", "quota", "quota", "clock", "random"))
        period = rng.choice(_PERIODS_MS) * _MS
        share = rng.uniform(0.15, 0.9)
        for _ in range(min(rng.randint(1, 4), vcpus - len(threads))):
            thread = _thread(rng, len(threads), kind, period, share)
            threads.append(thread)
            if contended and thread.period_ns:
                rest = max(period - thread.quota_ns, _LEAST_NS)
                rivals.append(HostThread(thread.pcpu, quota_ns=rest, period_ns=period))
    if rng.random() < 0.5:
        stacked = vcpus - threads_of_core
        rivals = [rival for rival in rivals if rival.pcpu != stacked]
        threads[stacked] = replace(threads[stacked], pcpu=0)
    return replace(machine, name=f"drawn {number}", threads=(*threads, *rivals))


def _thread(rng: random.Random, pcpu: int, kind: str, period: int, share: float) -> HostThread:
    run = max(round(period * share), _LEAST_NS)
    match kind:
        case "quota":
            return HostThread(pcpu, quota_ns=run, period_ns=period)
        case "clock":
            return HostThread(pcpu, gates_ns=(run, period - run))
        case "random":
            means = (run, period - run) * (_WINDOWS // 2)
            gates = (max(round(rng.expovariate(1 / mean)), _LEAST_NS) for mean in means)
            return HostThread(pcpu, gates_ns=tuple(gates))
        case _:
            return HostThread(pcpu)
