/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sched_ext's scheduling class. Every function names the one of kernel/sched/ext.c (6.12) whose
 * documented behaviour it has; locks, memory order and statistics are left out, since a step of
 * the simulation is atomic.
 */
#include "ext.h"

/* enqueue_task_scx() */
static void enqueue(struct vcpu *v, struct task *t, u64 flags)
{
	s32 sticky = t->sticky_cpu;

	t->sticky_cpu = -1;
	if (flags & ENQUEUE_RESTORE && v->curr == t)
		sticky = v->id;
	if (t->p.scx.flags & SIM_SCX_TASK_QUEUED)
		return;
	if (t->reset_runnable_at) {
		t->runnable_at = sim.now;
		t->reset_runnable_at = false;
	}
	t->p.scx.flags |= SIM_SCX_TASK_QUEUED;
	v->nr_running++;
	if (vsched_ops.runnable && !t->migrating)
		call_task_op(vsched_ops.runnable, t, flags);
	ext_do_enqueue(v, t, flags, sticky);
	ext_process_deferred(v);
}

/* ops_dequeue() */
static void ops_dequeue(struct task *t, u64 flags)
{
	if (t->opss == OPSS_QUEUED && vsched_ops.dequeue)
		call_task_op(vsched_ops.dequeue, t, flags);
	t->opss = OPSS_NONE;
}

/* update_curr_scx() */
void ext_update(struct vcpu *v)
{
	struct task *t = v->curr;
	u64 now = vcpu_clock_task(v), delta;

	if (!t)
		return;
	delta = now - v->exec_start;
	v->exec_start = now;
	t->p.se.sum_exec_runtime += delta;
	if (t->p.scx.slice != SIM_SCX_SLICE_INF)
		t->p.scx.slice -= delta < t->p.scx.slice ? delta : t->p.scx.slice;
}

/* dequeue_task_scx() */
static void dequeue(struct vcpu *v, struct task *t, u64 flags)
{
	if (!(t->p.scx.flags & SIM_SCX_TASK_QUEUED))
		return;
	ops_dequeue(t, flags);
	if (v->curr == t) {
		ext_update(v);
		call_task_op(vsched_ops.stopping, t, false);
	}
	if (!t->migrating)
		call_task_op(vsched_ops.quiescent, t, flags);
	t->p.scx.flags &= ~SIM_SCX_TASK_QUEUED;
	v->nr_running--;
	ext_dispatch_dequeue(t);
	ext_clear_direct(t);
}

/* put_prev_task_scx(); @last: nothing else runs on the vCPU then */
void ext_put_prev(struct vcpu *v, struct task *t, bool last)
{
	ext_update(v);
	if (!(t->p.scx.flags & SIM_SCX_TASK_QUEUED))
		return;
	call_task_op(vsched_ops.stopping, t, true);
	if (t->reset_runnable_at) {
		t->runnable_at = sim.now;
		t->reset_runnable_at = false;
	}
	if (t->p.scx.slice && !v->bypassing)
		ext_dispatch_enqueue(&v->local, t, SIM_SCX_ENQ_HEAD);
	else
		ext_do_enqueue(v, t, last ? SIM_SCX_ENQ_LAST : 0, -1);
}

static void put(struct vcpu *v, struct task *t)
{
	ext_put_prev(v, t, false);
}

/* set_next_task_scx() */
void ext_set(struct vcpu *v, struct task *t)
{
	if (t->p.scx.flags & SIM_SCX_TASK_QUEUED) {
		ops_dequeue(t, 0);
		ext_dispatch_dequeue(t);
	}
	v->exec_start = vcpu_clock_task(v);
	if (t->p.scx.flags & SIM_SCX_TASK_QUEUED)
		call_task_op(vsched_ops.running, t, 0);
	t->reset_runnable_at = true;
}

/* task_tick_scx() */
static void tick(struct vcpu *v, struct task *t)
{
	ext_update(v);
	if (v->bypassing)
		t->p.scx.slice = 0;
	else
		call_task_op(vsched_ops.tick, t, 0);
	if (!t->p.scx.slice)
		resched(v);
}

/* yield_task_scx() */
static void yield(struct vcpu *v, struct task *t)
{
	if (vsched_ops.yield)
		call_op(vsched_ops.yield, CTX_REST, (u64)t, 0, 0);
	else
		t->p.scx.slice = 0;
}

/* scx_select_cpu_dfl(), as far as it is used while bypassing */
static s32 select_default(struct task *t, s32 prev)
{
	s32 vcpu = prev;

	if (!mask_test(t->p.cpus_ptr, prev) || !idle_claim(prev))
		vcpu = idle_pick(t->p.cpus_ptr, 0);
	if (vcpu < 0)
		return prev;
	t->p.scx.slice = SIM_SCX_SLICE_DFL;
	t->ddsp_dsq_id = SIM_SCX_DSQ_LOCAL;
	return vcpu;
}

/* select_task_rq_scx() */
static s32 select_rq(struct task *t, s32 prev, u64 wake_flags)
{
	s32 vcpu;

	if (!vsched_ops.select_cpu || t->vcpu->bypassing)
		return select_default(t, prev);
	sim.ddsp_task = t;
	sim.ddsp_done = false;
	vcpu = call_op(vsched_ops.select_cpu, CTX_ENQUEUE | CTX_SELECT, (u64)t, prev, wake_flags);
	sim.ddsp_task = NULL;
	check(vcpu >= 0 && (u32)vcpu < sim.nr_vcpus, "scx_error",
	      "invalid CPU %d from ops.select_cpu()", vcpu);
	return vcpu;
}

static void wakeup_preempt(struct vcpu *v, struct task *t, u64 flags)
{
	/* wakeup_preempt_scx() does nothing; wakeup_preempt() knows that ext is above idle */
	if (!v->curr)
		resched(v);
}

const struct class ext_class = {
	.name = "ext",
	.select_rq = select_rq,
	.enqueue = enqueue,
	.dequeue = dequeue,
	.pick_next = ext_pick_next,
	.put = put,
	.set = ext_set,
	.tick = tick,
	.update = ext_update,
	.wakeup_preempt = wakeup_preempt,
	.yield = yield,
	.allowed_changed = ext_allowed_changed,
	.weight_changed = ext_weight_changed,
	.fork = ext_fork,
	.dead = ext_dead,
};
