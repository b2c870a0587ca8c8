"""The counters of the scheduler at work, across restarts and for several readers."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from scx_vsched.runtime.stats import Meter

if TYPE_CHECKING:
    from collections.abc import Iterator

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
                self._last = running.stats()

    def restarted(self) -> None:
        """The next scheduler counts from 0 again."""
        self.meter.carry_over(self._last)
        self._last = dict.fromkeys(self._last, 0)
        self.restarts += 1

    def counters(self) -> dict[str, int]:
        """Those of the scheduler at work, or the last ones of the one that has gone."""
        with self._lock:
            return self._running.stats() if self._running else self._last

    def answer(self) -> dict[str, Any]:
        """What the statistics socket says."""
        return {
            "elapsed_s": round(self.meter.elapsed_s, 3),
            "policy": self._policy,
            "restarts": self.restarts,
            **self.meter.total(self.counters()),
        }
