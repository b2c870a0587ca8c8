"""Earliest deadline first."""

from scx_vsched.policy import (
    Policy,
    Sched,
    State,
    Task,
    VCpu,
    counter,
    guest,
    histogram,
    per_task,
    tunable,
    u64,
)

NICE_0_WEIGHT = 1024
HALF = 1 << 63


class Job(State):
    """What a task is to have done, by when."""

    deadline_ns: u64 = 0


def is_before(a: u64, b: u64) -> bool:
    """Whether time `a` precedes `b`."""
    return b - a < HALF and a != b


class Edf(Policy):
    """Every task has a deadline, a period after it woke or used up its slice; the earliest runs.

    The period is `period_ms` for a task of nice 0 and shorter in proportion to larger weights. A
    waking task with an earlier deadline takes the vCPU. How late tasks start is counted.
    """

    mechanism = guest

    period_ms = tunable(20, unit="ms", min=1, max=1000, doc="time to the deadline at nice 0")
    slice_us = tunable(2000, unit="us", min=100, max=100_000, doc="run before the next deadline")

    job = per_task(Job)
    late = counter(doc="starts after the deadline")
    lateness = histogram(doc="how late tasks start that miss their deadline", unit="ns")

    def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """The same for all."""
        return self.slice_us * 1000

    def wakeup_vtime(self, task: Task, sched: Sched) -> u64:
        """A new job, whose deadline counts from now."""
        self.job(task).deadline_ns = sched.now_ns + self.period_ns(task)
        return task.vtime

    def queue_key(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """Its deadline; one that used up its slice before that has the next job to do."""
        job = self.job(task)
        if not task.is_waking and is_before(job.deadline_ns, sched.now_ns):
            job.deadline_ns = sched.now_ns + self.period_ns(task)
        return job.deadline_ns

    def cache_first(self, key: u64, cache_key: u64, vcpu: VCpu) -> bool:
        """Deadlines are of one clock, whatever the queue."""
        return is_before(cache_key, key)

    def preempts(self, task: Task, running: Task, vcpu: VCpu) -> bool:
        """An earlier deadline does not wait."""
        return is_before(self.job(task).deadline_ns, self.job(running).deadline_ns)

    def passes(self, task: Task, vcpu: VCpu) -> bool:
        """Nobody goes past the queue: it is what knows the order."""
        return False

    def on_start(self, task: Task, vcpu: VCpu, sched: Sched) -> None:
        """Counts those that are late."""
        behind = sched.now_ns - self.job(task).deadline_ns
        if 0 < behind < HALF:
            self.late.add()
            self.lateness.add(behind)

    def period_ns(self, task: Task) -> u64:
        """How long the task may take, by its weight."""
        return self.period_ms * 1_000_000 * NICE_0_WEIGHT // max(task.weight, 1)
