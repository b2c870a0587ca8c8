/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Those kernel types that look alike to BPF and to the simulator. kernel.h includes them with CO-RE
 * attributes in force and adds the others; templates/sim/kernel.h adds its own.
 */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long long s64;
typedef _Bool bool;

#define true 1
#define false 0
#ifndef NULL /* the simulator's system headers have it */
#define NULL ((void *)0)
#endif

struct kernfs_node {
	u64 id;
};

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
};

struct sched_entity {
	u64 sum_exec_runtime;
	u64 slice;
	unsigned char custom_slice;
};

enum scx_exit_kind {
	SCX_EXIT_NONE = 0,
};

struct scx_exit_info {
	enum scx_exit_kind kind;
	s64 exit_code;
	const char *reason;
	char *msg;
	char *dump;
};

struct scx_init_task_args {
	bool fork;
	struct cgroup *cgroup;
};

struct scx_exit_task_args {
	bool cancelled;
};

struct scx_cgroup_init_args {
	u32 weight;
};

struct scx_dump_ctx {
	bool dummy;
};

struct bpf_iter_scx_dsq {
	u64 opaque[6];
} __attribute__((aligned(8)));

/* Argument struct since 6.19 (kernel/sched/ext.c, __scx_bpf_dsq_insert_vtime). */
struct scx_bpf_dsq_insert_vtime_args {
	u64 dsq_id;
	u64 slice;
	u64 vtime;
	u64 enq_flags;
};

/* include/linux/sched.h, include/uapi/linux/sched.h, include/linux/sched/prio.h: stable ABI or since ever */
#define PF_KTHREAD 0x00200000
#define SCHED_BATCH 3
#define SCHED_IDLE 5
#define DEFAULT_PRIO 120
#define MAX_RT_PRIO 100
