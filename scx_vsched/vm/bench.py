"""`vm bench`: what a scheduler's operations cost, and throughput against the default scheduler."""

from __future__ import annotations

import os
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.vm.boot import run_job
from scx_vsched.vm.intervals import Ratio, ratio
from scx_vsched.vm.job import GUEST_DIR, Job, Step
from scx_vsched.vm.machine import Shape
from scx_vsched.vm.run import OBJECT_NAME, build_object
from scx_vsched.vm.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scx_vsched.vm.boot import Outcome
    from scx_vsched.vm.kernels import Kernel

__all__ = [
    "LIMIT",
    "BenchReport",
    "Operation",
    "Throughput",
    "bench",
    "read_cost",
    "read_throughput",
]

LIMIT = 0.97
"""The throughput below the default scheduler's that is not acceptable on plain vCPUs."""

_COST_S = 8.0
_ROUND_S = 3.0


@dataclass(frozen=True, slots=True)
class Operation:
    """One BPF program under hackbench; `share` is its part of the vCPUs' time."""

    name: str
    calls_per_s: float
    ns_per_call: float
    share: float


@dataclass(frozen=True, slots=True)
class Throughput:
    """One workload: medians and ranges of both sides, ours over the default's, and the twin.

    `twin` is the default scheduler over itself in the same rounds: the noise floor.
    """

    name: str
    unit: str
    default: tuple[float, float, float]
    ours: tuple[float, float, float]
    ratio: Ratio
    twin: Ratio


@dataclass(frozen=True, slots=True)
class BenchReport:
    """Everything measured, and where: kernel, accelerator, vCPUs and clocksource.

    `probe`: throughput was measured beside the prober; without, ours went by the VM's claims.
    `bpf_share` is the time in BPF as the kernel counts it, `counting_share` what of that is the
    counting.
    """

    policy: str
    where: str
    probe: bool
    bpf_share: float
    counting_share: float
    operations: tuple[Operation, ...]
    throughput: tuple[Throughput, ...]


def bench(
    kernel: Kernel,
    policy: str,
    *,
    rounds: int = 24,
    seconds: float = _ROUND_S,
    workloads: Sequence[str] = (),
    probe: bool = False,
    memory: str = "2G",
    accelerator: str | None = None,
    timeout_s: float = 3600.0,
    say: Callable[[str], None] = lambda _: None,
) -> BenchReport:
    """Measure `policy` in one VM on `kernel`, its vCPUs pinned to as many host CPUs.

    Rounds are repeated until it is decided about `LIMIT`, `rounds` at most.

    Raises:
        UserError: an unknown workload, what building and booting raise, or a failed step.
    """
    unknown = set(workloads) - {workload.name for workload in WORKLOADS}
    if unknown:
        known = ", ".join(workload.name for workload in WORKLOADS)
        raise UserError(f"unknown workload {', '.join(sorted(unknown))}", f"there are: {known}")
    host = tuple(sorted(os.sched_getaffinity(0)))
    guest_object = f"{GUEST_DIR}/{OBJECT_NAME}"
    steps = (
        Step(
            "scx_vsched.vm.guest_bench:measure_cost",
            {"object_path": guest_object, "seconds": _COST_S},
            "cost",
        ),
        Step(
            "scx_vsched.vm.guest_bench:compare",
            {
                "object_path": guest_object,
                "seconds": seconds,
                "rounds": rounds,
                "limit": LIMIT,
                "probe": probe,
                "names": list(workloads),
            },
            "throughput",
        ),
    )
    with tempfile.TemporaryDirectory(prefix="scx_vsched-") as scratch:
        say(f"building {policy}")
        built = build_object(policy, Path(scratch) / OBJECT_NAME)
        say(f"booting Linux {kernel.release}")
        outcome = run_job(
            kernel,
            Job(steps),
            shape=Shape(cpus=str(len(host)), memory=memory, pin=host),
            force_accelerator=accelerator,
            timeout_s=timeout_s,
            files={OBJECT_NAME: built},
            on_event=lambda event: say(event["text"]) if "text" in event else None,
        )
    return _report(policy, outcome, probe)


def _report(policy: str, outcome: Outcome, probe: bool) -> BenchReport:
    for step in outcome.steps:
        if not step.ok:
            raise UserError(
                f"measuring {step.name} failed: {step.error}", f"logs: {outcome.directory}"
            )
    cost, throughput = (step.value for step in outcome.steps)
    return BenchReport(
        policy,
        outcome.where,
        probe,
        cost["share"],
        cost["counting_share"],
        read_cost(cost),
        read_throughput(throughput),
    )


def read_cost(raw: dict[str, Any]) -> tuple[Operation, ...]:
    """The operations in what the guest's `measure_cost` returned, costliest first."""
    wall_ns = raw["wall_s"] * 1e9
    return tuple(
        Operation(
            program["name"],
            program["calls"] / raw["wall_s"],
            program["time_ns"] / program["calls"],
            program["time_ns"] / (wall_ns * raw["vcpus"]),
        )
        for program in raw["programs"]
    )


def read_throughput(raw: dict[str, Any]) -> tuple[Throughput, ...]:
    """The comparison in what the guest's `compare` returned."""
    units = {workload.name: workload.unit for workload in WORKLOADS}
    found = []
    for name, arms in raw["rates"].items():
        first, ours, second = arms["first"], arms["ours"], arms["second"]
        default = [(a * b) ** 0.5 for a, b in zip(first, second, strict=True)]
        found.append(
            Throughput(
                name,
                units[name],
                _middle(first + second),
                _middle(ours),
                ratio(ours, default),
                ratio(second, first),
            )
        )
    return tuple(found)


def _middle(rates: list[float]) -> tuple[float, float, float]:
    return statistics.median(rates), min(rates), max(rates)
