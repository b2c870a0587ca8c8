/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Dispatch queues: a list in the order in which tasks leave, and for those ordered by vtime a
 * treap to find the place (the kernel: kernel/sched/ext.c, struct scx_dispatch_q with an rbtree).
 */
#include "api.h"

#define BUCKETS 32768

struct bucket {
	u64 id;
	struct dsq *dsq;
};

struct list user_dsqs;
static struct bucket buckets[BUCKETS];
static u32 nr_dsqs;
static u64 priorities;

void dsq_init(struct dsq *dsq, u64 id)
{
	dsq->id = id;
	list_init(&dsq->tasks);
}

static struct bucket *bucket_of(u64 id)
{
	u32 at = id * 0x9e3779b97f4a7c15ULL >> 49;

	while (buckets[at % BUCKETS].dsq && buckets[at % BUCKETS].id != id)
		at++;
	return &buckets[at % BUCKETS];
}

struct dsq *dsq_find(u64 id)
{
	return bucket_of(id)->dsq;
}

/* NULL where it exists already. */
struct dsq *dsq_create(u64 id)
{
	struct bucket *bucket = bucket_of(id);

	if (bucket->dsq)
		return NULL;
	check(nr_dsqs++ < BUCKETS / 2, "too_many_dsqs", "more than %d DSQs", BUCKETS / 2);
	bucket->id = id;
	bucket->dsq = sim_alloc(sizeof(struct dsq));
	dsq_init(bucket->dsq, id);
	list_add(&bucket->dsq->user, user_dsqs.prev);
	return bucket->dsq;
}

/* ---- The treap ---- */

static inline bool vtime_before(const struct task *a, const struct task *b)
{
	return (s64)(a->p.scx.dsq_vtime - b->p.scx.dsq_vtime) < 0;
}

static void replace(struct dsq *dsq, struct task *old, struct task *new)
{
	struct task *up = old->tree_up;

	if (!up)
		dsq->root = new;
	else if (up->tree_left == old)
		up->tree_left = new;
	else
		up->tree_right = new;
	if (new)
		new->tree_up = up;
}

/* Lifts @t above its parent. */
static void rotate_up(struct dsq *dsq, struct task *t)
{
	struct task *up = t->tree_up, *middle;

	replace(dsq, up, t);
	if (up->tree_left == t) {
		middle = t->tree_right;
		up->tree_left = middle;
		t->tree_right = up;
	} else {
		middle = t->tree_left;
		up->tree_right = middle;
		t->tree_left = up;
	}
	if (middle)
		middle->tree_up = up;
	up->tree_up = t;
}

/* Inserts @t; returns the task before it, NULL at the front. */
static struct task *tree_add(struct dsq *dsq, struct task *t)
{
	struct task *at = dsq->root, *up = NULL, *before = NULL;
	bool left = false;

	while (at) {
		up = at;
		left = vtime_before(t, at);
		if (!left)
			before = at;
		at = left ? at->tree_left : at->tree_right;
	}
	t->tree_left = t->tree_right = NULL;
	t->tree_up = up;
	t->tree_priority = (++priorities * 0x9e3779b97f4a7c15ULL) >> 32;
	if (!up)
		dsq->root = t;
	else if (left)
		up->tree_left = t;
	else
		up->tree_right = t;
	while (t->tree_up && t->tree_up->tree_priority < t->tree_priority)
		rotate_up(dsq, t);
	return before;
}

static void tree_del(struct dsq *dsq, struct task *t)
{
	while (t->tree_left && t->tree_right) {
		bool left = t->tree_left->tree_priority > t->tree_right->tree_priority;

		rotate_up(dsq, left ? t->tree_left : t->tree_right);
	}
	replace(dsq, t, t->tree_left ?: t->tree_right);
}

/* ---- Queues ---- */

struct task *dsq_first(const struct dsq *dsq)
{
	return list_empty(&dsq->tasks) ? NULL : entry_of(dsq->tasks.next, struct task, node);
}

struct task *dsq_after(const struct dsq *dsq, const struct task *t)
{
	return t->node.next == &dsq->tasks ? NULL : entry_of(t->node.next, struct task, node);
}

struct task *dsq_last(const struct dsq *dsq)
{
	return list_empty(&dsq->tasks) ? NULL : entry_of(dsq->tasks.prev, struct task, node);
}

struct task *dsq_before(const struct dsq *dsq, const struct task *t)
{
	return t->node.prev == &dsq->tasks ? NULL : entry_of(t->node.prev, struct task, node);
}

/* dispatch_enqueue()'s first part. */
void dsq_link(struct dsq *dsq, struct task *t, u64 flags)
{
	check(!t->dsq && !t->deferred, "on_two_queues", "pid %d is put on DSQ %llx while on %llx",
	      t->p.pid, dsq->id, t->dsq ? t->dsq->id : 0);
	if (flags & SIM_SCX_ENQ_DSQ_PRIQ) {
		struct task *before;

		check(!(dsq->id & SIM_SCX_DSQ_INVALID), "scx_error",
		      "cannot use vtime ordering for built-in DSQs");
		check(dsq->root || list_empty(&dsq->tasks), "scx_error",
		      "DSQ ID 0x%016llx already had FIFO-enqueued tasks", dsq->id);
		before = tree_add(dsq, t);
		t->on_tree = true;
		list_add(&t->node, before ? &before->node : &dsq->tasks);
	} else {
		check(!dsq->root, "scx_error", "DSQ ID 0x%016llx already had PRIQ-enqueued tasks",
		      dsq->id);
		if (flags & (SIM_SCX_ENQ_HEAD | SIM_SCX_ENQ_PREEMPT))
			list_add(&t->node, &dsq->tasks);
		else
			list_add(&t->node, dsq->tasks.prev);
	}
	t->dsq_seq = ++dsq->seq;
	dsq->nr++;
	t->dsq = dsq;
}

/* task_unlink_from_dsq() */
void dsq_unlink(struct task *t)
{
	struct dsq *dsq = t->dsq;

	if (t->on_tree) {
		tree_del(dsq, t);
		t->on_tree = false;
	}
	list_del(&t->node);
	dsq->nr--;
	t->dsq = NULL;
	dsq->stranded_since = 0;
}
