/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A task's life between the classes: kernel/sched/core.c, by the functions named. No class decides
 * anything here.
 */
#include <stdio.h>
#include <string.h>

#include "api.h"

/* resched_curr(): the vCPU looks for its next task as soon as it can */
void resched(struct vcpu *v)
{
	const struct sim_machine *machine = sim.machine;

	if (v->need_resched || !v->online)
		return;
	v->need_resched = true;
	if (v->in_run)
		return;
	if (v != sim.this)
		sim.result.remote_kicks++;
	event_at(&v->ipi, sim.now + machine->ipi_ns + (v->halted ? machine->halt_wake_ns : 0));
}

/* set_task_cpu() */
void task_set_vcpu(struct task *t, struct vcpu *v)
{
	struct pcpu *from = t->vcpu->entity->pcpu, *to = v->entity->pcpu;

	if (t->vcpu == v)
		return;
	record(REC_MIGRATE, v, t, t->vcpu->id);
	t->migrations++;
	sim.result.migrations++;
	if (from->llc != to->llc)
		sim.result.far_migrations++;
	t->vcpu = v;
}

void task_activate_on(struct vcpu *v, struct task *t, u64 flags)
{
	t->on_rq = true;
	t->wait_since = sim.now;
	sim.class->enqueue(v, t, flags);
	sim.class->wakeup_preempt(v, t, flags);
}

void task_deactivate_from(struct vcpu *v, struct task *t, u64 flags)
{
	sim.class->dequeue(v, t, flags);
	t->on_rq = false;
}

/* is_cpu_allowed() */
bool task_vcpu_allowed(const struct task *t, u32 vcpu)
{
	if (!mask_test(t->p.cpus_ptr, vcpu))
		return false;
	if (t->p.migration_disabled || t->p.flags & PF_KTHREAD)
		return sim.vcpus[vcpu].online;
	return sim.vcpus[vcpu].active;
}

/* select_fallback_rq(): an affinity that leaves nothing is widened, as cpuset_cpus_allowed_fallback */
u32 task_fallback_vcpu(struct task *t)
{
	u32 vcpu;

	vcpu = mask_first_and(t->p.cpus_ptr, &sim.active);
	if (vcpu != NONE)
		return vcpu;
	t->allowed = sim.possible;
	t->p.nr_cpus_allowed = mask_weight(&t->allowed);
	sim.class->allowed_changed(t);
	return mask_first_and(&t->allowed, &sim.active);
}

/* select_task_rq() */
static struct vcpu *select_vcpu(struct task *t, u64 wake_flags, bool *selected)
{
	u32 vcpu;

	*selected = t->p.nr_cpus_allowed > 1 && !t->p.migration_disabled;
	if (*selected)
		vcpu = sim.class->select_rq(t, t->vcpu->id, wake_flags);
	else
		vcpu = mask_first_and(t->p.cpus_ptr, &sim.possible);
	if (!task_vcpu_allowed(t, vcpu))
		vcpu = task_fallback_vcpu(t);
	return &sim.vcpus[vcpu];
}

/* try_to_wake_up() */
bool task_wake(struct task *t, u64 wake_flags)
{
	bool selected;
	struct vcpu *v;

	if (t->state != TASK_BLOCKED)
		return false;
	record(REC_WAKE, sim.this, t, t->vcpu->id);
	t->wakeups++;
	sim.result.wakeups++;
	t->state = TASK_RUNNABLE;
	v = select_vcpu(t, wake_flags | SIM_SCX_WAKE_TTWU, &selected);
	task_set_vcpu(t, v);
	task_activate_on(v, t, SIM_SCX_ENQ_WAKEUP | (selected ? SIM_SCX_ENQ_CPU_SELECTED : 0));
	return true;
}

/* ---- Birth and death ---- */

struct task *task_new(u32 program, const struct sim_task *like, struct task *parent)
{
	struct task *t = sim.free_tasks;
	u32 index;

	if (t) {
		sim.free_tasks = t->next_free;
	} else {
		check(sim.nr_tasks < sim.load->max_tasks, "too_many_tasks",
		      "the workload has more than %llu tasks at once", sim.load->max_tasks);
		t = &sim.tasks[sim.nr_tasks++];
	}
	index = t - sim.tasks;
	memset(t, 0, sizeof(*t));
	t->state = TASK_NEW;
	t->p.sim_index = index;
	t->p.pid = t->p.tgid = ++sim.next_pid;
	t->p.group_leader = &t->p;
	snprintf(t->p.comm, sizeof(t->p.comm), "%u/%d", program, t->p.pid);
	t->p.static_prio = parent ? parent->p.static_prio : DEFAULT_PRIO + (int)like->nice;
	t->p.policy = parent ? parent->p.policy : like->policy;
	t->p.flags = parent ? parent->p.flags : like->kthread ? PF_KTHREAD : 0;
	t->footprint = parent ? parent->footprint : like->footprint;
	t->group = parent ? parent->group : like->group;
	if (parent)
		t->allowed = parent->allowed;
	else if (like->affinity == NEVER)
		t->allowed = sim.possible;
	else
		memcpy(&t->allowed, sim.load->numbers + like->affinity, sim.mask_words * 8);
	t->p.cpus_ptr = &t->allowed;
	t->p.nr_cpus_allowed = mask_weight(&t->allowed);
	t->program = program;
	t->pc = sim.load->program[program].start;
	t->parent = parent;
	if (parent) {
		parent->children++;
		t->stamp = parent->stamp;
		t->from_vcpu = parent->vcpu->id;
	}
	t->timer = (struct event){.kind = EV_TIMER, .owner = t};
	list_init(&t->wait);
	list_init(&t->node);
	list_init(&t->fair_node);
	random_seed(t->random, 0x10000 + (u64)t->p.pid);
	sim.live_tasks++;
	return t;
}

/* sched_fork(), wake_up_new_task() */
void task_start(struct task *t, struct vcpu *from)
{
	bool selected;

	t->vcpu = from;
	if (!task_vcpu_allowed(t, from->id))
		t->vcpu = &sim.vcpus[mask_first_and(&t->allowed, &sim.active) != NONE ?
					     mask_first_and(&t->allowed, &sim.active) :
					     mask_first_and(&sim.active, &sim.active)];
	t->last_pcpu = from->entity->pcpu;
	record(REC_FORK, from, t, t->program);
	/* those that are there from the start come from outside */
	sim.forker = t->parent ?: sim.no_task;
	sim.class->fork(t);
	sim.forker = NULL;
	t->state = TASK_RUNNABLE;
	task_set_vcpu(t, select_vcpu(t, SIM_SCX_WAKE_FORK, &selected));
	task_activate_on(t->vcpu, t, 0);
}

/* finish_task_switch() of a dead task */
void task_free(struct task *t)
{
	struct task *parent = t->parent;

	record(REC_EXIT, t->vcpu, t, 0);
	sim.class->dead(t);
	program_dead(t);
	for (u32 i = 0; i < sim.nr_tasks; i++) {
		if (!t->children)
			break;
		if (sim.tasks[i].parent == t) {
			sim.tasks[i].parent = NULL;
			t->children--;
		}
	}
	t->state = TASK_FREE;
	t->next_free = sim.free_tasks;
	sim.free_tasks = t;
	sim.live_tasks--;
	if (!parent)
		return;
	parent->children--;
	if (!parent->children && parent->joining) {
		parent->joining = false;
		task_wake(parent, 0);
	}
}

/* Lets the task exit at its next step. */
void task_kill(struct task *t)
{
	t->p.flags |= PF_EXITING;
	t->left = 0;
	if (t->state != TASK_BLOCKED) {
		/* signal_wake_up(): kick_process() interrupts what it computes */
		if (t->vcpu->curr == t && !event_due(&t->vcpu->ipi))
			event_at(&t->vcpu->ipi, sim.now + sim.machine->ipi_ns);
		return;
	}
	program_leave(t);
	event_cancel(&t->timer);
	task_wake(t, 0);
}

struct task *task_nth(u64 n)
{
	u32 alive = 0;

	for (u32 i = 0; i < sim.nr_tasks; i++)
		alive += sim.tasks[i].state == TASK_RUNNABLE || sim.tasks[i].state == TASK_BLOCKED;
	if (!alive)
		return NULL;
	n %= alive;
	for (u32 i = 0; i < sim.nr_tasks; i++) {
		struct task *t = &sim.tasks[i];

		if ((t->state == TASK_RUNNABLE || t->state == TASK_BLOCKED) && !n--)
			return t;
	}
	return NULL;
}

/* ---- Changes from outside ---- */

/* move_queued_task() */
void task_move_queued(struct task *t, struct vcpu *to)
{
	t->migrating = true;
	sim.class->dequeue(t->vcpu, t, 0);
	task_set_vcpu(t, to);
	sim.class->enqueue(to, t, 0);
	t->migrating = false;
	sim.class->wakeup_preempt(to, t, 0);
}

#define DEQUEUE_SAVE (1ULL << 1)
#define ENQUEUE_RESTORE (1ULL << 1)

struct change {
	bool queued, running;
};

/* What sched_change_begin() and its predecessors do around a change of a task's attributes. */
static struct change change_begin(struct task *t)
{
	struct vcpu *v = t->vcpu;
	struct change change = {t->on_rq, v->curr == t};

	vcpu_account(v);
	if (change.queued)
		sim.class->dequeue(v, t, DEQUEUE_SAVE);
	if (change.running)
		sim.class->put(v, t);
	return change;
}

static void change_end(struct task *t, struct change change)
{
	if (change.queued)
		sim.class->enqueue(t->vcpu, t, ENQUEUE_RESTORE);
	if (change.running)
		sim.class->set(t->vcpu, t);
}

/* __do_set_cpus_allowed(), affine_move_task() */
void task_set_allowed(struct task *t, const struct cpumask *mask)
{
	struct change change;
	u32 to;

	record(REC_AFFINITY, t->vcpu, t, mask_weight(mask));
	change = change_begin(t);
	t->allowed = *mask;
	t->p.nr_cpus_allowed = mask_weight(mask);
	sim.class->allowed_changed(t);
	change_end(t, change);
	if (t->p.migration_disabled || mask_test(mask, t->vcpu->id) || !change.queued)
		return;
	if (change.running) {
		resched(t->vcpu); /* the stopper moves it once the vCPU runs: vcpu_run() */
		return;
	}
	to = mask_first_and(mask, &sim.active);
	if (to != NONE)
		task_move_queued(t, &sim.vcpus[to]);
}

/* set_user_nice(), sched_setscheduler() */
void task_set_weight(struct task *t, s32 static_prio, u32 policy)
{
	struct change change;

	record(REC_WEIGHT, t->vcpu, t, static_prio);
	change = change_begin(t);
	t->p.static_prio = static_prio;
	t->p.policy = policy;
	sim.class->weight_changed(t);
	change_end(t, change);
}
