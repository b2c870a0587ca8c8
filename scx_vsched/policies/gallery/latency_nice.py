"""Short bursts first: a task that soon sleeps again waits for less time than one that does not."""

from scx_vsched.policy import (
    Policy,
    Sched,
    State,
    Task,
    VCpu,
    counter,
    guest,
    per_task,
    tunable,
    u64,
)

US = 1000
HALF = 1 << 63


class Habit(State):
    """How a task has behaved."""

    burst_ns: u64 = 4_000_000  # mean run from a wake-up to the next sleep
    began_ns: u64 = 0  # total run time at the last wake-up


def is_before(a: u64, b: u64) -> bool:
    """Whether virtual time `a` precedes `b`."""
    return b - a < HALF and a != b


class LatencyNice(Policy):
    """Nobody has to say what is interactive: tasks are asked how they behave.

    A task joins the queue with its virtual time plus its mean burst, so that among those that have
    received as much, the one that will be done first goes first. Fairness stays with the virtual
    time, which all pay by weight. One with a far shorter burst also preempts.
    """

    mechanism = guest

    slice_us = tunable(4000, unit="us", min=100, max=100_000, doc="longest run before others")
    eager_us = tunable(500, unit="us", min=0, max=10_000, doc="mean burst short enough to preempt")

    habit = per_task(Habit)
    eager = counter(doc="wake-ups of tasks with short bursts")

    def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """Twice its mean burst, so that it is rarely cut short, within the limits."""
        return min(max(2 * self.habit(task).burst_ns, 200 * US), self.slice_us * US)

    def wakeup_vtime(self, task: Task, sched: Sched) -> u64:
        """Notes where the burst begins; a sleeper comes back at most a slice behind the others."""
        habit = self.habit(task)
        habit.began_ns = task.total_ns
        if habit.burst_ns < self.eager_us * US:
            self.eager.add()
        earliest = sched.vtime - self.slice_us * US
        return earliest if is_before(task.vtime, earliest) else task.vtime

    def on_stop(self, task: Task, vcpu: VCpu, sched: Sched, runnable: bool) -> None:
        """A burst ends when the task sleeps: the mean follows by an eighth."""
        if runnable:
            return
        habit = self.habit(task)
        ran = min(task.total_ns - habit.began_ns, 100_000 * US)
        habit.burst_ns = habit.burst_ns - habit.burst_ns // 8 + ran // 8

    def queue_key(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """A deadline in virtual time: what it has received, and what it is about to take."""
        return task.vtime + min(self.habit(task).burst_ns, self.slice_us * US)

    def preempts(self, task: Task, running: Task, vcpu: VCpu) -> bool:
        """The short ones do not wait for the end of a long one's slice."""
        mine = self.habit(task).burst_ns
        return mine < self.eager_us * US and 4 * mine < self.habit(running).burst_ns
