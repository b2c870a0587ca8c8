"""Random exploration: cases drawn from seeds run with every invariant checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scx_vsched.sim.apart import Verdict, run_apart
from scx_vsched.sim.draw import draw_case
from scx_vsched.sim.minimise import minimise

if TYPE_CHECKING:
    from collections.abc import Callable

    from scx_vsched.sim.case import Case
    from scx_vsched.sim.run import Failure

__all__ = ["Finding", "Tally", "fuzz", "still_fails"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A failing case, made small, and how it fails."""

    seed: int
    case: Case
    failure: Failure


@dataclass(slots=True)
class Tally:
    """What has run so far."""

    cases: int = 0
    events: int = 0
    records: int = 0
    failed: int = 0


def fuzz(
    seed: int,
    cases: int,
    *,
    tell: Callable[[Tally], None],
    found: Callable[[Finding], None],
    max_findings: int = 10,
    sanitize: bool = False,
    shrink_s: float = 60.0,
) -> Tally:
    """Runs the cases of `seed`, `seed` + 1, … and hands the failing ones on, made smaller.

    Stops after `max_findings` of them.
    """
    tally = Tally()
    for verdict in run_apart(range(seed, seed + cases), draw_case, sanitize=sanitize):
        tally.cases += 1
        tally.events += verdict.events
        tally.records += verdict.records
        if verdict.failure:
            tally.failed += 1
            found(_reduce(verdict, verdict.failure, shrink_s, sanitize))
        tell(tally)
        if tally.failed == max_findings:
            break
    return tally


def still_fails(case: Case, name: str, *, sanitize: bool = False) -> Failure | None:
    """The failure of the case if it is the one called `name`."""
    verdict = next(iter(run_apart([0], lambda _: case, sanitize=sanitize)))
    failure = verdict.failure
    return failure if failure and failure.name == name else None


def _reduce(verdict: Verdict, failure: Failure, shrink_s: float, sanitize: bool) -> Finding:
    """The drawn case made smaller, given that it fails apart from the others too."""
    case = replace(draw_case(verdict.number), expect=failure.name)

    def fails(candidate: Case) -> bool:
        return still_fails(candidate, failure.name, sanitize=sanitize) is not None

    if failure.name != "hang":  # each try would take minutes
        case = minimise(case, fails, seconds=shrink_s)
    again = still_fails(case, failure.name, sanitize=sanitize)
    return Finding(verdict.number, case, again or failure)
