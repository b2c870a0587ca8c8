/* SPDX-License-Identifier: GPL-2.0-only */
/* The kfuncs that insert tasks into queues, look through queues and move tasks between them. */
#include "api.h"
#include "scx.h"

/* scx_dsq_insert_preamble(), scx_dsq_insert_commit(), mark_direct_dispatch() */
static bool insert(struct task *t, u64 dsq_id, u64 flags)
{
	kfunc_allow(CTX_ENQUEUE | CTX_DISPATCH, "scx_bpf_dsq_insert");
	if (sim.context & CTX_DISPATCH) {
		ext_buffer(t, dsq_id, flags);
		return true;
	}
	check(!sim.ddsp_done, "scx_error", "pid %d already direct-dispatched", t->p.pid);
	check(t == sim.ddsp_task, "scx_error",
	      "scheduling for pid %d but trying to direct-dispatch pid %d",
	      sim.ddsp_task ? sim.ddsp_task->p.pid : -1, t->p.pid);
	sim.ddsp_done = true;
	t->ddsp_dsq_id = dsq_id;
	t->ddsp_enq_flags = flags;
	return true;
}

static bool insert_fifo(struct task_struct *p, u64 dsq_id, u64 slice, u64 flags)
{
	p->scx.slice = slice ?: p->scx.slice ?: 1;
	return insert(task_of(p), dsq_id, flags);
}

static bool insert_vtime(struct task_struct *p, u64 dsq_id, u64 slice, u64 vtime, u64 flags)
{
	p->scx.slice = slice ?: p->scx.slice ?: 1;
	p->scx.dsq_vtime = vtime;
	return insert(task_of(p), dsq_id, flags | SIM_SCX_ENQ_DSQ_PRIQ);
}

/* scx_dsq_move_to_local() */
static bool move_to_local(u64 dsq_id)
{
	struct dsq *dsq;

	kfunc_allow(CTX_DISPATCH, "scx_bpf_dsq_move_to_local");
	ext_flush_buffer(sim.this);
	dsq = dsq_find(dsq_id);
	check(dsq, "scx_error", "invalid DSQ ID 0x%016llx", dsq_id);
	if (!ext_consume(sim.this, dsq))
		return false;
	ext_dispatched++;
	return true;
}

/* What the iterator keeps in its opaque words. */
struct cursor {
	struct dsq *dsq;
	struct task *next;
	u64 seq, vtime;
	bool backwards;
};

_Static_assert(sizeof(struct cursor) <= sizeof(struct bpf_iter_scx_dsq), "the cursor fits");

#if SIM_KERNEL != 710
int bpf_iter_scx_dsq_new(struct bpf_iter_scx_dsq *it, u64 dsq_id, u64 flags)
{
	struct cursor *cursor = (struct cursor *)it;

	*cursor = (struct cursor){.dsq = dsq_find(dsq_id)};
	if (!cursor->dsq)
		return -2; /* ENOENT */
	cursor->backwards = flags & SIM_SCX_DSQ_ITER_REV;
	cursor->next = cursor->backwards ? dsq_last(cursor->dsq) : dsq_first(cursor->dsq);
	cursor->seq = cursor->dsq->seq;
	return 0;
}
#endif

/* Sees only what was queued when the iteration began. */
struct task_struct *bpf_iter_scx_dsq_next(struct bpf_iter_scx_dsq *it)
{
	struct cursor *cursor = (struct cursor *)it;
	struct task *t;

	if (!cursor->dsq)
		return NULL;
	while ((t = cursor->next)) {
		cursor->next = cursor->backwards ? dsq_before(cursor->dsq, t) :
						   dsq_after(cursor->dsq, t);
		if (t->dsq_seq <= cursor->seq)
			return &t->p;
	}
	return NULL;
}

void bpf_iter_scx_dsq_destroy(struct bpf_iter_scx_dsq *it)
{
}

/* scx_dispatch_from_dsq() */
static bool move_from(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq_id, u64 flags)
{
	struct cursor *cursor = (struct cursor *)it;
	struct task *t = task_of(p);

	kfunc_allow(CTX_DISPATCH | CTX_UNLOCKED, "scx_bpf_dsq_move");
	if (t->dsq != cursor->dsq || t->dsq_seq > cursor->seq)
		return false;
	ext_move(sim.this, t, ext_target_dsq(sim.this, dsq_id, t), flags);
	if (sim.context & CTX_DISPATCH)
		ext_dispatched++;
	return true;
}

/* The same into an ordered queue: __SCX_DSQ_ITER_HAS_VTIME */
static bool move_vtime(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq_id, u64 flags)
{
	struct cursor *cursor = (struct cursor *)it;
	struct task *t = task_of(p);

	if (t->dsq != cursor->dsq || t->dsq_seq > cursor->seq)
		return false;
	p->scx.dsq_vtime = cursor->vtime;
	return move_from(it, p, dsq_id, flags | SIM_SCX_ENQ_DSQ_PRIQ);
}

static void set_vtime(struct bpf_iter_scx_dsq *it, u64 vtime)
{
	((struct cursor *)it)->vtime = vtime;
}

#if SIM_KERNEL == 710
/* reenq_user(): at once, since nobody holds a lock here */
void scx_bpf_dsq_reenq(u64 dsq_id, u64 flags)
{
	struct dsq *dsq = dsq_find(dsq_id);

	check(dsq, "scx_error", "invalid DSQ ID 0x%016llx", dsq_id);
	ext_reenqueue(dsq);
}
#endif

#if SIM_KERNEL >= 613
void scx_bpf_dsq_move_set_vtime(struct bpf_iter_scx_dsq *it, u64 vtime)
{
	set_vtime(it, vtime);
}

bool scx_bpf_dsq_move_vtime(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq, u64 flags)
{
	return move_vtime(it, p, dsq, flags);
}

bool scx_bpf_dsq_insert___v2___new(struct task_struct *p, u64 dsq, u64 slice, u64 flags)
{
	return insert_fifo(p, dsq, slice, flags);
}

bool __scx_bpf_dsq_insert_vtime(struct task_struct *p, struct scx_bpf_dsq_insert_vtime_args *args)
{
	return insert_vtime(p, args->dsq_id, args->slice, args->vtime, args->enq_flags);
}

bool scx_bpf_dsq_move_to_local___v2___new(u64 dsq, u64 flags)
{
	return move_to_local(dsq);
}

struct task_struct *scx_bpf_dsq_peek(u64 dsq_id)
{
	struct dsq *dsq = dsq_find(dsq_id);
	struct task *t = dsq ? dsq_first(dsq) : NULL;

	return t ? &t->p : NULL;
}

bool scx_bpf_dsq_move(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq, u64 flags)
{
	return move_from(it, p, dsq, flags);
}

bool scx_bpf_task_set_slice(struct task_struct *p, u64 slice)
{
	p->scx.slice = slice;
	return true;
}

u64 scx_bpf_now(void)
{
	return sim.now;
}
#else
void scx_bpf_dispatch___old(struct task_struct *p, u64 dsq, u64 slice, u64 flags)
{
	insert_fifo(p, dsq, slice, flags);
}

void scx_bpf_dispatch_vtime___old(struct task_struct *p, u64 dsq, u64 slice, u64 vtime, u64 flags)
{
	insert_vtime(p, dsq, slice, vtime, flags);
}

bool scx_bpf_consume___old(u64 dsq)
{
	return move_to_local(dsq);
}

void scx_bpf_dispatch_from_dsq_set_vtime(struct bpf_iter_scx_dsq *it, u64 vtime)
{
	set_vtime(it, vtime);
}

bool scx_bpf_dispatch_vtime_from_dsq(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq,
				     u64 flags)
{
	return move_vtime(it, p, dsq, flags);
}

bool scx_bpf_dispatch_from_dsq(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq,
			       u64 flags)
{
	return move_from(it, p, dsq, flags);
}
#endif
