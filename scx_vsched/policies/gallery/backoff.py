"""Backs off as a whole when the host takes too much away, like the proposed steal governor."""

from scx_vsched.policy import (
    Policy,
    Sched,
    State,
    Task,
    VCpu,
    counter,
    guest,
    per_scheduler,
    per_vcpu,
    tunable,
    u32,
    u64,
)

MS = 1_000_000


class Clock(State):
    """When a vCPU was last seen running a task."""

    seen_ns: u64 = 0


class Governor(State):
    """What was seen of the whole guest since the last decision."""

    preferred: u32 = 4096
    since_ns: u64 = 0
    busy_ns: u64 = 0
    stolen_ns: u64 = 0


class Backoff(Policy):
    """One number for the whole guest: how many vCPUs it prefers to use.

    Ticks that come late tell what the host took away. Once a second, a share of more than
    `high_percent` takes one vCPU from the preferred ones and one of at most `low_percent` gives one
    back, as the kernel's proposed steal governor does with cores. Tasks are woken onto the
    preferred vCPUs first, and the others take over work only where it piles up.
    """

    mechanism = guest

    interval_ms = tunable(1000, unit="ms", min=10, max=60_000, doc="between decisions")
    high_percent = tunable(5, unit="%", min=0, max=100, doc="stolen: one vCPU less")
    low_percent = tunable(2, unit="%", min=0, max=100, doc="stolen: one vCPU more")
    tick_us = tunable(4000, unit="us", min=1000, max=10_000, frozen=True, doc="the kernel's tick")

    clock = per_vcpu(Clock)
    governor = per_scheduler(Governor)
    backed_off = counter(doc="times that a vCPU was given up")
    came_back = counter(doc="times that a vCPU was taken back")

    def on_start(self, task: Task, vcpu: VCpu, sched: Sched) -> None:
        """The vCPU is busy from now on."""
        self.clock(vcpu).seen_ns = sched.now_ns

    def on_tick(self, task: Task, vcpu: VCpu, sched: Sched) -> bool:
        """Adds up what ran and what was taken away, and decides when it is time to."""
        clock = self.clock(vcpu)
        passed = sched.now_ns - clock.seen_ns
        expected = self.tick_us * 1000
        clock.seen_ns = sched.now_ns
        self.governor.busy_ns += passed
        if passed > expected + MS:  # a tick that is less late says nothing
            self.governor.stolen_ns += passed - expected
        if sched.now_ns - self.governor.since_ns >= self.interval_ms * MS:
            self.decide(sched)
        return False

    def decide(self, sched: Sched) -> None:
        """One step up or down, by the share that was taken away."""
        governor = self.governor
        percent = governor.stolen_ns * 100 // max(governor.busy_ns, 1)
        preferred = min(governor.preferred, sched.vcpus)
        if percent > self.high_percent and preferred > 1:
            governor.preferred = preferred - 1
            self.backed_off.add()
        elif percent <= self.low_percent and preferred < sched.vcpus:
            governor.preferred = preferred + 1
            self.came_back.add()
        governor.since_ns = sched.now_ns
        governor.busy_ns = 0
        governor.stolen_ns = 0

    def is_strong(self, vcpu: VCpu, sched: Sched) -> bool:
        """The preferred ones are those with the lowest numbers."""
        return vcpu.id < self.governor.preferred

    def steals(self, vcpu: VCpu, victim: VCpu, distance: u32) -> bool:
        """The others help out where two or more wait."""
        return vcpu.id < self.governor.preferred or victim.queued + victim.llc_queued >= 2
