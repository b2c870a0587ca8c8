/* SPDX-License-Identifier: GPL-2.0-only */
/* What tasks share: locks, barriers and channels, with those that wait for them. */
#include "program.h"

#define ENDLESS (1ULL << 60) /* work that only an event ends */

/* ---- Waiting ---- */

static void wait_on(struct waiters *waiters, struct task *t)
{
	list_add(&t->wait, waiters->tasks.prev);
	waiters->nr++;
	t->state = TASK_BLOCKED;
}

static struct task *take_waiter(struct waiters *waiters)
{
	struct task *t;

	if (list_empty(&waiters->tasks))
		return NULL;
	t = entry_of(waiters->tasks.next, struct task, wait);
	list_del(&t->wait);
	waiters->nr--;
	return t;
}

/* Takes the task off whatever it waits for; it is about to exit. */
void program_leave(struct task *t)
{
	const struct sim_instruction *in = &sim.load->instruction[t->pc];

	if (list_empty(&t->wait))
		return;
	list_del(&t->wait);
	switch (in->op) {
	case OP_LOCK:
		sim.locks[in->a].waiters.nr--;
		break;
	case OP_BARRIER:
		sim.barriers[in->a].waiters.nr--;
		break;
	case OP_SEND:
		sim.channels[in->a].senders_waiting.nr--;
		break;
	case OP_RECEIVE:
		sim.channels[in->a].receivers.nr--;
		break;
	default:
		break;
	}
}

/* Locks of the dead stay taken, and by nobody who may come after it. */
void program_dead(const struct task *t)
{
	for (u32 i = 0; i < sim.load->locks; i++) {
		if (sim.locks[i].owner == t)
			sim.locks[i].owner = sim.no_task;
	}
}

/* What cache lines cost that were last written on the vCPU @from. */
static void transfer(struct vcpu *v, struct task *t, u64 from, u64 lines)
{
	struct pcpu *source;

	if (!lines || from >= sim.nr_vcpus)
		return;
	source = sim.vcpus[from].entity->pcpu;
	vcpu_add_work(t, lines * sim.machine->line_ns[host_distance(source, v->entity->pcpu)]);
}

/* ---- Messages ---- */

static void message_in(struct channel *channel, u64 stamp, u64 from)
{
	u32 slot = (channel->first + channel->used++) % channel->capacity;

	channel->stamps[slot] = stamp;
	channel->senders[slot] = from;
}

/* A request from outside: it comes as an interrupt of one of the source's vCPUs. */
void program_source(struct channel *channel)
{
	const struct sim_source *source = channel->source;
	u64 next = sim.now + draw(channel->random, source->distribution, source->interval_ns,
				  2 * source->interval_ns);
	struct task *t;
	struct vcpu *v;

	if (next <= source->end_ns)
		event_at(&channel->arrival, next);
	channel->arrived++;
	record(REC_REQUEST, NULL, NULL, channel - sim.channels);
	if (channel->used == channel->capacity) {
		channel->refused++;
		return;
	}
	message_in(channel, sim.now, NONE);
	t = take_waiter(&channel->receivers);
	if (!t)
		return;
	v = source->nr_irqs ? &sim.vcpus[sim.load->numbers[source->irqs + channel->next_irq]] :
			      t->vcpu;
	channel->next_irq = source->nr_irqs ? (channel->next_irq + 1) % source->nr_irqs : 0;
	vcpu_irq(v, t);
}

enum step program_send(struct vcpu *v, struct task *t, const struct sim_instruction *in)
{
	struct channel *channel = &sim.channels[in->a];
	struct task *receiver;

	if (channel->used == channel->capacity) {
		wait_on(&channel->senders_waiting, t);
		return STEP_BLOCK;
	}
	message_in(channel, t->stamp, v->id);
	t->pc++;
	receiver = take_waiter(&channel->receivers);
	if (receiver)
		task_wake(receiver, in->c ? SIM_SCX_WAKE_SYNC : 0);
	return STEP_RUN;
}

enum step program_receive(struct vcpu *v, struct task *t, const struct sim_instruction *in)
{
	struct channel *channel = &sim.channels[in->a];
	struct task *sender;

	if (!channel->used) {
		wait_on(&channel->receivers, t);
		return STEP_BLOCK;
	}
	t->stamp = channel->stamps[channel->first];
	t->from_vcpu = channel->senders[channel->first];
	channel->first = (channel->first + 1) % channel->capacity;
	channel->used--;
	transfer(v, t, t->from_vcpu, in->b);
	t->pc++;
	sender = take_waiter(&channel->senders_waiting);
	if (sender)
		task_wake(sender, 0);
	return STEP_RUN;
}

/* ---- Locks and barriers ---- */

static void owns(struct vcpu *v, struct task *t, struct lock *lock)
{
	lock->owner = t;
	transfer(v, t, lock->from_vcpu, 1);
	lock->from_vcpu = v->id;
	t->pc++;
}

enum step program_lock(struct vcpu *v, struct task *t, const struct sim_instruction *in)
{
	struct lock *lock = &sim.locks[in->a];

	if (!lock->owner) {
		owns(v, t, lock);
		return STEP_RUN;
	}
	check(lock->owner != t, "bad_workload", "pid %d takes the lock %llu twice", t->p.pid, in->a);
	if (in->op == OP_SPIN_LOCK) {
		t->spinning = true;
		list_add(&t->wait, lock->spinners.tasks.prev);
		t->left = ENDLESS;
		return STEP_RUN;
	}
	wait_on(&lock->waiters, t);
	return STEP_BLOCK;
}

/* Looks, while it runs, whether the lock is free; its step then takes it. */
void program_spin(struct task *t)
{
	const struct sim_instruction *in = &sim.load->instruction[t->pc];

	t->left = ENDLESS;
	if (sim.locks[in->a].owner && !(t->p.flags & PF_EXITING))
		return;
	t->spinning = false;
	list_del(&t->wait);
	t->paid = true;
	t->left = 0;
}

/* The first of those that spin on a vCPU which the host runs sees the lock given back. */
static void wake_spinner(struct lock *lock)
{
	struct list *spinners = &lock->spinners.tasks;

	for (struct list *node = spinners->next; node != spinners; node = node->next) {
		struct task *t = entry_of(node, struct task, wait);

		if (t->vcpu->curr == t && t->vcpu->hosted) {
			event_at(&t->vcpu->work, sim.now + sim.machine->line_ns[2]);
			return;
		}
	}
}

/* A waiter is woken and tries again: who comes first gets the lock, as with futexes. */
void program_unlock(struct task *t, const struct sim_instruction *in)
{
	struct lock *lock = &sim.locks[in->a];
	struct task *next;

	check(lock->owner == t, "bad_workload", "pid %d gives back the lock %llu of another",
	      t->p.pid, in->a);
	lock->owner = NULL;
	t->pc++;
	next = take_waiter(&lock->waiters);
	if (next)
		task_wake(next, 0);
	else
		wake_spinner(lock);
}

enum step program_barrier(struct vcpu *v, struct task *t, const struct sim_instruction *in)
{
	struct barrier *barrier = &sim.barriers[in->a];
	struct task *other;

	if (barrier->waiters.nr + 1 < barrier->parties) {
		wait_on(&barrier->waiters, t);
		return STEP_BLOCK;
	}
	t->pc++;
	while ((other = take_waiter(&barrier->waiters))) {
		vcpu_add_work(t, sim.machine->wake_ns);
		other->pc++;
		other->paid = false;
		task_wake(other, 0);
	}
	return STEP_RUN;
}

/* ---- The beginning ---- */

static void setup_waiters(struct waiters *waiters)
{
	list_init(&waiters->tasks);
}

static void setup_channel(struct channel *channel, u32 id)
{
	channel->capacity = sim.load->channel[id];
	channel->stamps = sim_alloc(channel->capacity * sizeof(u64));
	channel->senders = sim_alloc(channel->capacity * sizeof(u64));
	channel->arrival = (struct event){.kind = EV_SOURCE, .owner = channel};
	setup_waiters(&channel->receivers);
	setup_waiters(&channel->senders_waiting);
	random_seed(channel->random, 0x1000 + id);
}

void program_setup(void)
{
	const struct sim_load *load = sim.load;

	sim.locks = sim_alloc((load->locks + 1) * sizeof(*sim.locks));
	sim.barriers = sim_alloc((load->barriers + 1) * sizeof(*sim.barriers));
	sim.channels = sim_alloc((load->channels + 1) * sizeof(*sim.channels));
	sim.metrics = sim_alloc((load->metrics + 1) * sizeof(*sim.metrics));
	for (u32 i = 0; i < load->locks; i++) {
		setup_waiters(&sim.locks[i].waiters);
		setup_waiters(&sim.locks[i].spinners);
		sim.locks[i].from_vcpu = NONE;
	}
	for (u32 i = 0; i < load->barriers; i++) {
		setup_waiters(&sim.barriers[i].waiters);
		sim.barriers[i].parties = load->barrier[i];
	}
	for (u32 i = 0; i < load->channels; i++)
		setup_channel(&sim.channels[i], i);
	for (u32 i = 0; i < load->sources; i++) {
		struct channel *channel = &sim.channels[load->source[i].channel];

		channel->source = &load->source[i];
		event_at(&channel->arrival, load->source[i].start_ns);
	}
}
