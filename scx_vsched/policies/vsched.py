"""BVS, IVH and RWC on the fair scheduler: what to do about vCPUs that come and go."""

from scx_vsched.policy import Policy, Sched, Task, VCpu, guest, tunable, u64

US = 1000  # ns
FULL_CAPACITY = 1024
NEVER = 1 << 63
# A vCPU that is always there, or seems to be: longer than anybody asks for.
ALWAYS_NS = 1_000_000_000
# What waking an idle vCPU takes at least although nobody keeps it away.
AWAKE_NS = 50_000
# The core's slice: who computes for longer can leave then.
SLICE_NS = 4_000_000
# A move has to bring so many times what it takes.
WORTH = 2


def allowance_ns(vcpu: VCpu) -> u64:
    """How long the host lets `vcpu` run at once in the mean: what its share and absences imply."""
    if vcpu.latency_ns == 0 or vcpu.capacity >= FULL_CAPACITY:
        return ALWAYS_NS
    return min(vcpu.latency_ns * vcpu.capacity // (FULL_CAPACITY - vcpu.capacity), ALWAYS_NS)


def absent_ns(vcpu: VCpu) -> u64:
    """How long it takes to come when it is woken, beyond what waking takes anyway."""
    return min(vcpu.answer_ns, ALWAYS_NS)


def is_clocked(vcpu: VCpu) -> bool:
    """Whether the host takes it away by the clock, used or not: then it is away when idle, too."""
    return vcpu.renews_in_ns != 0 and absent_ns(vcpu) * 8 >= vcpu.latency_ns


def missing_ns(vcpu: VCpu) -> u64:
    """How much of each period a vCPU that goes by the clock is away, by its share.

    Absences that it slept through in part look shorter than they are, shares do not.
    """
    return vcpu.period_ns * (FULL_CAPACITY - min(vcpu.capacity, FULL_CAPACITY)) // FULL_CAPACITY


def left_ns(vcpu: VCpu) -> u64:
    """How long it can go on now."""
    allowance = allowance_ns(vcpu)
    if allowance == ALWAYS_NS:
        return ALWAYS_NS
    if is_clocked(vcpu):
        # between being given back and the next time it is away
        return vcpu.renews_in_ns - min(missing_ns(vcpu), vcpu.renews_in_ns)
    left = allowance - min(vcpu.spent_ns, allowance)
    # a quota that is renewed before it is used up goes on
    if 0 < vcpu.renews_in_ns <= left:
        return vcpu.renews_in_ns + allowance
    return left


class VSched(Policy):
    """Uses what is known of the vCPUs: how much each gets, for how long it goes away, and when.

    BVS puts small, latency-sensitive tasks where they wait least. IVH takes running tasks off a
    vCPU before the host does. RWC keeps tasks off vCPUs that do more harm than good. All else is
    as in the core policy. After vSched (EuroSys'25), see docs/techniques.md.
    """

    mechanism = guest

    bvs = tunable(1, unit="", min=0, max=1, doc="1: put small tasks where they wait least")
    small_us = tunable(
        3000, unit="us", min=1, max=1_000_000, doc="small tasks run no longer for each wake-up"
    )
    cache_us = tunable(
        30, unit="us", min=0, max=100_000, doc="what a cold cache costs, twice for another node"
    )
    silent_ms = tunable(
        6, unit="ms", min=1, max=1000, doc="a busy vCPU without a sign of life is away by then"
    )
    patience_us = tunable(
        10_000, unit="us", min=1, max=1_000_000, doc="absences of that length count twice"
    )
    hedge_us = tunable(
        200, unit="us", min=0, max=1_000_000, doc="expected wait from which two vCPUs are woken"
    )

    ivh = tunable(1, unit="", min=0, max=1, doc="1: move running tasks to unused vCPUs in time")
    ivh_capacity = tunable(
        900, unit="1/1024", min=0, max=1024, doc="a vCPU with more is not worth leaving"
    )
    lead_us = tunable(
        300, unit="us", min=0, max=100_000, doc="how long before it goes away a vCPU is left"
    )
    stay_us = tunable(
        1000, unit="us", min=100, max=1_000_000, doc="a task that was moved stays for that long"
    )

    rwc = tunable(1, unit="", min=0, max=1, doc="1: hide stragglers and stacked siblings")
    straggler_in = tunable(
        35, unit="%", min=0, max=100, doc="hidden below this part of the mean capacity"
    )
    straggler_out = tunable(
        50, unit="%", min=0, max=200, doc="shown again above this part of the mean capacity"
    )
    lend_after = tunable(
        50,
        unit="%",
        min=1,
        max=10_000,
        doc="hidden ones are lent once all others have been busy for this part of what a task "
        "takes there",
    )

    # ---- BVS ----

    def is_latency_sensitive(self, task: Task) -> bool:
        """Those that do little for each wake-up, or that asked for short slices."""
        if self.bvs == 0 or task.is_idle_class or task.is_batch or task.nice >= 10:
            return False
        if 0 < task.asked_slice_ns <= self.small_us * US:
            return True
        return task.burst_ns <= self.small_us * US

    def wait_ns(self, task: Task, vcpu: VCpu, near: VCpu, sched: Sched) -> u64:
        """Until the vCPU is there, and while it is away once more before the task is done."""
        if vcpu.is_hidden:
            return NEVER
        wait = self.away_ns(vcpu) + self.interrupted_ns(task.burst_ns, vcpu)
        wait = self.dreaded_ns(wait + self.woken_late_ns(task, vcpu), vcpu)
        wait += self.slowed_ns(task, vcpu)
        if vcpu.has_busy_sibling:
            wait += task.burst_ns * 3 // 5
        if vcpu.node != near.node:
            return wait + 2 * self.cache_us * US
        if vcpu.llc != near.llc:
            return wait + self.cache_us * US
        return wait + (0 if vcpu.id == near.id else US)

    def woken_late_ns(self, task: Task, vcpu: VCpu) -> u64:
        """What wakes it next time waits for the vCPU where it will have slept, if that is its way.

        That may be at any time up to twice the usual interval. One that goes by the clock is away
        in a part of that time that is known if it is short.
        """
        if not is_clocked(vcpu):
            return absent_ns(vcpu) * task.homing // 1024
        missing = missing_ns(vcpu)
        ahead = 2 * min(task.interval_ns, ALWAYS_NS)
        if ahead >= vcpu.period_ns:
            return missing * missing // (2 * vcpu.period_ns) * task.homing // 1024
        away = min(ahead - min(left_ns(vcpu), ahead), missing)
        return away * (missing - away // 2) // max(ahead, 1) * task.homing // 1024

    def dreaded_ns(self, wait_ns: u64, vcpu: VCpu) -> u64:
        """A mean of few long waits is worse than the same mean of many short ones."""
        patience = self.patience_us * US
        return wait_ns * (patience + min(vcpu.latency_ns, ALWAYS_NS)) // patience

    def slowed_ns(self, task: Task, vcpu: VCpu) -> u64:
        """What a task that hardly sleeps loses on a small vCPU in the long run, for each burst."""
        capacity = max(vcpu.capacity, 1)
        lost = task.burst_ns * (FULL_CAPACITY - min(capacity, FULL_CAPACITY)) // capacity
        return lost * task.util // 1024

    def away_ns(self, vcpu: VCpu) -> u64:
        """How long it will be away if it has to come now.

        What goes by the clock is away until the clock says otherwise. What has used up its time and
        then rested is away for the rest of an absence. Otherwise it comes as it came the last
        times, sooner if it gave a sign of life a moment ago. One that is busy tells by its silence.
        """
        latency = min(vcpu.latency_ns, ALWAYS_NS)
        if is_clocked(vcpu):
            return 0 if left_ns(vcpu) >= AWAKE_NS else vcpu.renews_in_ns
        if vcpu.runs_idle_class:
            silent = vcpu.silent_ns
            if silent >= self.silent_ms * 1000 * US:
                return latency // 2
            gone = min(silent * 1024 // max(allowance_ns(vcpu), 1), 1024)
            return (latency - min(silent // 2, latency)) * gone // 1024
        away = absent_ns(vcpu)
        if left_ns(vcpu):
            return away
        return max(away, latency - min(vcpu.rested_ns, latency))

    def interrupted_ns(self, burst_ns: u64, vcpu: VCpu) -> u64:
        """The mean wait in the middle: an absence, as likely as the rest of the time is short.

        Bursts vary about as waiting times do, e^-x for x times the mean; 1 / x^3 is near that.
        """
        left = left_ns(vcpu)
        if left == ALWAYS_NS:
            return 0
        part = min(burst_ns * 1024 // max(left, 1), 1024)
        likely = part * part // 1024 * part // 1024
        return vcpu.latency_ns * likely // 1024

    def hedges(self, task: Task, vcpu: VCpu) -> bool:
        """Where even the best may not be there soon."""
        return self.away_ns(vcpu) >= self.hedge_us * US

    # ---- IVH ----

    def harvest_in_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """A little before the vCPU has used up its time."""
        if self.ivh == 0 or task.is_idle_class or task.allowed_vcpus == 1:
            return 0
        if vcpu.latency_ns == 0 or vcpu.capacity > self.ivh_capacity:
            return 0
        left = left_ns(vcpu)
        if task.burst_ns <= self.small_us * US and left >= 4 * task.burst_ns + self.lead_us * US:
            return 0  # it will have slept before
        allowance = allowance_ns(vcpu)
        # never so early that the vCPU is hardly used: moving costs, too
        lead = min(self.lead_us * US + vcpu.margin_ns, allowance // 4)
        stay = self.stay_us * US
        settle = stay - min(task.settled_ns, stay)
        return max(left - min(lead, left), settle, 1)

    def harvest_worth(self, task: Task, vcpu: VCpu, target: VCpu, sched: Sched) -> u64:
        """How much longer the task could run there at once; near caches first."""
        if target.is_hidden or target.stack == vcpu.stack:
            return 0
        if target.runs_idle_class and target.silent_ns >= self.silent_ms * 1000 * US:
            return 0
        # a small task will soon sleep, and its next wake-up may wait for the vCPU it slept on
        small = task.burst_ns <= self.small_us * US
        later = self.woken_late_ns(task, vcpu) + min(vcpu.latency_ns, ALWAYS_NS)
        if small and self.woken_late_ns(task, target) > later:
            return 0
        there = left_ns(target)
        here = left_ns(vcpu)
        if there <= here + max(self.stay_us * US // 2, WORTH * min(sched.moving_ns, ALWAYS_NS)):
            return 0
        if target.has_busy_sibling:
            # three fifths of a core's speed are gained, two fifths taken from who is there already:
            # better than an absence, but not for ever
            if there == ALWAYS_NS and target.capacity < 5 * vcpu.capacity:
                return 0
            there = there * 3 // 5
        if target.llc != vcpu.llc:
            there = there * 3 // 4
        # among equals the one whose rest is longest: who knows what the host has saved up for it
        return there + min(target.rested_ns, ALWAYS_NS) // 16 + target.capacity

    # ---- RWC ----

    def is_harmful(self, vcpu: VCpu, sched: Sched) -> bool:
        """A sibling on the same hardware thread, or far below the mean; with hysteresis."""
        if self.rwc == 0:
            return False
        if vcpu.stack != vcpu.id:
            return True
        part = self.straggler_out if vcpu.is_hidden else self.straggler_in
        return vcpu.capacity * 100 < sched.mean_capacity * part

    def uses_hidden(self, task: Task, vcpu: VCpu, sched: Sched) -> bool:
        """Best-effort work does, and any other while all vCPUs that are there have enough to do.

        What runs on a straggler comes back late. Where others wait for it, some of the other vCPUs
        soon have nothing to do; while none of them has, its time is a gain, whoever uses it.
        """
        if task.is_idle_class:
            return True
        if task.is_waking and vcpu.rested_ns == 0:
            return False  # it would have to wait there
        if task.ahead_ns == 0:
            return False  # it has had no more than its share: its turn is next where it runs faster
        piece = min(task.burst_ns, SLICE_NS)
        there = piece * FULL_CAPACITY // max(vcpu.capacity, 1) + min(vcpu.latency_ns, ALWAYS_NS)
        return sched.saturated_ns * 100 >= there * self.lend_after
