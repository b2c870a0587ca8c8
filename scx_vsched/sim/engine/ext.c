/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sched_ext's scheduling class. Every function names the one of kernel/sched/ext.c (6.12) whose
 * documented behaviour it has; locks, memory order and statistics are left out, since a step of
 * the simulation is atomic.
 */
#include "api.h"

#define MAX_BUFFERED 32 /* ops.dispatch_max_batch's default, SCX_DSP_DFL_MAX_BATCH */
#define MAX_DISPATCH_LOOPS 32 /* SCX_DSP_MAX_LOOPS */

struct buffered {
	struct task *task;
	u64 dsq_id, flags;
};

static struct buffered buffer[MAX_BUFFERED];
static u32 nr_buffered;
u32 ext_dispatched; /* dspc->nr_tasks */

/* ---- Calling operations ---- */

const char *ext_op_name(const void *op)
{
	static const char *const names[] = {
		"select_cpu", "enqueue", "dequeue", "dispatch", "tick", "runnable", "running",
		"stopping", "quiescent", "yield", "set_weight", "set_cpumask", "update_idle",
		"cpu_acquire", "cpu_release", "init_task", "exit_task", "enable", "disable", "dump",
		"dump_cpu", "dump_task", "cgroup_init", "cgroup_exit", "cgroup_prep_move",
		"cgroup_move", "cgroup_cancel_move", "cgroup_set_weight", "cpu_online",
		"cpu_offline", "init", "exit",
	};
	void *const *ops = (void *const *)&vsched_ops;

	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		if (ops[i] == op)
			return names[i];
	}
	return "an operation";
}

/*
 * A BPF program runs with migration disabled, which counts for the current task
 * (__bpf_prog_enter_recur() in kernel/bpf/trampoline.c).
 */
struct running_op {
	u32 context;
	const void *op;
};

static struct running_op enter(const void *op, u32 context)
{
	struct running_op before = {sim.context, sim.op};

	sim.context = context;
	sim.op = op;
	sim_this_vcpu = sim.this ? sim.this->id : 0;
	if (sim.this && sim.this->curr)
		sim.this->curr->p.migration_disabled++;
	return before;
}

static void leave(struct running_op before)
{
	sim.context = before.context;
	sim.op = before.op;
	if (sim.this && sim.this->curr)
		sim.this->curr->p.migration_disabled--;
}

s32 call_op(void *op, u32 context, u64 a, u64 b, u64 c)
{
	u64 args[3] = {a, b, c};
	struct running_op before = enter(op, context);
	s32 result = ((s32 (*)(u64 *))op)(args);

	leave(before);
	return result;
}

void call_void_op(void *op, u32 context, u64 a, u64 b, u64 c)
{
	u64 args[3] = {a, b, c};
	struct running_op before = enter(op, context);

	((void (*)(u64 *))op)(args);
	leave(before);
}

/* bpf_timer_cb(): no operation of the scheduler's, and no lock is held */
void ext_call_timer(struct hrtimer *t)
{
	struct running_op before = enter(t->callback, CTX_REST);

	t->callback(NULL, &t->key, t->value);
	leave(before);
}

static inline void call_task_op(void *op, struct task *t, u64 b)
{
	if (op)
		call_void_op(op, CTX_REST, (u64)t, b, 0);
}

/* ---- Queues ---- */

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
static void dispatch_dequeue(struct task *t)
{
	if (t->deferred) {
		list_del(&t->node);
		t->deferred = false;
	} else if (t->dsq) {
		dsq_unlink(t);
	}
}

static inline void clear_direct(struct task *t)
{
	t->ddsp_dsq_id = SIM_SCX_DSQ_INVALID;
	t->ddsp_enq_flags = 0;
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
static void dispatch_to_local(struct vcpu *v, struct dsq *dsq, struct task *t, u64 flags)
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
		clear_direct(t);
		dispatch_to_local(v, dsq, t, flags);
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
	clear_direct(t);
	ext_dispatch_enqueue(dsq, t, flags);
}

/* do_enqueue_task() */
static void do_enqueue(struct vcpu *v, struct task *t, u64 flags, s32 sticky)
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
	clear_direct(t);
	ext_dispatch_enqueue(&v->local, t, flags);
	return;
global:
	t->p.scx.slice = SIM_SCX_SLICE_DFL;
	clear_direct(t);
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
		do_enqueue(t->vcpu, t, SIM_SCX_ENQ_REENQ, -1);
		ext_process_deferred(t->vcpu);
	}
}

#define ENQUEUE_RESTORE (1ULL << 1) /* kernel/sched/sched.h */

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
	do_enqueue(v, t, flags, sticky);
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
static void update(struct vcpu *v)
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
		update(v);
		call_task_op(vsched_ops.stopping, t, false);
	}
	if (!t->migrating)
		call_task_op(vsched_ops.quiescent, t, flags);
	t->p.scx.flags &= ~SIM_SCX_TASK_QUEUED;
	v->nr_running--;
	dispatch_dequeue(t);
	clear_direct(t);
}

/* put_prev_task_scx(); @last: nothing else runs on the vCPU then */
static void put_prev(struct vcpu *v, struct task *t, bool last)
{
	update(v);
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
		do_enqueue(v, t, last ? SIM_SCX_ENQ_LAST : 0, -1);
}

static void put(struct vcpu *v, struct task *t)
{
	put_prev(v, t, false);
}

/* set_next_task_scx() */
static void set(struct vcpu *v, struct task *t)
{
	if (t->p.scx.flags & SIM_SCX_TASK_QUEUED) {
		ops_dequeue(t, 0);
		dispatch_dequeue(t);
	}
	v->exec_start = vcpu_clock_task(v);
	if (t->p.scx.flags & SIM_SCX_TASK_QUEUED)
		call_task_op(vsched_ops.running, t, 0);
	t->reset_runnable_at = true;
}

/* ---- Dispatching ---- */

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
			dispatch_to_local(v, dsq, t, buffer[i].flags);
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
		update(v);
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
static struct task *pick_next(struct vcpu *v, struct task *prev)
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
		put_prev(v, prev, !next);
	if (next) {
		if (v->idle)
			idle_update(v, false, true);
		v->idle = false;
		set(v, next);
	} else {
		/* also from idle to idle the masks are set anew: pick_task_idle() */
		idle_update(v, true, !v->idle);
		v->idle = true;
	}
	return next;
}

/* task_tick_scx() */
static void tick(struct vcpu *v, struct task *t)
{
	update(v);
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

/* ---- Tasks ---- */

/* set_cpus_allowed_scx() */
static void allowed_changed(struct task *t)
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
static void weight_changed(struct task *t)
{
	t->p.scx.weight = scx_weight(t);
	call_task_op(vsched_ops.set_weight, t, t->p.scx.weight);
}

/* scx_fork(), scx_post_fork(): scx_ops_init_task(), scx_ops_enable_task() */
static void fork(struct task *t)
{
	struct scx_init_task_args args = {.fork = true, .cgroup = &sim.cgroups[t->group].cgroup};
	s32 err = 0;

	t->sticky_cpu = -1;
	t->reset_runnable_at = true;
	t->p.scx.slice = SIM_SCX_SLICE_DFL;
	clear_direct(t);
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
static void dead(struct task *t)
{
	struct scx_exit_task_args args = {.cancelled = false};

	call_task_op(vsched_ops.disable, t, 0);
	t->enabled = false;
	if (vsched_ops.exit_task)
		call_void_op(vsched_ops.exit_task, CTX_REST, (u64)t, (u64)&args, 0);
	maps_forget_task(t);
}

const struct class ext_class = {
	.name = "ext",
	.select_rq = select_rq,
	.enqueue = enqueue,
	.dequeue = dequeue,
	.pick_next = pick_next,
	.put = put,
	.set = set,
	.tick = tick,
	.update = update,
	.wakeup_preempt = wakeup_preempt,
	.yield = yield,
	.allowed_changed = allowed_changed,
	.weight_changed = weight_changed,
	.fork = fork,
	.dead = dead,
};

/* ---- The scheduler as a whole ---- */

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
			dequeue(v, t, 2 /* DEQUEUE_SAVE */);
			enqueue(v, t, ENQUEUE_RESTORE);
		}
		resched(v);
	}
}
