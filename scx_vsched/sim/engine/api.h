/* SPDX-License-Identifier: GPL-2.0-only */
/* What the simulator's parts offer to each other, by file. */
#pragma once

#include "sim.h"

/* runtime.c */
void *sim_alloc(u64 size);
void sim_free_all(void);
u64 random_next(u64 state[2]);
void random_seed(u64 state[2], u64 stream);
u64 random_below(u64 state[2], u64 bound);
u64 draw(u64 state[2], u64 distribution, u64 a, u64 b);

/* guard.c */
void guard_start(void);
void guard_stop(void);
#ifdef __SANITIZE_ADDRESS__
void guard_check(void);
#else
static inline void guard_check(void)
{
}
#endif

/* events.c */
void event_at(struct event *event, u64 at);
void event_cancel(struct event *event);
struct event *event_next(void);
u64 event_next_at(void);

static inline bool event_due(const struct event *event)
{
	return event->slot;
}

/* trace.c */
enum record_kind {
	REC_WAKE, REC_ENQUEUE, REC_SWITCH_IN, REC_PREEMPTED, REC_SLEPT, REC_MIGRATE, REC_TICK, REC_KICK,
	REC_IPI, REC_HOST_IN, REC_HOST_OUT, REC_HALT, REC_IRQ, REC_FORK, REC_EXIT, REC_OFFLINE,
	REC_ONLINE, REC_AFFINITY, REC_WEIGHT, REC_BYPASS, REC_HOST_CHANGE, REC_KEPT, REC_IDLE_CLAIM,
	REC_REQUEST, REC_CGROUP, REC_DECISION, REC_TIMER,
};
void record(u32 kind, const struct vcpu *v, const struct task *t, u32 detail);

/* masks */
static inline bool mask_test(const struct cpumask *mask, u32 bit)
{
	return mask->bits[bit / 64] >> (bit % 64) & 1;
}

static inline void mask_set(struct cpumask *mask, u32 bit)
{
	mask->bits[bit / 64] |= 1UL << (bit % 64);
}

static inline void mask_clear(struct cpumask *mask, u32 bit)
{
	mask->bits[bit / 64] &= ~(1UL << (bit % 64));
}

static inline u32 mask_weight(const struct cpumask *mask)
{
	u32 weight = 0;

	for (u32 i = 0; i < sim.mask_words; i++)
		weight += __builtin_popcountl(mask->bits[i]);
	return weight;
}

/* The first bit from @from on that is in both masks, NONE without one. */
static inline u32 mask_next_and(const struct cpumask *a, const struct cpumask *b, u32 from)
{
	for (u32 word = from / 64; word < sim.mask_words; word++) {
		unsigned long bits = a->bits[word] & b->bits[word];

		if (word == from / 64)
			bits &= ~0UL << (from % 64);
		if (bits)
			return word * 64 + __builtin_ctzl(bits);
	}
	return NONE;
}

static inline u32 mask_first_and(const struct cpumask *a, const struct cpumask *b)
{
	return mask_next_and(a, b, 0);
}

/* maps.c */
extern const struct sim_map sim_maps[] __attribute__((weak));
extern const u32 sim_nr_maps __attribute__((weak));
extern const struct sim_counter sim_counters[] __attribute__((weak));
extern const struct sim_counter sim_hidden __attribute__((weak));
extern const struct sim_array sim_nodes __attribute__((weak)); /* what waits on each NUMA node */
u32 sim_queue_vcpu(u64 dsq) __attribute__((weak)); /* one that a DSQ is for, ~0 for others */
bool sim_kept_from(u32 vcpu, u64 dsq) __attribute__((weak)); /* it takes nothing from there */
extern const u64 sim_parked __attribute__((weak)); /* the DSQ of tasks that are held back */
extern const u32 sim_nr_counters __attribute__((weak));
void *sim_map_values(const char *name, u32 *entries, u32 *size);
void maps_setup(void);
void maps_forget_task(const struct task *t);

/* dsq.c */
void dsq_init(struct dsq *dsq, u64 id);
struct dsq *dsq_create(u64 id);
struct dsq *dsq_find(u64 id);
void dsq_link(struct dsq *dsq, struct task *t, u64 flags);
void dsq_unlink(struct task *t);
struct task *dsq_first(const struct dsq *dsq);
struct task *dsq_after(const struct dsq *dsq, const struct task *t);
struct task *dsq_last(const struct dsq *dsq);
struct task *dsq_before(const struct dsq *dsq, const struct task *t);
extern struct list user_dsqs;

/* idle.c */
void idle_update(struct vcpu *v, bool idle, bool notify);
s32 idle_pick(const struct cpumask *allowed, u64 flags);
bool idle_claim(u32 vcpu);
u32 idle_distribute(const struct cpumask *a, const struct cpumask *b);

/* ext_call.c */
extern struct sched_ext_ops vsched_ops __attribute__((weak));
enum context { CTX_NONE = 0, CTX_SELECT = 1, CTX_ENQUEUE = 2, CTX_DISPATCH = 4, CTX_REST = 8,
	       CTX_UNLOCKED = 16, CTX_SLEEPABLE = 32 };
const char *ext_op_name(const void *op);
s32 call_op(void *op, u32 context, u64 a, u64 b, u64 c);
void call_void_op(void *op, u32 context, u64 a, u64 b, u64 c);
void ext_call_timer(struct hrtimer *t);

/* kfuncs.c */
void kfunc_allow(u32 contexts, const char *kfunc);

/* ext.c */
extern const struct class ext_class;

/* ext_life.c */
void ext_start(void);
void ext_set_bypass(bool on);

/* ext_queue.c */
struct dsq *ext_target_dsq(struct vcpu *v, u64 id, struct task *t);
bool ext_may_run_on(const struct task *t, const struct vcpu *v, bool must);
void ext_dispatch_enqueue(struct dsq *dsq, struct task *t, u64 flags);
void ext_move(struct vcpu *v, struct task *t, struct dsq *to, u64 flags);
bool ext_consume(struct vcpu *v, struct dsq *dsq);
void ext_process_deferred(struct vcpu *v);
void ext_reenqueue(struct dsq *dsq);

/* ext_dispatch.c */
void ext_buffer(struct task *t, u64 dsq_id, u64 flags);
void ext_flush_buffer(struct vcpu *v);
extern u32 ext_dispatched;

/* fair.c */
extern const struct class fair_class;
void fair_start(void);

/* tasks.c */
struct task *task_new(u32 program, const struct sim_task *like, struct task *parent);
void task_start(struct task *t, struct vcpu *from);
bool task_wake(struct task *t, u64 wake_flags);
void task_set_vcpu(struct task *t, struct vcpu *v);
void task_activate_on(struct vcpu *v, struct task *t, u64 flags);
void task_deactivate_from(struct vcpu *v, struct task *t, u64 flags);
void task_move_queued(struct task *t, struct vcpu *to);
void task_set_allowed(struct task *t, const struct cpumask *mask);
void task_set_weight(struct task *t, s32 static_prio, u32 policy);
void task_free(struct task *t);
void task_kill(struct task *t);
u32 task_fallback_vcpu(struct task *t);
bool task_vcpu_allowed(const struct task *t, u32 vcpu);
struct task *task_nth(u64 n);
void resched(struct vcpu *v);

/* vcpu.c */
void vcpu_run(struct vcpu *v);
void vcpu_account(struct vcpu *v);
void vcpu_hosted(struct vcpu *v);
void vcpu_unhosted(struct vcpu *v);
void vcpu_speed(struct vcpu *v, u32 speed);
void vcpu_event(struct vcpu *v, u32 kind);
void vcpu_irq(struct vcpu *v, struct task *t);
void vcpu_spin(struct vcpu *v);
u64 vcpu_clock_task(struct vcpu *v);
void vcpu_add_work(struct task *t, u64 ns);

/* host.c */
void host_setup(void);
void host_wants(struct entity *e, bool wants);
void host_event(struct event *event);
void host_set_quota(struct entity *e, u64 quota_ns, u64 period_ns);
void host_set_speed(struct pcpu *p, u32 speed);
void host_pin(struct entity *e, struct pcpu *p);
u32 host_distance(const struct pcpu *a, const struct pcpu *b);

/* timers.c */
void timers_setup(void);
void timers_due(struct hrtimer *t);
void timers_run(struct vcpu *v);

/* probe.c */
void probe_setup(void);
void probe_event(struct prober *prober);
void probe_away(struct vcpu *v);
void probe_there(struct vcpu *v);

/* program.c */
enum step { STEP_RUN, STEP_BLOCK, STEP_EXIT, STEP_YIELD };
void program_setup(void);
enum step program_step(struct vcpu *v, struct task *t);
void program_source(struct channel *channel);
void program_leave(struct task *t);
void program_dead(const struct task *t);
void program_spin(struct task *t);

/* cgroup.c */
void cgroup_setup(void);
void cgroup_move(struct task *t, u32 to);
void cgroup_set_weight(u32 group, u32 weight);

/* script.c */
void script_setup(void);
void script_step(void);

/* hotplug.c */
void hotplug_offline(struct vcpu *v);
void hotplug_online(struct vcpu *v);

/* check.c */
void check_everything(void);
void check_sweep(void);
void check_watchdog(void);
void check_drained(void);
