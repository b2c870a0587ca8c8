/* SPDX-License-Identifier: GPL-2.0-only */
/* Where the default scheduler puts a task that wakes or is born (kernel/sched/fair.c, 6.12). */
#include "fair.h"

#define FLIPS_DECAY_NS 1000000000ULL

static bool same_cache(u32 a, u32 b)
{
	return sim.machine->vcpu_llc[a] == sim.machine->vcpu_llc[b] &&
	       sim.machine->vcpu_node[a] == sim.machine->vcpu_node[b];
}

/* available_idle_cpu() || sched_idle_cpu(): vcpu_is_preempted() only where the host tells */
bool fair_is_idle(u32 vcpu)
{
	const struct vcpu *v = &sim.vcpus[vcpu];

	if (!v->online)
		return false;
	if (v->nr_fair)
		return v->nr_fair == 1 && v->curr && v->curr->p.policy == SCHED_IDLE;
	if (v->curr)
		return false;
	return !(sim.machine->steal_visible && !v->hosted && !v->halted);
}

static u64 load_of(struct vcpu *v)
{
	fair_update_averages(v);
	return v->rq_load_avg;
}

/* record_wakee(), wake_wide() */
static bool wakes_widely(struct task *waker, struct task *t, u32 llc_size)
{
	u32 master, slave;

	if (sim.now - waker->flips_at > FLIPS_DECAY_NS) {
		waker->wakee_flips >>= 1;
		waker->flips_at = sim.now;
	}
	if (waker->last_wakee != t) {
		waker->last_wakee = t;
		waker->wakee_flips++;
	}
	master = waker->wakee_flips;
	slave = t->wakee_flips;
	if (master < slave) {
		u32 swap = master;

		master = slave;
		slave = swap;
	}
	return slave >= llc_size && master >= slave * llc_size;
}

/* wake_affine_idle(), wake_affine_weight(), wake_affine() */
static u32 affine(struct task *t, u32 this, u32 prev, bool sync)
{
	struct vcpu *here = &sim.vcpus[this], *there = &sim.vcpus[prev];
	u64 weight = fair_weight(t), mine, theirs;

	if (fair_is_idle(this) && same_cache(this, prev))
		return fair_is_idle(prev) ? prev : this;
	if (sync && here->nr_fair == 1)
		return this;
	if (fair_is_idle(prev))
		return prev;
	mine = load_of(here);
	if (sync && here->curr) {
		u64 current = fair_weight(here->curr);

		if (current > mine)
			return this;
		mine -= current;
	}
	mine = (mine + weight) * 100 * there->capacity_seen;
	theirs = load_of(there);
	theirs -= weight < theirs ? weight : theirs;
	theirs = theirs * (100 + (IMBALANCE_PCT - 100) / 2) * here->capacity_seen + sync;
	return mine < theirs ? this : prev;
}

/* select_idle_core() and select_idle_cpu(), with SIS_UTIL's bound on the search */
static u32 search(struct task *t, u32 target)
{
	const struct cpumask *llc = &fair_domain[LEVEL_LLC][target];
	u32 idle = 0, size = 0, scan, vcpu = target, found = NONE;
	u64 busy;

	for (u32 i = 0; i < sim.mask_words; i++) {
		size += __builtin_popcountl(llc->bits[i]);
		idle += __builtin_popcountl(llc->bits[i] & sim.idle.bits[i]);
	}
	if (sim.smt_active) {
		u32 core = mask_next_and(&sim.idle_smt, llc, target);

		for (u32 tries = 0; tries < size && core != NONE; tries++) {
			if (mask_test(t->p.cpus_ptr, core) && fair_is_idle(core))
				return core;
			core = mask_next_and(&sim.idle_smt, llc, core + 1);
		}
		core = mask_first_and(&sim.idle_smt, llc);
		if (core != NONE && core < target && mask_test(t->p.cpus_ptr, core) &&
		    fair_is_idle(core))
			return core;
	}
	/* update_idle_cpu_scan(): the busier the cache, the shorter the search */
	busy = (u64)(size - idle) * 1024 / size;
	busy = busy * busy * IMBALANCE_PCT * IMBALANCE_PCT / (10000 * 1024);
	scan = busy >= 1024 ? 0 : (1024 - busy) * size / 1024;
	if (!scan)
		return NONE;
	for (scan++; scan; scan--) {
		vcpu = mask_next_and(llc, t->p.cpus_ptr, vcpu + 1);
		if (vcpu == NONE)
			vcpu = mask_first_and(llc, t->p.cpus_ptr);
		if (vcpu == NONE)
			return NONE;
		if (fair_is_idle(vcpu)) {
			found = vcpu;
			break;
		}
	}
	return found;
}

/* select_idle_sibling() */
static u32 idle_sibling(struct task *t, u32 prev, u32 target)
{
	u32 recent = t->recent_vcpu, found;

	if (mask_test(t->p.cpus_ptr, target) && fair_is_idle(target))
		return target;
	if (prev != target && same_cache(prev, target) && mask_test(t->p.cpus_ptr, prev) &&
	    fair_is_idle(prev))
		return prev;
	t->recent_vcpu = prev;
	if (recent != prev && recent != target && same_cache(recent, target) &&
	    fair_is_idle(recent) && mask_test(t->p.cpus_ptr, recent))
		return recent;
	/* select_idle_smt(): no whole core is idle, so the sibling of where it was */
	if (sim.smt_active && same_cache(prev, target) &&
	    mask_first_and(&sim.idle_smt, &fair_domain[LEVEL_LLC][target]) == NONE) {
		u32 sibling = NONE;

		while ((sibling = mask_next_and(&sim.smt[prev], t->p.cpus_ptr, sibling + 1)) != NONE) {
			if (sibling != prev && fair_is_idle(sibling))
				return sibling;
		}
	}
	found = search(t, target);
	return found == NONE ? target : found;
}

static u32 nr_idle(const struct cpumask *domain)
{
	u32 vcpu = NONE, idle = 0;

	while ((vcpu = mask_next_and(domain, &sim.active, vcpu + 1)) != NONE)
		idle += fair_is_idle(vcpu);
	return idle;
}

/*
 * sched_balance_find_dst_group(), _cpu(): the cache with most idle vCPUs, the local one first, in it
 * the core with most, and of equals the next in the ring that begins here (sd->groups).
 */
static u32 idlest(struct task *t, u32 this)
{
	u32 best = NONE, best_score = 0, llc_seen = NONE, llc_idle = 0;
	u64 best_load = NEVER;

	for (u32 step = 0; step < sim.nr_vcpus; step++) {
		u32 i = (this + step) % sim.nr_vcpus, score = 0;
		u64 load;

		if (!mask_test(t->p.cpus_ptr, i) || !sim.vcpus[i].active)
			continue;
		if (fair_is_idle(i)) {
			if (llc_seen == NONE || !same_cache(llc_seen, i))
				llc_idle = nr_idle(&fair_domain[LEVEL_LLC][i]);
			llc_seen = i;
			score = (2 * llc_idle + same_cache(i, this)) << 8;
			score += sim.smt_active ? nr_idle(&sim.smt[i]) : 1;
		}
		load = sim.vcpus[i].nr_fair ? load_of(&sim.vcpus[i]) + sim.vcpus[i].fair_load : 0;
		if (best == NONE || score > best_score || (score == best_score && load < best_load)) {
			best = i;
			best_score = score;
			best_load = load;
		}
	}
	return best == NONE ? this : best;
}

/* select_task_rq_fair() */
s32 fair_select(struct task *t, s32 prev, u64 wake_flags)
{
	struct task *waker = sim.this ? sim.this->curr : NULL;
	u32 this = sim.this ? sim.this->id : (u32)prev, target = prev;

	if (wake_flags & SIM_SCX_WAKE_FORK)
		return idlest(t, this);
	if (waker && mask_test(t->p.cpus_ptr, this) &&
	    !wakes_widely(waker, t, mask_weight(&fair_domain[LEVEL_LLC][this])) &&
	    this != (u32)prev)
		target = affine(t, this, prev, wake_flags & SIM_SCX_WAKE_SYNC);
	else if (!waker && this != (u32)prev && mask_test(t->p.cpus_ptr, this))
		target = affine(t, this, prev, false);
	return idle_sibling(t, prev, target);
}
