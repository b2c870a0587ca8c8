"""Whether CLOCK_MONOTONIC is fit for probing."""

from __future__ import annotations

import os
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["clock_problem", "in_thread"]

# Readings of the clock that cost more, or step wider, say nothing of microseconds.
_SLOW_NS = 5_000
_COARSE_NS = 20_000
_READINGS = 1000

_HOP_ROUNDS = 3
_HOP_LIMIT_NS = 200_000_000


def in_thread[T](action: Callable[[], T]) -> T:
    """The result of `action` in a thread of its own, whose affinity and priority end with it."""
    results: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(action())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="probe")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def clock_problem(source: str, vcpus: tuple[int, ...]) -> str | None:
    """Why the clock, called `source` in the message, is not fit for probing; None when it is.

    Takes up to 0.2 s: a thread hops over `vcpus` and reads the clock on each, which shows clocks
    that differ by more than a hop takes. Smaller differences matter to no probe.
    """
    readings = [time.monotonic_ns() for _ in range(_READINGS)]
    cost_ns = (readings[-1] - readings[0]) / (_READINGS - 1)
    step_ns = min((b - a for a, b in pairwise(readings) if b > a), default=readings[-1])
    if step_ns > _COARSE_NS:
        return f"the clock (source {source}) advances in steps of {step_ns / 1000:.0f} us"
    if cost_ns > _SLOW_NS:
        return f"reading the clock (source {source}) takes {cost_ns / 1000:.1f} us"
    back = in_thread(lambda: _hop(vcpus))
    if back is None:
        return None
    vcpu, back_ns = back
    return f"the clock (source {source}) of vCPU {vcpu} is at least {back_ns / 1000:.1f} us behind"


def _hop(vcpus: tuple[int, ...]) -> tuple[int, int] | None:
    """The first vCPU on which the clock went back, and by how much; changes its thread."""
    began = last = time.monotonic_ns()
    for vcpu in vcpus * _HOP_ROUNDS:
        try:
            os.sched_setaffinity(0, {vcpu})
        except OSError:
            continue  # just gone offline
        now = time.monotonic_ns()
        if now < last:
            return vcpu, last - now
        if now - began > _HOP_LIMIT_NS:
            break
        last = now
    return None
