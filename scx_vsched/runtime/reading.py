"""The counters of the scheduler at work, across restarts and for several readers."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.runtime.histograms import flatten, gather, summaries, without_buckets
from scx_vsched.runtime.stats import Meter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from scx_vsched.bpf.loader import Attached

__all__ = ["Reading", "RestartBudget"]

# A kernel that asks for a restart again and again is not obeyed for ever.
_MAX_RESTARTS, _SETTLED_S = 5, 60.0


class RestartBudget:
    """Allows so many restarts in a row; a life of `settled_s` seconds or more ends the row."""

    def __init__(self, limit: int = _MAX_RESTARTS, settled_s: float = _SETTLED_S) -> None:
        self._limit = limit
        self._settled_s = settled_s
        self._row = 0

    def take(self, lived_s: float) -> bool:
        """Use one after a life of `lived_s` seconds; False where there is none left."""
        if lived_s >= self._settled_s:
            self._row = 0
        self._row += 1
        return self._row <= self._limit


class Reading:
    """The counters of the scheduler at work, for the loop and the socket's thread alike."""

    def __init__(self, policy: str) -> None:
        self.meter = Meter()
        self.restarts = 0
        self.tuned: dict[str, int] = {}  # tunables that were changed at run time
        self._policy = policy
        self._lock = threading.Lock()
        self._running: Attached | None = None
        self._last: dict[str, int] = {}

    @contextlib.contextmanager
    def following(self, running: Attached) -> Iterator[None]:
        """Read from `running` for the length of the block, and keep its last counters."""
        with self._lock:
            self._running = running
        try:
            yield
        finally:
            with self._lock:
                self._running = None
                self._last = _read(running)

    def restarted(self) -> None:
        """The next scheduler counts from 0 again."""
        self.meter.carry_over(self._last)
        self._last = dict.fromkeys(self._last, 0)
        self.restarts += 1

    def counters(self) -> dict[str, int]:
        """Those of the scheduler at work, or the last ones of the one that has gone."""
        with self._lock:
            return _read(self._running) if self._running else self._last

    def tunables(self) -> dict[str, int]:
        """Those of the scheduler at work; raises UserError where none is."""
        with self._lock:
            return self._at_work().tunables()

    def tune(self, values: Mapping[str, int]) -> None:
        """Change tunables of the scheduler at work, and of those after a restart.

        Raises UserError where none is, or one cannot be changed that way; nothing is changed then.
        """
        with self._lock:
            self._at_work().tune(values)
            self.tuned |= values

    def ask[T](self, question: Callable[[Attached], T]) -> T:
        """The answer of the scheduler at work; raises UserError where none is."""
        with self._lock:
            return question(self._at_work())

    def _at_work(self) -> Attached:
        if self._running is None:
            raise UserError("no scheduler is at work just now", "try again in a moment")
        return self._running

    def answer(self) -> dict[str, Any]:
        """What the statistics socket says."""
        totals = self.meter.total(self.counters())
        return {
            "elapsed_s": round(self.meter.elapsed_s, 3),
            "policy": self._policy,
            "restarts": self.restarts,
            **without_buckets(totals),
            **summaries(gather(totals)),
        }


def _read(running: Attached) -> dict[str, int]:
    return {**running.stats(), **flatten(running.histograms())}
