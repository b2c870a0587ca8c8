/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The host: hardware threads that share cores, and on each the host's threads (vCPUs and their
 * competitors) under a fair scheduler with weights and bandwidth (quota per period), as
 * kernel/sched/fair.c has them. Patterns keep a thread away at given times whatever it wants.
 */
#include "api.h"

u32 host_distance(const struct pcpu *a, const struct pcpu *b)
{
	if (a == b)
		return 0;
	if (a->core == b->core)
		return 1;
	if (a->llc == b->llc)
		return 2;
	return a->node == b->node ? 3 : 4;
}

static bool eligible(const struct entity *e)
{
	return e->wants && !e->throttled && !e->gated;
}

static void account(struct entity *e)
{
	u64 ran = sim.now - e->since;

	e->since = sim.now;
	e->vruntime += ran * 1024 / e->weight;
	e->ran_ns += ran;
	if (e->period_ns)
		e->left_ns -= ran < e->left_ns ? ran : e->left_ns;
	if ((s64)(e->vruntime - e->pcpu->min_vruntime) > 0)
		e->pcpu->min_vruntime = e->vruntime;
}

static void enqueue(struct entity *e)
{
	e->queued = true;
	list_add(&e->node, e->pcpu->runnable.prev);
	e->pcpu->nr_runnable++;
}

static void dequeue(struct entity *e)
{
	e->queued = false;
	list_del(&e->node);
	e->pcpu->nr_runnable--;
}

static struct entity *pick(struct pcpu *p)
{
	struct entity *best = NULL;

	for (struct list *node = p->runnable.next; node != &p->runnable; node = node->next) {
		struct entity *e = entry_of(node, struct entity, node);

		if (!best || (s64)(e->vruntime - best->vruntime) < 0)
			best = e;
	}
	return best;
}

/* Threads of a core slow each other down while more than one is busy. */
static void update_core(struct pcpu *p)
{
	u32 busy = 0;
	struct pcpu *s = p;

	do {
		busy += s->curr ? 1 : 0;
		s = s->sibling;
	} while (s != p);
	do {
		u32 speed = busy > 1 ? s->speed * sim.machine->smt_factor / FULL_SPEED : s->speed;

		if (s->curr && s->curr->vcpu)
			vcpu_speed(s->curr->vcpu, speed ?: 1);
		s = s->sibling;
	} while (s != p);
}

static void arm(struct pcpu *p)
{
	u64 at = NEVER;

	if (p->curr && p->nr_runnable)
		at = sim.now + sim.machine->host_slice_ns;
	if (p->curr && p->curr->period_ns && sim.now + p->curr->left_ns < at)
		at = sim.now + p->curr->left_ns;
	if (at == NEVER)
		event_cancel(&p->slice);
	else
		event_at(&p->slice, at);
}

/* Chooses who runs on @p. The last thing that is done at this instant for @p. */
static void reschedule(struct pcpu *p)
{
	struct entity *before = p->curr, *next;

	if (before) {
		account(before);
		if (before->period_ns && !before->left_ns)
			before->throttled = true;
		if (eligible(before))
			enqueue(before);
	}
	next = pick(p);
	if (next)
		dequeue(next);
	p->curr = next;
	if (next != before) {
		if (before && before->vcpu)
			vcpu_unhosted(before->vcpu);
		if (next)
			next->since = sim.now;
	}
	arm(p);
	update_core(p);
	if (next && next != before && next->vcpu)
		vcpu_hosted(next->vcpu);
}

/* Something changed for @e: it may come or have to go. */
static void changed(struct entity *e)
{
	struct pcpu *p = e->pcpu;

	if (p->curr == e) {
		if (!eligible(e))
			reschedule(p);
		return;
	}
	if (e->queued == eligible(e))
		return;
	if (e->queued) {
		dequeue(e);
		return;
	}
	/* a sleeper is placed a little ahead, as place_entity() did for long */
	if ((s64)(e->vruntime + sim.machine->host_slice_ns - p->min_vruntime) < 0)
		e->vruntime = p->min_vruntime - sim.machine->host_slice_ns;
	enqueue(e);
	if (!p->curr) {
		reschedule(p);
		return;
	}
	account(p->curr);
	if ((s64)(p->curr->vruntime - e->vruntime) > (s64)sim.machine->host_wakeup_ns)
		reschedule(p);
	else if (p->nr_runnable == 1)
		arm(p);
}

void host_wants(struct entity *e, bool wants)
{
	e->wants = wants;
	changed(e);
}

void host_set_quota(struct entity *e, u64 quota_ns, u64 period_ns)
{
	record(REC_HOST_CHANGE, e->vcpu, NULL, quota_ns);
	if (e->pcpu->curr == e)
		account(e);
	e->quota_ns = quota_ns;
	e->period_ns = period_ns;
	e->left_ns = quota_ns;
	e->throttled = false;
	if (period_ns)
		event_at(&e->period, sim.now + period_ns);
	else
		event_cancel(&e->period);
	changed(e);
	arm(e->pcpu);
}

void host_set_speed(struct pcpu *p, u32 speed)
{
	record(REC_HOST_CHANGE, NULL, NULL, speed);
	p->speed = speed;
	update_core(p);
}

/* Moves a host thread to another hardware thread: a migration on the host, or stacking. */
void host_pin(struct entity *e, struct pcpu *to)
{
	struct pcpu *from = e->pcpu;
	bool wants = e->wants;

	record(REC_HOST_CHANGE, e->vcpu, NULL, to->id);
	if (from == to)
		return;
	e->wants = false;
	changed(e);
	e->vruntime = e->vruntime - from->min_vruntime + to->min_vruntime;
	e->pcpu = to;
	e->wants = wants;
	changed(e);
}

/* ---- Events ---- */

/* sched_cfs_period_timer() */
static void refill(struct entity *e)
{
	event_at(&e->period, sim.now + e->period_ns);
	if (e->pcpu->curr == e)
		account(e);
	e->left_ns = e->quota_ns;
	if (e->throttled) {
		e->throttled = false;
		changed(e);
	} else if (e->pcpu->curr == e) {
		arm(e->pcpu);
	}
}

static void next_gate(struct entity *e)
{
	e->gate = (e->gate + 1) % e->nr_gates;
	e->gated = e->gate % 2;
	event_at(&e->gating, sim.now + (e->gates[e->gate] ?: 1));
	changed(e);
}

void host_event(struct event *event)
{
	switch (event->kind) {
	case EV_SLICE:
		reschedule(event->owner);
		break;
	case EV_PERIOD:
		refill(event->owner);
		break;
	case EV_GATE:
		next_gate(event->owner);
		break;
	default:
		break;
	}
}

/* ---- The beginning ---- */

static void setup_pcpu(struct pcpu *p, u32 id, const struct sim_pcpu *is)
{
	*p = (struct pcpu){.id = id, .core = is->core, .llc = is->llc, .node = is->node,
			   .speed = is->speed, .sibling = p};
	p->slice = (struct event){.kind = EV_SLICE, .owner = p};
	list_init(&p->runnable);
	for (u32 i = 0; i < id; i++) {
		if (sim.pcpus[i].core == p->core) {
			p->sibling = sim.pcpus[i].sibling;
			sim.pcpus[i].sibling = p;
			break;
		}
	}
}

static void setup_gates(struct entity *e, u64 phase)
{
	u64 total = 0;

	for (u32 i = 0; i < e->nr_gates; i++)
		total += e->gates[i];
	phase = total ? phase % total : 0;
	while (phase >= e->gates[e->gate]) {
		phase -= e->gates[e->gate];
		e->gate = (e->gate + 1) % e->nr_gates;
	}
	e->gated = e->gate % 2;
	event_at(&e->gating, e->gates[e->gate] - phase);
}

static void setup_entity(struct entity *e, const struct sim_entity *is)
{
	u64 random[2];

	*e = (struct entity){.pcpu = &sim.pcpus[is->pcpu], .weight = is->weight,
			     .quota_ns = is->quota_ns, .period_ns = is->period_ns,
			     .left_ns = is->quota_ns, .nr_gates = is->nr_gates};
	list_init(&e->node);
	e->period = (struct event){.kind = EV_PERIOD, .owner = e};
	e->gating = (struct event){.kind = EV_GATE, .owner = e};
	/* threads of one hardware thread keep step with each other, as rivals do */
	random_seed(random, 0x20000000 + is->pcpu);
	if (e->period_ns)
		event_at(&e->period, e->period_ns - (is->phase_ns == NEVER ?
							     random_below(random, e->period_ns) :
							     is->phase_ns % e->period_ns));
	if (e->nr_gates) {
		e->gates = sim.machine->numbers + is->gates;
		setup_gates(e, is->phase_ns == NEVER ? random_next(random) : is->phase_ns);
	}
}

/* The vCPUs' tables are there already; nobody wants to run yet but the competitors. */
void host_setup(void)
{
	const struct sim_machine *machine = sim.machine;

	sim.pcpus = sim_alloc(machine->pcpus * sizeof(*sim.pcpus));
	for (u32 i = 0; i < machine->pcpus; i++)
		setup_pcpu(&sim.pcpus[i], i, &machine->pcpu[i]);
	sim.entities = sim_alloc(machine->entities * sizeof(*sim.entities));
	for (u32 i = 0; i < machine->entities; i++) {
		struct entity *e = &sim.entities[i];

		setup_entity(e, &machine->entity[i]);
		if (i < sim.nr_vcpus) {
			e->vcpu = &sim.vcpus[i];
			sim.vcpus[i].entity = e;
			sim.vcpus[i].speed = e->pcpu->speed;
		}
	}
	for (u32 i = sim.nr_vcpus; i < machine->entities; i++)
		host_wants(&sim.entities[i], true);
}
