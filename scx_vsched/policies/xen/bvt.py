"""Xen's Borrowed Virtual Time scheduler: common/sched_bvt.c, up to Xen 3.1."""

from scx_vsched.policy import (
    Policy,
    Sched,
    State,
    Task,
    counter,
    host,
    per_domain,
    per_scheduler,
    per_task,
    s64,
    setting,
    tunable,
    u32,
    u64,
)

US = 1000
MCU_NS = 100_000  # minimum charging unit: run time is rounded up to it
MIDDLE: s64 = 1 << 62  # ranks count from here
ONE = 65536  # of a weight: virtual time advances by ONE / weight in an MCU
LONGEST: u64 = 1_000_000_000
ALONE: u64 = 10_000_000  # run while nobody waits
HALF: s64 = 1 << 61


class Unit(State):
    """A vCPU: its actual virtual time, and since when it has warped, or not."""

    avt: s64 = 0
    rest_ns: u64 = 0  # run time that is not a whole MCU yet
    warped: bool = False
    since_ns: u64 = 0  # of the last change of `warped`
    known: bool = False


class Dom(State):
    """A domain: its weight, and by how much and how long its vCPUs may run ahead."""

    weight: u32 = setting(256, min=1, max=65535, doc="share of each vCPU under contention")
    warp: u32 = setting(0, min=0, max=1_000_000, unit="MCU", doc="virtual time that it borrows")
    warp_limit_us: u32 = setting(
        0, min=0, max=10_000_000, unit="us", doc="run time for which it may borrow; 0: for ever"
    )
    unwarp_us: u32 = setting(
        0, min=0, max=10_000_000, unit="us", doc="time without borrowing before the next"
    )


class Clock(State):
    """The scheduler's virtual time: that of the least advanced vCPU that runs."""

    svt: s64 = 0


class Bvt(Policy):
    """The vCPU with the least effective virtual time runs: its own, less what it borrows.

    Virtual time advances with run time, the slower the larger the weight. A latency-sensitive
    domain warps: it borrows from its future, for a limited time.
    """

    mechanism = host

    allowance_us = tunable(
        5000, unit="us", min=100, max=100_000, doc="context switch allowance: runs past its turn"
    )

    unit = per_task(Unit)
    dom = per_domain(Dom)
    clock = per_scheduler(Clock)
    warps = counter(doc="times that a vCPU began to borrow")
    unwarps = counter(doc="times that a vCPU had borrowed for as long as it may")

    def on_wake(self, task: Task, sched: Sched) -> None:
        """Sleeping earns nothing; who wakes borrows again if it has paused for long enough."""
        unit = self.unit(task)
        unit.avt = max(unit.avt, self.clock.svt) if unit.known else self.clock.svt
        unit.known = True
        dom = self.dom(task)
        if dom.warp == 0 or unit.warped:
            return
        if sched.now_ns - unit.since_ns >= u64(dom.unwarp_us) * US or unit.since_ns == 0:
            unit.warped = True
            unit.since_ns = sched.now_ns
            self.warps.add()

    def rank(self, task: Task, sched: Sched) -> u64:
        """The effective virtual time."""
        return u64(MIDDLE + self.evt(task))

    def on_run(self, task: Task, sched: Sched) -> None:
        """The clock follows who runs without borrowing: nobody who waits is behind it."""
        unit = self.unit(task)
        if not unit.warped:
            self.clock.svt = max(self.clock.svt, unit.avt)

    def run_ns(self, task: Task, sched: Sched) -> u64:
        """Until it is as far as the first that waits, and the allowance."""
        longest = ALONE
        if sched.waits:
            ahead = s64(sched.first_rank) - MIDDLE - self.evt(task)
            units = u64(max(min(ahead, HALF), 0)) // self.advance(task)
            longest = min(units, LONGEST // MCU_NS) * MCU_NS + self.allowance_us * US
        limit = u64(self.dom(task).warp_limit_us) * US
        unit = self.unit(task)
        if unit.warped and limit != 0:
            return min(longest, max(limit, MCU_NS))
        return longest

    def burn(self, task: Task, sched: Sched) -> None:
        """Whole charging units; the limit of warping."""
        unit = self.unit(task)
        dom = self.dom(task)
        spent = task.ran_ns + unit.rest_ns
        unit.rest_ns = spent % MCU_NS
        unit.avt += s64(spent // MCU_NS * self.advance(task))
        if not unit.warped:
            return
        limit = u64(dom.warp_limit_us) * US
        if dom.warp == 0 or (limit != 0 and sched.now_ns - unit.since_ns >= limit):
            unit.warped = False
            unit.since_ns = sched.now_ns
            self.unwarps.add()

    def tickles(self, task: Task, running: Task, previous: bool, sched: Sched) -> u64:
        """By how much it is behind who runs."""
        ran = s64(running.ran_ns // MCU_NS * self.advance(running))
        behind = self.evt(running) + ran - self.evt(task)
        return u64(max(behind, 0))

    def advance(self, task: Task) -> u64:
        """Virtual time of a charging unit."""
        return ONE * 64 // u64(max(self.dom(task).weight, 1))

    def evt(self, task: Task) -> s64:
        """Effective virtual time: less what it borrows."""
        unit = self.unit(task)
        borrowed = s64(self.dom(task).warp) * s64(self.advance(task)) if unit.warped else 0
        return unit.avt - borrowed
