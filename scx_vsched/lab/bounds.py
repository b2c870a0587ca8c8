"""The bounds that the techniques are to reach, beside what a run of the lab found."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from scx_vsched.lab.figures import Cell, cells, geometric_mean, recoveries
from scx_vsched.lab.schedulers import ALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scx_vsched.lab.document import Document, Profile

__all__ = ["Verdict", "verdicts"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One bound: what was asked, what was found, and whether that is enough."""

    bound: str
    found: str
    reached: bool


def _gains(found: Iterable[Cell]) -> list[float]:
    return [cell.gain.value for cell in found if cell.gain is not None]


def _picked(profile: Profile, scheduler: str, *wanted: tuple[str, str]) -> list[Cell]:
    """Cells of `scheduler` by (beginning of the workload's name, measure; "" is any rate)."""
    return [
        cell
        for cell in cells(profile)
        if cell.scheduler == scheduler
        and any(
            cell.workload.startswith(load)
            and cell.measure == (measure or cell.measure)
            and (measure or cell.unit != "us")
            for load, measure in wanted
        )
    ]


def _lower(profile: Profile) -> list[Verdict]:
    found = []
    for cell in _picked(profile, ALL, ("requests", "waiting p95"), ("requests", "latency p95")):
        if cell.gain is not None:
            less = 1 - 1 / cell.gain.value
            bound = f"BVS: {cell.workload}, {cell.measure} at least 42 % lower"
            text = f"{abs(less):.0%} {'lower' if less >= 0 else 'higher'} (gain {cell.gain})"
            found.append(Verdict(bound, text, less >= 0.42))
    return found


def _sweep(profile: Profile) -> list[Verdict]:
    gains = _gains(_picked(profile, ALL, ("compute-", "done")))
    if not gains:
        return []
    return [
        Verdict(
            "IVH: thread sweep at least +30 % in the median",
            f"{median(gains) - 1:+.0%}",
            median(gains) >= 1.3,
        ),
        Verdict(
            "IVH: at least +82 % at its best point", f"{max(gains) - 1:+.0%}", max(gains) >= 1.82
        ),
    ]


def _barrier(profile: Profile) -> list[Verdict]:
    return [
        Verdict("RWC: barrier at least 2 times faster", f"{cell.gain} times", cell.gain.value >= 2)
        for cell in _picked(profile, ALL, ("barrier", "rounds"))
        if cell.gain is not None
    ]


def _throughput(profile: Profile) -> list[Verdict]:
    gains = _gains(_picked(profile, ALL, ("", "")))
    if not gains:
        return []
    mean = geometric_mean(gains)
    bound = f"{profile.name}: throughput at least +69 % in the geometric mean"
    return [Verdict(bound, f"{mean - 1:+.0%} over {len(gains)} workloads", mean >= 1.69)]


def _tails(profile: Profile) -> list[Verdict]:
    picked = ((load, f"{m} {p}") for load in ("requests",) for m in ("waiting", "latency")
              for p in ("p95", "p99"))  # fmt: skip
    gains = _gains(_picked(profile, ALL, *picked))
    if not gains:
        return []
    mean = geometric_mean(gains)
    bound = f"{profile.name}: latency at least 2.3 times lower in the geometric mean"
    return [Verdict(bound, f"{mean:.2f} times over {len(gains)} measures", mean >= 2.3)]


def _dedicated(profile: Profile) -> list[Verdict]:
    return [
        Verdict(
            f"dedicated: {cell.workload} at most 3 % lower",
            f"{cell.gain} times the default's",
            cell.gain.value >= 0.97,
        )
        for cell in _picked(profile, ALL, ("", ""))
        if cell.gain is not None
    ]


def _change(profile: Profile) -> list[Verdict]:
    return [
        Verdict(
            "migration in the middle: 90 % of the best within 5 s",
            "never" if each.seconds is None else f"in second {each.seconds}",
            each.seconds is not None and each.seconds <= 5,
        )
        for each in recoveries(profile)
        if each.scheduler == ALL
    ]


# By the beginning of the profile's name.
_OF: tuple[tuple[str, Callable[[Profile], Sequence[Verdict]]], ...] = (
    ("asym", _lower),
    ("half", _sweep),
    ("straggler", _barrier),
    ("harmful", _barrier),
    ("rcvm", _throughput),
    ("hpvm", _tails),
    ("dedicated", _dedicated),
    ("moved", _change),
)


def verdicts(document: Document) -> tuple[Verdict, ...]:
    """Each bound that the profiles of `document` can tell about; p99 on every one."""
    found: list[Verdict] = []
    for profile in document.profiles:
        for beginning, judge in _OF:
            if profile.name.startswith(beginning):
                found += judge(profile)
        for cell in _picked(profile, ALL, ("requests", "latency p99")):
            if cell.gain is not None:
                bound = f"{profile.name}: {cell.workload}, latency p99 not higher"
                found.append(Verdict(bound, f"gain {cell.gain}", cell.gain.high >= 1))
    return tuple(found)
