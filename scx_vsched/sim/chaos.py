"""A policy for `sim fuzz`: decisions at random, which the mechanism must survive."""

from scx_vsched.policy import Policy, Sched, Task, VCpu, guest, tunable, u32, u64


class Chaos(Policy):
    """Every decision follows from a hash of what the hook sees, so that a run can be repeated."""

    mechanism = guest

    salt = tunable(1, unit="", min=0, max=1_000_000, doc="another salt decides otherwise")

    def roll(self, a: u64, b: u64) -> u64:
        """A number that looks random."""
        x = (a + 0x9E3779B97F4A7C15) * (b + self.salt * 2 + 1)
        x ^= x >> 29
        x *= 0xBF58476D1CE4E5B9
        return x ^ (x >> 32)

    def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """From nothing, which means the shortest, to 8 ms."""
        return self.roll(task.total_ns, sched.now_ns) % 3 * 4_000_000

    def charge_ns(self, task: Task, vcpu: VCpu) -> u64:
        """What ran or up to four times as much."""
        return task.ran_ns * (1 + self.roll(task.vtime, task.ran_ns) % 4)

    def wakeup_vtime(self, task: Task, sched: Sched) -> u64:
        """Up to 16 ms before or after the clock."""
        return sched.vtime - 16_000_000 + self.roll(task.total_ns, sched.now_ns) % 32_000_000

    def queue_key(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """Within a second."""
        return self.roll(task.total_ns, sched.now_ns) % 1_000_000_000

    def cache_first(self, key: u64, cache_key: u64, vcpu: VCpu) -> bool:
        """As it happens."""
        return self.roll(key, cache_key) % 2 == 0

    def preempts(self, task: Task, running: Task, vcpu: VCpu) -> bool:
        """One time in four."""
        return self.roll(task.total_ns, vcpu.vtime) % 4 == 0

    def idle_scope(self, task: Task, vcpu: VCpu) -> u32:
        """From the vCPU itself to anywhere, and one that there is not."""
        return u32(self.roll(task.total_ns, vcpu.vtime) % 5)

    def follows_waker(self, task: Task, waker: VCpu, vcpu: VCpu, sync: bool) -> bool:
        """As it happens."""
        return self.roll(task.total_ns, waker.vtime) % 2 == 0

    def stays(self, task: Task, vcpu: VCpu) -> bool:
        """As it happens."""
        return self.roll(task.total_ns, vcpu.vtime + 1) % 2 == 0

    def passes(self, task: Task, vcpu: VCpu) -> bool:
        """As it happens, but not for ever: what waits in the queue is to run too."""
        return vcpu.passed < 16 and self.roll(task.total_ns, vcpu.vtime + 2) % 2 == 0

    def batch(self, vcpu: VCpu) -> u32:
        """Up to far more than there can be."""
        return u32(self.roll(vcpu.vtime, vcpu.queued) % 40)

    def steals(self, vcpu: VCpu, victim: VCpu, distance: u32) -> bool:
        """Always, or work would lie beside idle vCPUs, which the fuzzer calls a fault."""
        return True
