"""The smallest useful policy: tasks run in the order in which they came."""

from scx_vsched.policy import Policy, Sched, Task, VCpu, guest, tunable, u64


class Fifo(Policy):
    """First come, first served, one slice for all, nobody preempts."""

    mechanism = guest

    slice_us = tunable(5000, unit="us", min=100, max=100_000, doc="run before others get a turn")

    def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """The same for everyone."""
        return self.slice_us * 1000

    def queue_key(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """Who came earlier has the smaller key."""
        return sched.now_ns

    def cache_first(self, key: u64, cache_key: u64, vcpu: VCpu) -> bool:
        """The same clock for all queues."""
        return cache_key < key

    def preempts(self, task: Task, running: Task, vcpu: VCpu) -> bool:
        """A waking task waits for its turn."""
        return False
