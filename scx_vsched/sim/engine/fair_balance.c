/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How the default scheduler evens out load (kernel/sched/fair.c, 6.12): when a vCPU runs out of
 * work, from time to time on its tick, and for idle vCPUs on behalf of busy ones. Groups are
 * weighed by single vCPUs rather than by their statistics.
 */
#include "fair.h"

#define BUSY_FACTOR 16 /* sd->busy_factor */

#define FAILED_TOO_OFTEN 3 /* cache_nice_tries + 2 */

struct cpumask *fair_domain[NR_LEVELS];
u32 fair_overloaded;

static bool in_domain(u32 a, u32 b, u32 level)
{
	const struct sim_machine *machine = sim.machine;

	switch (level) {
	case LEVEL_CORE:
		return machine->vcpu_core[a] == machine->vcpu_core[b];
	case LEVEL_LLC:
		return machine->vcpu_llc[a] == machine->vcpu_llc[b] &&
		       machine->vcpu_node[a] == machine->vcpu_node[b];
	case LEVEL_NODE:
		return machine->vcpu_node[a] == machine->vcpu_node[b];
	default:
		return true;
	}
}

void fair_domains(void)
{
	for (u32 level = 0; level < NR_LEVELS; level++) {
		fair_domain[level] = sim_alloc(sim.nr_vcpus * sizeof(struct cpumask));
		for (u32 a = 0; a < sim.nr_vcpus; a++) {
			for (u32 b = 0; b < sim.nr_vcpus; b++) {
				if (in_domain(a, b, level))
					mask_set(&fair_domain[level][a], b);
			}
		}
	}
}

/* can_migrate_task(): a task that has just run is left where its data are, unless in need */
static struct task *movable(struct vcpu *from, struct vcpu *to, bool need)
{
	for (struct list *node = from->fair_tasks.next; node != &from->fair_tasks;
	     node = node->next) {
		struct task *t = entry_of(node, struct task, fair_node);

		if (t == from->curr || t->p.migration_disabled || !mask_test(t->p.cpus_ptr, to->id))
			continue;
		if (!need && t->last_ran && sim.now - t->last_ran < MIGRATION_COST)
			continue;
		return t;
	}
	return NULL;
}

/* How loaded a vCPU is for what it can do. */
static u64 pressure(const struct vcpu *v)
{
	return v->fair_load * 1024 / (v->capacity_seen ?: 1);
}

/* sched_balance_find_src_group(), _rq(): the vCPU of the domain that has most to give */
static struct vcpu *busiest(struct vcpu *v, u32 level)
{
	struct vcpu *found = NULL;
	u32 vcpu = NONE;

	while ((vcpu = mask_next_and(&fair_domain[level][v->id], &sim.active, vcpu + 1)) != NONE) {
		struct vcpu *other = &sim.vcpus[vcpu];

		if (other == v || other->nr_fair < 2)
			continue;
		if (!found || pressure(other) > pressure(found))
			found = other;
	}
	return found;
}

static bool pull(struct vcpu *v, struct vcpu *from, bool need)
{
	struct task *t = movable(from, v, need);

	if (!t)
		return false;
	task_move_queued(t, v);
	return true;
}

/*
 * need_active_balance(): where all that waits is bound to its vCPU, the task that runs is stopped
 * there and moved, once this has failed a few times.
 */
static void stop_and_move(struct vcpu *v, struct vcpu *from)
{
	struct task *t = from->curr;

	if (++v->failed_balances <= FAILED_TOO_OFTEN)
		return;
	v->failed_balances = 0;
	if (t && !t->p.migration_disabled && mask_test(t->p.cpus_ptr, v->id))
		from->push_to = v;
}

static void pull_nearest(struct vcpu *v, bool need, bool asked)
{
	struct vcpu *failed = NULL;

	for (u32 level = 0; level < NR_LEVELS; level++) {
		struct vcpu *from = busiest(v, level);

		if (from && pull(v, from, need)) {
			failed = NULL;
			break;
		}
		failed = failed ?: from;
	}
	if (!failed)
		v->failed_balances = 0;
	else if (asked)
		stop_and_move(v, failed);
}

/* sched_balance_newidle() */
void fair_newidle(struct vcpu *v)
{
	bool asked = v->asked_to_pull;

	v->asked_to_pull = false;
	if (!v->active || (!asked && v->avg_idle < MIGRATION_COST))
		return;
	/* what fails once for a hot cache is forced the next time: sd->nr_balance_failed */
	pull_nearest(v, asked || v->failed_pulls++ > 1, asked);
	if (v->nr_fair)
		v->failed_pulls = 0;
}

/* ttwu_do_activate(): how long the vCPU was idle */
void fair_idle_end(struct vcpu *v)
{
	u64 idle = sim.now - v->idle_since;
	s64 diff = (s64)(idle - v->avg_idle);

	v->avg_idle += diff / 8;
	if (v->avg_idle > 2 * MIGRATION_COST)
		v->avg_idle = 2 * MIGRATION_COST;
}

/* nohz_balancer_kick(), nr_busy_cpus: where two of a cache work, the idle are looked after */
static bool others_overloaded(const struct vcpu *v)
{
	static u64 next;
	u32 busy = 0;

	if (!fair_overloaded || sim.now < next)
		return false;
	for (u32 i = 0; i < sim.mask_words; i++)
		busy += __builtin_popcountl(fair_domain[LEVEL_LLC][v->id].bits[i] &
					    sim.active.bits[i] & ~sim.idle.bits[i]);
	if (busy < 2)
		return false;
	next = sim.now + sim.machine->tick_ns;
	return true;
}

/* nohz_balancer_kick(): an idle vCPU is woken to take something; a queue of one may do, where the
 * host is known to have left little of the vCPU (check_cpu_capacity(), need_active_balance()) */
static void kick_idle(struct vcpu *v)
{
	bool reduced = v->capacity_seen * IMBALANCE_PCT < 1024 * 100;
	bool many = v->nr_fair >= 2 || others_overloaded(v);
	u32 vcpu = NONE;

	if (!many && !reduced)
		return;
	while ((vcpu = mask_next_and(&sim.idle, &sim.active, vcpu + 1)) != NONE) {
		struct vcpu *idle = &sim.vcpus[vcpu];

		if (!fair_is_idle(vcpu) || idle->need_resched)
			continue;
		if (many) {
			idle->asked_to_pull = true;
			resched(idle);
			return;
		}
		fair_update_averages(idle);
		if (v->capacity_seen * IMBALANCE_PCT < idle->capacity_seen * 100 &&
		    mask_test(v->curr->p.cpus_ptr, vcpu)) {
			v->push_to = idle;
			return;
		}
	}
}

/* sched_balance_domains(): rarely while busy, and only where it makes a difference */
static void balance_domains(struct vcpu *v)
{
	for (u32 level = LEVEL_CORE; level < NR_LEVELS; level++) {
		u32 weight = mask_weight(&fair_domain[level][v->id]);
		struct vcpu *from;

		if (weight < 2 || sim.now < v->next_balance[level])
			continue;
		v->next_balance[level] = sim.now + (u64)weight * BUSY_FACTOR * 1000000;
		from = busiest(v, level);
		if (!from || from->nr_fair < v->nr_fair + 1)
			continue;
		/* what moves must leave less imbalance than there was */
		if (pressure(from) * 100 > (pressure(v) + 1024) * IMBALANCE_PCT ||
		    from->nr_fair > v->nr_fair + 1)
			pull(v, from, ++v->failed_pulls > 2);
	}
}

/*
 * smt_balance(), imbalanced_active_balance(): a core whose siblings both work gives one away to a
 * core that has nothing to do, once it has failed a few times to do so without stopping it.
 */
static void spread_cores(struct vcpu *v)
{
	u32 core, sibling = NONE, busy = 0;

	if (!sim.smt_active || v->nr_fair != 1)
		return;
	while ((sibling = mask_next_and(&sim.smt[v->id], &sim.active, sibling + 1)) != NONE)
		busy += sim.vcpus[sibling].nr_fair > 0;
	core = mask_first_and(&sim.idle_smt, &fair_domain[LEVEL_LLC][v->id]);
	if (busy < 2 || core == NONE || !mask_test(v->curr->p.cpus_ptr, core)) {
		v->failed_spreads = 0;
		return;
	}
	/* nr_balance_failed > cache_nice_tries + 2, at the domain's balance_interval */
	if (++v->failed_spreads * sim.machine->tick_ns <
	    4000000ULL * mask_weight(&fair_domain[LEVEL_LLC][v->id]))
		return;
	if (!fair_is_idle(core))
		return;
	v->failed_spreads = 0;
	v->push_to = &sim.vcpus[core];
}

/* sched_balance_trigger() */
void fair_tick_balance(struct vcpu *v)
{
	balance_domains(v);
	if (sim.now >= v->next_kick) {
		v->next_kick = sim.now + sim.machine->tick_ns;
		kick_idle(v);
	}
	spread_cores(v);
}
