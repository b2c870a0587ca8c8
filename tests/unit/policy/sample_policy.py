"""A policy that uses every construct of the language; tests compile it, and golden C shows it."""

# ruff: noqa: RET507, PLR - its ways of writing are what is tested
from __future__ import annotations

from scx_vsched.policy import (
    Policy,
    Sched,
    Task,
    VCpu,
    guest,
    s8,
    s32,
    s64,
    tunable,
    u8,
    u16,
    u32,
    u64,
)

KIB = 1 << 10
MASK: u8 = 0b1111
FAR = min(3, 5) + abs(-KIB) // 512
EAGER = not FAR < 2
LONGEST = u64(-1)


def lag(task: Task, sched: Sched) -> s64:
    """How far `task` is behind the others, */ and not the end of a comment."""
    return s64(sched.vtime - task.vtime)


def clamp(x: s64, low: s64, high: s64) -> s64:
    return max(low, min(x, high))


class Sample(Policy):
    """Shows what the language has."""

    mechanism = guest

    slice_us = tunable(4000, unit="us", min=100, max=100_000, doc="longest slice")
    bias = tunable(-3, min=-(1 << 63), max=10 * KIB, doc="added to every lag")
    rounds = tunable(4, min=0, max=16)

    def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """Loops of all kinds."""
        total: u64 = 0
        for i in range(4):
            total += u64(i) * 3
        for j in range(min(task.nice, 8)):
            if j == 3:
                continue
            elif 0 < abs(task.nice - j) * 2 <= 7:
                total -= u64(self.halved(s8(j)))
            else:
                break
        for k in range(self.rounds):
            for long in range(10, s32(k & 3), -2):
                total ^= u64(long << k) + k
        for last in range(2, 9, 3):
            total += u64(last)
        total += u64(last)
        return total if EAGER and total <= LONGEST else self.slice_us * 1000

    def wakeup_vtime(self, task: Task, sched: Sched) -> u64:
        """Conversions, and a local that two branches assign."""
        if lag(task, sched) > self.bias:
            back = clamp(lag(task, sched), self.bias, 1 << 40)
        elif task.is_batch:
            back = -1
        else:
            back = 0
        small: u16 = MASK
        small = u16(task.weight) >> 3 & small
        return sched.vtime - u64(back) + small + (1 if task.is_kthread else 2)

    def preempts(self, task: Task, running: Task, vcpu: VCpu) -> bool:
        """Comparisons of all kinds."""
        if not task.weight or task.is_batch == running.is_batch:
            return task.nice < running.nice
        far = task.nice < task.vtime and u32(task.nice) > vcpu.id != 0
        return far or not (task.nice != vcpu.queued or running.vtime <= task.nice)

    def halved(self, x: s8) -> s8:
        half = x // 2 if x % 2 else x // s8(self.bias)
        return ~half ^ -(half | 1) << 2
