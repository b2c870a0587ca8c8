/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vCPUs that go offline and come back (kernel/sched/core.c, sched_cpu_deactivate() and its
 * fellows; scx_rq_deactivate() and rq_offline_scx() in ext.c).
 */
#include "api.h"

static void rebuild_cores(void)
{
	for (u32 i = 0; i < sim.nr_vcpus; i++) {
		struct cpumask *core = &sim.smt[i];

		*core = (struct cpumask){};
		for (u32 k = 0; k < sim.nr_vcpus; k++) {
			if (sim.machine->vcpu_core[k] == sim.machine->vcpu_core[i] &&
			    (k == i || mask_test(&sim.online, k)))
				mask_set(core, k);
		}
	}
}

/* Moves every task off @v: balance_push() and migrate_tasks() do so from the vCPU itself. */
static void evict(struct vcpu *v)
{
	struct task *t = v->curr;

	if (t) {
		vcpu_account(v);
		sim.class->put(v, t);
		v->curr = NULL;
		v->tick_pending = false;
		record(REC_PREEMPTED, v, t, 0);
		t->wait_since = sim.now;
	}
	for (u32 i = 0; i < sim.nr_tasks; i++) {
		t = &sim.tasks[i];
		if (t->vcpu != v || t->state == TASK_FREE)
			continue;
		/* the kernel waits until none is disabled: balance_hotplug_wait(), rq_has_pinned_tasks() */
		t->p.migration_disabled = 0;
		t->p.cpus_ptr = &t->allowed;
		if (t->on_rq && t->state == TASK_RUNNABLE)
			task_move_queued(t, &sim.vcpus[task_fallback_vcpu(t)]);
	}
}

/* Asked for only of a vCPU that the host runs or that is halted, and never of the last one. */
void hotplug_offline(struct vcpu *v)
{
	struct vcpu *before = sim.this;

	if (!v->online || mask_weight(&sim.online) == 1)
		return;
	record(REC_OFFLINE, v, NULL, 0);
	sim.this = v;
	v->active = false;
	mask_clear(&sim.active, v->id);
	if (sim.ext) {
		/* set_rq_offline() comes first, then scx_rq_deactivate() tells the scheduler */
		v->rq_online = false;
		if (vsched_ops.cpu_offline)
			call_void_op(vsched_ops.cpu_offline, CTX_UNLOCKED, v->id, 0, 0);
		else
			fail("hotplug", "cpu %u going offline, exiting scheduler", v->id);
	}
	evict(v);
	v->online = false;
	v->need_resched = false;
	mask_clear(&sim.online, v->id);
	mask_clear(&sim.idle, v->id);
	mask_clear(&sim.idle_smt, v->id);
	rebuild_cores();
	event_cancel(&v->tick);
	event_cancel(&v->work);
	event_cancel(&v->ipi);
	while (!list_empty(&v->irqs)) {
		struct task *t = entry_of(v->irqs.next, struct task, wait);

		list_del(&t->wait);
		vcpu_irq(&sim.vcpus[mask_first_and(&sim.online, &sim.online)], t);
	}
	sim.this = before;
	vcpu_account(v);
	v->halted = true;
	host_wants(v->entity, false);
}

/* sched_cpu_activate(): rq_online_scx(), scx_rq_activate(); the vCPU then looks for work */
void hotplug_online(struct vcpu *v)
{
	if (v->online)
		return;
	record(REC_ONLINE, v, NULL, 0);
	v->online = v->active = v->rq_online = true;
	mask_set(&sim.online, v->id);
	mask_set(&sim.active, v->id);
	rebuild_cores();
	if (sim.ext) {
		if (vsched_ops.cpu_online)
			call_void_op(vsched_ops.cpu_online, CTX_UNLOCKED, v->id, 0, 0);
		else
			fail("hotplug", "cpu %u going online, exiting scheduler", v->id);
	}
	v->idle = false;
	resched(v);
}
