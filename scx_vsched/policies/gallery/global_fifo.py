"""One queue for each cache, first come, first served."""

from scx_vsched.policy import Policy, Sched, Task, VCpu, guest, tunable, u32, u64


class GlobalFifo(Policy):
    """The order in which tasks became ready is the order in which they run, whoever they are.

    Nobody preempts, everybody gets the same slice, and no vCPU takes more than it can run now: what
    waits, waits in the cache's queue for the first vCPU of the cache that is free.
    """

    mechanism = guest

    slice_ms = tunable(5, unit="ms", min=1, max=100, doc="run before the next in line")

    def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """The same for all."""
        return self.slice_ms * 1_000_000

    def queue_key(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """The time of arrival."""
        return sched.now_ns

    def cache_first(self, key: u64, cache_key: u64, vcpu: VCpu) -> bool:
        """All queues go by the same clock."""
        return cache_key < key

    def stays(self, task: Task, vcpu: VCpu) -> bool:
        """In the one queue, never in a vCPU's own."""
        return False

    def batch(self, vcpu: VCpu) -> u32:
        """One at a time: what a vCPU has taken, no other can."""
        return 1

    def preempts(self, task: Task, running: Task, vcpu: VCpu) -> bool:
        """A waking task goes to the end of the line."""
        return False
