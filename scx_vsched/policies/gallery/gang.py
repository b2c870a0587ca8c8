"""Aware of barriers: the last ones of a group to arrive are let through."""

from scx_vsched.policy import (
    Policy,
    Sched,
    State,
    Task,
    VCpu,
    counter,
    guest,
    per_domain,
    per_task,
    tunable,
    u32,
    u64,
)

US = 1000
HALF = 1 << 63


class Member(State):
    """A task in its group."""

    awake: bool = False


class Group(State):
    """The tasks of a cgroup: how many are awake, and how many were at most of late."""

    awake: u32 = 0
    peak: u32 = 0
    decays: u32 = 0


def is_before(a: u64, b: u64) -> bool:
    """Whether virtual time `a` precedes `b`."""
    return b - a < HALF and a != b


class Gang(Policy):
    """Parallel programs wait at barriers for their slowest thread.

    When most of a cgroup's tasks sleep and few are awake, the few are what the others wait for:
    they get a head start in the queue and a longer slice, until the group is awake again. The peak
    that "most" is measured by is forgotten slowly, so that a program that changes is followed.
    """

    mechanism = guest

    slice_us = tunable(3000, unit="us", min=100, max=100_000, doc="longest run before others")
    head_start_us = tunable(2000, unit="us", min=0, max=50_000, doc="for those that are waited for")
    few_percent = tunable(50, unit="%", min=1, max=100, doc="awake of the peak that counts as few")

    member = per_task(Member)
    group = per_domain(Group)
    stragglers = counter(doc="times that a straggler was queued with a head start")

    def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """Twice as long for those that are waited for."""
        base = self.slice_us * US
        return 2 * base if self.is_straggler(task) else base

    def wakeup_vtime(self, task: Task, sched: Sched) -> u64:
        """One more is awake."""
        member = self.member(task)
        group = self.group(task)
        if not member.awake:
            member.awake = True
            group.awake += 1
            group.peak = max(group.peak, group.awake)
        earliest = sched.vtime - self.slice_us * US
        return earliest if is_before(task.vtime, earliest) else task.vtime

    def on_stop(self, task: Task, vcpu: VCpu, sched: Sched, runnable: bool) -> None:
        """One fewer is awake; every 64th time the peak is forgotten a little."""
        member = self.member(task)
        group = self.group(task)
        if runnable or not member.awake:
            return
        member.awake = False
        group.awake -= 1
        group.decays += 1
        if group.decays % 64 == 0 and group.peak > group.awake:
            group.peak -= 1

    def queue_key(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """Virtual time, with a head start for stragglers."""
        if not self.is_straggler(task):
            return task.vtime
        self.stragglers.add()
        return task.vtime - self.head_start_us * US

    def is_straggler(self, task: Task) -> bool:
        """Whether few of the task's group are awake; the root group is no program."""
        group = self.group(task)
        return (
            task.domain != 0
            and group.peak >= 2
            and group.awake * 100 <= u64(group.peak) * self.few_percent
        )
