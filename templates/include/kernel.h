/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The few kernel types that the scheduler touches, each with only the members that it reads.
 * preserve_access_index makes clang record every access, so libbpf finds the member at its true
 * offset in the running kernel's BTF (CO-RE); the layout written here does not matter.
 */
#pragma once

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

#include "types.h"

/* libbpf tells a declared from a defined struct when it compares a kfunc's arguments. */
struct cpumask {
	unsigned long bits[1];
};

struct bpf_cpumask {
	struct cpumask cpumask;
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
	struct task_struct *group_leader;
	struct sched_entity se;
	struct sched_ext_entity scx;
	char comm[16];
};

#pragma clang attribute pop

/* include/uapi/linux/bpf.h: the kernel looks for it in a map's type by this name and size. */
struct bpf_timer {
	u64 opaque[2];
} __attribute__((aligned(8)));

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
	SCX_ENQ_LAST = 4,
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

enum scx_dsq_iter_flags {
	SCX_DSQ_ITER_REV = 1,
};

enum scx_ent_flags {
	SCX_TASK_QUEUED = 1,
};

/* kinds of enum relocations (libbpf's enum bpf_enum_value_kind): 0 asks for existence, 1 for the value */
#define CORE_ENUM(type, name) \
	__builtin_preserve_enum_value(*(typeof(enum type) *)name, 1)
#define CORE_ENUM_OR_ZERO(type, name)                                                         \
	(__builtin_preserve_enum_value(*(typeof(enum type) *)name, 0) ? CORE_ENUM(type, name) \
								       : 0)
/* kind 2 of field relocations and kind 0 of type relocations ask for existence */
#define CORE_FIELD_EXISTS(field) __builtin_preserve_field_info(field, 2)
#define CORE_TYPE_EXISTS(type) __builtin_preserve_type_info(*(type *)0, 0)
