/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What must hold whatever the scheduler does. The cheap ones are checked where they could break;
 * here are those that look at everything.
 */
#include <string.h>

#include "api.h"

/* check_rq_for_timeouts() */
void check_watchdog(void)
{
	u64 timeout = sim.options->timeout_ms * 1000000;

	for (u32 i = 0; i < sim.nr_tasks; i++) {
		const struct task *t = &sim.tasks[i];

		if (!t->on_rq || t->state != TASK_RUNNABLE || t->vcpu->curr == t)
			continue;
		check(sim.now - t->runnable_at <= timeout, "watchdog",
		      "runnable task stall: pid %d has waited for %llu ms%s", t->p.pid,
		      (sim.now - t->runnable_at) / 1000000,
		      t->opss == OPSS_QUEUED ? "; the scheduler keeps it to itself" : "");
	}
}

static void check_queue(const struct dsq *dsq)
{
	const struct task *before = NULL;
	u32 nr = 0;

	for (const struct task *t = dsq_first(dsq); t; t = dsq_after(dsq, t)) {
		check(t->dsq == dsq, "queue_broken", "pid %d is on DSQ %llx but says otherwise",
		      t->p.pid, dsq->id);
		check(t->on_rq && t->state == TASK_RUNNABLE, "queued_but_not_runnable",
		      "pid %d is on DSQ %llx in state %u", t->p.pid, dsq->id, t->state);
		check(!t->on_tree || !before ||
			      (s64)(t->p.scx.dsq_vtime - before->p.scx.dsq_vtime) >= 0,
		      "queue_broken", "DSQ %llx is out of order at pid %d", dsq->id, t->p.pid);
		check(!dsq->vcpu || t->vcpu == dsq->vcpu, "queue_broken",
		      "pid %d of vCPU %u is on the local DSQ of vCPU %u", t->p.pid, t->vcpu->id,
		      dsq->vcpu ? dsq->vcpu->id : 0);
		before = t;
		nr++;
	}
	check(nr == dsq->nr, "queue_broken", "DSQ %llx holds %u tasks and counts %u", dsq->id, nr,
	      dsq->nr);
}

static void check_task(const struct task *t)
{
	bool running = t->vcpu && t->vcpu->curr == t;

	if (t->state == TASK_BLOCKED || t->state == TASK_FREE) {
		check(!t->on_rq && !running, "not_runnable", "pid %d is queued in state %u",
		      t->p.pid, t->state);
		return;
	}
	if (t->state != TASK_RUNNABLE)
		return;
	check(t->on_rq, "task_lost", "pid %d is runnable and belongs to no runqueue", t->p.pid);
	if (!sim.ext)
		return;
	check(running || t->dsq || t->deferred || t->opss == OPSS_QUEUED, "task_lost",
	      "pid %d is runnable and on no queue", t->p.pid);
	check(!running || (!t->dsq && !t->deferred), "on_two_queues",
	      "pid %d runs and is on DSQ %llx", t->p.pid, t->dsq ? t->dsq->id : 0);
}

static void check_vcpu(const struct vcpu *v)
{
	check(!v->curr || v->curr->vcpu == v, "wrong_vcpu", "vCPU %u runs a task of another", v->id);
	check(v->online || (!v->curr && !v->local.nr), "offline_work",
	      "vCPU %u is offline and has work", v->id);
	check(!v->hosted || !v->halted, "host_broken", "vCPU %u is halted on a hardware thread",
	      v->id);
	if (sim.ext)
		check_queue(&v->local);
	check(!v->halted || v->need_resched || !v->local.nr || !v->online, "idle_with_work",
	      "vCPU %u sleeps while its local DSQ holds %u tasks", v->id, v->local.nr);
}

/* To be called between two events. */
void check_everything(void)
{
	for (u32 i = 0; i < sim.nr_tasks; i++)
		check_task(&sim.tasks[i]);
	for (u32 i = 0; i < sim.nr_vcpus; i++)
		check_vcpu(&sim.vcpus[i]);
	if (!sim.ext)
		return;
	check_queue(&sim.global);
	for (struct list *node = user_dsqs.next; node != &user_dsqs; node = node->next)
		check_queue(entry_of(node, struct dsq, user));
}

/* Whether the scheduler keeps tasks off the vCPU on purpose. */
static bool is_hidden(u32 vcpu)
{
	u32 entries, size;
	const char *values;

	if (!&sim_hidden)
		return false;
	values = sim_map_values(sim_hidden.map, &entries, &size);
	return values && values[(u64)vcpu * size + sim_hidden.offset];
}

/* The vCPU that stands for the node where @t waits: a scheduler may queue it for another one. */
static u32 waits_at(const struct task *t, const struct dsq *dsq)
{
	u32 vcpu = &sim_queue_vcpu ? sim_queue_vcpu(dsq->id) : NONE;

	return vcpu < sim.nr_vcpus ? vcpu : t->vcpu->id;
}

/*
 * An idle vCPU of the node where @t waits that nothing is on its way to and that may run @t. Whether a single
 * task is worth taking to another node is the policy's choice.
 */
static u32 idle_for(const struct task *t, const struct dsq *dsq)
{
	const u64 *node = sim.machine->vcpu_node;
	u64 home = node[waits_at(t, dsq)];
	u32 vcpu = NONE;

	while ((vcpu = mask_next_and(&sim.idle, t->p.cpus_ptr, vcpu + 1)) != NONE) {
		const struct vcpu *v = &sim.vcpus[vcpu];

		if (v->halted && !v->need_resched && v->online && !is_hidden(vcpu) &&
		    !(&sim_kept_from && sim_kept_from(vcpu, dsq->id)) && node[vcpu] == home)
			return vcpu;
	}
	return NONE;
}

static void check_stranded(struct dsq *dsq)
{
	struct task *t = dsq_first(dsq);
	u32 vcpu;

	if (&sim_parked && dsq->id == sim_parked)
		return;
	/* while bypassing a task may have to wait for its vCPU's next look */
	if (!t || sim.bypassing || (vcpu = idle_for(t, dsq)) == NONE || t->p.migration_disabled) {
		dsq->stranded_since = 0;
		return;
	}
	if (!dsq->stranded_since)
		dsq->stranded_since = sim.now;
	check(sim.now - dsq->stranded_since <= sim.options->stranded_ns, "stranded",
	      "pid %d waits at the head of DSQ %llx for more than %llu ms while vCPU %u sleeps",
	      t->p.pid, dsq->id, sim.options->stranded_ns / 1000000, vcpu);
}

/* Tasks that nothing will ever wake. */
static void check_deadlock(void)
{
	const struct task *stuck = NULL;

	for (u32 i = 0; i < sim.nr_tasks; i++) {
		const struct task *t = &sim.tasks[i];

		if (t->state == TASK_RUNNABLE || event_due(&t->timer))
			return;
		if (t->state == TASK_BLOCKED)
			stuck = t;
	}
	for (u32 i = 0; i < sim.load->channels; i++) {
		if (event_due(&sim.channels[i].arrival))
			return;
	}
	for (u32 i = 0; i < sim.nr_vcpus; i++) {
		if (!list_empty(&sim.vcpus[i].irqs))
			return;
	}
	if ((sim.to_start && !sim.draining) || event_due(&sim.script))
		return;
	if (sim.draining) {
		sim.ended = !sim.live_tasks;
		return;
	}
	if (!stuck || sim.killed) {
		sim.ended = true;
		return;
	}
	fail("deadlock", "the workload stands still: %u tasks wait for each other, pid %d at its "
	     "instruction %u", sim.live_tasks, stuck->p.pid, stuck->pc);
}

void check_sweep(void)
{
	if (sim.ext && sim.options->stranded_ns) {
		for (struct list *node = user_dsqs.next; node != &user_dsqs; node = node->next)
			check_stranded(entry_of(node, struct dsq, user));
		check_stranded(&sim.global);
	}
	check_deadlock();
}

/* What the mechanism counts per task must be gone with the tasks. */
void check_drained(void)
{
	for (u32 i = 0; &sim_nodes && i < sim_nodes.entries; i++) {
		const char *at = (char *)sim_nodes.values + i * sim_nodes.size + sim_nodes.offset;

		check(!*(const u32 *)at, "counter_leaked", "%u tasks wait on node %u with no task left",
		      *(const u32 *)at, i);
	}
	for (u32 i = 0; i < sim_nr_counters; i++) {
		const struct sim_counter *counter = &sim_counters[i];
		u32 entries, size;
		char *values = sim_map_values(counter->map, &entries, &size);

		for (u32 entry = 0; entry < entries; entry++) {
			u64 value = 0;

			memcpy(&value, values + (u64)entry * size + counter->offset, counter->size);
			check(!value, "counter_leaked", "%s[%u].%s is %lld and no task is left",
			      counter->map, entry, counter->member,
			      counter->size == 4 ? (s32)value : (s64)value);
		}
	}
}
