"""What the techniques of the policy vsched are measured on: machines, workloads, and what counts.

`drawn N` is a machine that no rule was made for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.sim.profile import machine_named
from scx_vsched.sim.unseen import unseen_machine
from scx_vsched.sim.workload_file import load_workload, parse_workload

if TYPE_CHECKING:
    from scx_vsched.sim.machine import Machine
    from scx_vsched.sim.workload import Workload

__all__ = ["SCENARIOS", "THREADS", "Load", "Scenario", "prepared", "threads"]

THREADS = """
description = "computing threads"
metrics = ["done"]
[[program]]
name = "worker"
steps = ["compute 1ms", "mark done", "forever"]
[[tasks]]
program = "worker"
count = {count}
"""
# What counts, and for how long one of it computes on a whole hardware thread, in us.
_THROUGHPUT = {
    "compute": ("done", 1_000),
    "half": ("done", 1_000),
    "barrier": ("rounds", 2_000),
    "locks": ("done", 420),
    "spinlocks": ("done", 420),
    "forktree": ("jobs", 12_000),
    "pipeline": ("items", 430),
}
_DRAWN = "drawn "
_WAITS = ("waiting", "latency")


@dataclass(frozen=True, slots=True)
class Load:
    """A machine and a workload; `count` replaces the workload by threads."""

    profile: str
    workload: str
    contended: bool = False
    count: int = 0

    @property
    def title(self) -> str:
        """How the tables call it."""
        what = f"{self.count} threads" if self.count else self.workload
        return f"{self.profile}{', contended' if self.contended else ''}: {what}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """What of a load counts; throughput also says how long one piece computes, in us."""

    load: Load
    measure: str
    piece_us: int = 0


def _sweep(*, contended: bool = False) -> list[Scenario]:
    return [
        Scenario(Load("half-time", "", contended, count), "done", 1_000)
        for count in (1, 2, 4, 6, 8, 10, 12, 14, 16)
    ]


def _throughput(profile: str, *workloads: str, contended: bool = False) -> list[Scenario]:
    return [
        Scenario(Load(profile, workload, contended), *_THROUGHPUT[workload])
        for workload in workloads or _THROUGHPUT
    ]


def _tails(profile: str, *pairs: tuple[str, str], contended: bool = False) -> list[Scenario]:
    """p95 and p99 of each workload and metric."""
    return [
        Scenario(Load(profile, workload, contended), f"{metric} {part}")
        for workload, metric in pairs
        for part in ("p95", "p99")
    ]


_LATENCIES = tuple((workload, "latency") for workload in ("requests", "mixed", "rpc", "rpc-mixed"))
SCENARIOS: dict[str, list[Scenario]] = {
    "BVS": _tails(
        "asym-latency",
        *((workload, metric) for workload in ("rpc", "rpc-mixed") for metric in _WAITS),
        ("requests", "latency"),
        ("mixed", "latency"),
    ),
    "IVH": _sweep(),
    "IVH, contended": _sweep(contended=True),
    "RWC": [
        row
        for profile in ("harmful", "straggler", "rcvm")
        for row in (
            *_throughput(profile, "barrier", "compute"),
            Scenario(Load(profile, "jobs"), "done", 8_000),
        )
    ],
    "RCVM": _throughput("rcvm", contended=True),
    "RCVM, latency": _tails("rcvm", *_LATENCIES, ("periodic", "latency"), contended=True),
    "HPVM, throughput": _throughput("hpvm-paper", contended=True),
    "HPVM": _tails("hpvm-paper", *_LATENCIES, ("rpc-mixed", "waiting"), contended=True),
    "Dedicated": [
        *_throughput("16", *(name for name in _THROUGHPUT if name != "spinlocks")),
        Scenario(Load("16", "requests"), "latency p99"),
    ],
    "Drawn, throughput": [
        row for number in range(1, 9) for row in _throughput(f"{_DRAWN}{number}", "half", "barrier")
    ],
    "Drawn, latency": [
        row
        for number in range(1, 9)
        for row in _tails(f"{_DRAWN}{number}", ("requests", "latency"), ("rpc-mixed", "latency"))
    ],
}


def threads(count: int, machine: Machine) -> Workload:
    """So many computing threads."""
    return parse_workload(THREADS.format(count=count), f"{count} threads", machine)


def prepared(load: Load) -> tuple[Machine, Workload]:
    """The machine and the workload themselves."""
    if load.profile.startswith(_DRAWN):
        machine = unseen_machine(int(load.profile.removeprefix(_DRAWN)))
    else:
        machine = machine_named(load.profile, contended=load.contended)
    if load.count:
        return machine, threads(load.count, machine)
    return machine, load_workload(load.workload, machine)
