"""The numbers of a report: medians, gains over the default scheduler, shares of the capacity.

A gain is how many times better a scheduler is, whichever way a measure is better, from rounds
paired with the default's (scx_vsched.vm.intervals).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING

from scx_vsched.lab.guest_measure import BIN_S
from scx_vsched.lab.schedulers import DEFAULT, SCHEDULERS
from scx_vsched.vm.intervals import Ratio, ratio

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scx_vsched.lab.document import Measurement, Profile

__all__ = [
    "Cell",
    "Recovery",
    "capacity",
    "cells",
    "curve",
    "geometric_mean",
    "limit",
    "pooled_use",
    "recoveries",
    "schedulers",
    "share_of_capacity",
    "share_of_probing",
    "unit_of",
    "workloads",
]

_LATENCY_UNITS = {"us", "ms", "s"}
_RECOVERED = 0.9
_BEFORE_S = 5.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One measure of one workload under one scheduler: the median, and the gain if there is one.

    `gain` is None for the default scheduler and where no round has both.
    """

    workload: str
    measure: str
    unit: str
    scheduler: str
    values: tuple[float, ...]
    gain: Ratio | None

    @property
    def median(self) -> float:
        """Of all rounds."""
        return median(self.values)


def schedulers(profile: Profile) -> tuple[str, ...]:
    """Those that were measured, in the order of the table."""
    seen = {found.scheduler for found in profile.measurements}
    return tuple(name for name in SCHEDULERS if name in seen) + tuple(sorted(seen - {*SCHEDULERS}))


def workloads(profile: Profile) -> tuple[str, ...]:
    """In the order in which they were measured."""
    return tuple(dict.fromkeys(found.workload for found in profile.measurements))


def unit_of(profile: Profile, workload: str, measure: str) -> str:
    """Its unit; empty where it was never measured."""
    for found in profile.measurements:
        if found.workload == workload and measure in found.values:
            return found.values[measure][1]
    return ""


def _rounds(profile: Profile, workload: str, measure: str, scheduler: str) -> dict[int, float]:
    return {
        found.round: found.values[measure][0]
        for found in profile.measurements
        if (found.workload, found.scheduler) == (workload, scheduler) and measure in found.values
    }


def cells(profile: Profile) -> tuple[Cell, ...]:
    """Every measure of every workload under every scheduler."""
    measures = dict.fromkeys(
        (found.workload, name, unit)
        for found in profile.measurements
        for name, (_, unit) in found.values.items()
    )
    found = []
    for workload, measure, unit in measures:
        default = _rounds(profile, workload, measure, DEFAULT)
        for scheduler in schedulers(profile):
            own = _rounds(profile, workload, measure, scheduler)
            if not own:
                continue
            gain = None if scheduler == DEFAULT else gain_of(own, default, unit)
            found.append(Cell(workload, measure, unit, scheduler, tuple(own.values()), gain))
    return tuple(found)


def gain_of(own: dict[int, float], default: dict[int, float], unit: str) -> Ratio | None:
    """How many times better, from the rounds that both have; None without any."""
    pairs = [(own[n], default[n]) for n in sorted(own.keys() & default.keys())]
    pairs = [(a, b) for a, b in pairs if a > 0 and b > 0]
    if not pairs:
        return None
    ours, theirs = zip(*pairs, strict=True)
    return ratio(theirs, ours) if unit in _LATENCY_UNITS else ratio(ours, theirs)


def geometric_mean(gains: Iterable[float]) -> float:
    """Of at least one gain."""
    return math.exp(fmean(math.log(gain) for gain in gains))


# ---- Capacity ----


def limit(profile: Profile) -> float:
    """The host CPUs that were asked for: a stack never gets more than its one."""
    stacked = {vcpu for stack in profile.stacks for vcpu in stack}
    alone = sum(share for vcpu, share in enumerate(profile.asked) if vcpu not in stacked)
    together = sum(min(1.0, sum(profile.asked[v] for v in stack)) for stack in profile.stacks)
    return alone + together


def capacity(profile: Profile) -> float:
    """The most that the host gave all vCPUs together, or else what was asked.

    Something else on the host may have kept them from it while they were to be kept busy for that;
    what they used at any other time they could have, too.
    """
    used = max((sum(found.used) for found in profile.measurements if found.used), default=0.0)
    return max(sum(profile.capacity) or limit(profile), used)


def share_of_capacity(profile: Profile, workload: str, scheduler: str) -> float | None:
    """What the VM used of it by the host's account, the median; None where that was not seen."""
    used = [
        sum(found.used)
        for found in profile.measurements
        if (found.workload, found.scheduler) == (workload, scheduler) and found.used
    ]
    return median(used) / capacity(profile) if used else None


def share_of_probing(profile: Profile, scheduler: str) -> float | None:
    """What probing took of the capacity, the mean of all measurements; None without any."""
    used = [found.probing for found in profile.measurements if found.scheduler == scheduler]
    return fmean(used) / capacity(profile) if used else None


def pooled_use(profile: Profile, workload: str, scheduler: str) -> tuple[float, ...]:
    """What each vCPU used, the median of the rounds; empty where that was not seen."""
    rows = [
        found.used
        for found in profile.measurements
        if (found.workload, found.scheduler) == (workload, scheduler) and found.used
    ]
    return tuple(median(column) for column in zip(*rows, strict=True)) if rows else ()


def curve(profile: Profile, workload: str, metric: str, scheduler: str) -> tuple[float, ...]:
    """The latency at each of the lab's quantiles, the median of the rounds; empty without any."""
    rows = [
        found.curves[metric]
        for found in profile.measurements
        if (found.workload, found.scheduler) == (workload, scheduler) and metric in found.curves
    ]
    return tuple(median(column) for column in zip(*rows, strict=True)) if rows else ()


# ---- Changes ----


@dataclass(frozen=True, slots=True)
class Recovery:
    """What became of the throughput after a change, in the median of the rounds.

    `best` is the best second of the five before it, `shares` are parts of it in each second after;
    `seconds` until 90 % of it are reached and not lost again in the next second, None if never.
    """

    scheduler: str
    best: float
    shares: tuple[float, ...]
    seconds: int | None


def recoveries(profile: Profile) -> tuple[Recovery, ...]:
    """One for each scheduler that was followed through a change."""
    found = []
    for scheduler in schedulers(profile):
        rows = [
            _by_second(each)
            for each in profile.measurements
            if each.scheduler == scheduler and each.rates and each.changed_s is not None
        ]
        rows = [row for row in rows if row[0] > 0 and row[1]]
        if not rows:
            continue
        shares = tuple(
            median(column) for column in zip(*(_shares(row) for row in rows), strict=False)
        )
        best = median(row[0] for row in rows)
        found.append(Recovery(scheduler, best, shares, _recovered(shares)))
    return tuple(found)


def _by_second(found: Measurement) -> tuple[float, list[float]]:
    """The best second before the change, and those after it."""
    assert found.changed_s is not None  # noqa: S101 - the caller looked
    at, width = round(found.changed_s / BIN_S), round(1 / BIN_S)
    first = max(0, at - round(_BEFORE_S / BIN_S))
    before = _means(found.rates[first:at], width, from_end=True)
    return max(before, default=0.0), _means(found.rates[at:], width)


def _means(rates: Sequence[float], width: int, *, from_end: bool = False) -> list[float]:
    start = len(rates) % width if from_end else 0
    return [fmean(rates[at : at + width]) for at in range(start, len(rates) - width + 1, width)]


def _shares(row: tuple[float, list[float]]) -> list[float]:
    return [rate / row[0] for rate in row[1]]


def _recovered(shares: Sequence[float]) -> int | None:
    for second, share in enumerate(shares):
        following = shares[second + 1 : second + 2]
        if share >= _RECOVERED and all(each >= _RECOVERED for each in following):
            return second + 1
    return None
