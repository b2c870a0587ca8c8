"""How often and how much may move: bytes over time, rest, and moves a minute."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from scx_vsched.numa.planning import Damping

__all__ = ["SAVED_S", "ByteBudget", "MoveLog"]

SAVED_S = 10.0
"""A budget that was not used is saved for so long, in seconds of it."""

_MINUTE_S = 60.0


class ByteBudget:
    """`rate` bytes a second, saved up to `SAVED_S` seconds' worth; full at first."""

    def __init__(self, rate: float, now_s: float) -> None:
        self._rate = rate
        self._left = self.most = rate * SAVED_S
        self._at_s = now_s

    def left(self, now_s: float) -> int:
        """What may be moved now."""
        self._left = min(self.most, self._left + (now_s - self._at_s) * self._rate)
        self._at_s = max(self._at_s, now_s)
        return max(0, int(self._left))

    def spend(self, size: int) -> None:
        """So many bytes were moved."""
        self._left -= size


class MoveLog:
    """When each process moved, for rest and for the bound on moves a minute."""

    def __init__(self) -> None:
        self._times: dict[tuple[int, int], deque[float]] = {}
        self.most_per_minute = 0

    def note(self, members: Iterable[tuple[int, int]], now_s: float) -> None:
        """All of `members` moved now."""
        for member in members:
            times = self._times.setdefault(member, deque())
            times.append(now_s)
            while now_s - times[0] >= _MINUTE_S:
                times.popleft()
            self.most_per_minute = max(self.most_per_minute, len(times))

    def rested(self, members: Iterable[tuple[int, int]], now_s: float, damping: Damping) -> bool:
        """Whether all of them may move again."""
        for member in members:
            times = self._times.get(member, ())
            recent = [at for at in times if now_s - at < _MINUTE_S]
            if recent and now_s - recent[-1] < damping.rest_s:
                return False
            if len(recent) >= damping.most_per_minute:
                return False
        return True

    def keep_only(self, alive: Collection[tuple[int, int]]) -> None:
        """Forget those that are gone."""
        self._times = {member: times for member, times in self._times.items() if member in alive}
