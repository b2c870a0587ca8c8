/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sched_ext's kfuncs, under their newest names, for Linux 6.12 and later.
 *
 * A kfunc that was renamed or changed its arguments is declared weak under each of its names, and
 * the wrapper takes the one that exists; libbpf resolves which at load time and the verifier drops
 * the branches not taken. libbpf cuts the last ___suffix off a name before it looks it up, so
 * x___v1 asks for x, and x___v2___new for the kernel's x___v2.
 */
#pragma once

#include <bpf.h>

s32 scx_bpf_create_dsq(u64 dsq_id, s32 node) __ksym;
bool scx_bpf_test_and_clear_cpu_idle(s32 cpu) __ksym;
s32 scx_bpf_pick_idle_cpu(const struct cpumask *allowed, u64 flags) __ksym;
void scx_bpf_put_idle_cpumask(const struct cpumask *mask) __ksym;
const struct cpumask *scx_bpf_get_online_cpumask(void) __ksym;
void scx_bpf_put_cpumask(const struct cpumask *mask) __ksym;
u32 scx_bpf_nr_cpu_ids(void) __ksym;
s32 scx_bpf_task_cpu(const struct task_struct *p) __ksym;
void scx_bpf_error_bstr(char *fmt, unsigned long long *data, u32 size) __ksym;
void scx_bpf_dump_bstr(char *fmt, unsigned long long *data, u32 size) __ksym;

struct task_struct *bpf_iter_scx_dsq_next(struct bpf_iter_scx_dsq *it) __ksym;
void bpf_iter_scx_dsq_destroy(struct bpf_iter_scx_dsq *it) __ksym;

struct bpf_cpumask *bpf_cpumask_create(void) __ksym;
void bpf_cpumask_release(struct bpf_cpumask *mask) __ksym;
void bpf_cpumask_set_cpu(u32 cpu, struct bpf_cpumask *mask) __ksym;
void bpf_cpumask_clear_cpu(u32 cpu, struct bpf_cpumask *mask) __ksym;
bool bpf_cpumask_test_cpu(u32 cpu, const struct cpumask *mask) __ksym __pure;
bool bpf_cpumask_and(struct bpf_cpumask *dst, const struct cpumask *a,
		     const struct cpumask *b) __ksym;
bool bpf_cpumask_empty(const struct cpumask *mask) __ksym;
bool bpf_cpumask_intersects(const struct cpumask *a, const struct cpumask *b) __ksym;
u32 bpf_cpumask_any_and_distribute(const struct cpumask *a, const struct cpumask *b) __ksym;
void bpf_rcu_read_lock(void) __ksym;
void bpf_rcu_read_unlock(void) __ksym;

/*
 * From 7.1 on the kernel hands some kfuncs the caller's own bpf_prog_aux as a last argument, which
 * their BTF hides (KF_IMPLICIT_ARGS). Debian's 7.1.13 was built so that the BTF of these, and of a
 * few that nothing here needs, still shows it: libbpf takes them for other functions, and a call by
 * the prototype shown is refused too ("cannot find function scx_bpf_kick_cpu_impl in BTF"). There
 * they are as good as absent, and what uses them has another way or does without.
 */
void scx_bpf_kick_cpu(s32 cpu, u64 flags) __ksym __weak;
const struct cpumask *scx_bpf_get_idle_cpumask(void) __ksym __weak;
const struct cpumask *scx_bpf_get_idle_smtmask(void) __ksym __weak;
int bpf_iter_scx_dsq_new(struct bpf_iter_scx_dsq *it, u64 dsq_id, u64 flags) __ksym __weak;

/* Both end their argument array with a 0 that no format uses, since it must not be empty. */
#define scx_bpf_error(fmt, ...)                                                             \
	({                                                                                  \
		static char text[] = fmt;                                                   \
		unsigned long long args[] = {__VA_ARGS__ __VA_OPT__(, ) 0};                                \
		scx_bpf_error_bstr(text, args, sizeof(args));                               \
	})

#define scx_bpf_dump(fmt, ...)                                                              \
	({                                                                                  \
		static char text[] = fmt;                                                   \
		unsigned long long args[] = {__VA_ARGS__ __VA_OPT__(, ) 0};                                \
		scx_bpf_dump_bstr(text, args, sizeof(args));                                \
	})

/*
 * scx_bpf_now() reads the runqueue's clock where it is valid (6.14, "Add scx_bpf_now() for BPF
 * scheduler"); before, the helper reads the hardware clock.
 * Both are marked pure, so that a view whose time no hook reads costs no look at the clock.
 */
u64 scx_bpf_now(void) __ksym __weak __pure;

static __always_inline u64 now_ns(void)
{
	return KFUNC_EXISTS(scx_bpf_now) ? scx_bpf_now() : bpf_ktime_get_ns();
}

/*
 * Insertion: scx_bpf_dispatch() until 6.12, scx_bpf_dsq_insert() from 6.13, a variant that returns
 * a bool from 6.19.
 */
bool scx_bpf_dsq_insert___v2___new(struct task_struct *p, u64 dsq, u64 slice, u64 flags) __ksym __weak;
void scx_bpf_dsq_insert___v1(struct task_struct *p, u64 dsq, u64 slice, u64 flags) __ksym __weak;
void scx_bpf_dispatch___old(struct task_struct *p, u64 dsq, u64 slice, u64 flags) __ksym __weak;

static __always_inline void dsq_insert(struct task_struct *p, u64 dsq, u64 slice, u64 flags)
{
	if (KFUNC_EXISTS(scx_bpf_dsq_insert___v2___new))
		scx_bpf_dsq_insert___v2___new(p, dsq, slice, flags);
	else if (KFUNC_EXISTS(scx_bpf_dsq_insert___v1))
		scx_bpf_dsq_insert___v1(p, dsq, slice, flags);
	else
		scx_bpf_dispatch___old(p, dsq, slice, flags);
}

/* The same for ordered queues; from 6.19 the arguments come in a struct. */
bool __scx_bpf_dsq_insert_vtime(struct task_struct *p,
				struct scx_bpf_dsq_insert_vtime_args *args) __ksym __weak;
void scx_bpf_dsq_insert_vtime___v1(struct task_struct *p, u64 dsq, u64 slice, u64 vtime,
				   u64 flags) __ksym __weak;
void scx_bpf_dispatch_vtime___old(struct task_struct *p, u64 dsq, u64 slice, u64 vtime,
				  u64 flags) __ksym __weak;

static __always_inline void dsq_insert_vtime(struct task_struct *p, u64 dsq, u64 slice, u64 vtime,
					     u64 flags)
{
	if (KFUNC_EXISTS(__scx_bpf_dsq_insert_vtime)) {
		struct scx_bpf_dsq_insert_vtime_args args = {
			.dsq_id = dsq,
			.slice = slice,
			.vtime = vtime,
			.enq_flags = flags,
		};

		__scx_bpf_dsq_insert_vtime(p, &args);
	} else if (KFUNC_EXISTS(scx_bpf_dsq_insert_vtime___v1)) {
		scx_bpf_dsq_insert_vtime___v1(p, dsq, slice, vtime, flags);
	} else {
		scx_bpf_dispatch_vtime___old(p, dsq, slice, vtime, flags);
	}
}

/*
 * Taking the head of a queue: scx_bpf_consume() until 6.12, scx_bpf_dsq_move_to_local() from 6.13,
 * with flags from 7.1.
 */
bool scx_bpf_dsq_move_to_local___v2___new(u64 dsq, u64 flags) __ksym __weak;
bool scx_bpf_dsq_move_to_local___v1(u64 dsq) __ksym __weak;
bool scx_bpf_consume___old(u64 dsq) __ksym __weak;

static __always_inline bool dsq_move_to_local(u64 dsq)
{
	if (KFUNC_EXISTS(scx_bpf_dsq_move_to_local___v2___new))
		return scx_bpf_dsq_move_to_local___v2___new(dsq, 0);
	if (KFUNC_EXISTS(scx_bpf_dsq_move_to_local___v1))
		return scx_bpf_dsq_move_to_local___v1(dsq);
	return scx_bpf_consume___old(dsq);
}

/* A queue's first task without a lock: 6.19. Before, an iterator does it under the queue's lock. */
struct task_struct *scx_bpf_dsq_peek(u64 dsq) __ksym __weak;

/* The key of the task at the head of @dsq in @key; false when the queue is empty. */
static __always_inline bool dsq_head_key(u64 dsq, u64 *key)
{
	struct task_struct *p;
	bool found = false;

	if (KFUNC_EXISTS(scx_bpf_dsq_peek)) {
		p = scx_bpf_dsq_peek(dsq);
		if (p) {
			*key = p->scx.dsq_vtime;
			found = true;
		}
	} else {
		struct bpf_iter_scx_dsq it;

		if (!bpf_iter_scx_dsq_new(&it, dsq, 0)) {
			p = bpf_iter_scx_dsq_next(&it);
			if (p) {
				*key = p->scx.dsq_vtime;
				found = true;
			}
		}
		bpf_iter_scx_dsq_destroy(&it);
	}
	return found;
}

/* Moving a task that an iterator stands at: scx_bpf_dispatch_from_dsq() until 6.12. */
bool scx_bpf_dsq_move(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq,
		      u64 flags) __ksym __weak;
bool scx_bpf_dispatch_from_dsq(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq,
			       u64 flags) __ksym __weak;

static __always_inline bool dsq_move(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq)
{
	if (KFUNC_EXISTS(scx_bpf_dsq_move))
		return scx_bpf_dsq_move(it, p, dsq, 0);
	return scx_bpf_dispatch_from_dsq(it, p, dsq, 0);
}

/* The same into an ordered queue, with the key @vtime. */
void scx_bpf_dsq_move_set_vtime(struct bpf_iter_scx_dsq *it, u64 vtime) __ksym __weak;
bool scx_bpf_dsq_move_vtime(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq,
			    u64 flags) __ksym __weak;
void scx_bpf_dispatch_from_dsq_set_vtime(struct bpf_iter_scx_dsq *it, u64 vtime) __ksym __weak;
bool scx_bpf_dispatch_vtime_from_dsq(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq,
				     u64 flags) __ksym __weak;

static __always_inline bool dsq_move_vtime(struct bpf_iter_scx_dsq *it, struct task_struct *p,
					   u64 dsq, u64 vtime)
{
	if (KFUNC_EXISTS(scx_bpf_dsq_move_vtime)) {
		scx_bpf_dsq_move_set_vtime(it, vtime);
		return scx_bpf_dsq_move_vtime(it, p, dsq, 0);
	}
	scx_bpf_dispatch_from_dsq_set_vtime(it, vtime);
	return scx_bpf_dispatch_vtime_from_dsq(it, p, dsq, 0);
}

/* Lets all tasks of a queue be enqueued again: 7.1 (kernel/sched/ext.c, scx_bpf_dsq_reenq). */
void scx_bpf_dsq_reenq(u64 dsq_id, u64 reenq_flags) __ksym __weak;

/*
 * Moves the tasks of the queue @from that belong to @cpu's runqueue to @cpu's local queue, @cpu
 * being offline already: the kernel puts what is enqueued there now onto the local queue itself.
 */
static __always_inline void dsq_drain_cpu(u64 from, s32 cpu)
{
	u64 to = CORE_ENUM(scx_dsq_id_flags, SCX_DSQ_LOCAL_ON) | cpu;
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;

	if (!KFUNC_EXISTS(bpf_iter_scx_dsq_new)) {
		if (KFUNC_EXISTS(scx_bpf_dsq_reenq))
			scx_bpf_dsq_reenq(from, 0);
		return;
	}
	if (!bpf_iter_scx_dsq_new(&it, from, 0)) {
		while ((p = bpf_iter_scx_dsq_next(&it))) {
			if (scx_bpf_task_cpu(p) == cpu)
				dsq_move(&it, p, to);
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
}

/* Direct writes give way to kfuncs from 6.19 on; both work, the kfunc is what stays. */
bool scx_bpf_task_set_slice(struct task_struct *p, u64 slice) __ksym __weak;

static __always_inline void task_set_slice(struct task_struct *p, u64 slice)
{
	if (KFUNC_EXISTS(scx_bpf_task_set_slice))
		scx_bpf_task_set_slice(p, slice);
	else
		p->scx.slice = slice;
}

/*
 * A BPF program itself runs with migration disabled, so a count of 1 on the current task says
 * nothing about the task.
 */
static __always_inline bool is_migration_disabled(const struct task_struct *p)
{
	if (!CORE_FIELD_EXISTS(p->migration_disabled) || !p->migration_disabled)
		return false;
	return p->migration_disabled > 1 || bpf_get_current_task_btf() != p;
}

/* Operations in the order of the kernel's struct; libbpf matches members by name. */
struct sched_ext_ops {
	s32 (*select_cpu)(struct task_struct *p, s32 prev_cpu, u64 wake_flags);
	void (*enqueue)(struct task_struct *p, u64 enq_flags);
	void (*dispatch)(s32 cpu, struct task_struct *prev);
	void (*running)(struct task_struct *p);
	void (*stopping)(struct task_struct *p, bool runnable);
	void (*tick)(struct task_struct *p);
	void (*set_weight)(struct task_struct *p, u32 weight);
	void (*cpu_online)(s32 cpu);
	void (*cpu_offline)(s32 cpu);
	s32 (*init_task)(struct task_struct *p, struct scx_init_task_args *args);
	void (*exit_task)(struct task_struct *p, struct scx_exit_task_args *args);
	void (*enable)(struct task_struct *p);
	void (*disable)(struct task_struct *p);
	void (*dump)(struct scx_dump_ctx *ctx);
	void (*dump_cpu)(struct scx_dump_ctx *ctx, s32 cpu, bool idle);
	void (*dump_task)(struct scx_dump_ctx *ctx, struct task_struct *p);
	s32 (*cgroup_init)(struct cgroup *cgrp, struct scx_cgroup_init_args *args);
	void (*cgroup_exit)(struct cgroup *cgrp);
	void (*cgroup_move)(struct task_struct *p, struct cgroup *from, struct cgroup *to);
	void (*cgroup_set_weight)(struct cgroup *cgrp, u32 weight);
	s32 (*init)(void);
	void (*exit)(struct scx_exit_info *info);
	u32 dispatch_max_batch;
	u64 flags;
	u32 timeout_ms;
	u32 exit_dump_len;
	char name[128];
};
