/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * bpf_timer: a callback in a soft interrupt of the vCPU that started the timer. One that is due
 * while the host keeps the vCPU away comes as soon as it is back; a halted vCPU is woken for it.
 * kernel/bpf/helpers.c, bpf_timer_start(), bpf_timer_cancel() and bpf_timer_cb().
 */
#include "api.h"

#define MAX_TIMERS 4096

static struct hrtimer *timers[MAX_TIMERS];
static u32 nr_timers;

void timers_setup(void)
{
	nr_timers = 0;
}

/* The handle in the map's value: an index from 1 on. */
long sim_timer_init(struct bpf_timer *timer, void *values, u32 size)
{
	struct hrtimer *t;

	if (timer->opaque[0])
		return -16; /* EBUSY */
	if (nr_timers == MAX_TIMERS)
		return -12; /* ENOMEM */
	t = timers[nr_timers] = sim_alloc(sizeof(*t));
	t->event = (struct event){.kind = EV_HRTIMER, .owner = t};
	list_init(&t->node);
	t->key = ((char *)timer - (char *)values) / size;
	t->value = (char *)values + (u64)t->key * size;
	timer->opaque[0] = ++nr_timers;
	return 0;
}

static struct hrtimer *timer_of(const struct bpf_timer *timer)
{
	check(timer->opaque[0], "scx_error", "a timer is used before bpf_timer_init()");
	return timers[timer->opaque[0] - 1];
}

long bpf_timer_set_callback(struct bpf_timer *timer, void *callback)
{
	timer_of(timer)->callback = callback;
	return 0;
}

long bpf_timer_start(struct bpf_timer *timer, u64 nsecs, u64 flags)
{
	struct hrtimer *t = timer_of(timer);

	if (!t->callback)
		return -22; /* EINVAL */
	check(flags == BPF_F_TIMER_CPU_PIN, "unsupported", "timer flags %llx", flags);
	list_del(&t->node);
	/* ops.init() runs on whichever vCPU loads the scheduler */
	t->vcpu = sim.this ? sim.this : &sim.vcpus[mask_first_and(&sim.online, &sim.online)];
	event_at(&t->event, sim.now + nsecs);
	return 0;
}

long bpf_timer_cancel(struct bpf_timer *timer)
{
	struct hrtimer *t = timer_of(timer);

	event_cancel(&t->event);
	list_del(&t->node);
	t->callback = NULL; /* drop_prog_refcnt(): until it is set again the timer cannot be started */
	return 0;
}

void timers_due(struct hrtimer *t)
{
	struct vcpu *v = t->vcpu;

	if (!v->online) /* hrtimers_cpu_dying() takes them along */
		v = t->vcpu = &sim.vcpus[mask_first_and(&sim.online, &sim.online)];
	list_add(&t->node, v->timers.prev);
	if (v->hosted)
		vcpu_run(v);
	else if (v->halted && !event_due(&v->ipi))
		event_at(&v->ipi, sim.now);
}

/* On the vCPU, which runs. */
void timers_run(struct vcpu *v)
{
	while (!list_empty(&v->timers)) {
		struct hrtimer *t = entry_of(v->timers.next, struct hrtimer, node);

		list_del(&t->node);
		record(REC_TIMER, v, v->curr, t->key);
		ext_call_timer(t);
	}
}
