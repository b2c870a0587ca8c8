"""The default policy: weighted fairness in virtual time, caches first."""

from scx_vsched.policy import Policy, Sched, Task, VCpu, guest, tunable, u32, u64

NICE_0_WEIGHT = 1024
FULL_CAPACITY = 1024
SAME_LLC = 1
SAME_NODE = 2
ANYWHERE = 3
STRONG_PERCENT = 75
PASSED = 8


class Core(Policy):
    """A fair general-purpose scheduler, before any trick about vCPUs.

    Each task pays virtual time for what it runs, inversely to its weight and in proportion to what
    the vCPU got done; the task that has paid least runs next. A hook that another policy leaves out
    is taken from here.
    """

    mechanism = guest

    slice_us = tunable(4000, unit="us", min=100, max=100_000, doc="longest run before others")
    slice_min_us = tunable(
        1000, unit="us", min=100, max=100_000, doc="shortest slice, when many tasks wait"
    )
    max_wait_s = tunable(
        10, unit="s", min=1, max=25, doc="bound on waiting, however small the weight"
    )
    steal_node_min = tunable(
        2, unit="tasks", min=1, max=1024, doc="waiting tasks needed to steal across NUMA nodes"
    )

    def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """The longest slice shared by those that wait, but never less than the minimum."""
        rounds = vcpu.queued + vcpu.llc_queued // max(vcpu.llc_vcpus, 1) + 1
        return max(self.slice_us // rounds, min(self.slice_min_us, self.slice_us)) * 1000

    def charge_ns(self, task: Task, vcpu: VCpu) -> u64:
        """What ran, as if on a vCPU of full capacity, divided by the weight."""
        worth = task.ran_ns * max(vcpu.pace, 1) // FULL_CAPACITY
        return worth * NICE_0_WEIGHT // max(task.weight, 1)

    def wakeup_vtime(self, task: Task, sched: Sched) -> u64:
        """A sleeper keeps its lag, up to one slice."""
        earliest = sched.vtime - self.slice_us * 1000
        return earliest if self.is_before(task.vtime, earliest) else task.vtime

    def queue_key(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """Who has received least goes first."""
        return task.vtime

    def max_wait_ms(self, task: Task) -> u32:
        """Well below the time at which the kernel's watchdog would end the scheduler."""
        return u32(self.max_wait_s) * 1000

    def cache_first(self, key: u64, cache_key: u64, vcpu: VCpu) -> bool:
        """Whichever is further behind its own clock."""
        return self.is_before(cache_key - vcpu.llc_vtime, key - vcpu.vtime)

    def preempts(self, task: Task, running: Task, vcpu: VCpu) -> bool:
        """Only idle-class tasks give way at once; slices are short enough for the others."""
        return running.is_idle_class and not (task.is_idle_class or task.is_batch)

    def idle_scope(self, task: Task, vcpu: VCpu) -> u32:
        """Any idle vCPU is better than waiting."""
        return ANYWHERE

    def is_strong(self, vcpu: VCpu, sched: Sched) -> bool:
        """One of each stack, since the others wait for it; no less than most of the mean."""
        return vcpu.stack == vcpu.id and vcpu.capacity * 100 >= sched.mean_capacity * STRONG_PERCENT

    def follows_waker(self, task: Task, waker: VCpu, vcpu: VCpu, sync: bool) -> bool:
        """Into the waker's cache, where the data are; within it only to a far shorter queue."""
        if waker.llc != vcpu.llc:
            return sync and waker.llc_queued <= vcpu.llc_queued
        return not sync and 2 * (waker.queued + 1) < vcpu.queued

    def stays(self, task: Task, vcpu: VCpu) -> bool:
        """Where many wait anyway, a warm cache is worth more than the first free vCPU."""
        return task.is_waking and vcpu.queued + vcpu.llc_queued >= vcpu.llc_vcpus

    def passes(self, task: Task, vcpu: VCpu) -> bool:
        """A few, where the queue would put them near its head: they are ahead by little at most."""
        return (
            vcpu.passed < PASSED
            and self.stays(task, vcpu)
            and not self.is_before(vcpu.vtime + self.slice_min_us * 1000, task.vtime)
            and not (task.is_idle_class or task.is_batch)
        )

    def batch(self, vcpu: VCpu) -> u32:
        """A few at once from a long queue, where the order matters less than the cost."""
        return max(vcpu.queued // 2, 1)

    def steals(self, vcpu: VCpu, victim: VCpu, distance: u32) -> bool:
        """Within the node always, across nodes when waiting there would take long.

        Vain where both share a hardware thread: the work waits for that, not for the vCPU.
        """
        if vcpu.stack == victim.stack:
            return False
        return distance <= SAME_NODE or victim.queued + victim.llc_queued >= self.steal_node_min

    def balances(self, vcpu: VCpu, victim: VCpu, distance: u32) -> bool:
        """When no more wait for each vCPU afterwards than there; across nodes half as many."""
        if distance == SAME_LLC:
            return victim.queued >= vcpu.queued + 2
        here = (vcpu.llc_queued + 1) * victim.llc_vcpus
        there = (victim.llc_queued - 1) * vcpu.llc_vcpus
        return there >= (here if distance <= SAME_NODE else 2 * here)

    def is_before(self, a: u64, b: u64) -> bool:
        """Whether virtual time `a` precedes `b`; virtual times wrap around."""
        return a != b and b - a < 1 << 63
