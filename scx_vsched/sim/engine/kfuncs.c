/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kfuncs and helpers that the scheduler calls, each only where the kernel allows it
 * (kernel/sched/ext.c, scx_kf_allowed() and the kfunc sets at its end). SIM_KERNEL chooses the
 * names and forms: those of 6.12, those of 7.x, or those that Debian's 7.1.13 leaves (710).
 */
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "scx.h"

static void allow(u32 contexts, const char *kfunc)
{
	check(sim.context & contexts, "kfunc_not_allowed", "%s() called from context %u", kfunc,
	      sim.context);
}

static struct vcpu *valid_vcpu(s32 id, const char *kfunc)
{
	check(id >= 0 && (u32)id < sim.nr_vcpus, "scx_error", "invalid CPU %d in %s()", id, kfunc);
	return &sim.vcpus[id];
}

s32 scx_bpf_create_dsq(u64 dsq_id, s32 node)
{
	allow(CTX_SLEEPABLE, "scx_bpf_create_dsq");
	if (dsq_id & SIM_SCX_DSQ_INVALID)
		return -22; /* EINVAL */
	return dsq_create(dsq_id) ? 0 : -17; /* EEXIST */
}

s32 scx_bpf_dsq_nr_queued(u64 dsq_id)
{
	struct dsq *dsq;

	if (dsq_id == SIM_SCX_DSQ_LOCAL)
		return sim.this->local.nr;
	if ((dsq_id & SIM_SCX_DSQ_LOCAL_ON) == SIM_SCX_DSQ_LOCAL_ON)
		return valid_vcpu(dsq_id & 0x7fffffff, "scx_bpf_dsq_nr_queued")->local.nr;
	dsq = dsq_find(dsq_id);
	return dsq ? (s32)dsq->nr : -2; /* ENOENT */
}

#if SIM_KERNEL != 710
/* can_skip_idle_kick(), kick_one_cpu(), kick_one_cpu_if_idle() */
void scx_bpf_kick_cpu(s32 cpu, u64 flags)
{
	struct vcpu *v = valid_vcpu(cpu, "scx_bpf_kick_cpu");

	if (sim.this && sim.this->bypassing)
		return;
	check(!(flags & SIM_SCX_KICK_IDLE && flags & (SIM_SCX_KICK_PREEMPT | SIM_SCX_KICK_WAIT)),
	      "scx_error", "PREEMPT/WAIT cannot be used with SCX_KICK_IDLE");
	record(REC_KICK, v, NULL, flags);
	sim.result.kicks++;
	if (!v->online && v != sim.this)
		return;
	if (flags & SIM_SCX_KICK_IDLE && v->curr && !v->in_balance)
		return;
	if (v == sim.this && v->in_schedule) {
		v->kick_self = true;
		v->preempt_self |= flags & SIM_SCX_KICK_PREEMPT;
		return;
	}
	if (flags & SIM_SCX_KICK_PREEMPT && v->curr)
		v->curr->p.scx.slice = 0;
	resched(v);
}
#endif

bool scx_bpf_test_and_clear_cpu_idle(s32 cpu)
{
	valid_vcpu(cpu, "scx_bpf_test_and_clear_cpu_idle");
	if (!idle_claim(cpu))
		return false;
	record(REC_IDLE_CLAIM, sim.this, NULL, cpu);
	return true;
}

s32 scx_bpf_pick_idle_cpu(const struct cpumask *allowed, u64 flags)
{
	return idle_pick(allowed, flags);
}

const struct cpumask *scx_bpf_get_idle_cpumask(void)
{
	return &sim.idle;
}

#if SIM_KERNEL != 710
/* Without SMT it is the mask of idle vCPUs. */
const struct cpumask *scx_bpf_get_idle_smtmask(void)
{
	return sim.smt_active ? &sim.idle_smt : &sim.idle;
}
#endif

void scx_bpf_put_idle_cpumask(const struct cpumask *mask)
{
}

const struct cpumask *scx_bpf_get_online_cpumask(void)
{
	return &sim.online;
}

const struct cpumask *scx_bpf_get_possible_cpumask(void)
{
	return &sim.possible;
}

void scx_bpf_put_cpumask(const struct cpumask *mask)
{
}

u32 scx_bpf_nr_cpu_ids(void)
{
	return sim.nr_vcpus;
}

s32 scx_bpf_task_cpu(const struct task_struct *p)
{
	return task_of(p)->vcpu->id;
}

bool scx_bpf_task_running(const struct task_struct *p)
{
	return task_of(p)->vcpu->curr == task_of(p);
}

/* ---- Insertion and movement ---- */

/* scx_dsq_insert_preamble(), scx_dsq_insert_commit(), mark_direct_dispatch() */
static bool insert(struct task *t, u64 dsq_id, u64 flags)
{
	allow(CTX_ENQUEUE | CTX_DISPATCH, "scx_bpf_dsq_insert");
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

	allow(CTX_DISPATCH, "scx_bpf_dsq_move_to_local");
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
};

_Static_assert(sizeof(struct cursor) <= sizeof(struct bpf_iter_scx_dsq), "the cursor fits");

#if SIM_KERNEL != 710
int bpf_iter_scx_dsq_new(struct bpf_iter_scx_dsq *it, u64 dsq_id, u64 flags)
{
	struct cursor *cursor = (struct cursor *)it;

	*cursor = (struct cursor){.dsq = dsq_find(dsq_id)};
	if (!cursor->dsq)
		return -2; /* ENOENT */
	cursor->next = dsq_first(cursor->dsq);
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
		cursor->next = dsq_after(cursor->dsq, t);
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

	allow(CTX_DISPATCH | CTX_UNLOCKED, "scx_bpf_dsq_move");
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

/* ---- The rest ---- */

u64 bpf_ktime_get_ns(void)
{
	return sim.now;
}

/* The task on whose behalf the guest's kernel runs; the idle task is nobody's. */
struct task_struct *bpf_get_current_task_btf(void)
{
	return sim.this && sim.this->curr ? &sim.this->curr->p : &sim.no_task->p;
}

struct bpf_cpumask *bpf_cpumask_create(void)
{
	return sim_alloc(sizeof(struct bpf_cpumask));
}

void bpf_cpumask_release(struct bpf_cpumask *mask)
{
}

void bpf_cpumask_set_cpu(u32 cpu, struct bpf_cpumask *mask)
{
	if (cpu < sim.nr_vcpus)
		mask_set(&mask->cpumask, cpu);
}

void bpf_cpumask_clear_cpu(u32 cpu, struct bpf_cpumask *mask)
{
	if (cpu < sim.nr_vcpus)
		mask_clear(&mask->cpumask, cpu);
}

bool bpf_cpumask_test_cpu(u32 cpu, const struct cpumask *mask)
{
	return cpu < sim.nr_vcpus && mask_test(mask, cpu);
}

bool bpf_cpumask_and(struct bpf_cpumask *dst, const struct cpumask *a, const struct cpumask *b)
{
	unsigned long any = 0;

	for (u32 i = 0; i < sim.mask_words; i++)
		any |= dst->cpumask.bits[i] = a->bits[i] & b->bits[i];
	return any;
}

bool bpf_cpumask_empty(const struct cpumask *mask)
{
	return mask_first_and(mask, mask) == NONE;
}

u32 bpf_cpumask_any_and_distribute(const struct cpumask *a, const struct cpumask *b)
{
	return idle_distribute(a, b);
}

void bpf_rcu_read_lock(void)
{
}

void bpf_rcu_read_unlock(void)
{
}

/* Formats as bpf_bstr_printf() does: %s takes an address, numbers their low bits. */
static void format(char *out, size_t room, const char *fmt, const unsigned long long *data)
{
	size_t used = 0;

	for (; *fmt && used + 1 < room; fmt++) {
		char spec[16];
		size_t length = 0;
		bool wide = false;

		if (*fmt != '%' || fmt[1] == '%') {
			out[used++] = *fmt;
			fmt += *fmt == '%';
			continue;
		}
		while (length < sizeof(spec) - 1 && !strchr("diuxXscp", fmt[length])) {
			wide |= fmt[length] == 'l';
			spec[length] = fmt[length];
			length++;
		}
		spec[length] = fmt[length];
		spec[length + 1] = 0;
		fmt += length;
		if (*fmt == 's')
			used += snprintf(out + used, room - used, spec, (const char *)*data++);
		else if (wide)
			used += snprintf(out + used, room - used, spec, *data++);
		else
			used += snprintf(out + used, room - used, spec, (u32)*data++);
		if (used >= room)
			used = room - 1;
	}
	out[used] = 0;
}

void scx_bpf_error_bstr(char *fmt, unsigned long long *data, u32 size)
{
	char text[512];

	format(text, sizeof(text), fmt, data);
	fail("scx_error", "%s", text);
}

void scx_bpf_dump_bstr(char *fmt, unsigned long long *data, u32 size)
{
	char text[512];

	format(text, sizeof(text), fmt, data);
	fprintf(stderr, "%s", text);
}
