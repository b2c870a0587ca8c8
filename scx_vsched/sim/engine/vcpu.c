/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A vCPU at work: it executes only while its host thread runs, and what happens to it meanwhile
 * (ticks, interrupts) waits until then. __schedule() of kernel/sched/core.c is here too.
 */
#include "api.h"

#define MAX_TURNS 20000 /* of the loop at one instant: more means that it goes round in circles */

/* Brings the books up to now: progress of the task, time taken by the host. */
void vcpu_account(struct vcpu *v)
{
	u64 passed = sim.now - v->since;

	if (!passed)
		return;
	v->since = sim.now;
	if (!v->hosted) {
		*(v->halted ? &v->halted_ns : &v->stolen_ns) += passed;
		return;
	}
	v->hosted_ns += passed;
	if (v->curr) {
		u64 done = passed * v->speed;

		v->busy_ns += passed;
		v->curr->left -= done < v->curr->left ? done : v->curr->left;
	}
}

/* rq_clock_task(): stops while the host is known to have taken the vCPU away */
u64 vcpu_clock_task(struct vcpu *v)
{
	vcpu_account(v);
	return sim.now - (sim.machine->steal_visible ? v->stolen_ns : 0);
}

void vcpu_add_work(struct task *t, u64 ns)
{
	t->left += ns * FULL_SPEED;
}

static void arm_work(struct vcpu *v)
{
	if (!v->curr || !v->hosted) {
		event_cancel(&v->work);
		return;
	}
	event_at(&v->work, sim.now + (v->curr->left + v->speed - 1) / v->speed);
}

static void arm_tick(struct vcpu *v)
{
	u64 tick = sim.machine->tick_ns;

	if (!v->curr)
		event_cancel(&v->tick);
	else if (!event_due(&v->tick) && !v->tick_pending)
		event_at(&v->tick, (sim.now / tick + 1) * tick);
}

/* ---- Switching ---- */

static void switch_in(struct vcpu *v, struct task *t)
{
	const struct sim_machine *machine = sim.machine;
	struct pcpu *here = v->entity->pcpu;

	check(mask_test(t->p.cpus_ptr, v->id), "affinity_broken",
	      "pid %d runs on vCPU %u, which its affinity forbids", t->p.pid, v->id);
	check(t->state == TASK_RUNNABLE, "not_runnable", "pid %d runs in state %u", t->p.pid,
	      t->state);
	check(t->vcpu == v, "wrong_vcpu", "pid %d runs on vCPU %u but belongs to %u", t->p.pid,
	      v->id, t->vcpu->id);
	check(!t->dsq && !t->deferred, "on_two_queues", "pid %d runs while queued", t->p.pid);
	record(REC_SWITCH_IN, v, t, 0);
	t->waited_ns += sim.now - t->wait_since;
	t->switches++;
	v->switches++;
	sim.result.switches++;
	vcpu_add_work(t, machine->switch_ns);
	if (t->last_pcpu != here) {
		u64 cost = machine->migrate_ns[host_distance(t->last_pcpu, here)];

		vcpu_add_work(t, cost * t->footprint / FULL_SPEED);
		t->last_pcpu = here;
	}
}

static void switch_out(struct vcpu *v, struct task *t)
{
	t->wait_since = sim.now;
	record(t->on_rq ? REC_PREEMPTED : REC_SLEPT, v, t, 0);
}

/* kick_cpus_irq_workfn() on the vCPU itself: once interrupts are enabled again */
static void take_kick(struct vcpu *v)
{
	if (v->preempt_self && v->curr)
		v->curr->p.scx.slice = 0;
	v->kick_self = v->preempt_self = false;
	v->need_resched = true;
}

/* __schedule() */
static void schedule(struct vcpu *v)
{
	struct task *prev = v->curr, *next;

	v->need_resched = false;
	v->in_schedule = true;
	if (prev && prev->state != TASK_RUNNABLE && prev->on_rq) {
		task_deactivate_from(v, prev, SIM_SCX_DEQ_SLEEP);
		/* the rest of a spell on the vCPU that went on after the last step */
		prev->left = 0;
	}
	next = sim.class->pick_next(v, prev);
	if (next != prev) {
		if (prev)
			switch_out(v, prev);
		v->curr = next;
		if (next)
			switch_in(v, next);
		else
			v->tick_pending = false;
		if (prev && prev->state == TASK_DEAD)
			task_free(prev);
	} else if (prev) {
		record(REC_KEPT, v, prev, 0);
	}
	if (sim.ext)
		ext_process_deferred(v);
	v->in_schedule = false;
	if (v->kick_self)
		take_kick(v);
}

/* migration_cpu_stop(): the vCPU's stopper takes away a task that may run here no more */
static void push_away(struct vcpu *v)
{
	struct vcpu *wanted = v->push_to;
	struct task *t = v->curr;
	u32 to;

	v->push_to = NULL;
	if (!t || t->state != TASK_RUNNABLE || t->p.migration_disabled ||
	    (!wanted && task_vcpu_allowed(t, v->id)))
		return;
	to = wanted && task_vcpu_allowed(t, wanted->id) ?
		     wanted->id :
		     mask_first_and(t->p.cpus_ptr, &sim.active);
	if (to == NONE)
		to = task_fallback_vcpu(t);
	if (to == v->id)
		return;
	/* the stopper preempts the task, then moves it while it waits */
	sim.class->put(v, t);
	switch_out(v, t);
	v->curr = NULL;
	task_move_queued(t, &sim.vcpus[to]);
	v->need_resched = true;
}

static void handle_irqs(struct vcpu *v)
{
	while (!list_empty(&v->irqs)) {
		struct task *t = entry_of(v->irqs.next, struct task, wait);

		list_del(&t->wait);
		record(REC_IRQ, v, t, 0);
		task_wake(t, 0);
	}
}

/* Lets the vCPU, which the host runs, do all that can be done at this instant. */
void vcpu_run(struct vcpu *v)
{
	struct vcpu *before = sim.this;
	u32 turns = 0;

	sim.this = v;
	v->in_run = true;
	vcpu_account(v);
	for (;;) {
		check(turns++ < MAX_TURNS, "goes_in_circles",
		      "vCPU %u does no work however often it is scheduled", v->id);
		handle_irqs(v);
		timers_run(v);
		if (v->tick_pending) {
			v->tick_pending = false;
			if (v->curr) {
				v->ticks++;
				record(REC_TICK, v, v->curr, 0);
				sim.class->tick(v, v->curr);
			}
		}
		push_away(v);
		if (v->need_resched) {
			schedule(v);
			continue;
		}
		if (v->curr && v->curr->spinning)
			program_spin(v->curr);
		if (!v->curr || v->curr->left)
			break;
		switch (program_step(v, v->curr)) {
		case STEP_RUN:
			break;
		case STEP_YIELD:
			sim.class->yield(v, v->curr);
			schedule(v);
			break;
		case STEP_EXIT:
			v->curr->state = TASK_DEAD;
			schedule(v);
			break;
		case STEP_BLOCK:
			schedule(v);
			break;
		}
	}
	v->in_run = false;
	sim.this = before;
	arm_work(v);
	arm_tick(v);
	if (!v->curr && v->hosted && !v->spun) {
		v->halted = true;
		record(REC_HALT, v, NULL, 0);
		host_wants(v->entity, false);
	}
}

/* ---- What reaches the vCPU from outside ---- */

static void unhalt(struct vcpu *v)
{
	if (!v->halted || !v->online)
		return;
	vcpu_account(v);
	v->halted = false;
	probe_away(v);
	host_wants(v->entity, true);
}

/* Has the vCPU run although it has nothing to do, for as long as `spun` says so. */
void vcpu_spin(struct vcpu *v)
{
	unhalt(v);
}

void vcpu_hosted(struct vcpu *v)
{
	vcpu_account(v);
	v->hosted = true;
	probe_there(v);
	record(REC_HOST_IN, v, v->curr, 0);
	vcpu_run(v);
}

void vcpu_unhosted(struct vcpu *v)
{
	vcpu_account(v);
	v->hosted = false;
	if (!v->halted)
		probe_away(v);
	event_cancel(&v->work);
	record(REC_HOST_OUT, v, v->curr, 0);
}

void vcpu_speed(struct vcpu *v, u32 speed)
{
	if (v->speed == speed)
		return;
	vcpu_account(v);
	v->speed = speed;
	if (v->hosted && v->curr)
		arm_work(v);
}

/* Wakes @t by an interrupt that the vCPU takes. */
void vcpu_irq(struct vcpu *v, struct task *t)
{
	if (!v->online) /* interrupts of an offline vCPU go elsewhere */
		v = &sim.vcpus[mask_first_and(&sim.online, &sim.online)];
	list_add(&t->wait, v->irqs.prev);
	if (v->hosted)
		vcpu_run(v);
	else if (v->halted && !event_due(&v->ipi))
		event_at(&v->ipi, sim.now + sim.machine->halt_wake_ns);
}

void vcpu_event(struct vcpu *v, u32 kind)
{
	switch (kind) {
	case EV_WORK:
		vcpu_run(v);
		break;
	case EV_TICK:
		v->tick_pending = true;
		if (v->hosted)
			vcpu_run(v);
		break;
	case EV_IPI:
		record(REC_IPI, v, v->curr, 0);
		if (v->halted && (v->need_resched || !list_empty(&v->irqs) ||
				  !list_empty(&v->timers)))
			unhalt(v);
		else if (v->hosted)
			vcpu_run(v);
		break;
	default:
		break;
	}
}
