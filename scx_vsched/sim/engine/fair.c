/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's default scheduler as an opponent: EEVDF on each vCPU. Every function names the one
 * of kernel/sched/fair.c (6.12) that it stands for. Where a task goes is in fair_place.c, how
 * vCPUs share their load in fair_balance.c. Without control groups.
 */
#include "fair.h"

static u64 base_slice; /* sysctl_sched_base_slice, scaled by the number of CPUs */

static const u32 nice_weights[40] = {
	88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904,
	3906,  3121,  2501,  1991,  1586,  1277,  1024,	 820,	655,   526,   423,  335,  272,	215,
	172,   137,   110,   87,    70,	   56,	  45,	 36,	29,    23,    18,   15,
};

u64 fair_weight(const struct task *t)
{
	return t->p.policy == SCHED_IDLE ? 3 : nice_weights[t->p.static_prio - MAX_RT_PRIO];
}

/* calc_delta_fair() */
static u64 weighted(u64 delta, const struct task *t)
{
	return delta * 1024 / fair_weight(t);
}

/* ---- Averages ---- */

/* What is left of 65536 after so many milliseconds with a half-life of 32: PELT's decay. */
static u64 decay(u64 ms)
{
	static const u32 left[32] = {
		65536, 64132, 62757, 61413, 60097, 58809, 57549, 56316, 55109, 53928, 52773,
		51642, 50535, 49452, 48393, 47356, 46341, 45348, 44376, 43425, 42495, 41584,
		40693, 39821, 38968, 38133, 37316, 36516, 35734, 34968, 34219, 33486,
	};

	return ms >= 32 * 16 ? 0 : left[ms % 32] >> (ms / 32);
}

/* The load that the vCPU had of late, and the capacity that the host left to it as far as told. */
void fair_update_averages(struct vcpu *v)
{
	u64 ms = (sim.now - v->rq_load_at) >> 20, keep, stolen, span;

	if (!ms)
		return;
	keep = decay(ms);
	v->rq_load_avg = (v->rq_load_avg * keep + v->fair_load * (65536 - keep)) >> 16;
	vcpu_account(v);
	span = sim.now - v->rq_load_at;
	stolen = v->stolen_ns - v->capacity_stolen;
	if (sim.machine->steal_visible) {
		u64 given = stolen >= span ? 0 : 1024 - stolen * 1024 / span;

		v->capacity_seen = (v->capacity_seen * keep + given * (65536 - keep)) >> 16;
	}
	v->capacity_stolen = v->stolen_ns;
	v->rq_load_at = sim.now;
}

/* ---- The virtual clock of a vCPU ---- */

struct clock {
	s64 sum; /* of weight times how far each is ahead of min_vruntime */
	u64 load;
};

/* avg_vruntime()'s sums, with the running task */
static struct clock clock_of(const struct vcpu *v)
{
	struct clock clock = {};

	for (struct list *node = v->fair_tasks.next; node != &v->fair_tasks; node = node->next) {
		const struct task *t = entry_of(node, struct task, fair_node);

		clock.sum += (s64)(t->vruntime - v->min_vruntime) * (s64)fair_weight(t);
		clock.load += fair_weight(t);
	}
	return clock;
}

static u64 average_of(const struct vcpu *v, struct clock clock)
{
	s64 sum = clock.sum;

	if (!clock.load)
		return v->min_vruntime;
	if (sum < 0) /* rounds down */
		sum -= clock.load - 1;
	return v->min_vruntime + sum / (s64)clock.load;
}

/* entity_eligible() */
static bool eligible(const struct vcpu *v, struct clock clock, const struct task *t)
{
	return clock.sum >= (s64)(t->vruntime - v->min_vruntime) * (s64)clock.load;
}

/* update_min_vruntime() */
static void advance_min(struct vcpu *v)
{
	u64 least = 0;
	bool any = false;

	for (struct list *node = v->fair_tasks.next; node != &v->fair_tasks; node = node->next) {
		const struct task *t = entry_of(node, struct task, fair_node);

		if (!any || (s64)(t->vruntime - least) < 0)
			least = t->vruntime;
		any = true;
	}
	if (any && (s64)(least - v->min_vruntime) > 0)
		v->min_vruntime = least;
}

/* ---- Running ---- */

/* update_curr(), update_deadline() */
static void update(struct vcpu *v)
{
	struct task *t = v->curr;
	u64 now = vcpu_clock_task(v), delta;

	fair_update_averages(v);
	if (!t)
		return;
	delta = now - v->exec_start;
	if (!delta)
		return;
	v->exec_start = now;
	t->p.se.sum_exec_runtime += delta;
	t->last_ran = sim.now;
	t->vruntime += weighted(delta, t);
	advance_min(v);
	if ((s64)(t->vruntime - t->deadline) < 0)
		return;
	t->deadline = t->vruntime + weighted(base_slice, t);
	if (v->nr_fair > 1)
		resched(v);
}

/* place_entity(), with the lag of a sleeper running out as DELAY_DEQUEUE lets it */
static void place(struct vcpu *v, struct task *t, u64 flags)
{
	struct clock clock = clock_of(v);
	s64 lag = t->vlag;

	if (flags & SIM_SCX_ENQ_WAKEUP && lag < 0) {
		lag += sim.now - t->slept_at;
		if (lag > 0)
			lag = 0;
	}
	if (v->nr_fair && clock.load)
		lag = lag * (s64)(clock.load + fair_weight(t)) / (s64)clock.load;
	else
		lag = 0;
	t->vruntime = average_of(v, clock) - lag;
	t->deadline = t->vruntime + weighted(base_slice, t) / (t->switches ? 1 : 2);
}

/* enqueue_entity() */
static void enqueue(struct vcpu *v, struct task *t, u64 flags)
{
	update(v);
	place(v, t, flags);
	list_add(&t->fair_node, v->fair_tasks.prev);
	if (++v->nr_fair == 2)
		fair_overloaded++;
	v->nr_running++;
	v->fair_load += fair_weight(t);
	t->runnable_at = sim.now;
	record(REC_ENQUEUE, v, t, 0);
}

/* dequeue_entity(), update_entity_lag() */
static void dequeue(struct vcpu *v, struct task *t, u64 flags)
{
	s64 limit = weighted(2 * base_slice > sim.machine->tick_ns ? 2 * base_slice :
								     sim.machine->tick_ns, t);
	s64 lag;

	update(v);
	lag = (s64)(average_of(v, clock_of(v)) - t->vruntime);
	t->vlag = lag > limit ? limit : lag < -limit ? -limit : lag;
	t->slept_at = sim.now;
	list_del(&t->fair_node);
	if (--v->nr_fair == 1)
		fair_overloaded--;
	v->nr_running--;
	v->fair_load -= fair_weight(t);
	advance_min(v);
}

/* pick_eevdf(): the earliest deadline among those who have not had more than their share */
static struct task *pick(struct vcpu *v)
{
	struct clock clock = clock_of(v);
	struct task *best = NULL, *first = NULL;

	/* RUN_TO_PARITY: who runs goes on until its deadline has been renewed */
	if (v->curr && v->curr->on_rq && v->curr->picked_deadline == v->curr->deadline)
		return v->curr;
	for (struct list *node = v->fair_tasks.next; node != &v->fair_tasks; node = node->next) {
		struct task *t = entry_of(node, struct task, fair_node);

		if (!first || (s64)(t->vruntime - first->vruntime) < 0)
			first = t;
		if (!eligible(v, clock, t))
			continue;
		if (!best || (s64)(t->deadline - best->deadline) < 0)
			best = t;
	}
	return best ?: first;
}

static void put(struct vcpu *v, struct task *t)
{
	update(v);
	t->runnable_at = sim.now;
}

/* set_next_entity() */
static void set(struct vcpu *v, struct task *t)
{
	v->exec_start = vcpu_clock_task(v);
	t->picked_deadline = t->deadline;
}

/* pick_next_task_fair() */
static struct task *pick_next(struct vcpu *v, struct task *prev)
{
	struct task *next;

	update(v);
	if (!v->nr_fair) {
		/* the balancer must not take it for busy with the task that has just gone */
		fair_newidle(v);
	}
	next = v->nr_fair ? pick(v) : NULL;
	if (next == prev && prev) {
		prev->picked_deadline = prev->deadline;
		return prev;
	}
	if (prev)
		put(v, prev);
	if (next) {
		if (v->idle)
			fair_idle_end(v);
		set(v, next);
	} else if (!v->idle) {
		v->idle_since = sim.now;
	}
	idle_update(v, !next, false);
	v->idle = !next;
	return next;
}

/* task_tick_fair() */
static void tick(struct vcpu *v, struct task *t)
{
	update(v);
	fair_tick_balance(v);
}

/* check_preempt_wakeup_fair() */
static void wakeup_preempt(struct vcpu *v, struct task *t, u64 flags)
{
	if (!v->curr) {
		resched(v);
		return;
	}
	if (v->need_resched || t == v->curr)
		return;
	if (v->curr->p.policy == SCHED_IDLE && t->p.policy != SCHED_IDLE) {
		resched(v);
		return;
	}
	if (t->p.policy != 0)
		return;
	update(v);
	if (v->curr->on_rq && pick(v) == t)
		resched(v);
}

/* yield_task_fair() */
static void yield(struct vcpu *v, struct task *t)
{
	update(v);
	if (v->nr_fair > 1)
		t->deadline += weighted(base_slice, t);
}

static void nothing(struct task *t)
{
}

/* task_fork_fair() */
static void forked(struct task *t)
{
	t->vlag = 0;
	t->recent_vcpu = t->vcpu->id;
}

const struct class fair_class = {
	.name = "fair",
	.select_rq = fair_select,
	.enqueue = enqueue,
	.dequeue = dequeue,
	.pick_next = pick_next,
	.put = put,
	.set = set,
	.tick = tick,
	.update = update,
	.wakeup_preempt = wakeup_preempt,
	.yield = yield,
	.allowed_changed = nothing,
	.weight_changed = nothing,
	.fork = forked,
	.dead = nothing,
};

void fair_start(void)
{
	u32 cpus = sim.nr_vcpus < 8 ? sim.nr_vcpus : 8, factor = 1;

	/* get_update_sysctl_factor() with SCHED_TUNABLESCALING_LOG */
	while (cpus >>= 1)
		factor++;
	base_slice = 700000ULL * factor;
	list_init(&user_dsqs);
	dsq_init(&sim.global, SIM_SCX_DSQ_GLOBAL);
	for (u32 i = 0; i < sim.nr_vcpus; i++) {
		sim.vcpus[i].capacity_seen = 1024;
		sim.vcpus[i].avg_idle = 1000000;
	}
	fair_domains();
}
