/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What tasks do: small programs of instructions (config.h). An instruction that enters the kernel
 * costs time first and takes effect then, so nothing goes round for free.
 */
#include "program.h"

/* Time in the kernel before the instruction takes effect; 0 where it takes none. */
static u64 cost_ns(const struct sim_instruction *in)
{
	switch (in->op) {
	case OP_SEND:
	case OP_UNLOCK:
	case OP_FORK:
		return sim.machine->wake_ns;
	case OP_SLEEP:
	case OP_YIELD:
	case OP_LOCK:
	case OP_SPIN_LOCK:
	case OP_BARRIER:
	case OP_RECEIVE:
	case OP_JOIN:
	case OP_PERIOD:
	case OP_UNTIL:
	case OP_EXIT:
		return sim.machine->syscall_ns;
	default:
		return 0;
	}
}

static void sleep_until(struct vcpu *v, struct task *t, u64 at)
{
	t->state = TASK_BLOCKED;
	t->stamp = at; /* latencies count from when it ought to wake */
	event_at(&t->timer, at);
}

static void sample(struct metric *metric, u64 value)
{
	if (sim.now < sim.options->warmup_ns)
		return;
	if (metric->nr == metric->room) {
		u64 room = metric->room ? 2 * metric->room : 1024;
		u64 *values = sim_alloc(room * sizeof(*values));

		for (u64 i = 0; i < metric->nr; i++)
			values[i] = metric->values[i];
		metric->values = values;
		metric->room = room;
	}
	metric->values[metric->nr++] = value;
}

static void fork_children(struct vcpu *v, struct task *t, const struct sim_instruction *in)
{
	t->pc++;
	for (u64 i = 0; i < in->b; i++) {
		vcpu_add_work(t, sim.machine->wake_ns);
		task_start(task_new(in->a, NULL, t), v);
	}
}

static enum step join(struct task *t)
{
	t->pc++;
	if (!t->children)
		return STEP_RUN;
	t->joining = true;
	t->state = TASK_BLOCKED;
	return STEP_BLOCK;
}

static void end_loop(struct task *t, const struct sim_instruction *in)
{
	if (--t->loops[t->loop_depth - 1]) {
		t->pc = in->a;
		return;
	}
	t->loop_depth--;
	t->pc++;
}

static enum step next_period(struct vcpu *v, struct task *t, const struct sim_instruction *in)
{
	t->pc++;
	t->next_period = (t->next_period ?: sim.now) + in->a;
	/* what was missed altogether is left out */
	if (t->next_period <= sim.now) {
		t->next_period += (sim.now - t->next_period) / in->a * in->a;
		t->stamp = t->next_period;
		return STEP_RUN;
	}
	t->stamp = t->next_period;
	sleep_until(v, t, t->next_period);
	return STEP_BLOCK;
}

/*
 * Does one instruction. STEP_RUN with work left means that it has to be done first; a task that
 * blocks does its instruction again when it wakes, unless the instruction is over.
 */
enum step program_step(struct vcpu *v, struct task *t)
{
	const struct sim_instruction *in = &sim.load->instruction[t->pc];
	u64 cost = cost_ns(in);

	if (t->p.flags & PF_EXITING)
		return STEP_EXIT;
	if (cost && !t->paid) {
		t->paid = true;
		vcpu_add_work(t, cost);
		return STEP_RUN;
	}
	t->paid = false;
	switch (in->op) {
	case OP_COMPUTE:
		t->pc++;
		vcpu_add_work(t, draw(t->random, in->distribution, in->a, in->b));
		/* the next instruction's way into the kernel without a stop in between */
		cost = cost_ns(in + 1);
		if (cost) {
			t->paid = true;
			vcpu_add_work(t, cost);
		}
		return STEP_RUN;
	case OP_SLEEP:
		t->pc++;
		sleep_until(v, t, sim.now + (draw(t->random, in->distribution, in->a, in->b) ?: 1));
		return STEP_BLOCK;
	case OP_YIELD:
		t->pc++;
		return STEP_YIELD;
	case OP_LOCK:
	case OP_SPIN_LOCK:
		return program_lock(v, t, in);
	case OP_UNLOCK:
		program_unlock(t, in);
		return STEP_RUN;
	case OP_BARRIER:
		return program_barrier(v, t, in);
	case OP_SEND:
		return program_send(v, t, in);
	case OP_RECEIVE:
		return program_receive(v, t, in);
	case OP_FORK:
		fork_children(v, t, in);
		return STEP_RUN;
	case OP_JOIN:
		return join(t);
	case OP_LOOP:
		t->loops[t->loop_depth++] = in->a;
		t->pc++;
		return STEP_RUN;
	case OP_END:
		end_loop(t, in);
		return STEP_RUN;
	case OP_FOREVER:
		t->pc = in->a;
		return STEP_RUN;
	case OP_STAMP:
		t->stamp = sim.now;
		t->pc++;
		return STEP_RUN;
	case OP_LATENCY:
		sample(&sim.metrics[in->a], sim.now - t->stamp);
		t->pc++;
		return STEP_RUN;
	case OP_MARK:
		if (sim.now >= sim.options->warmup_ns)
			sim.metrics[in->a].count++;
		t->pc++;
		return STEP_RUN;
	case OP_PERIOD:
		return next_period(v, t, in);
	case OP_UNTIL:
		t->pc++;
		t->stamp = in->a;
		if (in->a <= sim.now)
			return STEP_RUN;
		sleep_until(v, t, in->a);
		return STEP_BLOCK;
	default:
		return STEP_EXIT;
	}
}
