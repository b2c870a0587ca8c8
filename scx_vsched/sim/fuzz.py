"""Random exploration: cases drawn from seeds run with every invariant checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from scx_vsched.bpf.compile import find_clang
from scx_vsched.sim.draw import draw_case
from scx_vsched.sim.minimise import minimise
from scx_vsched.sim.team import Team

if TYPE_CHECKING:
    from collections.abc import Callable

    from scx_vsched.sim.apart import Verdict
    from scx_vsched.sim.case import Case
    from scx_vsched.sim.run import Failure

__all__ = ["Finding", "Runner", "Tally", "fuzz", "still_fails"]


class Runner(Protocol):
    """Runs a case apart: an `Apart`, or a `Team` of them."""

    def run(self, case: Case) -> Verdict:
        """What became of the case."""


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
    jobs: int = 1,
    max_findings: int = 10,
    sanitize: bool = False,
    shrink_s: float = 60.0,
) -> Tally:
    """Runs the cases of `seed`, `seed` + 1, … and hands the failing ones on, made smaller.

    `jobs` processes share the work. Stops after `max_findings` of the failing ones.
    """
    find_clang()  # without it every case would fail
    tally = Tally()
    with Team(jobs, sanitize=sanitize) as team:
        for number, case, verdict in team.verdicts(range(seed, seed + cases), draw_case):
            tally.cases += 1
            tally.events += verdict.events
            tally.records += verdict.records
            if verdict.failure:
                tally.failed += 1
                found(Finding(number, *_reduce(case, verdict.failure, shrink_s, team)))
            tell(tally)
            if tally.failed == max_findings:
                break
    return tally


def still_fails(case: Case, name: str, runner: Runner) -> Failure | None:
    """The failure of the case if it is the one called `name`."""
    failure = runner.run(case).failure
    return failure if failure and failure.name == name else None


def _reduce(case: Case, failure: Failure, shrink_s: float, runner: Runner) -> tuple[Case, Failure]:
    """The drawn case made smaller, and how it fails then."""
    case = replace(case, expect=failure.name)

    def fails(candidate: Case) -> bool:
        return still_fails(candidate, failure.name, runner) is not None

    if failure.name != "hang":  # each try would take minutes
        case = minimise(case, fails, seconds=shrink_s)
    return case, still_fails(case, failure.name, runner) or failure
