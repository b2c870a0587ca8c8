/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kfuncs that the scheduler calls, each only where the kernel allows it (kernel/sched/ext.c,
 * scx_kf_allowed() and the kfunc sets at its end). SIM_KERNEL chooses the names and forms: those of
 * 6.12, those of 7.x, or those that Debian's 7.1.13 leaves (710). Here those that ask or wake.
 */
#include "api.h"
#include "scx.h"

void kfunc_allow(u32 contexts, const char *kfunc)
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
	kfunc_allow(CTX_SLEEPABLE, "scx_bpf_create_dsq");
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

#if SIM_KERNEL != 710
const struct cpumask *scx_bpf_get_idle_cpumask(void)
{
	return &sim.idle;
}

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
