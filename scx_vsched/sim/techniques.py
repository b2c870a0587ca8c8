"""What each technique of the policy vsched is worth on simulated machines, beside its bound.

`scx_vsched sim techniques` prints the tables of docs/techniques.md. Nobody tells the scheduler what
the machines are: probers find it out while it runs.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from math import prod
from statistics import median
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.sim.compare import measures
from scx_vsched.sim.profile import machine_named
from scx_vsched.sim.run import Options
from scx_vsched.sim.scheduler import DEFAULT, prepare
from scx_vsched.sim.unseen import unseen_machine
from scx_vsched.sim.workload_file import load_workload, parse_workload
from scx_vsched.vm.intervals import ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scx_vsched.sim.machine import Machine
    from scx_vsched.sim.report import Measure
    from scx_vsched.sim.run import Outcome
    from scx_vsched.sim.scheduler import Scheduler
    from scx_vsched.sim.workload import Workload
    from scx_vsched.vm.intervals import Ratio

__all__ = ["Scenario", "Settings", "markdown", "measure"]

_S = 1_000_000_000
_LEARN_S = 5  # what probers need before anything is measured
_OFF = ("bvs", "ivh", "rwc")
_THREADS = """
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
class Settings:
    """How much to simulate."""

    seeds: int = 3
    seconds: int = 8


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


@functools.cache
def _variants() -> dict[str, Scheduler]:
    def only(*kept: str) -> dict[str, int]:
        return {name: int(name in kept) for name in _OFF}

    return {
        "default": prepare(DEFAULT),
        "core": prepare("core"),
        "BVS": prepare("vsched", tunables=only("bvs")),
        "IVH": prepare("vsched", tunables=only("ivh")),
        "RWC": prepare("vsched", tunables=only("rwc")),
        "all": prepare("vsched"),
    }


def _prepare(load: Load) -> tuple[Machine, Workload]:
    if load.profile.startswith(_DRAWN):
        machine = unseen_machine(int(load.profile.removeprefix(_DRAWN)))
    else:
        machine = machine_named(load.profile, contended=load.contended)
    if load.count:
        return machine, parse_workload(_THREADS.format(count=load.count), load.title, machine)
    return machine, load_workload(load.workload, machine)


def _run(scheduler: Scheduler, machine: Machine, load: Workload, options: Options) -> Outcome:
    outcome = scheduler.run(machine, load, replace(options, probe=not scheduler.is_default))
    if outcome.failure:
        raise UserError(
            f"{scheduler.name} on {machine.name}, seed {options.seed}: {outcome.failure.name}: "
            f"{outcome.failure.message}"
        )
    return outcome


@dataclass(frozen=True, slots=True)
class Row:
    """A scenario's values by scheduler, one for each seed, and the longest wait of any task."""

    scenario: Scenario
    better: str  # "more" or "less"
    unit: str
    values: Mapping[str, Sequence[float]]
    longest_wait_ms: float  # with all techniques
    capacity: float  # hardware threads that the vCPUs are worth together

    def middle(self, name: str) -> float:
        """The median."""
        return median(self.values[name])

    def gain(self, name: str) -> Ratio:
        """How many times better than the default scheduler."""
        sides = self.values[name], self.values["default"]
        return ratio(*(sides if self.better == "more" else reversed(sides)))

    def share(self, name: str) -> float:
        """Throughput as a part of what the vCPUs can do."""
        return self.middle(name) * self.scenario.piece_us / 1e6 / self.capacity


@dataclass(frozen=True, slots=True)
class Found:
    """What a load gave: every measure by scheduler and seed."""

    samples: Mapping[str, Sequence[Mapping[Measure, float]]]
    longest_wait_ms: float
    capacity: float


@functools.cache
def _found(of: Load, settings: Settings) -> Found:
    machine, load = _prepare(of)
    samples: dict[str, list[Mapping[Measure, float]]] = {}
    waited = 0
    for name, scheduler in _variants().items():
        for seed in range(1, settings.seeds + 1):
            options = Options(
                seed=seed, end_ns=(_LEARN_S + settings.seconds) * _S, warmup_ns=_LEARN_S * _S
            )
            outcome = _run(scheduler, machine, load, options)
            samples.setdefault(name, []).append(measures(outcome, settings.seconds))
            if name == "all":
                waited = max(waited, outcome.longest_wait_ns)
    return Found(samples, waited / 1e6, sum(machine.shares()))


def measure(scenario: Scenario, settings: Settings) -> Row:
    """Runs the scenario under every scheduler, on each seed."""
    found = _found(scenario.load, settings)
    chosen = next(m for m in found.samples["default"][0] if m.name == scenario.measure)
    values = {name: [of[chosen] for of in each] for name, each in found.samples.items()}
    return Row(scenario, chosen.better, chosen.unit, values, found.longest_wait_ms, found.capacity)


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
    "RWC": _throughput("harmful", "barrier", "compute"),
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


def _cell(row: Row, name: str) -> str:
    gain = row.gain(name)
    sure = f" [{gain.low:.2f}, {gain.high:.2f}]" if name == "all" and gain.rounds > 1 else ""
    return f"{row.middle(name):,.0f} ({gain.value:.2f}x{sure})"


def _table(rows: Sequence[Row]) -> list[str]:
    names = [name for name in rows[0].values if name != "default"]
    lines = [
        f"| Machine: workload | measure | default | {' | '.join(names)} | of capacity "
        "| longest wait |",
        f"|---|---|---:|{'---:|' * len(names)}---:|---:|",
    ]
    for row in rows:
        cells = [_cell(row, name) for name in names]
        throughput = row.scenario.piece_us
        share = f"{row.share('default'):.0%} → {row.share('all'):.0%}" if throughput else ""
        lines.append(
            f"| {row.scenario.load.title} | {row.scenario.measure}, {row.unit} "
            f"| {row.middle('default'):,.0f} | {' | '.join(cells)} "
            f"| {share} | {row.longest_wait_ms:,.0f} ms |"
        )
    return lines


def _mean(rows: Sequence[Row], name: str) -> float:
    return prod(row.gain(name).value for row in rows) ** (1 / len(rows))


def _recovery(settings: Settings, say: Callable[[str], None]) -> list[str]:
    """How soon throughput is back after the machine moved: counts second by second."""
    machine = machine_named("moved")
    load = parse_workload(_THREADS.format(count=4), "threads", machine)
    lines = [
        "| seconds after the move | "
        + " | ".join(str(s) for s in range(1, 9))
        + " | best before |",
        "|---|" + "---:|" * 9,
    ]
    for name, scheduler in _variants().items():
        if name not in {"default", "core", "all"}:
            continue
        say(f"moved: {name}")
        done: list[float] = []
        for second in range(20):
            counts = []
            for seed in range(1, settings.seeds + 1):
                options = Options(seed=seed, end_ns=(second + 1) * _S)
                counts.append(_run(scheduler, machine, load, options).counts["done"])
            done.append(median(counts))
        rates = [b - a for a, b in zip([0.0, *done], done, strict=False)]
        best = max(rates[5:10])
        cells = " | ".join(f"{rate / best:.0%}" for rate in rates[10:18])
        lines.append(f"| {name}: {machine.name}, 4 threads | {cells} | {best:,.0f} /s |")
    return lines


def markdown(settings: Settings, say: Callable[[str], None] = lambda _: None) -> str:
    """All tables."""
    lines: list[str] = []
    for title, scenarios in SCENARIOS.items():
        rows = []
        for scenario in scenarios:
            say(f"{title}: {scenario.load.title}, {scenario.measure}")
            rows.append(measure(scenario, settings))
        means = ", ".join(
            f"{name} {_mean(rows, name):.2f}x" for name in rows[0].values if name != "default"
        )
        middle = median(row.gain("all").value for row in rows)
        best = max(row.gain("all").value for row in rows)
        lines += [f"### {title}", "", *_table(rows), ""]
        lines += [f"Geometric means: {means}. All: median {middle:.2f}x, best {best:.2f}x.", ""]
    lines += ["### Migration in the middle", "", *_recovery(settings, say), ""]
    return "\n".join(lines)
