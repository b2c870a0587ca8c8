"""Xen's Simple Earliest Deadline First scheduler: common/sched/sedf.c, up to Xen 4.5."""

from scx_vsched.policy import (
    Policy,
    Sched,
    State,
    Task,
    counter,
    host,
    per_domain,
    per_task,
    s64,
    setting,
    tunable,
    u32,
    u64,
)

US = 1000
MOST_DOMAINS = 128
FULL = 1000  # of 1000, what one CPU has
EXTRA_QUANTUM: u64 = 500_000
EDF: u64 = 0
PENALTY: u64 = 1
UTILISATION: u64 = 2
LEVEL_BITS = 60


class Unit(State):
    """A vCPU in its present period, which ends with the deadline."""

    deadline_ns: u64 = 0
    ran_ns: u64 = 0  # in this period
    lost_ns: s64 = 0  # of its slice, by sleeping for a short time: what the penalty queue owes it
    score: u64 = 0  # extra time that it had, by weight
    forfeits: bool = False  # the slice of this period, having slept within it


class Dom(State):
    """A domain: a slice of each period for each of its vCPUs, and how it gets more."""

    period_us: u32 = setting(100_000, min=1000, max=10_000_000, unit="us", doc="of each vCPU")
    slice_us: u32 = setting(
        0, min=0, max=10_000_000, unit="us", doc="of each vCPU in a period, guaranteed"
    )
    extratime: u32 = setting(1, min=0, max=1, doc="more than the slice where nobody else wants it")
    weight: u32 = setting(1, min=1, max=10_000, doc="share of extra time")
    latency_us: u32 = setting(
        0, min=0, max=10_000_000, unit="us", doc="first period after a long sleep; 0: as the others"
    )
    vcpus: u32 = setting(1, min=1, max=1024, doc="vCPUs that admission control counts")


class Sedf(Policy):
    """Each vCPU has a slice of each period; among those the earliest deadline runs.

    What is left over goes to those that lost their slice by a short sleep, then to all with extra
    time, by weight. Who sleeps within its period waits for the next; who sleeps past its deadline
    begins a new one at once.
    """

    mechanism = host

    extra_us = tunable(
        500, unit="us", min=100, max=100_000, doc="run of extra time before the next has its turn"
    )
    granularity_us = tunable(
        1000, unit="us", min=100, max=10_000, doc="how late new periods of those that wait are seen"
    )

    unit = per_task(Unit)
    dom = per_domain(Dom)
    short_sleeps = counter(doc="sleeps within the period, which cost the rest of the slice")
    long_sleeps = counter(doc="sleeps past the deadline")

    def on_wake(self, task: Task, sched: Sched) -> None:
        """After a long sleep a new period; after a short one the slice is lost."""
        unit = self.unit(task)
        dom = self.dom(task)
        period = self.period_ns(task)
        if sched.now_ns >= unit.deadline_ns:
            self.long_sleeps.add()
            if dom.latency_us != 0:
                period = min(period, u64(dom.latency_us) * US)
            unit.deadline_ns = sched.now_ns + period
            unit.ran_ns = 0
            unit.forfeits = False
        elif task.is_waking and not unit.forfeits and unit.ran_ns < self.slice_ns_of(task):
            self.short_sleeps.add()
            unit.forfeits = True
            unit.lost_ns += s64(self.slice_ns_of(task) - unit.ran_ns)

    def rank(self, task: Task, sched: Sched) -> u64:
        """Slices by deadline, then lost slices, then extra time by what each has had of it."""
        self.renew(task, sched.now_ns)
        unit = self.unit(task)
        level = self.level(task)
        if level == EDF:
            return unit.deadline_ns
        if level == PENALTY:
            return (PENALTY << LEVEL_BITS) + (1 << 59) - u64(min(unit.lost_ns, 1 << 58))
        return (UTILISATION << LEVEL_BITS) + min(unit.score, 1 << 59)

    def run_ns(self, task: Task, sched: Sched) -> u64:
        """The rest of the slice within the period, or a quantum of extra time."""
        self.renew(task, sched.now_ns)
        unit = self.unit(task)
        until = unit.deadline_ns - sched.now_ns
        if self.level(task) == EDF:
            return min(self.slice_ns_of(task) - unit.ran_ns, until)
        return min(max(self.extra_us * US, EXTRA_QUANTUM), until)

    def burn(self, task: Task, sched: Sched) -> None:
        """Slice first; extra time pays back what was lost, and counts by weight."""
        unit = self.unit(task)
        level = self.level(task)
        if level == EDF:
            unit.ran_ns += task.ran_ns
        elif level == PENALTY:
            unit.lost_ns = max(unit.lost_ns - s64(task.ran_ns), 0)
        else:
            unit.score += task.ran_ns // u64(max(self.dom(task).weight, 1))
        self.renew(task, sched.now_ns)

    def held_ns(self, task: Task, sched: Sched) -> u64:
        """Without extra time it waits for the next period."""
        self.renew(task, sched.now_ns)
        if self.dom(task).extratime != 0 or self.level(task) == EDF:
            return 0
        return self.unit(task).deadline_ns - sched.now_ns

    def tickles(self, task: Task, running: Task, previous: bool, sched: Sched) -> u64:
        """A slice takes the CPU from extra time, and from a later deadline."""
        mine = self.level(task)
        theirs = self.level(running)
        if mine < theirs:
            return ((theirs - mine) << LEVEL_BITS) + (1 if previous else 0)
        if mine == EDF and theirs == EDF:
            deadline = self.unit(running).deadline_ns
            if self.unit(task).deadline_ns < deadline:
                return deadline - self.unit(task).deadline_ns
        return 0

    def on_timer(self, sched: Sched) -> u64:
        """New periods of those that wait."""
        return self.granularity_us * US

    def reorders(self, sched: Sched) -> bool:
        """Who waits and begins a new period has a new place."""
        return True

    def admits(self, domain: u32, sched: Sched) -> bool:
        """Whether all slices fit into what the CPUs have."""
        total: u64 = 0
        for number in range(min(sched.domains, MOST_DOMAINS)):
            dom = self.dom(number)
            total += u64(dom.slice_us) * FULL // max(dom.period_us, 1) * dom.vcpus
        mine = self.dom(domain)
        return mine.slice_us <= mine.period_us and total <= u64(sched.vcpus) * FULL

    def level(self, task: Task) -> u64:
        """Which of the three queues it is in."""
        unit = self.unit(task)
        if not unit.forfeits and unit.ran_ns < self.slice_ns_of(task):
            return EDF
        return PENALTY if unit.lost_ns > 0 else UTILISATION

    def period_ns(self, task: Task) -> u64:
        """Of a vCPU of its domain."""
        return max(u64(self.dom(task).period_us), 1) * US

    def slice_ns_of(self, task: Task) -> u64:
        """Of a vCPU of its domain, in a period."""
        return u64(self.dom(task).slice_us) * US

    def renew(self, task: Task, now: u64) -> None:
        """A new period where the last one is over; an overrun of the slice is owed."""
        unit = self.unit(task)
        if now < unit.deadline_ns:
            return
        period = self.period_ns(task)
        whole = self.slice_ns_of(task)
        unit.deadline_ns += ((now - unit.deadline_ns) // period + 1) * period
        unit.ran_ns = unit.ran_ns - whole if unit.ran_ns > whole else 0
        unit.forfeits = False
