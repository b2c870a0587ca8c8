/* SPDX-License-Identifier: GPL-2.0-only */
/* Tasks come, change and go; the scheduler begins, and is bypassed (kernel/sched/ext.c). */
#include "ext.h"

/* set_cpus_allowed_scx() */
void ext_allowed_changed(struct task *t)
{
	if (vsched_ops.set_cpumask)
		call_task_op(vsched_ops.set_cpumask, t, (u64)t->p.cpus_ptr);
}

/* sched_weight_to_cgroup() of the nice value's weight */
static u32 scx_weight(const struct task *t)
{
	static const u32 weights[40] = {
		88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916,
		9548,  7620,  6100,  4904,  3906,  3121,  2501,	 1991,	1586,  1277,
		1024,  820,   655,   526,   423,   335,	  272,	 215,	172,   137,
		110,   87,    70,    56,    45,	   36,	  29,	 23,	18,    15,
	};
	u32 weight = t->p.policy == SCHED_IDLE ? 3 : weights[t->p.static_prio - MAX_RT_PRIO];
	u32 scaled = (weight * 100 + 512) / 1024;

	return scaled < 1 ? 1 : scaled > 10000 ? 10000 : scaled;
}

/* reweight_task_scx() */
void ext_weight_changed(struct task *t)
{
	t->p.scx.weight = scx_weight(t);
	call_task_op(vsched_ops.set_weight, t, t->p.scx.weight);
}

/* scx_fork(), scx_post_fork(): scx_ops_init_task(), scx_ops_enable_task() */
void ext_fork(struct task *t)
{
	struct scx_init_task_args args = {.fork = true, .cgroup = &sim.cgroups[t->group].cgroup};
	s32 err = 0;

	t->sticky_cpu = -1;
	t->reset_runnable_at = true;
	t->p.scx.slice = SIM_SCX_SLICE_DFL;
	ext_clear_direct(t);
	list_init(&t->node);
	if (vsched_ops.init_task)
		err = call_op(vsched_ops.init_task, CTX_SLEEPABLE, (u64)t, (u64)&args, 0);
	check(!err, "scx_error", "ops.init_task() failed (%d) for pid %d", err, t->p.pid);
	t->enabled = true;
	t->p.scx.weight = scx_weight(t);
	call_task_op(vsched_ops.enable, t, 0);
	call_task_op(vsched_ops.set_weight, t, t->p.scx.weight);
}

/* sched_ext_free(): scx_ops_disable_task(), scx_ops_exit_task() */
void ext_dead(struct task *t)
{
	struct scx_exit_task_args args = {.cancelled = false};

	call_task_op(vsched_ops.disable, t, 0);
	t->enabled = false;
	if (vsched_ops.exit_task)
		call_void_op(vsched_ops.exit_task, CTX_REST, (u64)t, (u64)&args, 0);
	maps_forget_task(t);
}

/* scx_ops_enable() */
void ext_start(void)
{
	s32 err = 0;

	vsched_ops.flags = sim.options->ops_flags;
	check(&vsched_ops, "no_scheduler", "the library holds no scheduler");
	list_init(&user_dsqs);
	dsq_init(&sim.global, SIM_SCX_DSQ_GLOBAL);
	if (vsched_ops.init)
		err = call_op(vsched_ops.init, CTX_SLEEPABLE | CTX_UNLOCKED, 0, 0, 0);
	check(!err, "scx_error", "ops.init() failed (%d)", err);
	cgroup_setup();
}

/*
 * scx_ops_bypass(): all runnable tasks are taken from the scheduler and queued again, globally
 * while @on, by the scheduler itself afterwards.
 */
void ext_set_bypass(bool on)
{
	sim.bypassing = on;
	record(REC_BYPASS, sim.this, NULL, on);
	for (u32 i = 0; i < sim.nr_vcpus; i++) {
		struct vcpu *v = &sim.vcpus[i];

		v->bypassing = on;
		/* rq->scx.runnable_list holds those that wait, not the one that runs */
		for (u32 n = 0; n < sim.nr_tasks; n++) {
			struct task *t = &sim.tasks[n];

			if (!t->on_rq || t->vcpu != v || v->curr == t)
				continue;
			ext_class.dequeue(v, t, 2 /* DEQUEUE_SAVE */);
			ext_class.enqueue(v, t, ENQUEUE_RESTORE);
		}
		resched(v);
	}
}
