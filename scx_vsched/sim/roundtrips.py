"""Round trips between two domains beside a busy third, under Xen's schedulers, simulated.

The experiment of the slides that this project began with (facts: ping between VMs on Xen; CPU load
from `yes`, network load from `iperf`; a 5 ms slice and a cap on the background as remedies). Here
the host has four CPUs. One domain sends a request about every 2 ms and waits for the answer of the
other; each works 20 us for it. The third has eight vCPUs: always busy, or as those of VMs that send
and receive, which work for 4 ms in the mean and then wait for 6 ms.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scx_vsched.sim.machine import simple_machine
from scx_vsched.sim.run import Options
from scx_vsched.sim.scheduler import DEFAULT, prepare
from scx_vsched.sim.workload import Group, Instruction, Program, TaskSet, Workload

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["LOADS", "VARIANTS", "RoundTrips", "Variant", "draw", "markdown", "measure"]

CPUS = 4
BACKGROUND = 8  # vCPUs
US, MS, S = 1000, 1_000_000, 1_000_000_000
WARMUP_NS = S

_WORK = Instruction("compute", 20 * US, distribution="exponential")
_CLIENT = Program(
    "client",
    (
        Instruction("sleep", 2 * MS, distribution="exponential"),
        Instruction("stamp"),
        _WORK,
        Instruction("send", 0),
        Instruction("receive", 1),
        Instruction("latency", 0),
        Instruction("forever"),
    ),
)
_SERVER = Program(
    "server", (Instruction("receive", 0), _WORK, Instruction("send", 1), Instruction("forever"))
)
LOADS: dict[str, tuple[Instruction, ...]] = {
    "no load": (),
    "CPU load": (Instruction("compute", MS), Instruction("forever")),
    "network load": (
        Instruction("compute", 4 * MS, distribution="exponential"),
        Instruction("sleep", 6 * MS, distribution="exponential"),
        Instruction("forever"),
    ),
}


@dataclass(frozen=True, slots=True)
class Variant:
    """A scheduler with its tunables and what the background domain may have."""

    name: str
    policy: str
    tunables: Mapping[str, int] = field(default_factory=dict)
    background: Mapping[str, int] = field(default_factory=dict)


VARIANTS = (
    Variant("Credit", "credit"),
    Variant("Credit, slice of 5 ms", "credit", {"slice_ms": 5}),
    Variant("Credit, background capped to 200 of 400", "credit", {}, {"cap": 200}),
    Variant("Credit2", "credit2"),
    Variant("the kernel's default", DEFAULT),
)


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Round trips of one run, in ns, sorted."""

    variant: str
    load: str
    values_ns: tuple[int, ...]

    def percentile_us(self, percent: float) -> float:
        """The value that so many percent do not exceed."""
        at = min(int(len(self.values_ns) * percent / 100), len(self.values_ns) - 1)
        return self.values_ns[at] / US


def measure(variant: Variant, load: str, seconds: float = 30, seed: int = 1) -> RoundTrips:
    """Run one variant under one load; raises UserError, AssertionError if an invariant broke."""
    background = LOADS[load]
    domains: tuple[Mapping[str, int] | None, ...] = (None, {}, {}, variant.background)
    if variant.policy == DEFAULT:
        domains = (None,) * len(domains)
    tasks = [TaskSet(program="client", group=1), TaskSet(program="server", group=2)]
    programs = [_CLIENT, _SERVER]
    if background:
        programs.append(Program("background", background))
        tasks.append(TaskSet(program="background", count=BACKGROUND, group=3))
    workload = Workload(
        programs=tuple(programs),
        tasks=tuple(tasks),
        channels=(16, 16),
        groups=tuple(Group(domain=domain) for domain in domains),
        metrics=("round trip",),
    )
    options = Options(seed=seed, warmup_ns=WARMUP_NS, end_ns=WARMUP_NS + round(seconds * S))
    outcome = prepare(variant.policy, tunables=variant.tunables).run(
        simple_machine(CPUS), workload, options
    )
    if outcome.failure:
        raise AssertionError(f"{outcome.failure.name}: {outcome.failure.message}")
    return RoundTrips(variant.name, load, tuple(sorted(outcome.latencies_ns["round trip"])))


def markdown(found: list[RoundTrips]) -> str:
    """A table with a line for each run, times in us."""
    lines = [
        "| Scheduler | Background | Round trips | Mean, us | p50 | p99 | Longest |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {run.variant} | {run.load} | {len(run.values_ns):,} | "
        f"{statistics.fmean(run.values_ns) / US:,.0f} | {run.percentile_us(50):,.0f} | "
        f"{run.percentile_us(99):,.0f} | {run.percentile_us(100):,.0f} |"
        for run in found
    ]
    return "\n".join(lines)


def draw(found: list[RoundTrips], path: Path) -> None:
    """The part of round trips that took longer than so long, one panel for each load."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    loads = [load for load in LOADS if any(run.load == load and LOADS[load] for run in found)]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(1, len(loads), sharey=True, squeeze=False)[0]
    for panel, load in zip(panels, loads, strict=True):
        for run in found:
            if run.load == load:
                total = len(run.values_ns)
                x = [value / MS for value in run.values_ns]
                panel.plot(x, [(total - i) / total for i in range(total)], label=run.variant)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_title(load)
        panel.set_xlabel("round trip, ms")
        panel.grid(visible=True, alpha=0.3)
    panels[0].set_ylabel("part that took longer")
    panels[0].legend(fontsize=8, loc="lower left")
    figure.savefig(path, metadata={"Date": None})
