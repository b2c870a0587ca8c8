"""Shares by weight: who has received least of its share runs next."""

from scx_vsched.policy import Policy, Sched, Task, VCpu, guest, tunable, u64

NICE_0_WEIGHT = 1024
HALF = 1 << 63


def is_before(a: u64, b: u64) -> bool:
    """Whether virtual time `a` precedes `b`; virtual times wrap around."""
    return b - a < HALF and a != b


class WeightedVtime(Policy):
    """Weighted fair queueing in its plainest form.

    A task pays virtual time for what it ran, the less the larger its weight, and the one that paid
    least is next. One that slept may not save up: it comes back at most a slice behind the others.
    """

    mechanism = guest

    slice_us = tunable(3000, unit="us", min=100, max=100_000, doc="longest run before others")

    def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """The same for all: shares come from who is next, not from how long."""
        return self.slice_us * 1000

    def charge_ns(self, task: Task, vcpu: VCpu) -> u64:
        """What it ran, over its weight."""
        return task.ran_ns * NICE_0_WEIGHT // max(task.weight, 1)

    def wakeup_vtime(self, task: Task, sched: Sched) -> u64:
        """Its own, or a slice behind the others if that is later."""
        earliest = sched.vtime - self.slice_us * 1000
        return earliest if is_before(task.vtime, earliest) else task.vtime

    def queue_key(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """Who has paid least is first."""
        return task.vtime

    def cache_first(self, key: u64, cache_key: u64, vcpu: VCpu) -> bool:
        """Each against its own clock, which run at different speeds."""
        return is_before(cache_key - vcpu.llc_vtime, key - vcpu.vtime)
