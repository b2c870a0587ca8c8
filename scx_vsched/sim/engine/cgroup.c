/* SPDX-License-Identifier: GPL-2.0-only */
/* Control groups: a fixed tree, as scx_cgroup_init() and its fellows tell the scheduler of it. */
#include "api.h"

/* scx_cgroup_init(): parents first, since a group's parent has the smaller index */
void cgroup_setup(void)
{
	for (u32 i = 0; i < sim.load->groups; i++) {
		struct cgroup_node *node = &sim.cgroups[i];
		struct scx_cgroup_init_args args = {.weight = node->weight};
		s32 err = 0;

		if (vsched_ops.cgroup_init)
			err = call_op(vsched_ops.cgroup_init, CTX_SLEEPABLE, (u64)&node->cgroup,
				      (u64)&args, 0);
		check(!err, "scx_error", "ops.cgroup_init() failed (%d) for group %u", err, i);
	}
}

/* scx_cgroup_move_task(), within sched_move_task() */
void cgroup_move(struct task *t, u32 to)
{
	struct vcpu *v = t->vcpu;
	bool queued = t->on_rq, running = v->curr == t;

	record(REC_CGROUP, v, t, to);
	if (t->group == to)
		return;
	vcpu_account(v);
	if (queued)
		sim.class->dequeue(v, t, 2);
	if (running)
		sim.class->put(v, t);
	if (sim.ext && vsched_ops.cgroup_move)
		call_void_op(vsched_ops.cgroup_move, CTX_REST, (u64)t,
			     (u64)&sim.cgroups[t->group].cgroup, (u64)&sim.cgroups[to].cgroup);
	t->group = to;
	if (queued)
		sim.class->enqueue(v, t, 2);
	if (running)
		sim.class->set(v, t);
}

/* scx_group_set_weight() */
void cgroup_set_weight(u32 group, u32 weight)
{
	struct cgroup_node *node = &sim.cgroups[group];

	record(REC_CGROUP, NULL, NULL, group);
	if (node->weight == weight)
		return;
	node->weight = weight;
	if (sim.ext && vsched_ops.cgroup_set_weight)
		call_void_op(vsched_ops.cgroup_set_weight, CTX_REST, (u64)&node->cgroup, weight, 0);
}
