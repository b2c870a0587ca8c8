"""The same machine and workload under several schedulers, over several seeds."""

from __future__ import annotations

import contextlib
import itertools
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.sim.report import Measure, measures_of
from scx_vsched.vm.intervals import Ratio, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scx_vsched.sim.machine import Machine
    from scx_vsched.sim.run import Failure, Options, Outcome
    from scx_vsched.sim.scheduler import Scheduler
    from scx_vsched.sim.workload import Workload

__all__ = ["Comparison", "as_markdown", "compare", "measures"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure: the medians by scheduler, and each one's ratio to the first."""

    measure: Measure
    medians: tuple[float, ...]
    ratios: tuple[Ratio, ...]

    def gain(self, index: int) -> float:
        """How many times better than the first, above 1 in either direction of `better`."""
        value = self.ratios[index].value
        return value if self.measure.better == "more" else 1 / value


def measures(outcome: Outcome, seconds: float) -> dict[Measure, float]:
    """Every measure that the outcome gives, with a value above 0."""
    return measures_of(outcome.counts, outcome.latencies_ns, seconds)


@dataclass(frozen=True, slots=True)
class _Run:
    """What is wanted of an outcome, which is large."""

    failure: Failure | None
    measures: dict[Measure, float]


def _run(scheduler: Scheduler, machine: Machine, load: Workload, options: Options) -> _Run:
    outcome = scheduler.run(machine, load, options)
    seconds = (options.end_ns - options.warmup_ns) / 1e9
    return _Run(outcome.failure, measures(outcome, seconds))


def compare(
    schedulers: Sequence[Scheduler],
    machine: Machine,
    load: Workload,
    options: Options,
    seeds: int,
    *,
    jobs: int = 1,
    tell: Callable[[int, int], None] = lambda done, runs: None,
) -> list[Comparison]:
    """Runs every scheduler on each of `seeds` seeds, counted up from that of `options`.

    `jobs` processes share the runs; `tell` hears how many of how many are done.

    Raises UserError where a run fails, naming the invariant.
    """
    runs = [
        (index, replace(options, seed=options.seed + number))
        for number in range(seeds)
        for index in range(len(schedulers))
    ]
    samples: dict[Measure, list[list[float]]] = {}
    with contextlib.ExitStack() as stack:
        each: Callable[..., Iterable[_Run]] = map
        if jobs > 1:
            # forked, which takes no time: nothing here has threads
            pool = ProcessPoolExecutor(jobs, get_context("fork"))
            each = stack.enter_context(pool).map
        found = each(
            _run,
            [schedulers[index] for index, _ in runs],
            itertools.repeat(machine),
            itertools.repeat(load),
            [which for _, which in runs],
        )
        for done, ((index, which), run) in enumerate(zip(runs, found, strict=True), start=1):
            if run.failure:
                raise UserError(
                    f"{schedulers[index].name} with seed {which.seed}: "
                    f"{run.failure.name}: {run.failure.message}",
                    "`sim run` with that seed shows the steps before it",
                )
            for measure, value in run.measures.items():
                samples.setdefault(measure, [[] for _ in schedulers])[index].append(value)
            tell(done, len(runs))
    return [
        Comparison(
            measure,
            tuple(_median(column) for column in columns),
            tuple(ratio(column, columns[0]) for column in columns),
        )
        for measure, columns in samples.items()
        if all(len(column) == seeds for column in columns)
    ]


def as_markdown(
    workload: str, schedulers: Sequence[Scheduler], found: Sequence[Comparison]
) -> list[str]:
    """A table: a row for each measure, with every scheduler's median and ratio to the first."""
    first, *others = (scheduler.name for scheduler in schedulers)
    heads = ["Workload", "Measure", first, *others, *(f"{name} / {first}" for name in others)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in found:
        medians = [f"{median:,.0f}" for median in row.medians]
        name = f"{row.measure.name}, {row.measure.unit}"
        cells = [workload, name, *medians, *map(str, row.ratios[1:])]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
