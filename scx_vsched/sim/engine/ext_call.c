/* SPDX-License-Identifier: GPL-2.0-only */
/* Calls the scheduler's operations, and says which one runs. */
#include "ext.h"

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

/* bpf_timer_cb(): no operation of the scheduler's, and no lock is held */
void ext_call_timer(struct hrtimer *t)
{
	struct running_op before = enter(t->callback, CTX_REST | CTX_UNLOCKED);

	t->callback(NULL, &t->key, t->value);
	leave(before);
}

void call_void_op(void *op, u32 context, u64 a, u64 b, u64 c)
{
	u64 args[3] = {a, b, c};
	struct running_op before = enter(op, context);

	((void (*)(u64 *))op)(args);
	leave(before);
}
