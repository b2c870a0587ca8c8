/* SPDX-License-Identifier: GPL-2.0-only */
/* Where tasks wait: into queues, out of them, and from one to another (kernel/sched/ext.c). */
#include "ext.h"

/* find_dsq_for_dispatch() */
struct dsq *ext_target_dsq(struct vcpu *v, u64 id, struct task *t)
{
	struct dsq *dsq;

	if (id == SIM_SCX_DSQ_LOCAL)
		return &v->local;
	if ((id & SIM_SCX_DSQ_LOCAL_ON) == SIM_SCX_DSQ_LOCAL_ON) {
		u32 vcpu = id;

		check(vcpu < sim.nr_vcpus, "scx_error", "invalid CPU %d in SCX_DSQ_LOCAL_ON", vcpu);
		return &sim.vcpus[vcpu].local;
	}
	if (id == SIM_SCX_DSQ_GLOBAL)
		return &sim.global;
	dsq = dsq_find(id);
	check(dsq, "scx_error", "non-existent DSQ 0x%llx for pid %d", id, t->p.pid);
	return dsq;
}

/* local_dsq_post_enq() */
static void after_local(struct dsq *dsq, struct task *t, u64 flags)
{
	struct vcpu *v = dsq->vcpu;
	bool preempt = false;

	if (flags & SIM_SCX_ENQ_PREEMPT && v->curr && t != v->curr) {
		v->curr->p.scx.slice = 0;
		preempt = true;
	}
	if (preempt || !v->curr)
		resched(v);
}

/* dispatch_enqueue() */
void ext_dispatch_enqueue(struct dsq *dsq, struct task *t, u64 flags)
{
	dsq_link(dsq, t, flags);
	t->opss = OPSS_NONE;
	record(REC_ENQUEUE, dsq->vcpu, t, (u32)dsq->id);
	if (dsq->vcpu)
		after_local(dsq, t, flags);
}

/* dispatch_dequeue() */
void ext_dispatch_dequeue(struct task *t)
{
	if (t->deferred) {
		list_del(&t->node);
		t->deferred = false;
	} else if (t->dsq) {
		dsq_unlink(t);
	}
}

/* task_can_run_on_remote_rq() */
bool ext_may_run_on(const struct task *t, const struct vcpu *v, bool must)
{
	if (t->p.migration_disabled && t->vcpu != v) {
		check(!must, "scx_error",
		      "SCX_DSQ_LOCAL[_ON] cannot move migration disabled pid %d from CPU %u to %u",
		      t->p.pid, t->vcpu->id, v->id);
		return false;
	}
	if (!mask_test(t->p.cpus_ptr, v->id)) {
		check(!must, "scx_error",
		      "SCX_DSQ_LOCAL[_ON] target CPU %u not allowed for pid %d", v->id, t->p.pid);
		return false;
	}
	return v->rq_online && v->active;
}

/* move_remote_task_to_local_dsq(), move_local_task_to_local_dsq() */
static void move_to_local(struct vcpu *to, struct task *t, u64 flags)
{
	if (t->vcpu == to) {
		dsq_unlink(t);
		ext_dispatch_enqueue(&to->local, t, flags);
		return;
	}
	t->migrating = true;
	ext_class.dequeue(t->vcpu, t, 0);
	task_set_vcpu(t, to);
	t->sticky_cpu = to->id;
	ext_class.enqueue(to, t, flags);
	t->migrating = false;
}

/* scx_dispatch_from_dsq(), move_task_between_dsqs() */
void ext_move(struct vcpu *v, struct task *t, struct dsq *to, u64 flags)
{
	if (to->vcpu && to->vcpu != t->vcpu && !ext_may_run_on(t, to->vcpu, true))
		to = &sim.global;
	if (to->vcpu) {
		move_to_local(to->vcpu, t, flags);
		return;
	}
	dsq_unlink(t);
	ext_dispatch_enqueue(to, t, flags);
}

/* consume_dispatch_q() */
bool ext_consume(struct vcpu *v, struct dsq *dsq)
{
	for (struct task *t = dsq_first(dsq); t; t = dsq_after(dsq, t)) {
		if (t->vcpu != v && !ext_may_run_on(t, v, false))
			continue;
		move_to_local(v, t, 0);
		return true;
	}
	return false;
}

/* dispatch_to_local_dsq() */
void ext_dispatch_to_local(struct vcpu *v, struct dsq *dsq, struct task *t, u64 flags)
{
	if (t->vcpu == dsq->vcpu) {
		ext_dispatch_enqueue(dsq, t, flags);
		return;
	}
	if (!ext_may_run_on(t, dsq->vcpu, true)) {
		ext_dispatch_enqueue(&sim.global, t, flags);
		return;
	}
	move_to_local(dsq->vcpu, t, flags);
}

/* process_ddsp_deferred_locals() */
void ext_process_deferred(struct vcpu *v)
{
	while (!list_empty(&v->deferred)) {
		struct task *t = entry_of(v->deferred.next, struct task, node);
		struct dsq *dsq = ext_target_dsq(v, t->ddsp_dsq_id, t);
		u64 flags = t->ddsp_enq_flags;

		list_del(&t->node);
		t->deferred = false;
		ext_clear_direct(t);
		ext_dispatch_to_local(v, dsq, t, flags);
	}
}

/* direct_dispatch() */
static void direct_dispatch(struct vcpu *v, struct task *t, u64 flags)
{
	struct dsq *dsq = ext_target_dsq(v, t->ddsp_dsq_id, t);

	t->ddsp_enq_flags |= flags;
	if (dsq->vcpu && dsq != &v->local) {
		t->opss = OPSS_NONE;
		list_add(&t->node, v->deferred.prev);
		t->deferred = true;
		return;
	}
	flags = t->ddsp_enq_flags;
	ext_clear_direct(t);
	ext_dispatch_enqueue(dsq, t, flags);
}

/* do_enqueue_task() */
void ext_do_enqueue(struct vcpu *v, struct task *t, u64 flags, s32 sticky)
{
	if (sticky == (s32)v->id)
		goto local_norefill;
	if (!v->rq_online || !v->active)
		goto local;
	if (v->bypassing)
		goto global;
	if (t->ddsp_dsq_id == SIM_SCX_DSQ_INVALID) {
		if (t->p.flags & PF_EXITING && !(vsched_ops.flags & SIM_SCX_OPS_ENQ_EXITING))
			goto local;
		if (!vsched_ops.enqueue)
			goto global;
		t->opss = OPSS_QUEUEING;
		sim.ddsp_task = t;
		sim.ddsp_done = false;
		call_void_op(vsched_ops.enqueue, CTX_ENQUEUE, (u64)t, flags, 0);
		sim.ddsp_task = NULL;
	}
	if (t->ddsp_dsq_id != SIM_SCX_DSQ_INVALID) {
		direct_dispatch(v, t, flags);
		return;
	}
	t->opss = OPSS_QUEUED;
	return;

local:
	t->p.scx.slice = SIM_SCX_SLICE_DFL;
local_norefill:
	ext_clear_direct(t);
	ext_dispatch_enqueue(&v->local, t, flags);
	return;
global:
	t->p.scx.slice = SIM_SCX_SLICE_DFL;
	ext_clear_direct(t);
	ext_dispatch_enqueue(&sim.global, t, flags);
}

/* reenq_user(): every task that is there now is asked about again */
void ext_reenqueue(struct dsq *dsq)
{
	u64 last = dsq->seq;

	for (struct task *t = dsq_first(dsq), *next; t; t = next) {
		next = dsq_after(dsq, t);
		if (t->dsq_seq > last)
			continue;
		dsq_unlink(t);
		ext_do_enqueue(t->vcpu, t, SIM_SCX_ENQ_REENQ, -1);
		ext_process_deferred(t->vcpu);
	}
}
