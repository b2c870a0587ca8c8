/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of the ext class share. */
#pragma once

#include "api.h"

#define ENQUEUE_RESTORE (1ULL << 1) /* kernel/sched/sched.h */

static inline void call_task_op(void *op, struct task *t, u64 b)
{
	if (op)
		call_void_op(op, CTX_REST, (u64)t, b, 0);
}

static inline void ext_clear_direct(struct task *t)
{
	t->ddsp_dsq_id = SIM_SCX_DSQ_INVALID;
	t->ddsp_enq_flags = 0;
}

/* ext.c */
void ext_update(struct vcpu *v);
void ext_put_prev(struct vcpu *v, struct task *t, bool last);
void ext_set(struct vcpu *v, struct task *t);

/* ext_queue.c */
void ext_do_enqueue(struct vcpu *v, struct task *t, u64 flags, s32 sticky);
void ext_dispatch_dequeue(struct task *t);
void ext_dispatch_to_local(struct vcpu *v, struct dsq *dsq, struct task *t, u64 flags);

/* ext_dispatch.c */
struct task *ext_pick_next(struct vcpu *v, struct task *prev);

/* ext_life.c */
void ext_fork(struct task *t);
void ext_dead(struct task *t);
void ext_allowed_changed(struct task *t);
void ext_weight_changed(struct task *t);
