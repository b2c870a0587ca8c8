"""The fair core on NUMA nodes: tasks stay where their memory is, unless waiting costs more."""

from scx_vsched.policy import Policy, Sched, Task, VCpu, guest, tunable, u32, u64

US = 1000  # ns
FULL_CAPACITY = 1024
LOCAL_DISTANCE = 10
PAGE_BYTES = 4096
THIS_VCPU = 0
ANYWHERE = 3  # and how far vCPUs are from each other
SAME_NODE = 2
# With less of its vCPUs' time a node cannot serve at once whoever wakes there.
WHOLE_PERCENT = 90
# More would not fit the products below, and is never worth moving anyway.
MOST_BYTES = 1 << 40


class Numa(Policy):
    """Keeps the tasks of a process on the node of its memory, its home.

    A task crosses to another node when that gains more time than the pages that follow it take:
    on a host with NUMA nodes, or in a guest whose nodes are machines of their own, as GiantVM's
    are, where each page goes over a network (`page_ns`).

    Critical tasks, those that are fixed at home or have a nice value below 0, take the vCPU from
    others when they wake. Where the host takes a part of their node that is too late, since whoever
    ran there has used up what it left: then vCPUs are kept for them. All else is as in the core
    policy.
    """

    mechanism = guest

    page_ns = tunable(
        500, unit="ns", min=0, max=10_000_000, doc="for a page to follow, at the distance 20"
    )
    unknown_kib = tunable(
        4096, unit="KiB", min=0, max=1 << 30, doc="memory that is taken to follow if none is known"
    )
    horizon_ms = tunable(
        100, unit="ms", min=0, max=60_000, doc="how far ahead a task's run is expected to go on"
    )
    stay_ms = tunable(
        50, unit="ms", min=1, max=60_000, doc="a task that has crossed stays for that long"
    )
    keep_ms = tunable(
        2000,
        unit="ms",
        min=0,
        max=60_000,
        doc="a vCPU is kept for that long after a critical task began to run there; 0 never",
    )

    def crosses(self, task: Task, vcpu: VCpu, target: VCpu, distance: u32, sched: Sched) -> bool:
        """When less waiting now, and a larger share later, are worth more than the pages.

        Who has a vCPU at home that is kept for its like waits for that.
        """
        if vcpu.node_kept != 0 and self.is_critical(task):
            return False
        slice_ns = self.slice_ns(task, vcpu, sched)
        here = self.waiting_ns(vcpu, slice_ns)
        there = self.waiting_ns(target, slice_ns) if target.node_queued else 0
        gain = here - min(there, here)
        share = self.share(vcpu, 0)
        better = self.share(target, min(target.node_queued, 1))
        ahead = min(task.awake_ns, self.horizon_ms * 1000 * US)
        gain += ahead * (better - min(share, better)) // FULL_CAPACITY
        return gain > self.cost_ns(task, distance)

    def returns(self, task: Task, vcpu: VCpu, home: VCpu, distance: u32, sched: Sched) -> bool:
        """After a while, which is long compared with what the way takes."""
        stay_ns = max(self.stay_ms * 1000 * US, 4 * self.cost_ns(task, distance))
        return task.away_ns >= stay_ns

    def steals(self, vcpu: VCpu, victim: VCpu, distance: u32) -> bool:
        """Always but on the same hardware thread; across nodes each task is asked about.

        What waits for a vCPU that is kept is best served there.
        """
        if victim.is_kept and distance <= SAME_NODE:
            return distance == SAME_NODE and victim.llc_queued > 0
        return vcpu.stack != victim.stack

    def is_critical(self, task: Task) -> bool:
        """Somebody cares how fast it answers."""
        return (task.is_fixed or task.nice < 0) and not task.is_kthread

    def keeps_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """Where the host takes a part, unless the task computes on and on anyway.

        Half of the node's vCPUs at most: others are to have something of it, too.
        """
        if vcpu.node_capacity * 100 >= vcpu.node_vcpus * FULL_CAPACITY * WHOLE_PERCENT:
            return 0
        if task.awake_ns > self.horizon_ms * 1000 * US:
            return 0
        if not vcpu.is_kept and (vcpu.node_kept + 1) * 2 > vcpu.node_vcpus:
            return 0
        return self.keep_ms * 1000 * US

    def preempts(self, task: Task, running: Task, vcpu: VCpu) -> bool:
        """Critical tasks do, and idle-class ones give way to all but their like."""
        if self.is_critical(task) and not running.is_critical:
            return True
        return running.is_idle_class and not (task.is_idle_class or task.is_batch)

    def idle_scope(self, task: Task, vcpu: VCpu) -> u32:
        """Anywhere, unless a vCPU is kept for the task's like and has little to do."""
        if vcpu.is_kept and vcpu.queued == 0 and self.is_critical(task):
            return THIS_VCPU
        return ANYWHERE

    def waiting_ns(self, vcpu: VCpu, slice_ns: u64) -> u64:
        """Until one more task would get its turn on the node."""
        rounds = (vcpu.node_queued + 1) * FULL_CAPACITY
        return min(slice_ns, 1000 * 1000 * US) * rounds // max(self.open_capacity(vcpu), 1)

    def share(self, vcpu: VCpu, more: u32) -> u64:
        """What each task of the node gets, of FULL_CAPACITY, with so many more; all are busy."""
        tasks = vcpu.node_queued + self.open_vcpus(vcpu) + more
        return min(self.open_capacity(vcpu) // max(tasks, 1), FULL_CAPACITY)

    def open_vcpus(self, vcpu: VCpu) -> u32:
        """vCPUs of the node that are for all."""
        return vcpu.node_vcpus - min(vcpu.node_kept, vcpu.node_vcpus)

    def open_capacity(self, vcpu: VCpu) -> u32:
        """What those are worth together."""
        return vcpu.node_capacity // max(vcpu.node_vcpus, 1) * self.open_vcpus(vcpu)

    def cost_ns(self, task: Task, distance: u32) -> u64:
        """What the pages take that follow; kernel threads have none of their own."""
        if task.is_kthread:
            return 0
        known = task.memory_bytes if task.memory_bytes else self.unknown_kib * 1024
        pages = min(known, MOST_BYTES) // PAGE_BYTES
        beyond = max(distance, LOCAL_DISTANCE + 1) - LOCAL_DISTANCE
        return pages * self.page_ns // LOCAL_DISTANCE * beyond
