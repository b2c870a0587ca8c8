"""Xen's Credit scheduler: common/sched/credit.c, the default of Xen 3.0 to 4.11."""

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
BOOST = 0
UNDER = 1
OVER = 2


class Unit(State):
    """A vCPU: its credit, in ns of run time where Xen has 10 credits for a millisecond."""

    credit_ns: s64 = 0
    paid_ns: s64 = 0  # of what its domain's vCPUs have each been paid, what it has taken
    started_ns: u64 = 0
    round: u64 = 0  # in which it was last counted
    boosted: bool = False
    parked: bool = False
    domain: s64 = -1  # that has paid it


class Dom(State):
    """A domain: what the user sets, and what each of its vCPUs is paid."""

    weight: u32 = setting(256, min=1, max=65535, doc="share of each vCPU under contention")
    cap: u32 = setting(0, min=0, max=100_000, unit="%", doc="most that it gets of CPUs; 0: no cap")
    runnable: u32 = 0  # vCPUs
    ran: u32 = 0  # vCPUs, in this round
    paid_ns: s64 = 0  # to each vCPU, ever
    peak_ns: s64 = 0  # of each vCPU in a round, where there is a cap


class Round(State):
    """Accounting: the sums of the last round, and those being added up for the next one."""

    number: u64 = 1
    due_ns: u64 = 0
    balance_ns: s64 = 0  # of all credit
    weights: u64 = 0
    uncapped: u64 = 0
    surplus_ns: u64 = 0
    next_weights: u64 = 0
    next_uncapped: u64 = 0
    next_surplus_ns: u64 = 0
    denied: bool = False  # who woke with a boost waits, since others had only just begun


class Credit(Policy):
    """Credit is paid by weight and burnt by running: who has some is UNDER, others are OVER.

    Who wakes UNDER is BOOSTed until a tick finds it running. Capped domains in debt are parked.
    """

    mechanism = host

    slice_ms = tunable(30, unit="ms", min=1, max=1000, doc="longest run, and accounting period")
    ratelimit_us = tunable(1000, unit="us", min=0, max=500_000, doc="a run is not cut shorter")

    unit = per_task(Unit)
    dom = per_domain(Dom)
    pool = per_scheduler(Round)
    boosts = counter(doc="wake-ups with BOOST")

    def on_wake(self, task: Task, sched: Sched) -> None:
        """A sleeper that is UNDER is boosted."""
        self.dom(task).runnable += 1
        self.settle(task)
        unit = self.unit(task)
        unit.credit_ns = min(unit.credit_ns, s64(self.slice_ms * MS))
        unit.boosted = task.is_waking and unit.credit_ns >= 0 and not unit.parked
        if unit.boosted:
            self.boosts.add()

    def on_sleep(self, task: Task, sched: Sched) -> None:
        """Others may take its share from the next round on."""
        self.dom(task).runnable -= 1

    def rank(self, task: Task, sched: Sched) -> u64:
        """By priority, and in the order of arrival."""
        self.settle(task)
        return u64(self.level(task, 0)) << 60 | sched.now_ns

    def on_run(self, task: Task, sched: Sched) -> None:
        """For the rate limit."""
        self.unit(task).started_ns = sched.now_ns

    def run_ns(self, task: Task, sched: Sched) -> u64:
        """The same for all."""
        return self.slice_ms * MS

    def burn(self, task: Task, sched: Sched) -> None:
        """Exactly what it ran, down to a slice of debt."""
        self.settle(task)
        unit = self.unit(task)
        after = max(unit.credit_ns - s64(task.ran_ns), -s64(self.slice_ms * MS))
        self.pool.balance_ns -= unit.credit_ns - after
        unit.credit_ns = after

    def expires(self, task: Task, sched: Sched) -> bool:
        """A tick of a third of a slice ends the boost; boosted ones wait no longer than a tick."""
        unit = self.unit(task)
        ran = sched.now_ns - unit.started_ns
        unit.boosted = unit.boosted and ran < self.slice_ms * MS // 3
        ends = self.pool.denied and not unit.boosted and ran >= self.ratelimit_us * 1000
        self.pool.denied = self.pool.denied and not ends
        return ends

    def held_ns(self, task: Task, sched: Sched) -> u64:
        """Parked with a debt of more than its cap's share, until that is paid back."""
        self.settle(task)
        unit = self.unit(task)
        dom = self.dom(task)
        spent = unit.parked or unit.credit_ns < -dom.peak_ns
        unit.parked = dom.cap != 0 and unit.credit_ns < 0 and spent
        return max(self.pool.due_ns, sched.now_ns + MS) - sched.now_ns if unit.parked else 0

    def tickles(self, task: Task, running: Task, previous: bool, sched: Sched) -> u64:
        """A higher priority takes the CPU, unless what runs there has only just begun."""
        ahead = s64(self.level(running, s64(running.ran_ns))) - s64(self.level(task, 0))
        if ahead <= 0:
            return 0
        if sched.now_ns - self.unit(running).started_ns < self.ratelimit_us * 1000:
            self.pool.denied = True
            return 0
        return u64(ahead) * 2 + (1 if previous else 0)

    def on_timer(self, sched: Sched) -> u64:
        """A round of accounting begins; one that comes late delays no others."""
        pool = self.pool
        pool.number += 1
        pool.due_ns = max(pool.due_ns + self.slice_ms * MS, sched.now_ns + self.slice_ms * MS // 2)
        pool.weights = pool.next_weights
        pool.uncapped = pool.next_uncapped
        pool.surplus_ns = pool.next_surplus_ns
        pool.next_weights = 0
        pool.next_uncapped = 0
        pool.next_surplus_ns = 0
        return pool.due_ns - sched.now_ns

    def on_account(self, domain: u32, sched: Sched) -> None:
        """Pays each vCPU of an active domain its share of the CPUs' time, at most its cap."""
        dom = self.dom(domain)
        pool = self.pool
        period = self.slice_ms * MS
        active = max(dom.runnable, dom.ran)
        dom.ran = 0
        dom.peak_ns = s64(period * dom.cap // 100 // max(active, 1))
        if active == 0:
            return
        weight = u64(dom.weight)
        total = period * sched.vcpus + u64(max(-pool.balance_ns, 0))
        pay = total * weight // max(pool.weights, weight) if pool.weights != 0 else 0
        pool.next_weights += weight * active
        if dom.cap == 0:
            pay += pool.surplus_ns * weight // max(pool.uncapped, weight)
            pool.next_uncapped += weight * active
        elif pay > u64(dom.peak_ns):
            pool.next_surplus_ns += (pay - u64(dom.peak_ns)) * active
            pay = u64(dom.peak_ns)
        dom.paid_ns += s64(pay)

    def reorders(self, sched: Sched) -> bool:
        """Priorities have changed."""
        return True

    def level(self, task: Task, since_ns: s64) -> u32:
        """Its priority, having run for `since_ns` more than it was charged for."""
        unit = self.unit(task)
        return BOOST if unit.boosted else (UNDER if unit.credit_ns >= since_ns else OVER)

    def settle(self, task: Task) -> None:
        """Takes what was paid since the last time; who has more than a slice earns no more."""
        unit = self.unit(task)
        dom = self.dom(task)
        if unit.round != self.pool.number:
            unit.round = self.pool.number
            dom.ran += 1
        pay = dom.paid_ns - unit.paid_ns if unit.domain == s64(task.domain) else 0
        unit.paid_ns = dom.paid_ns
        unit.domain = s64(task.domain)
        after = min(unit.credit_ns + pay, s64(2 * self.slice_ms * MS))
        self.pool.balance_ns += after - unit.credit_ns
        unit.credit_ns = after
