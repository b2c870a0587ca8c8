"""The counters of the scheduler at work, across restarts and for several readers."""

from __future__ import annotations

import collections
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

from scx_vsched.runtime.stats import Meter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scx_vsched.bpf.loader import Attached

__all__ = ["Reading", "RestartBudget"]

_MAX_RESTARTS, _RESTART_WINDOW_S = 10, 60.0


class RestartBudget:
    """Allows so many restarts in so many seconds: a kernel that asks for more is not obeyed."""

    def __init__(self, limit: int = _MAX_RESTARTS, window_s: float = _RESTART_WINDOW_S) -> None:
        self._window_s = window_s
        self._times: collections.deque[float] = collections.deque(maxlen=limit)

    def take(self) -> bool:
        """Use one; False where the last `limit` of them were all within the window."""
        now = time.monotonic()
        if len(self._times) == self._times.maxlen and now - self._times[0] < self._window_s:
            return False
        self._times.append(now)
        return True


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
            "elapsed_s": round(time.monotonic() - self.meter.started, 3),
            "policy": self._policy,
            "restarts": self.restarts,
            **self.meter.total(self.counters()),
        }
