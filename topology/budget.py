"""What probing may cost, and who has to wait when it costs more: the prober measures itself.

On an ordinary machine the probers stay well within this by themselves. Where each wake-up and each
line of code is dear, as in an emulated guest, looks become rarer until the cost is what it may be:
the price is that changes are seen later.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Allowance", "Budget"]

_SECOND_NS = 1_000_000_000
# What was not spent may be spent later, up to so much.
_SAVED_NS = 3 * _SECOND_NS
# Nobody waits for longer than this, whatever was spent.
_LONGEST_WAIT_NS = 90 * _SECOND_NS


@dataclass(frozen=True, slots=True)
class Allowance:
    """CPU time per vCPU and time, of one that the guest keeps busy and of an idle one."""

    busy: float
    idle: float

    def rate(self, busy: int, idle: int) -> float:
        """CPU time per time on so many vCPUs."""
        return max(self.busy * busy + self.idle * idle, 1e-6)


class Budget:
    """An account into which `rate` flows; what is spent is taken out of it."""

    def __init__(self, now_ns: int) -> None:
        self._at_ns = now_ns
        self._rate = 0.0
        self._balance_ns: float | None = None

    def spend(self, now_ns: int, cpu_ns: int, rate: float) -> None:
        """Takes `cpu_ns` of CPU time out at `now_ns`; from now on `rate` flows in."""
        most = rate * _SAVED_NS
        before = most if self._balance_ns is None else self._balance_ns
        earned = self._rate * (now_ns - self._at_ns)
        self._balance_ns = min(before + earned, most) - cpu_ns
        self._at_ns = now_ns
        self._rate = rate

    def free_ns(self) -> int:
        """When there will be something to spend again."""
        if self._balance_ns is None or self._balance_ns >= 0:
            return self._at_ns
        return self._at_ns + min(round(-self._balance_ns / self._rate), _LONGEST_WAIT_NS)
