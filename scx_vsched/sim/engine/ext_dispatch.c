/* SPDX-License-Identifier: GPL-2.0-only */
/* How a vCPU comes by its next task (kernel/sched/ext.c). */
#include "ext.h"

#define MAX_BUFFERED 32 /* ops.dispatch_max_batch's default, SCX_DSP_DFL_MAX_BATCH */
#define MAX_DISPATCH_LOOPS 32 /* SCX_DSP_MAX_LOOPS */

struct buffered {
	struct task *task;
	u64 dsq_id, flags;
};

static struct buffered buffer[MAX_BUFFERED];
static u32 nr_buffered;
u32 ext_dispatched; /* dspc->nr_tasks */

/* scx_dsq_insert_commit() in ops.dispatch */
void ext_buffer(struct task *t, u64 dsq_id, u64 flags)
{
	check(nr_buffered < MAX_BUFFERED, "scx_error", "dispatch buffer overflow");
	buffer[nr_buffered++] = (struct buffered){t, dsq_id, flags};
}

/* flush_dispatch_buf(), finish_dispatch() */
void ext_flush_buffer(struct vcpu *v)
{
	for (u32 i = 0; i < nr_buffered; i++) {
		struct task *t = buffer[i].task;
		struct dsq *dsq;

		/* it left the scheduler or was dispatched already: the verdict is void */
		if (t->opss != OPSS_QUEUED)
			continue;
		dsq = ext_target_dsq(v, buffer[i].dsq_id, t);
		t->opss = OPSS_NONE;
		if (dsq->vcpu)
			ext_dispatch_to_local(v, dsq, t, buffer[i].flags);
		else
			ext_dispatch_enqueue(dsq, t, buffer[i].flags);
	}
	ext_dispatched += nr_buffered;
	nr_buffered = 0;
}

/* balance_one() */
static void balance(struct vcpu *v, struct task *prev)
{
	bool prev_queued = prev && prev->p.scx.flags & SIM_SCX_TASK_QUEUED;
	u32 loops = MAX_DISPATCH_LOOPS;

	v->in_balance = true;
	v->keep = false;
	if (prev) {
		ext_update(v);
		if (prev_queued && prev->p.scx.slice && !v->bypassing) {
			v->keep = true;
			goto out;
		}
	}
	if (v->local.nr || (sim.global.nr && ext_consume(v, &sim.global)))
		goto out;
	if (vsched_ops.dispatch && !v->bypassing && v->rq_online && v->active) {
		do {
			ext_dispatched = 0;
			call_void_op(vsched_ops.dispatch, CTX_DISPATCH, v->id, (u64)prev, 0);
			ext_flush_buffer(v);
			if (prev_queued && prev->p.scx.slice) {
				v->keep = true;
				goto out;
			}
			if (v->local.nr || (sim.global.nr && ext_consume(v, &sim.global)))
				goto out;
			if (!--loops) {
				v->kick_self = true;
				break;
			}
		} while (ext_dispatched);
	}
	if (prev_queued && (!(vsched_ops.flags & SIM_SCX_OPS_ENQ_LAST) || v->bypassing))
		v->keep = true;
out:
	v->in_balance = false;
}

/* prev_balance(), pick_task_scx(), put_prev_set_next_task() */
struct task *ext_pick_next(struct vcpu *v, struct task *prev)
{
	struct task *next;

	balance(v, prev);
	if (v->keep) {
		if (!prev->p.scx.slice)
			prev->p.scx.slice = SIM_SCX_SLICE_DFL;
		return prev;
	}
	next = dsq_first(&v->local);
	if (next && !next->p.scx.slice)
		next->p.scx.slice = SIM_SCX_SLICE_DFL;
	if (prev)
		ext_put_prev(v, prev, !next);
	if (next) {
		if (v->idle)
			idle_update(v, false, true);
		v->idle = false;
		ext_set(v, next);
	} else {
		/* also from idle to idle the masks are set anew: pick_task_idle() */
		idle_update(v, true, !v->idle);
		v->idle = true;
	}
	return next;
}
