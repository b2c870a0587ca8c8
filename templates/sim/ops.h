/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's own sched_ext_ops, with every operation: templates/include/scx.h declares only those
 * that the mechanism fills in, which suffices for libbpf but not for the one who calls them.
 * Operations take their arguments as BPF programs do, in an array.
 */
#pragma once

#include "bpf.h"

struct sched_ext_ops {
	void *select_cpu, *enqueue, *dequeue, *dispatch, *tick, *runnable, *running, *stopping,
		*quiescent, *yield, *set_weight, *set_cpumask, *update_idle, *cpu_acquire,
		*cpu_release, *init_task, *exit_task, *enable, *disable, *dump, *dump_cpu,
		*dump_task, *cgroup_init, *cgroup_exit, *cgroup_prep_move, *cgroup_move,
		*cgroup_cancel_move, *cgroup_set_weight, *cpu_online, *cpu_offline, *init, *exit;
	u32 dispatch_max_batch;
	u64 flags;
	u32 timeout_ms;
	u32 exit_dump_len;
	char name[128];
};
