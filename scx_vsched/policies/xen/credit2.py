"""Xen's Credit2 scheduler: common/sched/credit2.c, the default since Xen 4.12."""

from scx_vsched.policy import (
    Policy,
    Sched,
    State,
    Task,
    counter,
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

MS = 1_000_000
INIT: s64 = 10 * MS  # credit that a reset gives
CARRY_OVER: s64 = 500_000  # credit that a sleeper keeps beyond that
MOST: s64 = 4 * INIT  # credit that who is runnable may have
SHORTEST: s64 = 500_000  # ns
LONGEST: s64 = 10 * MS  # ns
PERIOD: u64 = 10 * MS  # ns in which a cap holds
MOST_PERIODS: u64 = 5  # that are made up for where the timer came late
MIDDLE: s64 = 1 << 62  # ranks count from here


class Unit(State):
    """A vCPU: credit in ns of a vCPU of the largest weight."""

    credit_ns: s64 = INIT
    residue: u64 = 0  # of the last division
    resets: u64 = 0  # of the runqueue's, those that it has seen
    started_ns: u64 = 0
    budget_ns: s64 = 0  # of its domain's cap, what it has in hand


class Dom(State):
    """A domain: what the user sets, and what is left of its cap in this period."""

    weight: u32 = setting(256, min=1, max=65535, doc="share of each vCPU under contention")
    cap: u32 = setting(0, min=0, max=100_000, unit="%", doc="most that it gets of CPUs; 0: no cap")
    runnable: u32 = 0  # vCPUs
    pool_ns: s64 = 0


class Runqueue(State):
    """All vCPUs together."""

    resets: u64 = 0
    most_weight: u64 = 256
    next_weight: u64 = 1
    due_ns: u64 = 0  # when caps are renewed
    periods: u64 = 1  # that are renewed now, more than one where the timer came late


class Credit2(Policy):
    """Who has most credit runs. Credit burns the faster the smaller the weight.

    When the next to run has none left all get more. A run lasts until the one that waits would
    have more credit. A cap is a budget for 10 ms that a domain's vCPUs draw from.
    """

    mechanism = host

    ratelimit_us = tunable(1000, unit="us", min=0, max=10_000, doc="a run is not cut shorter")
    resistance_us = tunable(500, unit="us", min=0, max=10_000, doc="credit that a migration costs")

    unit = per_task(Unit)
    dom = per_domain(Dom)
    queue = per_scheduler(Runqueue)
    resets = counter(doc="times that all got credit")
    parks = counter(doc="times that a vCPU found its domain's cap used up")

    def on_wake(self, task: Task, sched: Sched) -> None:
        """Who is seen for the first time begins with the credit of a reset."""
        self.dom(task).runnable += 1
        unit = self.unit(task)
        if unit.started_ns == 0:
            unit.started_ns = 1
            unit.resets = self.queue.resets
        self.settle(task)
        unit.credit_ns = min(unit.credit_ns, INIT + CARRY_OVER)

    def on_sleep(self, task: Task, sched: Sched) -> None:
        """What it has in hand goes back to its domain."""
        self.dom(task).runnable -= 1
        unit = self.unit(task)
        if unit.budget_ns > 0:
            self.dom(task).pool_ns += unit.budget_ns
            unit.budget_ns = 0

    def rank(self, task: Task, sched: Sched) -> u64:
        """By credit. Resets are counted in, so that they change no order among those that wait."""
        self.settle(task)
        unit = self.unit(task)
        return u64(MIDDLE + s64(unit.resets) * INIT - unit.credit_ns)

    def on_run(self, task: Task, sched: Sched) -> None:
        """Where even the first has no credit left, all get some."""
        unit = self.unit(task)
        unit.started_ns = sched.now_ns
        self.settle(task)
        if unit.credit_ns <= 0:
            self.queue.resets += 1 + u64(-unit.credit_ns // INIT)
            self.resets.add()
            self.settle(task)

    def run_ns(self, task: Task, sched: Sched) -> u64:
        """Until the first that waits would have more credit, or the budget is used up."""
        unit = self.unit(task)
        ahead = unit.credit_ns
        if sched.waits:
            theirs = MIDDLE + s64(unit.resets) * INIT - s64(sched.first_rank)
            if theirs > 0:
                ahead -= theirs
        time = ahead * s64(self.dom(task).weight) // s64(max(self.queue.most_weight, 1))
        if self.dom(task).cap != 0:
            time = min(time, unit.budget_ns)
        shortest = max(SHORTEST, s64(self.ratelimit_us * 1000))
        if self.dom(task).cap != 0 and unit.budget_ns < shortest:
            shortest = max(SHORTEST, unit.budget_ns)
        return u64(min(max(time, shortest), LONGEST))

    def burn(self, task: Task, sched: Sched) -> None:
        """By weight, exactly: what the division leaves over is burnt the next time."""
        self.settle(task)
        unit = self.unit(task)
        weight = u64(max(self.dom(task).weight, 1))
        spent = task.ran_ns * max(self.queue.most_weight, weight) + unit.residue
        unit.credit_ns -= s64(spent // weight)
        unit.residue = spent % weight
        if self.dom(task).cap != 0:
            unit.budget_ns -= s64(task.ran_ns)

    def held_ns(self, task: Task, sched: Sched) -> u64:
        """Who has used up its budget draws on its domain's, or waits for the next period."""
        dom = self.dom(task)
        unit = self.unit(task)
        if dom.cap == 0:
            unit.budget_ns = 0
            return 0
        if unit.budget_ns > 0:
            return 0
        if dom.pool_ns > 0:
            quota = max(self.cap_ns(task.domain) // s64(max(dom.runnable, 1)), SHORTEST)
            dom.pool_ns -= quota - unit.budget_ns
            unit.budget_ns = quota
            return 0
        self.parks.add()
        return max(self.queue.due_ns, sched.now_ns + 1_000_000) - sched.now_ns

    def tickles(self, task: Task, running: Task, previous: bool, sched: Sched) -> u64:
        """How much more credit it has; a migration has to be worth it."""
        if sched.now_ns - self.unit(running).started_ns < self.ratelimit_us * 1000:
            return 0
        mine = self.unit(task)
        theirs = self.unit(running)
        weight = s64(max(self.dom(running).weight, 1))
        burnt = s64(running.ran_ns) * s64(self.queue.most_weight) // weight
        missed = s64(mine.resets) - s64(theirs.resets)
        score = mine.credit_ns - (theirs.credit_ns + missed * INIT - burnt)
        if not previous:
            score -= s64(self.resistance_us * 1000)
        return u64(max(score, 0))

    def on_timer(self, sched: Sched) -> u64:
        """Caps are renewed, and the largest weight is looked up."""
        queue = self.queue
        late: u64 = 0
        if 0 < queue.due_ns < sched.now_ns:
            late = min(sched.now_ns - queue.due_ns, MOST_PERIODS * PERIOD)
        queue.periods = 1 + late // PERIOD
        queue.due_ns = sched.now_ns + PERIOD - late % PERIOD
        queue.most_weight = max(queue.next_weight, 1)
        queue.next_weight = 1
        return queue.due_ns - sched.now_ns

    def on_account(self, domain: u32, sched: Sched) -> None:
        """A domain gets its cap's worth for the period that begins, and for those missed.

        Debts stay.
        """
        dom = self.dom(domain)
        if dom.runnable > 0:
            self.queue.next_weight = max(self.queue.next_weight, u64(dom.weight))
        worth = self.cap_ns(domain) * s64(self.queue.periods)
        dom.pool_ns = min(dom.pool_ns + worth, worth)

    def cap_ns(self, domain: u32) -> s64:
        """What the cap of a domain is worth in a period."""
        return s64(PERIOD * self.dom(domain).cap // 100)

    def settle(self, task: Task) -> None:
        """Takes the credit of the resets that it has missed."""
        unit = self.unit(task)
        missed = self.queue.resets - unit.resets
        if missed == 0:
            return
        unit.resets = self.queue.resets
        unit.credit_ns = min(unit.credit_ns + s64(min(missed, 1000)) * INIT, MOST)
