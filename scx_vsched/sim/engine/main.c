/* SPDX-License-Identifier: GPL-2.0-only */
/* A run from its tables to its results. */
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "api.h"

#define SWEEP_NS 10000000ULL
#define DRAIN_NS 60000000000ULL /* within which everything must be over once all were told to end */

static u64 wall_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (u64)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void setup_vcpu(struct vcpu *v, u32 id)
{
	v->id = id;
	v->online = v->active = v->rq_online = true;
	v->halted = true;
	v->idle = true;
	dsq_init(&v->local, SIM_SCX_DSQ_LOCAL);
	v->local.vcpu = v;
	list_init(&v->deferred);
	list_init(&v->irqs);
	list_init(&v->timers);
	list_init(&v->fair_tasks);
	v->work = (struct event){.kind = EV_WORK, .owner = v};
	v->tick = (struct event){.kind = EV_TICK, .owner = v};
	v->ipi = (struct event){.kind = EV_IPI, .owner = v};
	mask_set(&sim.possible, id);
	for (u32 k = 0; k < sim.nr_vcpus; k++) {
		if (sim.machine->vcpu_core[k] == sim.machine->vcpu_core[id]) {
			mask_set(&sim.smt[id], k);
			sim.smt_active |= k != id;
		}
	}
}

static void setup_cgroups(void)
{
	sim.cgroups = sim_alloc((sim.load->groups + 1) * sizeof(*sim.cgroups));
	for (u32 i = 0; i < sim.load->groups; i++) {
		struct cgroup_node *node = &sim.cgroups[i];
		const struct sim_group *is = &sim.load->group[i];

		node->kn.id = i + 1;
		node->cgroup.kn = &node->kn;
		node->cgroup.self.cgroup = &node->cgroup;
		node->cgroup.self.parent = i ? &sim.cgroups[is->parent].cgroup.self : NULL;
		node->weight = is->weight;
	}
}

static void setup(void)
{
	sim.digest = 0xcbf29ce484222325ULL;
	sim.nr_vcpus = sim.machine->vcpus;
	sim.mask_words = (sim.nr_vcpus + 63) / 64;
	sim.ext = sim.options->ext;
	sim.class = sim.ext ? &ext_class : &fair_class;
	sim.vcpus = sim_alloc(sim.nr_vcpus * sizeof(*sim.vcpus));
	sim.smt = sim_alloc(sim.nr_vcpus * sizeof(*sim.smt));
	sim.tasks = sim_alloc((sim.load->max_tasks + 1) * sizeof(*sim.tasks));
	sim.no_task = &sim.tasks[sim.load->max_tasks];
	for (u32 i = 0; i < sim.nr_vcpus; i++)
		setup_vcpu(&sim.vcpus[i], i);
	sim.online = sim.active = sim.idle = sim.possible;
	if (sim.smt_active)
		sim.idle_smt = sim.idle;
	setup_cgroups();
	host_setup();
	program_setup();
	script_setup();
	timers_setup();
	probe_setup();
	sim.watchdog = (struct event){.kind = EV_WATCHDOG};
	sim.sweep = (struct event){.kind = EV_SWEEP};
	event_at(&sim.watchdog, 1000000000);
	event_at(&sim.sweep, SWEEP_NS);
}

/* A table's tasks come one after the other; those at 0 are there before anything runs. */
struct starter {
	struct event event;
	const struct sim_task *like;
	u64 left;
	u32 from; /* the vCPU of whoever starts them */
};

static void start_some(struct starter *starter)
{
	while (starter->left && !sim.draining) {
		u32 vcpu = mask_next_and(&sim.active, &sim.active, starter->from);
		struct vcpu *from;

		if (vcpu == NONE)
			vcpu = mask_first_and(&sim.active, &sim.active);
		from = &sim.vcpus[vcpu];
		starter->left--;
		sim.to_start--;
		sim.this = from;
		task_start(task_new(starter->like->program, starter->like, NULL), from);
		sim.this = NULL;
		if (starter->left && starter->like->stagger_ns) {
			event_at(&starter->event, sim.now + starter->like->stagger_ns);
			return;
		}
	}
}

static void setup_tasks(void)
{
	struct starter *starters = sim_alloc((sim.load->tasks + 1) * sizeof(*starters));

	for (u32 i = 0; i < sim.load->tasks; i++) {
		u64 random[2];

		random_seed(random, 0x200 + i);
		starters[i].from = random_below(random, sim.nr_vcpus);
		starters[i].like = &sim.load->task[i];
		starters[i].left = starters[i].like->count;
		sim.to_start += starters[i].left;
		starters[i].event = (struct event){.kind = EV_START, .owner = &starters[i]};
		event_at(&starters[i].event, starters[i].like->start_ns);
	}
}

static void happen(struct event *event)
{
	switch (event->kind) {
	case EV_WORK:
	case EV_TICK:
	case EV_IPI:
		vcpu_event(event->owner, event->kind);
		break;
	case EV_TIMER:
		vcpu_irq(((struct task *)event->owner)->vcpu, event->owner);
		break;
	case EV_SLICE:
	case EV_PERIOD:
	case EV_GATE:
		host_event(event);
		break;
	case EV_SOURCE:
		program_source(event->owner);
		break;
	case EV_SCRIPT:
		script_step();
		break;
	case EV_START:
		start_some(event->owner);
		break;
	case EV_PROBE:
		probe_event(event->owner);
		break;
	case EV_HRTIMER:
		timers_due(event->owner);
		break;
	case EV_WATCHDOG:
		check_watchdog();
		event_at(event, sim.now + 1000000000);
		break;
	case EV_SWEEP:
		check_sweep();
		event_at(event, sim.now + SWEEP_NS);
		break;
	}
}

static void check_bounds(u64 started_ms)
{
	check(sim.events < sim.options->max_events, "too_many_events",
	      "more than %llu events by %llu ns", sim.options->max_events, sim.now);
	if (sim.events % 65536)
		return;
	check(wall_ms() - started_ms < sim.options->max_wall_ms, "too_slow",
	      "more than %llu ms of real time by %llu ns", sim.options->max_wall_ms, sim.now);
}

static void run_until(u64 end, u64 started_ms)
{
	while (event_next_at() <= end && !sim.ended) {
		struct event *event;

		sim.now = event_next_at();
		event = event_next();
		sim.events++;
		happen(event);
		guard_check();
		if (sim.options->check_every && !(sim.events % sim.options->check_every))
			check_everything();
		check_bounds(started_ms);
	}
	if (sim.now < end && !sim.ended)
		sim.now = end;
}

/* All tasks end; what is left of them in the scheduler can then be looked at. */
static void drain(u64 started_ms)
{
	for (u32 i = 0; i < sim.load->channels; i++)
		event_cancel(&sim.channels[i].arrival);
	event_cancel(&sim.script);
	for (u32 i = 0; i < sim.nr_tasks; i++) {
		struct task *t = &sim.tasks[i];

		if (t->state != TASK_BLOCKED && t->state != TASK_RUNNABLE)
			continue;
		sim.this = t->vcpu;
		task_kill(t);
		sim.this = NULL;
	}
	sim.ended = false;
	sim.draining = true;
	run_until(sim.now + DRAIN_NS, started_ms);
	check(!sim.live_tasks, "never_ended", "%u tasks still live %llu s after they were told to end",
	      sim.live_tasks, DRAIN_NS / 1000000000);
	if (sim.ext)
		check_drained();
}

/* ---- Results ---- */

static void collect(void)
{
	struct sim_result *result = &sim.result;
	struct sim_vcpu_stats *vcpus = sim_alloc(sim.nr_vcpus * sizeof(*vcpus));
	struct sim_task_stats *tasks = sim_alloc((sim.nr_tasks + 1) * sizeof(*tasks));
	struct sim_metric *metrics = sim_alloc((sim.load->metrics + 1) * sizeof(*metrics));

	for (u32 i = 0; i < sim.nr_vcpus; i++) {
		struct vcpu *v = &sim.vcpus[i];

		vcpu_account(v);
		vcpus[i] = (struct sim_vcpu_stats){v->hosted_ns, v->stolen_ns, v->busy_ns,
						   v->switches, v->ticks};
	}
	for (u32 i = 0; i < sim.nr_tasks; i++) {
		const struct task *t = &sim.tasks[i];

		if (t->state == TASK_FREE)
			continue;
		if (t->vcpu->curr == t)
			sim.class->update(t->vcpu);
		tasks[result->tasks++] = (struct sim_task_stats){
			t->p.pid, t->program, t->p.se.sum_exec_runtime, t->waited_ns, t->wakeups,
			t->switches, t->migrations};
	}
	for (u32 i = 0; i < sim.load->metrics; i++)
		metrics[i] = (struct sim_metric){sim.metrics[i].count, sim.metrics[i].nr,
						 sim.metrics[i].values};
	result->vcpus = sim.nr_vcpus;
	result->metrics = sim.load->metrics;
	result->vcpu = vcpus;
	result->task = tasks;
	result->metric = metrics;
}

/* ---- What Python calls ---- */

/* Makes the machine and the maps, so that the scheduler's tables can be filled in. */
const struct sim_result *sim_setup(const struct sim_machine *machine, const struct sim_load *load,
				   const struct sim_options *options)
{
	sim.machine = machine;
	sim.load = load;
	sim.options = options;
	if (!setjmp(sim.failure)) {
		setup();
		maps_setup();
	}
	return &sim.result;
}

const struct sim_result *sim_run(void)
{
	u64 started_ms = wall_ms();

	guard_start();
	if (!setjmp(sim.failure)) {
		if (sim.ext)
			ext_start();
		else
			fair_start();
		setup_tasks();
		run_until(sim.options->end_ns, started_ms);
		collect();
		if (sim.options->drain)
			drain(started_ms);
		guard_check();
	}
	guard_stop();
	sim.result.now = sim.now;
	sim.result.events = sim.events;
	sim.result.records = sim.records;
	sim.result.digest = sim.digest;
	return &sim.result;
}

/* Runs a program of user space: SEC("syscall"), BPF_PROG_TEST_RUN. */
s32 sim_program(void *program)
{
	struct vcpu *before = sim.this;
	jmp_buf outer;
	s32 result;

	memcpy(&outer, &sim.failure, sizeof(outer));
	if (setjmp(sim.failure)) {
		result = -5; /* EIO: Python goes on, and the run ends where it called Python */
	} else {
		sim.this = &sim.vcpus[mask_first_and(&sim.active, &sim.active)];
		result = call_op(program, CTX_UNLOCKED | CTX_SLEEPABLE, 0, 0, 0);
	}
	sim.this = before;
	memcpy(&sim.failure, &outer, sizeof(outer));
	return result;
}

void sim_end(void)
{
	sim_free_all();
}

/* Sets a constant of the scheduler, which is read-only memory as it is in BPF. */
void sim_poke(void *address, const void *raw, u32 size)
{
	u64 page = sysconf(_SC_PAGESIZE), first = (u64)address & ~(page - 1);

	mprotect((void *)first, (u64)address + size - first, PROT_READ | PROT_WRITE);
	memcpy(address, raw, size);
}

/* For Python to compare its own idea of the layout with. */
u64 sim_sizes(u32 which)
{
	const u64 sizes[] = {sizeof(struct sim_machine), sizeof(struct sim_load),
			     sizeof(struct sim_options), sizeof(struct sim_result),
			     sizeof(struct sim_record), sizeof(struct sim_watch)};

	return sizes[which];
}
