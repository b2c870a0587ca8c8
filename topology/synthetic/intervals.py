"""Sets of times as sorted lists of half-open intervals that do not touch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Interval", "intersect", "join", "subtract", "total"]

type Interval = tuple[int, int]


def total(times: Iterable[Interval]) -> int:
    """How long all of `times` last together."""
    return sum(end - start for start, end in times)


def intersect(first: Sequence[Interval], second: Sequence[Interval]) -> list[Interval]:
    """The times that are in both."""
    common = []
    i = j = 0
    while i < len(first) and j < len(second):
        start = max(first[i][0], second[j][0])
        end = min(first[i][1], second[j][1])
        if start < end:
            common.append((start, end))
        if first[i][1] < second[j][1]:
            i += 1
        else:
            j += 1
    return common


def subtract(window: Interval, times: Sequence[Interval]) -> list[Interval]:
    """What `times`, all within `window`, leave of it."""
    left = []
    at = window[0]
    for start, end in times:
        if start > at:
            left.append((at, start))
        at = max(at, end)
    if at < window[1]:
        left.append((at, window[1]))
    return left


def join(pieces: Iterable[Interval]) -> list[Interval]:
    """Sorted pieces, those that touch made one."""
    joined: list[Interval] = []
    for start, end in pieces:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
