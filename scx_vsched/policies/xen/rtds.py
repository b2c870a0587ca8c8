"""Xen's RTDS scheduler: common/sched/rt.c, the real-time deferrable server."""

from scx_vsched.policy import (
    Policy,
    Sched,
    State,
    Task,
    counter,
    histogram,
    host,
    per_domain,
    per_scheduler,
    per_task,
    s64,
    setting,
    tunable,
    u32,
    u64,
)

US = 1000
MOST_DOMAINS = 128
LEVELS: u64 = 31
FULL = 1000  # of 1000, what one CPU has


class Server(State):
    """A vCPU's reservation in its present period, which ends with the deadline."""

    deadline_ns: u64 = 0
    left_ns: s64 = 0
    level: u64 = 0  # how often its budget was renewed within the period, by extra time
    awake_ns: u64 = 0  # since when it wants to run, 0: it sleeps


class Dom(State):
    """A domain: what each of its vCPUs may have, and how many of these there are."""

    period_us: u32 = setting(10_000, min=1000, max=10_000_000, unit="us", doc="of each vCPU")
    budget_us: u32 = setting(
        4000, min=100, max=10_000_000, unit="us", doc="of each vCPU in a period"
    )
    extratime: u32 = setting(1, min=0, max=1, doc="more than the budget where nobody else wants it")
    vcpus: u32 = setting(1, min=1, max=1024, doc="vCPUs that admission control counts")


class Timing(State):
    """Of all servers."""

    next_ns: u64 = 0  # a deadline of somebody who waits


class Rtds(Policy):
    """Every vCPU has a budget in each period, and the earliest deadline runs.

    A budget that is not used stays until the period ends. Who has used it up waits for the next
    period, or with extra time goes on behind all who have not. Domains are admitted up to what the
    CPUs have. Whatever is in no domain has no reservation: it competes for the extra time.
    """

    mechanism = host

    granularity_us = tunable(
        1000, unit="us", min=100, max=10_000, doc="how late deadlines of those that wait are seen"
    )
    slack_us = tunable(500, unit="us", min=0, max=100_000, doc="a deadline is not missed by less")
    utilization = tunable(100, unit="%", min=1, max=100, doc="of the CPUs' time that is given away")

    server = per_task(Server)
    dom = per_domain(Dom)
    timing = per_scheduler(Timing)
    periods = counter(doc="periods that a vCPU wanted to run in from beginning to end")
    missed = counter(doc="such periods that ended before it had its budget")
    depleted = counter(doc="times that a vCPU without extra time had used up its budget")
    lacking = histogram(doc="budget that was missing at a missed deadline", unit="ns")

    def on_wake(self, task: Task, sched: Sched) -> None:
        """A server that slept past its deadline begins a new period."""
        self.renew(task, sched.now_ns)
        self.server(task).awake_ns = max(sched.now_ns, 1)

    def on_sleep(self, task: Task, sched: Sched) -> None:
        """The budget stays: that is what a deferrable server is."""
        self.server(task).awake_ns = 0

    def rank(self, task: Task, sched: Sched) -> u64:
        """The earliest deadline, among those that have budgets of the same level."""
        self.renew(task, sched.now_ns)
        server = self.server(task)
        self.timing.next_ns = min(self.timing.next_ns, server.deadline_ns)
        return min(server.level, LEVELS) << 57 | server.deadline_ns

    def run_ns(self, task: Task, sched: Sched) -> u64:
        """What is left of the budget, within the period."""
        self.renew(task, sched.now_ns)
        server = self.server(task)
        return min(u64(max(server.left_ns, 1000)), server.deadline_ns - sched.now_ns)

    def burn(self, task: Task, sched: Sched) -> None:
        """Extra time renews the budget one level lower."""
        server = self.server(task)
        server.left_ns -= s64(task.ran_ns)
        if server.left_ns <= 0:
            if self.dom(task).extratime != 0:
                server.level += 1
                server.left_ns += self.budget_ns(task)
                server.left_ns = max(server.left_ns, 1000)
            else:
                self.depleted.add()
        self.renew(task, sched.now_ns)

    def held_ns(self, task: Task, sched: Sched) -> u64:
        """Without a budget it waits for the next period."""
        self.renew(task, sched.now_ns)
        server = self.server(task)
        return server.deadline_ns - sched.now_ns if server.left_ns <= 0 else 0

    def tickles(self, task: Task, running: Task, previous: bool, sched: Sched) -> u64:
        """The later the deadline of who runs, the better."""
        mine = self.server(task)
        theirs = self.server(running)
        level = theirs.level
        deadline = theirs.deadline_ns
        if deadline <= sched.now_ns:
            return 0  # a new period of theirs begins just now
        if mine.level < level:
            return (min(level, LEVELS) << 57) + deadline
        if mine.level == level and mine.deadline_ns < deadline:
            return deadline - mine.deadline_ns
        return 0

    def on_timer(self, sched: Sched) -> u64:
        """At the next deadline of somebody who waits, or soon."""
        longest = self.granularity_us * US
        due = self.timing.next_ns
        self.timing.next_ns = sched.now_ns + longest * 1000
        if due <= sched.now_ns:
            return longest
        return max(min(due - sched.now_ns, longest), 100_000)

    def reorders(self, sched: Sched) -> bool:
        """Who waits and begins a new period has a new place."""
        return True

    def admits(self, domain: u32, sched: Sched) -> bool:
        """Whether all reservations together fit: earliest deadline first then keeps them."""
        total: u64 = 0
        for number in range(min(sched.domains, MOST_DOMAINS)):
            dom = self.dom(number)
            if number != 0 and dom.vcpus != 0:
                total += u64(dom.budget_us) * FULL // max(dom.period_us, 1) * dom.vcpus
        mine = self.dom(domain)
        if mine.budget_us > mine.period_us:
            return False
        return total * 100 <= u64(sched.vcpus) * FULL * self.utilization

    def budget_ns(self, task: Task) -> s64:
        """Of a period."""
        return s64(self.dom(task).budget_us) * US

    def renew(self, task: Task, now: u64) -> None:
        """A new period where the last one is over; it is counted if it was wanted all along."""
        server = self.server(task)
        if now < server.deadline_ns:
            return
        period = max(u64(self.dom(task).period_us), 1) * US
        if server.deadline_ns == 0:
            server.deadline_ns = now
        elif 0 < server.awake_ns <= server.deadline_ns - min(period, server.deadline_ns):
            self.periods.add()
            if server.level == 0 and server.left_ns > s64(self.slack_us * US):
                self.missed.add()
                self.lacking.add(u64(server.left_ns))
        server.deadline_ns += ((now - server.deadline_ns) // period + 1) * period
        if server.left_ns > 0 or self.dom(task).extratime != 0:
            server.left_ns = 0  # what is left is lost, an overrun without extra time is owed
        server.left_ns = min(server.left_ns + self.budget_ns(task), self.budget_ns(task))
        server.level = 1 if task.domain == 0 else 0
