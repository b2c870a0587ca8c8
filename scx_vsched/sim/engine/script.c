/* SPDX-License-Identifier: GPL-2.0-only */
/* What the run was told to do at given times: faults, changes of the machine and of tasks. */
#include <string.h>

#include "api.h"

/* A vCPU on whose behalf the guest's kernel does something that nobody in the run asked for. */
static struct vcpu *anyone(void)
{
	return &sim.vcpus[mask_first_and(&sim.active, &sim.active)];
}

static void set_affinity(struct task *t, u64 numbers)
{
	struct cpumask mask = {};
	bool any = false;

	memcpy(&mask, sim.load->numbers + numbers, sim.mask_words * 8);
	for (u32 i = 0; i < sim.mask_words; i++)
		any |= mask.bits[i] & sim.active.bits[i];
	if (any)
		task_set_allowed(t, &mask);
}

/*
 * migrate_disable() by the running task itself. Its mask becomes that of the vCPU alone in the
 * kernel once it is switched out (migrate_disable_switch()); its number of vCPUs stays.
 */
static void set_migration(struct task *t, bool disabled)
{
	static struct cpumask *alone;

	if (t->vcpu->curr != t || t->p.migration_disabled == disabled)
		return;
	if (!alone)
		alone = sim_alloc((sim.load->max_tasks + 1) * sizeof(*alone));
	t->p.migration_disabled = disabled;
	alone[t->p.sim_index] = (struct cpumask){};
	mask_set(&alone[t->p.sim_index], t->vcpu->id);
	t->p.cpus_ptr = disabled ? &alone[t->p.sim_index] : &t->allowed;
	if (!disabled && !mask_test(&t->allowed, t->vcpu->id))
		resched(t->vcpu);
}

/* The process gets another home, if the scheduler keeps any. */
static void set_home(const struct sim_script *step, const struct task *t)
{
	s64 err;

	sim.this = NULL;
	if (!sim.ext || !sim.options->home)
		return;
	err = sim.options->home(t->p.tgid, step->b, step->c, step->op == SCRIPT_FIX);
	if (sim.result.failed)
		longjmp(sim.failure, 1);
	check(!err, "home", "user space cannot make node %llu the home of pid %d", step->b,
	      t->p.pid);
}

static void task_op(const struct sim_script *step, struct task *t)
{
	sim.this = t->vcpu;
	switch (step->op) {
	case SCRIPT_AFFINITY:
		set_affinity(t, step->b);
		break;
	case SCRIPT_NICE:
		task_set_weight(t, step->b, t->p.policy);
		break;
	case SCRIPT_CLASS:
		task_set_weight(t, t->p.static_prio, step->b);
		break;
	case SCRIPT_GROUP_MOVE:
		cgroup_move(t, step->b);
		break;
	case SCRIPT_KILL:
		sim.killed = true;
		task_kill(t);
		break;
	case SCRIPT_MIGRATION:
		set_migration(t, step->b);
		break;
	case SCRIPT_HOME:
	case SCRIPT_FIX:
		set_home(step, t);
		break;
	default:
		break;
	}
}

/* User space runs programs of the scheduler's meanwhile (sim_program()), which may have failed. */
static void feed(u64 number)
{
	s64 err;

	if (!sim.ext || !sim.options->feed)
		return;
	sim.this = NULL;
	err = sim.options->feed(number);
	if (sim.result.failed)
		longjmp(sim.failure, 1);
	check(!err, "feed", "user space cannot hand over the topology %llu", number);
}

static void machine_op(const struct sim_script *step)
{
	switch (step->op) {
	case SCRIPT_OFFLINE:
		hotplug_offline(&sim.vcpus[step->a]);
		break;
	case SCRIPT_ONLINE:
		hotplug_online(&sim.vcpus[step->a]);
		break;
	case SCRIPT_GROUP_WEIGHT:
		cgroup_set_weight(step->a, step->b);
		break;
	case SCRIPT_BYPASS:
		if (sim.ext)
			ext_set_bypass(step->a);
		break;
	case SCRIPT_QUOTA:
		sim.this = NULL;
		host_set_quota(&sim.entities[step->a], step->b, step->c);
		break;
	case SCRIPT_SPEED:
		sim.this = NULL;
		host_set_speed(&sim.pcpus[step->a], step->b);
		break;
	case SCRIPT_FEED:
		feed(step->a);
		break;
	case SCRIPT_PIN:
		sim.this = NULL;
		host_pin(&sim.entities[step->a], &sim.pcpus[step->b]);
		break;
	default:
		break;
	}
}

void script_step(void)
{
	const struct sim_script *step = &sim.load->step[sim.next_script++];
	struct task *t = NULL;

	if (sim.next_script < sim.load->script)
		event_at(&sim.script, sim.load->step[sim.next_script].at_ns);
	sim.this = anyone();
	switch (step->op) {
	case SCRIPT_AFFINITY:
	case SCRIPT_NICE:
	case SCRIPT_CLASS:
	case SCRIPT_GROUP_MOVE:
	case SCRIPT_KILL:
	case SCRIPT_MIGRATION:
	case SCRIPT_HOME:
	case SCRIPT_FIX:
		t = task_nth(step->a);
		if (t)
			task_op(step, t);
		break;
	default:
		machine_op(step);
	}
	sim.this = NULL;
}

void script_setup(void)
{
	sim.script = (struct event){.kind = EV_SCRIPT};
	if (sim.load->script)
		event_at(&sim.script, sim.load->step[0].at_ns);
}
