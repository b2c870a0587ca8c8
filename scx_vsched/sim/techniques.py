"""What each technique of the policy vsched is worth on simulated machines, beside its bound.

`scx_vsched sim techniques` prints the tables of docs/techniques.md. Nobody tells the scheduler what
the machines are: probers find it out while it runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from statistics import median
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.sim.compare import measures
from scx_vsched.sim.profile import machine_named
from scx_vsched.sim.run import Options
from scx_vsched.sim.scheduler import DEFAULT, prepare
from scx_vsched.sim.workload_file import load_workload, parse_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scx_vsched.sim.machine import Machine
    from scx_vsched.sim.run import Outcome
    from scx_vsched.sim.scheduler import Scheduler
    from scx_vsched.sim.workload import Workload

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
_THROUGHPUT = {
    "compute": "done",
    "half": "done",
    "barrier": "rounds",
    "locks": "done",
    "spinlocks": "done",
    "forktree": "jobs",
    "pipeline": "items",
}
_WAITS = ("waiting", "latency")


@dataclass(frozen=True, slots=True)
class Settings:
    """How much to simulate."""

    seeds: int = 3
    seconds: int = 8


@dataclass(frozen=True, slots=True)
class Scenario:
    """A machine and a workload, and what of it counts; `count` replaces the workload by threads."""

    profile: str
    workload: str
    measure: str
    contended: bool = False
    count: int = 0

    @property
    def title(self) -> str:
        """How the tables call it."""
        what = f"{self.count} threads" if self.count else self.workload
        return f"{self.profile}{', contended' if self.contended else ''}: {what}"


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


def _prepare(scenario: Scenario) -> tuple[Machine, Workload]:
    machine = machine_named(scenario.profile, contended=scenario.contended)
    if scenario.count:
        return machine, parse_workload(
            _THREADS.format(count=scenario.count), scenario.title, machine
        )
    return machine, load_workload(scenario.workload, machine)


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
    """A scenario's medians by scheduler, and the longest that any task waited for its turn."""

    scenario: Scenario
    better: str  # "more" or "less"
    unit: str
    values: Mapping[str, float]
    waits_ms: Mapping[str, float]

    def gain(self, name: str) -> float:
        """How many times better than the default scheduler."""
        ratio = self.values[name] / self.values["default"]
        return ratio if self.better == "more" else 1 / ratio


def measure(scenario: Scenario, settings: Settings) -> Row:
    """Runs the scenario under every scheduler, on each seed."""
    machine, load = _prepare(scenario)
    values: dict[str, float] = {}
    waits: dict[str, float] = {}
    chosen = None
    for name, scheduler in _variants().items():
        samples = []
        waited = 0
        for seed in range(1, settings.seeds + 1):
            options = Options(
                seed=seed, end_ns=(_LEARN_S + settings.seconds) * _S, warmup_ns=_LEARN_S * _S
            )
            outcome = _run(scheduler, machine, load, options)
            found = {m.name: (m, v) for m, v in measures(outcome, settings.seconds).items()}
            chosen, value = found[scenario.measure]
            samples.append(value)
            waited = max(waited, outcome.longest_wait_ns)
        values[name] = median(samples)
        waits[name] = waited / 1e6
    if chosen is None:
        raise ValueError("no seed")
    return Row(scenario, chosen.better, chosen.unit, values, waits)


def _sweep(*, contended: bool = False) -> list[Scenario]:
    return [
        Scenario("half-time", "", "done", contended, count)
        for count in (1, 2, 4, 6, 8, 10, 12, 14, 16)
    ]


def _throughput(profile: str) -> list[Scenario]:
    return [
        Scenario(profile, workload, metric, contended=True)
        for workload, metric in _THROUGHPUT.items()
    ]


def _tails(profile: str, *pairs: tuple[str, str], contended: bool = False) -> list[Scenario]:
    """p95 and p99 of each workload and metric."""
    return [
        Scenario(profile, workload, f"{metric} {part}", contended)
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
    "RWC": [Scenario("harmful", "barrier", "rounds"), Scenario("harmful", "compute", "done")],
    "RCVM": _throughput("rcvm"),
    "RCVM, latency": _tails("rcvm", *_LATENCIES, ("periodic", "latency"), contended=True),
    "HPVM, throughput": _throughput("hpvm-paper"),
    "HPVM": _tails("hpvm-paper", *_LATENCIES, ("rpc-mixed", "waiting"), contended=True),
    "Dedicated": [
        *(
            Scenario("16", workload, metric)
            for workload, metric in _THROUGHPUT.items()
            if workload != "spinlocks"
        ),
        Scenario("16", "requests", "latency p99"),
    ],
}


def _table(rows: Sequence[Row]) -> list[str]:
    names = [name for name in rows[0].values if name != "default"]
    lines = [
        f"| Machine: workload | measure | default | {' | '.join(names)} | longest wait, all |",
        f"|---|---|---:|{'---:|' * len(names)}---:|",
    ]
    for row in rows:
        cells = [f"{row.values[name]:,.0f} ({row.gain(name):.2f}x)" for name in names]
        lines.append(
            f"| {row.scenario.title} | {row.scenario.measure}, {row.unit} "
            f"| {row.values['default']:,.0f} | {' | '.join(cells)} "
            f"| {row.waits_ms['all']:,.0f} ms |"
        )
    return lines


def _mean(rows: Sequence[Row], name: str) -> float:
    return prod(row.gain(name) for row in rows) ** (1 / len(rows))


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
            say(f"{title}: {scenario.title}, {scenario.measure}")
            rows.append(measure(scenario, settings))
        means = ", ".join(
            f"{name} {_mean(rows, name):.2f}x" for name in rows[0].values if name != "default"
        )
        middle = median(row.gain("all") for row in rows)
        best = max(row.gain("all") for row in rows)
        lines += [f"### {title}", "", *_table(rows), ""]
        lines += [f"Geometric means: {means}. All: median {middle:.2f}x, best {best:.2f}x.", ""]
    lines += ["### Migration in the middle", "", *_recovery(settings, say), ""]
    return "\n".join(lines)
