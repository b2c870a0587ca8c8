/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a run is told and what it answers: flat tables that Python fills in and reads through
 * ctypes (scx_vsched/sim/layout.py repeats the structs, and the sizes are compared at load).
 * Every member is 64 bits wide, so that no padding can differ.
 */
#pragma once

#define SIM_MAX_LOOPS 8
#define SIM_MAX_GAPS 256 /* that a watch keeps */
#define SIM_LEVELS 5 /* of distance: same thread, same core, same cache, same node, another node */

struct sim_pcpu {
	u64 core, llc, node;
	u64 speed; /* 1/1024 */
};

/* A thread of the host: first the vCPUs by number, then competitors. */
struct sim_entity {
	u64 pcpu;
	u64 weight;
	u64 quota_ns, period_ns; /* no quota where period_ns is 0 */
	u64 phase_ns; /* how far into its period or pattern the run begins, ~0 to draw it */
	u64 nr_gates, gates; /* open and shut times in `numbers`, from this index on, repeated */
};

struct sim_machine {
	u64 vcpus, pcpus, entities;
	u64 tick_ns;
	u64 steal_visible;
	u64 smt_factor; /* speed of each thread of a core while more than one is busy, 1/1024 */
	u64 host_slice_ns, host_wakeup_ns; /* the host's fair scheduler */
	u64 ipi_ns, halt_wake_ns; /* an interrupt between vCPUs; waking a halted vCPU */
	u64 switch_ns, syscall_ns, wake_ns;
	u64 migrate_ns[SIM_LEVELS];
	u64 line_ns[SIM_LEVELS];
	const struct sim_pcpu *pcpu;
	const struct sim_entity *entity;
	const u64 *vcpu_core; /* as the guest is told */
	const u64 *vcpu_llc;
	const u64 *vcpu_node;
	const u64 *numbers;
};

enum sim_opcode {
	OP_COMPUTE, /* a, b, c: distribution */
	OP_SLEEP,
	OP_YIELD,
	OP_LOCK, /* a: lock */
	OP_UNLOCK,
	OP_SPIN_LOCK, /* waits without sleeping */
	OP_BARRIER, /* a: barrier */
	OP_SEND, /* a: channel, b: cache lines, c: sync */
	OP_RECEIVE, /* a: channel, b: cache lines */
	OP_FORK, /* a: program, b: how many */
	OP_JOIN,
	OP_LOOP, /* a: how often */
	OP_END,
	OP_FOREVER, /* jump to a */
	OP_STAMP, /* a request begins */
	OP_LATENCY, /* a: metric; what passed since the stamp */
	OP_MARK, /* a: metric; one piece of work is done */
	OP_PERIOD, /* a: length; sleeps until the next one begins, which is the stamp */
	OP_EXIT,
	OP_UNTIL, /* a: time of the run; sleeps until then, which is the stamp */
	NR_OPS,
};

enum sim_distribution { DIST_FIXED, DIST_UNIFORM, DIST_EXPONENTIAL };

struct sim_instruction {
	u64 op, a, b, c, distribution;
};

struct sim_program {
	u64 start; /* first instruction */
};

/* Tasks that exist from the start. */
struct sim_task {
	u64 program, count;
	s64 nice;
	u64 policy; /* SCHED_… */
	u64 kthread;
	u64 group;
	u64 affinity; /* mask in `numbers`, of as many words as the machine needs; ~0 without one */
	u64 start_ns, stagger_ns;
	u64 footprint; /* 1/1024 */
	u64 migration_disabled;
};

struct sim_source {
	u64 channel;
	u64 interval_ns, distribution;
	u64 start_ns, end_ns;
	u64 nr_irqs, irqs; /* vCPUs in `numbers` that take its interrupts, in turn */
};

struct sim_group {
	u64 parent, weight; /* index; the root is 0 */
};

enum sim_script_op {
	SCRIPT_OFFLINE, /* a: vCPU */
	SCRIPT_ONLINE,
	SCRIPT_AFFINITY, /* a: nth live task, b: mask in `numbers` */
	SCRIPT_NICE, /* a: nth live task, b: static priority */
	SCRIPT_GROUP_MOVE, /* a: nth live task, b: group */
	SCRIPT_GROUP_WEIGHT, /* a: group, b: weight */
	SCRIPT_BYPASS, /* a: on or off */
	SCRIPT_QUOTA, /* a: host thread, b: quota, c: period */
	SCRIPT_SPEED, /* a: hardware thread, b: speed */
	SCRIPT_PIN, /* a: host thread, b: hardware thread */
	SCRIPT_CLASS, /* a: nth live task, b: SCHED_… */
	SCRIPT_KILL, /* a: nth live task */
	SCRIPT_MIGRATION, /* a: nth live task, b: migration disabled */
	SCRIPT_FEED, /* a: what user space now believes, for `feed` */
	SCRIPT_HOME, /* a: nth live task, b: NUMA node, c: bytes of memory, or ~0: no home */
	SCRIPT_FIX, /* the same, and it never leaves */
};

struct sim_script {
	u64 at_ns, op, a, b, c;
};

struct sim_load {
	u64 instructions, programs, tasks, locks, barriers, channels, sources, groups, metrics;
	u64 script;
	u64 max_tasks;
	const struct sim_instruction *instruction;
	const struct sim_program *program;
	const struct sim_task *task;
	const u64 *barrier; /* parties */
	const u64 *channel; /* capacity */
	const struct sim_source *source;
	const struct sim_group *group;
	const struct sim_script *step;
	const u64 *numbers;
};

/* What a watch saw of a vCPU: when it wanted to run and was kept away. */
struct sim_watch {
	u64 vcpu, start_ns, end_ns;
	u64 pcpu, speed; /* where it is and how fast that core is alone, as spinners find out */
	u64 nr_gaps; /* whole ones, or that the start cuts off */
	u64 gaps[2 * SIM_MAX_GAPS]; /* start and length of each */
	u64 open_ns; /* length so far of the one that the end cuts off */
};

struct sim_options {
	u64 seed, end_ns;
	u64 warmup_ns; /* nothing is measured before */
	u64 max_events, max_wall_ms;
	u64 ext; /* the scheduler under test, rather than the default one */
	u64 ops_flags; /* of its table of operations, as the loader sets them */
	u64 timeout_ms; /* the watchdog's */
	u64 stranded_ns; /* how long a task may wait beside an idle vCPU */
	u64 check_every; /* events between two checks of everything, 0 for none */
	u64 trace_limit; /* how many records are kept, the last ones; 0 for a few */
	u64 drain; /* at the end kill all tasks and look at what is left */
	s64 (*feed)(u64 number); /* lets user space hand the scheduler another topology */
	s64 (*home)(u64 pid, u64 node, u64 bytes, u64 fixed); /* or a process another home */
	u64 (*hook)(u64 hook, const u64 *arguments, u64 *failed); /* of a policy in CPython */
	u64 probe; /* probers watch the vCPUs */
	/* What one saw; 1: to be looked at again at once, negative: an error. */
	s64 (*probed)(const struct sim_watch *watch);
};

/* One step of the run. */
struct sim_record {
	u64 at;
	u32 kind;
	u32 vcpu;
	u32 task; /* pid, 0 for none */
	u32 detail;
};

struct sim_vcpu_stats {
	u64 hosted_ns, stolen_ns, busy_ns, switches, ticks;
};

struct sim_task_stats {
	u64 pid, program, run_ns, waited_ns, wakeups, switches, migrations;
};

struct sim_metric {
	u64 count, samples;
	const u64 *values;
};

struct sim_result {
	u64 now, events, records, digest;
	u64 failed;
	u64 wakeups, migrations, switches, kicks, remote_kicks, far_migrations;
	u64 longest_wait_ns; /* of a runnable task for its turn */
	u64 trace_records, trace_start; /* in the ring */
	const struct sim_record *trace;
	u64 vcpus, tasks, metrics;
	const struct sim_vcpu_stats *vcpu;
	const struct sim_task_stats *task;
	const struct sim_metric *metric;
	char name[64], message[1024];
};
