"""The mean length of a vCPU's absences, from watches that do not see all of them, or not whole."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scx_vsched.topology.evidence import sleeper_noise_ns, typical_gap_ns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scx_vsched.topology.evidence import Observation

__all__ = ["mean_gap_ns"]

# Gaps shorter than this part of a typical one count as far as lengths differ anyway.
_LENGTH_PART = 1 / 8


def mean_gap_ns(look: Iterable[Observation]) -> float | None:
    """The mean length of whole gaps over any watches of one vCPU; None without gaps.

    What a sleeper saw needs care, since it does not see all. Were all gaps of one length, the
    latenesses would be spread evenly over the last sleep of it, and the mean is half a sleep more.
    Were they exponential, so would be the latenesses above the least that counts, with the same
    mean, whatever was missed. How far lengths scatter says where between the two this is.
    """
    look = tuple(look)
    spinners = [gap for seen in look for gap in seen.whole if not seen.resolution_ns]
    direct = [gap.length_ns for gap in spinners]
    sleepers = [seen for seen in look if seen.seen_late_ns]
    late = [late for seen in sleepers for late in seen.seen_late_ns]
    if not late:
        return _mean_seen_ns(look, _LENGTH_PART * typical_gap_ns(spinners)) if spinners else None
    resolution = max(seen.resolution_ns for seen in sleepers)
    mean_late = sum(late) / len(late)
    above = max(mean_late - sleeper_noise_ns(resolution), 1.0)
    variance = sum((one - mean_late) ** 2 for one in late) / len(late) - resolution**2 / 12
    irregular = min(max(variance / above**2, 0.0), 1.0)
    mean = (1 - irregular) * (mean_late + resolution / 2) + irregular * above
    mean = (mean * len(late) + sum(direct)) / (len(late) + len(direct))
    return mean * _cut_off(look)


def _mean_seen_ns(look: Sequence[Observation], least_ns: float) -> float:
    """The mean of spinners' gaps; shorter ones than `least_ns` count as far as the others differ.

    Beside a quota they are something else: its gaps are all of one length. Where lengths are
    irregular they are as good as any.
    """
    every = [gap.length_ns for seen in look for gap in seen.whole]
    long = [length for length in every if length >= least_ns]
    mean = sum(long) / len(long)
    variance = sum((length - mean) ** 2 for length in long) / len(long)
    irregular = min(variance / mean**2, 1.0)
    blended = (1 - irregular) * mean * _cut_off(look, least_ns)
    return blended + irregular * sum(every) / len(every) * _cut_off(look)


def _cut_off(look: Sequence[Observation], least_ns: float = 0.0) -> float:
    """By how much gaps of at least `least_ns` are longer than those of them seen whole.

    Windows cut long ones off rather. All time away over the number of gaps that begin or end within
    a window, on the average of both, has no such bias. It is noisier, so it counts only as far as
    lengths differ at all.
    """
    whole = [gap.length_ns for seen in look for gap in seen.whole if gap.length_ns >= least_ns]
    if not whole:
        return 1.0
    mean = sum(whole) / len(whole)
    variance = sum((length - mean) ** 2 for length in whole) / len(whole)
    differ = min(2 * math.sqrt(variance) / mean, 1.0)
    edges = 2 * len(whole) + sum(seen.cut_gaps for seen in look)
    short = sum(g.length_ns for seen in look for g in seen.whole if g.length_ns < least_ns)
    factor = (sum(seen.away_ns for seen in look) - short) / (edges / 2) / mean
    return 1.0 + differ * (factor - 1.0)
