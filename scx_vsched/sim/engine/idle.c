/* SPDX-License-Identifier: GPL-2.0-only */
/* Masks of idle vCPUs and of wholly idle cores, and who may claim one. */
#include "api.h"

/* update_builtin_idle() in kernel/sched/ext.c */
static void update_masks(u32 vcpu, bool idle)
{
	const struct cpumask *core = &sim.smt[vcpu];

	if (idle)
		mask_set(&sim.idle, vcpu);
	else
		mask_clear(&sim.idle, vcpu);
	if (!sim.smt_active)
		return;
	for (u32 i = 0; i < sim.mask_words; i++) {
		if (idle && (core->bits[i] & ~sim.idle.bits[i]))
			return; /* a sibling works: the core's bits are clear already */
	}
	for (u32 i = 0; i < sim.mask_words; i++) {
		if (idle)
			sim.idle_smt.bits[i] |= core->bits[i];
		else
			sim.idle_smt.bits[i] &= ~core->bits[i];
	}
}

/* __scx_update_idle() */
void idle_update(struct vcpu *v, bool idle, bool notify)
{
	if (sim.ext && vsched_ops.update_idle && notify && !v->bypassing)
		call_void_op(vsched_ops.update_idle, CTX_REST, v->id, idle, 0);
	update_masks(v->id, idle);
}

/* test_and_clear_cpu_idle() */
bool idle_claim(u32 vcpu)
{
	if (sim.smt_active) {
		const struct cpumask *core = &sim.smt[vcpu];

		for (u32 i = 0; i < sim.mask_words; i++)
			sim.idle_smt.bits[i] &= ~core->bits[i];
	}
	if (!mask_test(&sim.idle, vcpu))
		return false;
	mask_clear(&sim.idle, vcpu);
	return true;
}

/* cpumask_any_and_distribute(): the next after the one that this vCPU was given last. */
u32 idle_distribute(const struct cpumask *a, const struct cpumask *b)
{
	u32 *previous = sim.this ? &sim.this->distribute : &sim.vcpus[0].distribute;
	u32 next = mask_next_and(a, b, *previous + 1);

	if (next == NONE)
		next = mask_first_and(a, b);
	if (next != NONE)
		*previous = next;
	return next;
}

/* scx_pick_idle_cpu() */
s32 idle_pick(const struct cpumask *allowed, u64 flags)
{
	for (;;) {
		u32 vcpu = NONE;

		if (sim.smt_active) {
			vcpu = idle_distribute(&sim.idle_smt, allowed);
			if (vcpu == NONE && flags & SIM_SCX_PICK_IDLE_CORE)
				return -16; /* EBUSY */
		}
		if (vcpu == NONE)
			vcpu = idle_distribute(&sim.idle, allowed);
		if (vcpu == NONE)
			return -16;
		if (idle_claim(vcpu)) {
			record(REC_IDLE_CLAIM, sim.this, NULL, vcpu);
			return vcpu;
		}
	}
}
