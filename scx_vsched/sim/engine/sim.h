/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The simulator's state. One run owns the whole library: it is loaded afresh for each, so all
 * state is global and begins as zeros. Times are nanoseconds since the start, work is in
 * nanoseconds at full speed times 1024, speeds are in 1/1024.
 */
#pragma once

#include <setjmp.h>
#include <stddef.h>

#include "ops.h"

#include "config.h"

#define NEVER (~0ULL)
#define NONE (~0U)
#define FULL_SPEED 1024U

/* ---- Events ---- */

enum event_kind {
	EV_WORK, /* a vCPU finishes what its task computes */
	EV_TICK, /* a vCPU's periodic tick */
	EV_IPI, /* a reschedule interrupt reaches a vCPU */
	EV_TIMER, /* a task's sleep ends */
	EV_SLICE, /* a hardware thread's turn ends */
	EV_PERIOD, /* a host thread's quota is refilled */
	EV_GATE, /* a host thread comes or goes by its pattern */
	EV_SOURCE, /* a request arrives */
	EV_SCRIPT, /* something that the run was told to do at this time */
	EV_START, /* tasks of the workload come into being */
	EV_WATCHDOG,
	EV_PROBE, /* the probers begin to watch, or have seen enough */
	EV_HRTIMER, /* a timer of the scheduler's is due */
	EV_SWEEP, /* invariants that are too dear for every event */
};

struct event {
	u64 at;
	u64 order; /* of its insertion: decides among events of the same time */
	u32 slot; /* in the heap plus 1, 0 while it is not due */
	u32 kind;
	void *owner;
};

/* ---- Lists ---- */

struct list {
	struct list *next, *prev;
};

#define entry_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

static inline void list_init(struct list *list)
{
	list->next = list->prev = list;
}

static inline bool list_empty(const struct list *list)
{
	return list->next == list;
}

/* Adds @node behind @at: at the list's head, or behind a node of it. */
static inline void list_add(struct list *node, struct list *at)
{
	node->next = at->next;
	node->prev = at;
	at->next->prev = node;
	at->next = node;
}

static inline void list_del(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	node->next = node->prev = node;
}

/* ---- The scheduler's queues ---- */

struct dsq {
	u64 id;
	struct list tasks; /* in the order in which they leave */
	struct task *root; /* of a treap by dsq_vtime, where tasks were inserted by it */
	struct vcpu *vcpu; /* whose local queue it is */
	struct list user; /* all user DSQs */
	u32 nr;
	u64 seq;
	u64 stranded_since; /* when a sweep first saw its tasks wait beside an idle vCPU */
};

/* ---- Tasks ---- */

enum task_state { TASK_FREE, TASK_NEW, TASK_RUNNABLE, TASK_BLOCKED, TASK_DEAD };
enum ops_state { OPSS_NONE, OPSS_QUEUEING, OPSS_QUEUED }; /* kernel/sched/ext.c, scx_ops_state */

struct task {
	struct task_struct p; /* what the scheduler sees; first, so that pointers convert */
	u8 state;
	bool on_rq; /* its class has it queued or running */
	bool migrating; /* TASK_ON_RQ_MIGRATING */
	bool enabled; /* ops.enable was called */
	bool paid; /* the cost of the next instruction has been computed */
	struct vcpu *vcpu; /* task_cpu() */
	struct cpumask allowed;
	u64 left; /* work until the next instruction */

	/* sched_ext */
	struct dsq *dsq;
	struct list node; /* on its DSQ, or on the deferred local insertions of a vCPU */
	struct task *tree_left, *tree_right, *tree_up;
	u32 tree_priority;
	bool on_tree;
	bool deferred;
	u64 dsq_seq;
	u8 opss;
	u64 ddsp_dsq_id;
	u64 ddsp_enq_flags;
	s32 sticky_cpu;
	bool reset_runnable_at;
	u64 runnable_at;

	/* the default class */
	struct list fair_node;
	u64 vruntime, deadline, picked_deadline;
	s64 vlag;
	u64 slept_at, last_ran;
	u32 wakee_flips, recent_vcpu;
	u64 flips_at;
	const struct task *last_wakee;

	/* its program */
	u32 pc;
	u32 loop_depth;
	u64 loops[SIM_MAX_LOOPS];
	u64 stamp; /* when the request that it works on began */
	u64 from_vcpu; /* where the data that it works on comes from */
	u64 next_period;
	struct list wait; /* on a lock's, barrier's or channel's waiters */
	u64 wait_since; /* when it became runnable */
	struct event timer;
	struct task *parent;
	u32 children;
	bool joining;
	bool spinning; /* on the lock of its instruction */
	struct task *next_free;
	u32 group;
	u32 program;
	u64 footprint; /* of its data in the caches, in 1/1024 */
	u64 random[2];
	struct pcpu *last_pcpu; /* where its data are warm */

	/* statistics */
	u64 waited_ns, wakeups, switches, migrations;
};

static inline struct task *task_of(const struct task_struct *p)
{
	return (struct task *)p;
}

/* ---- vCPUs and the host ---- */

struct vcpu {
	u32 id;
	struct task *curr; /* NULL: the idle task */
	bool need_resched;
	bool online; /* cpu_online() */
	bool active; /* cpu_active() */
	bool rq_online; /* SCX_RQ_ONLINE */
	bool in_balance; /* SCX_RQ_IN_BALANCE */
	bool keep; /* SCX_RQ_BAL_KEEP */
	bool idle; /* the idle task runs, as far as the scheduler was told */
	bool bypassing;
	bool tick_pending; /* a tick was due while the host kept the vCPU away */
	bool hosted; /* its host thread runs */
	bool halted; /* it has nothing to do and asks the host for nothing */
	bool in_run; /* vcpu_run() is at work on it */
	bool in_schedule;
	bool spun; /* a prober spins on it while it has nothing else to do */
	bool kick_self, preempt_self; /* kicks of itself that wait until it has switched */
	u32 nr_running;
	struct dsq local;
	struct list runnable; /* tasks in the order in which they began to wait */
	struct list deferred; /* ddsp_deferred_locals */
	struct list irqs; /* tasks to be woken once the vCPU runs */
	struct list timers; /* of the scheduler's, due once the vCPU runs */
	struct prober *prober; /* what is watched of it, NULL without probers */
	u32 distribute; /* cpumask_any_and_distribute()'s memory */
	u64 since; /* up to when progress and time have been accounted */
	u64 exec_start; /* clock_task when curr's run time was last updated */
	u32 speed;
	struct event work, tick, ipi;
	struct entity *entity;

	/* the default class */
	struct list fair_tasks; /* with the one that runs */
	u32 nr_fair, failed_pulls, failed_spreads, failed_balances;
	bool asked_to_pull;
	u64 min_vruntime, fair_load;
	u64 next_balance[4], next_kick;
	u64 rq_load_avg, rq_load_at;
	u64 capacity_seen, capacity_stolen; /* what the guest takes for its capacity, 1/1024 */
	u64 idle_since, avg_idle;
	struct vcpu *push_to; /* where its task shall go: active balancing */

	/* statistics */
	u64 hosted_ns, stolen_ns, halted_ns, busy_ns, idle_ns, switches, ticks;
};

struct pcpu {
	u32 id, core, llc, node;
	u32 speed; /* of the thread alone, in 1/1024 */
	struct entity *curr;
	struct list runnable; /* host threads that want it */
	u32 nr_runnable;
	u64 min_vruntime;
	struct pcpu *sibling; /* ring of the core's hardware threads */
	struct event slice;
};

/* A thread of the host: a vCPU, or one that competes with vCPUs. */
struct entity {
	struct vcpu *vcpu; /* NULL: a competitor */
	struct pcpu *pcpu;
	struct list node;
	u32 weight;
	bool wants, throttled, gated; /* wants to run; out of quota; kept away by its pattern */
	bool queued;
	u64 vruntime;
	u64 since; /* when its run was last accounted */
	u64 quota_ns, period_ns, left_ns;
	const u64 *gates; /* lengths of alternately open and shut times */
	u32 nr_gates, gate;
	struct event period, gating;
	u64 ran_ns;
};

struct cgroup_node {
	struct cgroup cgroup;
	struct kernfs_node kn;
	u32 weight;
};

/* A vCPU as a prober sees it: probe.c. */
struct prober {
	struct sim_watch watch;
	bool watching;
	u64 away_since; /* NEVER while the vCPU is there, or has nothing to do */
	u64 free_before; /* halted_ns when the last round began */
	u64 due_ns; /* the next look while it is idle */
	struct event end;
};

/* A high-resolution timer of the scheduler's, on the vCPU that started it: timers.c. */
struct hrtimer {
	struct event event;
	struct list node; /* on that vCPU's, once it is due */
	struct vcpu *vcpu;
	int (*callback)(void *map, int *key, void *value);
	void *value; /* of the map that holds it, at `key` */
	int key;
};

/* ---- What programs share ---- */

struct waiters {
	struct list tasks;
	u32 nr;
};

struct lock {
	struct task *owner;
	struct waiters waiters, spinners;
	u64 from_vcpu;
};

struct barrier {
	struct waiters waiters;
	u32 parties;
};

struct channel {
	u64 *stamps; /* a ring of the messages' time stamps */
	u64 *senders;
	u32 capacity, first, used;
	struct waiters receivers, senders_waiting;
	struct event arrival; /* of a source that feeds it */
	const struct sim_source *source;
	u64 random[2];
	u64 arrived, refused;
	u32 next_irq;
};

struct metric {
	u64 *values;
	u64 nr, room;
	u64 count; /* of MARKs */
};

/* The guest's scheduling classes: sched_ext with the scheduler under test, or the default one. */
struct class {
	const char *name;
	s32 (*select_rq)(struct task *t, s32 prev, u64 wake_flags);
	void (*enqueue)(struct vcpu *v, struct task *t, u64 flags);
	void (*dequeue)(struct vcpu *v, struct task *t, u64 flags);
	struct task *(*pick_next)(struct vcpu *v, struct task *prev); /* puts @prev, sets the next */
	void (*put)(struct vcpu *v, struct task *t); /* of a task whose attributes change */
	void (*set)(struct vcpu *v, struct task *t);
	void (*tick)(struct vcpu *v, struct task *t);
	void (*update)(struct vcpu *v);
	void (*wakeup_preempt)(struct vcpu *v, struct task *t, u64 flags);
	void (*yield)(struct vcpu *v, struct task *t);
	void (*allowed_changed)(struct task *t);
	void (*weight_changed)(struct task *t);
	void (*fork)(struct task *t);
	void (*dead)(struct task *t);
};

struct sim {
	u64 now;
	u64 order;
	u64 events, records;
	u64 digest;
	bool ended;
	bool killed; /* the script ended a task, for which others may wait for ever */
	bool draining; /* all tasks were told to end, and none begins */
	bool ext; /* the scheduler under test is at work, rather than the default one */
	const struct class *class;
	const struct sim_machine *machine;
	const struct sim_load *load;
	const struct sim_options *options;
	struct vcpu *this; /* the vCPU on which the guest's code runs, NULL outside of the guest */
	u32 nr_vcpus, mask_words;
	struct vcpu *vcpus;
	struct pcpu *pcpus;
	struct entity *entities;
	struct cgroup_node *cgroups;
	struct task *tasks, *free_tasks;
	u32 nr_tasks; /* slots ever used */
	u32 live_tasks;
	u64 to_start; /* tasks of the workload that have not begun yet */
	u32 next_pid;
	struct lock *locks;
	struct barrier *barriers;
	struct channel *channels;
	struct metric *metrics;
	struct cpumask possible, online, active, idle, idle_smt;
	struct cpumask *smt; /* of each vCPU's core */
	bool smt_active;
	struct dsq global;
	struct event watchdog, sweep, script, probe;
	u32 next_script;
	struct task *no_task;
	struct task *forker; /* who begets the task that is being made ready */
	/* what the kfuncs may be asked for just now */
	u32 context;
	const void *op; /* the operation that runs, where the context is not 0 */
	struct task *ddsp_task;
	bool ddsp_done;
	bool bypassing;
	struct sim_result result;
	jmp_buf failure;
};

extern struct sim sim;

/* Ends the run with a named finding; does not return. */
_Noreturn __attribute__((format(printf, 2, 3))) void fail(const char *name, const char *format, ...);

#define check(condition, name, ...)                \
	do {                                       \
		if (unlikely(!(condition)))        \
			fail(name, __VA_ARGS__);    \
	} while (0)
