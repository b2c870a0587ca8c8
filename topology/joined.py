"""Sets of vCPUs that pairs join."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from scx_vsched.topology.placement import Pair

__all__ = ["components", "is_whole"]


def components(pairs: Iterable[Pair]) -> Iterator[tuple[int, ...]]:
    """The vCPUs that pairs join."""
    sets: list[set[int]] = []
    for pair in pairs:
        joined = set(pair).union(*(one for one in sets if not one.isdisjoint(pair)))
        sets = [one for one in sets if one.isdisjoint(pair)] + [joined]
    for members in sets:
        yield tuple(sorted(members))


def is_whole(members: tuple[int, ...], pairs: Collection[Pair]) -> bool:
    """Whether each two of them are a pair."""
    return all(pair in pairs for pair in combinations(members, 2))
