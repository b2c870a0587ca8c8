"""`lab compare A B`: what another run of the same found, measure by measure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.lab.figures import cells
from scx_vsched.lab.report import table
from scx_vsched.vm.bench_report import rate

if TYPE_CHECKING:
    from scx_vsched.lab.document import Document
    from scx_vsched.lab.figures import Cell

__all__ = ["Difference", "as_markdown", "compare"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure in both runs; `times` is how many times better the second is.

    `clear` says that the difference is larger than what the rounds of each differ among themselves.
    """

    profile: str
    first: Cell
    second: Cell
    times: float
    clear: bool


def compare(first: Document, second: Document) -> tuple[Difference, ...]:
    """Every measure that both have; boots differ, so nothing is paired.

    Raises:
        UserError: they have nothing in common.
    """
    found = []
    theirs = {
        (p.name, c.workload, c.measure, c.scheduler): c for p in second.profiles for c in cells(p)
    }
    for profile in first.profiles:
        for cell in cells(profile):
            other = theirs.get((profile.name, cell.workload, cell.measure, cell.scheduler))
            if other is None or cell.median <= 0 or other.median <= 0:
                continue
            ratio = other.median / cell.median
            times = 1 / ratio if cell.unit == "us" else ratio
            found.append(Difference(profile.name, cell, other, times, _is_clear(cell, other)))
    if not found:
        raise UserError("the two runs have no measure in common")
    return tuple(found)


def _is_clear(first: Cell, second: Cell) -> bool:
    """Whether the means are more than two standard errors of their difference apart."""
    a, b = first.values, second.values
    if min(len(a), len(b)) < 2:
        return False
    error = math.sqrt(stdev(a) ** 2 / len(a) + stdev(b) ** 2 / len(b))
    return abs(fmean(a) - fmean(b)) > 2 * error


def as_markdown(found: tuple[Difference, ...], every: bool = False) -> str:
    """A table of clear differences, or of all, and how many are not shown."""
    shown = [each for each in found if every or each.clear]
    rows = [
        [
            f"{each.profile}: {each.first.workload}: {each.first.measure}, {each.first.unit}",
            each.first.scheduler,
            rate(each.first.median),
            rate(each.second.median),
            f"{each.times:.2f} times" + ("" if each.clear else ", not clear"),
        ]
        for each in shown
    ]
    lines = table(["measure", "scheduler", "first", "second", "second is better"], rows, "ll")
    hidden = len(found) - len(shown)
    if hidden:
        lines += ["", f"{hidden} of {len(found)} measures do not differ clearly."]
    return "\n".join(lines if rows else lines[-1:]) + "\n"
