"""The fair core on NUMA nodes: tasks stay where their memory is, unless waiting costs more."""

from scx_vsched.policy import Policy, Sched, Task, VCpu, guest, tunable, u32, u64

US = 1000  # ns
FULL_CAPACITY = 1024
LOCAL_DISTANCE = 10
PAGE_BYTES = 4096
# More would not fit the products below, and is never worth moving anyway.
MOST_BYTES = 1 << 40


class Numa(Policy):
    """Keeps the tasks of a process on the node of its memory, its home.

    A task crosses to another node when that gains more time than the pages that follow it take:
    on a host with NUMA nodes, or in a guest whose nodes are machines of their own, as GiantVM's
    are, where each page goes over a network (`page_ns`). All else is as in the core policy.
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

    def crosses(self, task: Task, vcpu: VCpu, target: VCpu, distance: u32, sched: Sched) -> bool:
        """When less waiting now, and a larger share later, are worth more than the pages."""
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
        """Always but on the same hardware thread; across nodes each task is asked about."""
        return vcpu.stack != victim.stack

    def waiting_ns(self, vcpu: VCpu, slice_ns: u64) -> u64:
        """Until one more task would get its turn on the node."""
        rounds = (vcpu.node_queued + 1) * FULL_CAPACITY
        return min(slice_ns, 1000 * 1000 * US) * rounds // max(vcpu.node_capacity, 1)

    def share(self, vcpu: VCpu, more: u32) -> u64:
        """What each task of the node gets, of FULL_CAPACITY, with so many more; all are busy."""
        tasks = vcpu.node_queued + vcpu.node_vcpus + more
        return min(vcpu.node_capacity // max(tasks, 1), FULL_CAPACITY)

    def cost_ns(self, task: Task, distance: u32) -> u64:
        """What the pages take that follow; kernel threads have none of their own."""
        if task.is_kthread:
            return 0
        known = task.memory_bytes if task.memory_bytes else self.unknown_kib * 1024
        pages = min(known, MOST_BYTES) // PAGE_BYTES
        beyond = max(distance, LOCAL_DISTANCE + 1) - LOCAL_DISTANCE
        return pages * self.page_ns // LOCAL_DISTANCE * beyond
