/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stands in for templates/include/kernel.h where the scheduler is compiled for the simulator: the
 * same types, laid out once and for all since nothing is relocated. A member that the templates
 * read and the simulator does not provide fails to compile, so the two cannot drift apart unseen.
 */
#pragma once

#include "../include/types.h"

#define SIM_MASK_WORDS 64 /* 4096 vCPUs */

struct cpumask {
	unsigned long bits[SIM_MASK_WORDS];
};

struct bpf_cpumask {
	struct cpumask cpumask;
};

struct sched_ext_entity {
	u32 flags;
	u32 weight;
	u64 slice;
	u64 dsq_vtime;
};

struct task_struct {
	unsigned int flags;
	int static_prio;
	unsigned int policy;
	int nr_cpus_allowed;
	const struct cpumask *cpus_ptr;
	unsigned short migration_disabled;
	int pid;
	int tgid;
	struct task_struct *group_leader;
	u32 sim_index; /* where the task's storage lies in each map */
	struct sched_entity se;
	struct sched_ext_entity scx;
	char comm[16];
};

/* The values of Linux 6.12 to 7.3; CORE_ENUM() finds them by name. */
#define SIM_SCX_DSQ_INVALID (1ULL << 63)
#define SIM_SCX_DSQ_GLOBAL (1ULL << 63 | 1)
#define SIM_SCX_DSQ_LOCAL (1ULL << 63 | 2)
#define SIM_SCX_DSQ_LOCAL_ON (1ULL << 63 | 1ULL << 62)
#define SIM_SCX_ENQ_WAKEUP 1ULL
#define SIM_SCX_ENQ_HEAD (1ULL << 4)
#define SIM_SCX_ENQ_CPU_SELECTED (1ULL << 10)
#define SIM_SCX_ENQ_PREEMPT (1ULL << 32)
#define SIM_SCX_ENQ_REENQ (1ULL << 40)
#define SIM_SCX_ENQ_LAST (1ULL << 41)
#define SIM_SCX_ENQ_DSQ_PRIQ (1ULL << 57)
#define SIM_SCX_DEQ_SLEEP 1ULL
#define SIM_SCX_WAKE_FORK 4ULL
#define SIM_SCX_WAKE_TTWU 8ULL
#define SIM_SCX_WAKE_SYNC 16ULL
#define SIM_SCX_KICK_IDLE 1ULL
#define SIM_SCX_KICK_PREEMPT 2ULL
#define SIM_SCX_KICK_WAIT 4ULL
#define SIM_SCX_PICK_IDLE_CORE 1ULL
#define SIM_SCX_DSQ_ITER_REV (1ULL << 16)
#define SIM_SCX_TASK_QUEUED 1U
#define SIM_SCX_SLICE_DFL 20000000ULL
#define SIM_SCX_SLICE_INF (~0ULL)
#define SIM_SCX_OPS_ENQ_LAST (1ULL << 1)
#define SIM_SCX_OPS_ENQ_EXITING (1ULL << 2)

#define CORE_ENUM(type, name) SIM_##name
/* 6.12 is the only simulated kernel that lacks one of the enumerators in use. */
#if SIM_KERNEL >= 613
#define CORE_ENUM_OR_ZERO(type, name) SIM_##name
#else
#define CORE_ENUM_OR_ZERO(type, name) 0ULL
#endif
#define CORE_FIELD_EXISTS(field) 1
#define CORE_TYPE_EXISTS(type) 1

#define PF_EXITING 0x00000004 /* include/linux/sched.h */
