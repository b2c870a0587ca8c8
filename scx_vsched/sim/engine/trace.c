/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every step of the run goes through here: into a digest, which two runs share exactly if they did
 * the same, and into a ring that holds the last steps (or all, up to a limit) to be shown.
 */
#include "api.h"

static struct sim_record *ring;
static u64 ring_size, next;

static void keep(u32 kind, u32 vcpu, u32 pid, u32 detail)
{
	if (!ring_size) {
		ring_size = sim.options->trace_limit ?: 256;
		ring = sim_alloc(ring_size * sizeof(*ring));
		sim.result.trace = ring;
	}
	ring[next++ % ring_size] = (struct sim_record){sim.now, kind, vcpu, pid, detail};
	sim.result.trace_records = next < ring_size ? next : ring_size;
	sim.result.trace_start = next < ring_size ? 0 : next % ring_size;
}

void record(u32 kind, const struct vcpu *v, const struct task *t, u32 detail)
{
	u32 vcpu = v ? v->id : NONE;
	u32 pid = t ? (u32)t->p.pid : 0;
	u64 word = sim.now * 0x9e3779b97f4a7c15ULL ^ ((u64)kind << 56 ^ (u64)vcpu << 32 ^ pid);

	sim.digest = (sim.digest ^ word) * 0xff51afd7ed558ccdULL;
	sim.digest ^= (sim.digest >> 32) + detail;
	sim.records++;
	keep(kind, vcpu, pid, detail);
}

/* The scheduler counts something, which says why it does what comes next. No step of the run. */
void sim_count(u32 stat)
{
	if (sim.options->trace_limit)
		keep(REC_DECISION, sim.this ? sim.this->id : NONE, sim.ddsp_task ? sim.ddsp_task->p.pid : 0,
		     stat);
}
