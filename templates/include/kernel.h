/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The few kernel types that the scheduler touches, each with only the members that it reads.
 * preserve_access_index makes clang record every access, so libbpf finds the member at its true
 * offset in the running kernel's BTF (CO-RE); the layout written here does not matter.
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
#define NULL ((void *)0)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* libbpf tells a declared from a defined struct when it compares a kfunc's arguments. */
struct cpumask {
	unsigned long bits[1];
};

struct bpf_cpumask {
	struct cpumask cpumask;
};

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
};

struct sched_ext_entity {
	u32 flags;
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
	struct sched_entity se;
	struct sched_ext_entity scx;
	char comm[16];
};

/* include/uapi/linux/bpf.h: the kernel looks for it in a map's type by this name and size. */
#pragma clang attribute pop
struct bpf_timer {
	u64 opaque[2];
} __attribute__((aligned(8)));
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

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

/*
 * Values are the running kernel's: CORE_ENUM() below resolves each name in its BTF, so only the
 * names matter here.
 */
enum scx_dsq_id_flags {
	SCX_DSQ_LOCAL = 1,
	SCX_DSQ_LOCAL_ON = 2,
};

enum scx_enq_flags {
	SCX_ENQ_WAKEUP = 1,
	SCX_ENQ_CPU_SELECTED = 2,
	SCX_ENQ_PREEMPT = 3,
};

enum scx_wake_flags {
	SCX_WAKE_SYNC = 1,
};

enum scx_kick_flags {
	SCX_KICK_IDLE = 1,
	SCX_KICK_PREEMPT = 2,
};

enum scx_pick_idle_cpu_flags {
	SCX_PICK_IDLE_CORE = 1,
};

enum scx_ent_flags {
	SCX_TASK_QUEUED = 1,
};

#pragma clang attribute pop

/* kinds of enum relocations (libbpf's enum bpf_enum_value_kind): 0 asks for existence, 1 for the value */
#define CORE_ENUM(type, name) \
	__builtin_preserve_enum_value(*(typeof(enum type) *)name, 1)
#define CORE_ENUM_OR_ZERO(type, name)                                                         \
	(__builtin_preserve_enum_value(*(typeof(enum type) *)name, 0) ? CORE_ENUM(type, name) \
								       : 0)
/* kind 2 of field relocations and kind 0 of type relocations ask for existence */
#define CORE_FIELD_EXISTS(field) __builtin_preserve_field_info(field, 2)
#define CORE_TYPE_EXISTS(type) __builtin_preserve_type_info(*(type *)0, 0)

/* include/linux/sched.h, include/uapi/linux/sched.h, include/linux/sched/prio.h: stable ABI or since ever */
#define PF_KTHREAD 0x00200000
#define SCHED_BATCH 3
#define SCHED_IDLE 5
#define DEFAULT_PRIO 120
#define MAX_RT_PRIO 100
