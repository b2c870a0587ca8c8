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
from scx_vsched.sim.scenarios import SCENARIOS, prepared, threads
from scx_vsched.sim.scheduler import DEFAULT, prepare
from scx_vsched.vm.intervals import ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scx_vsched.sim.machine import Machine
    from scx_vsched.sim.report import Measure
    from scx_vsched.sim.run import Outcome
    from scx_vsched.sim.scenarios import Load, Scenario
    from scx_vsched.sim.scheduler import Scheduler
    from scx_vsched.sim.workload import Workload
    from scx_vsched.vm.intervals import Ratio

__all__ = ["TITLES", "Settings", "markdown", "measure"]

_S = 1_000_000_000
_LEARN_S = 5  # what probers need before anything is measured
_OFF = ("bvs", "ivh", "rwc")
_MOVED = "Migration in the middle"
TITLES = (*SCENARIOS, _MOVED)


@dataclass(frozen=True, slots=True)
class Settings:
    """How much to simulate."""

    seeds: int = 3
    seconds: int = 8


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
    machine, load = prepared(of)
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
    load = threads(4, machine)
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


def markdown(
    settings: Settings, only: Sequence[str] = (), say: Callable[[str], None] = lambda _: None
) -> str:
    """The tables, or `only` those with these titles; UserError for a title that there is not."""
    lines: list[str] = []
    for title in only or TITLES:
        if title not in TITLES:
            raise UserError(f"there is no table {title}", f"one of: {'; '.join(TITLES)}")
        if title == _MOVED:
            lines += [f"### {title}", "", *_recovery(settings, say), ""]
            continue
        rows = []
        for scenario in SCENARIOS[title]:
            say(f"{title}: {scenario.load.title}, {scenario.measure}")
            rows.append(measure(scenario, settings))
        means = ", ".join(
            f"{name} {_mean(rows, name):.2f}x" for name in rows[0].values if name != "default"
        )
        middle = median(row.gain("all").value for row in rows)
        best = max(row.gain("all").value for row in rows)
        lines += [f"### {title}", "", *_table(rows), ""]
        lines += [f"Geometric means: {means}. All: median {middle:.2f}x, best {best:.2f}x.", ""]
    return "\n".join(lines)
