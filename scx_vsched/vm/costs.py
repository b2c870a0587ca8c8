"""`vm costs`: what the operations of many policies cost, beside the default policy's."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.vm.boot import run_job
from scx_vsched.vm.job import GUEST_DIR, Job, Step
from scx_vsched.vm.machine import Shape
from scx_vsched.vm.run import build_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scx_vsched.vm.kernels import Kernel

__all__ = ["LIMIT", "REFERENCE", "SHOWN", "CostReport", "PolicyCost", "as_markdown", "costs"]

REFERENCE = "core"
"""The policy that others are compared with."""
LIMIT = 2.0
"""How many times the reference's enqueue and dispatch may cost."""
SHOWN = ("select_cpu", "enqueue", "dispatch", "running", "stopping", "tick")
"""Operations in the table, as the kernel names them."""

_PREFIX = "vsched_"
_TIMEOUT_S = 1200.0


@dataclass(frozen=True, slots=True)
class PolicyCost:
    """Of one policy under hackbench: ns per call by operation, and of all per task started.

    An operation that was not called is missing.
    """

    policy: str
    ns_per_call: Mapping[str, float]
    ns_per_run: float

    @property
    def pair_ns(self) -> float:
        """An enqueue and a dispatch."""
        return self.ns_per_call.get("enqueue", 0.0) + self.ns_per_call.get("dispatch", 0.0)


@dataclass(frozen=True, slots=True)
class CostReport:
    """One kernel: the reference before and after all others, which shows what is noise."""

    where: str
    first: PolicyCost
    policies: tuple[PolicyCost, ...]
    last: PolicyCost

    def times(self, cost: PolicyCost) -> float:
        """A policy's enqueue and dispatch over the reference's mean."""
        return 2 * cost.pair_ns / (self.first.pair_ns + self.last.pair_ns)


def costs(
    kernel: Kernel,
    policies: Sequence[str],
    *,
    seconds: float,
    accelerator: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> CostReport:
    """Measures each of `policies` (name or file) for `seconds`, all in one VM on `kernel`.

    Raises:
        UserError: what building and booting raise, or a failed step.
    """
    host = tuple(sorted(os.sched_getaffinity(0)))
    every = (REFERENCE, *policies, REFERENCE)
    with tempfile.TemporaryDirectory(prefix="scx_vsched-") as scratch:
        files = {}
        for number, policy in enumerate(every):
            say(f"building {policy}")
            name = f"{number}.bpf.o"
            files[name] = build_object(policy, Path(scratch) / name)
        steps = tuple(
            Step(
                "scx_vsched.vm.guest_bench:measure_cost",
                {"object_path": f"{GUEST_DIR}/{name}", "seconds": seconds},
                policy,
            )
            for name, policy in zip(files, every, strict=True)
        )
        say(f"booting Linux {kernel.release}")
        outcome = run_job(
            kernel,
            Job(steps),
            shape=Shape(cpus=str(len(host)), memory="2G", pin=host),
            force_accelerator=accelerator,
            timeout_s=_TIMEOUT_S,
            files=files,
            on_event=lambda event: say(event["name"]) if event["event"] == "step" else None,
        )
    for step in outcome.steps:
        if not step.ok:
            raise UserError(
                f"measuring {step.name} failed: {step.error}", f"logs: {outcome.directory}"
            )
    first, *others, last = (_cost(step.name, step.value) for step in outcome.steps)
    return CostReport(outcome.where, first, tuple(others), last)


def _cost(policy: str, raw: dict[str, Any]) -> PolicyCost:
    """What the guest's `measure_cost` returned of a policy."""
    programs = {each["name"].removeprefix(_PREFIX): each for each in raw["programs"]}
    runs = programs["running"]["calls"] if "running" in programs else 0
    if not runs:
        raise UserError(f"{policy} ran nothing while it was measured")
    return PolicyCost(
        policy,
        {name: each["time_ns"] / each["calls"] for name, each in programs.items()},
        sum(each["time_ns"] for each in programs.values()) / runs,
    )


def as_markdown(reports: Sequence[CostReport]) -> str:
    """The page docs/costs.md, a section for each kernel."""
    lines = [
        "# What policies cost",
        "",
        "Written by `scx_vsched vm costs --markdown docs/costs.md`. Nanoseconds per call under",
        "hackbench by the kernel's own count, its counting included; `core` was measured before",
        "and after the others. The ratio is an enqueue and a dispatch over those of `core`; per",
        "run is the time in all operations over the tasks that started to run.",
    ]
    for report in reports:
        lines += [
            "",
            f"## {report.where}",
            "",
            f"| policy | {' | '.join(SHOWN)} | enqueue + dispatch | over `{REFERENCE}` | per run |",
            "|---|" + "---:|" * (len(SHOWN) + 3),
        ]
        rows = (report.first, *report.policies, report.last)
        lines += [
            f"| `{cost.policy}` | "
            + " | ".join(_ns(cost.ns_per_call.get(name)) for name in SHOWN)
            + f" | {_ns(cost.pair_ns)} | {report.times(cost):.2f} | {_ns(cost.ns_per_run)} |"
            for cost in rows
        ]
    return "\n".join(lines) + "\n"


def _ns(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
