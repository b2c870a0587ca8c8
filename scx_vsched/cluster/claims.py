"""What the thesis says of its simulation, and whether a comparison bears it out.

Source: giantvm.md, "What the thesis reports". The thesis shows orders, few numbers; so each claim
is that one policy has less of something than another.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from scx_vsched.numa.policies import Key, Kind, Policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scx_vsched.cluster.compare import Comparison, Estimate

__all__ = ["CLAIMS", "MACHINES_CLAIM", "RATIO_CLAIM", "Claim", "Judged", "Verdict", "judge"]

_NONE, _COARSE, _FINE = Policy(Kind.NONE), Policy(Kind.COARSE), Policy(Kind.SORTED)
_REQUEST, _CPU = Policy(Kind.SORTED, Key.REQUEST), Policy(Kind.SORTED, Key.CPU)
_CPU_DOWN = Policy(Kind.SORTED, Key.CPU, descending=True)
_MEMORY, _ACCESSES = Policy(Kind.SORTED, Key.MEMORY), Policy(Kind.SORTED, Key.ACCESSES)


class Verdict(StrEnum):
    """What the runs say of a claim."""

    AGREES = "agrees"
    DIFFERS = "differs"  # surely the other way round
    OPEN = "open"  # no difference beyond chance


@dataclass(frozen=True, slots=True)
class Claim:
    """`less` has less of the summary's `metric` than `more`."""

    metric: str
    less: Policy
    more: Policy


CLAIMS = (
    Claim("cpu", _NONE, _COARSE),
    Claim("cpu", _COARSE, _MEMORY),
    Claim("cpu", _CPU_DOWN, _REQUEST),
    Claim("cpu", _CPU_DOWN, _CPU),
    Claim("cpu", _CPU_DOWN, _MEMORY),
    Claim("cpu", _CPU_DOWN, _ACCESSES),
    Claim("cpu", _CPU, _MEMORY),
    Claim("cpu", _REQUEST, _MEMORY),
    # "Random is always worst": if random is the order of those that are not sorted.
    Claim("cpu", _FINE, _REQUEST),
    Claim("cpu", _FINE, _CPU),
    Claim("cpu", _FINE, _MEMORY),
    Claim("cpu", _FINE, _ACCESSES),
    Claim("gini", _COARSE, _NONE),
    Claim("gini", _MEMORY, _COARSE),
    Claim("gini", _MEMORY, _CPU_DOWN),
    Claim("bytes_moved", _MEMORY, _COARSE),
    Claim("bytes_moved", _CPU, _COARSE),
    Claim("bytes_moved", _MEMORY, _CPU),
    Claim("bytes_moved", _MEMORY, _REQUEST),
    Claim("bytes_moved", _ACCESSES, _MEMORY),
    Claim("bytes_moved", _ACCESSES, _CPU),
)
# Of the sweeps: fine beats coarse on 700 to 900 machines, coarse beats fine at other allocation
# ratios. Fine is its best order, by memory.
MACHINES_CLAIM = Claim("cpu", _COARSE, _MEMORY)
RATIO_CLAIM = Claim("cpu", _MEMORY, _COARSE)


@dataclass(frozen=True, slots=True)
class Judged:
    """A claim, what came out (`more` less `less`, as claimed positive), and the verdict."""

    claim: Claim
    difference: Estimate
    verdict: Verdict


def judge(comparison: Comparison[Any], claims: Sequence[Claim] = CLAIMS) -> list[Judged]:
    """All claims about policies that were compared; a single seed leaves every one open."""
    judged = []
    for claim in claims:
        if not {claim.less, claim.more} <= comparison.runs.keys():
            continue
        difference = comparison.difference(claim.more, claim.less, claim.metric)
        verdict = Verdict.OPEN
        if difference.sure:
            verdict = Verdict.AGREES if difference.mean > 0 else Verdict.DIFFERS
        judged.append(Judged(claim, difference, verdict))
    return judged
