/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The probers: they watch vCPUs from inside of the guest, now and then, and user space makes of what
 * they saw what it makes of it in a guest. A busy vCPU is watched by a sleeper, which costs nothing
 * here and sees each time that the vCPU is kept away. An idle one is kept busy meanwhile, which
 * uses up its quota. Nothing tells them what the host will do next.
 */
#include "api.h"

#define FIRST_NS 100000000ULL
#define ROUND_NS 1000000000ULL /* between looks at a busy vCPU; idle ones every IDLE_ROUNDS */
#define ROUND_JITTER_NS 150000000ULL
#define IDLE_ROUNDS 3
#define SLEEP_NS 200000000ULL
#define SPIN_NS 48000000ULL
#define LONG_SPIN_NS 128000000ULL /* the first time */

static struct prober *probers;
static u64 random_state[2];

void probe_setup(void)
{
	if (!sim.options->probe || !sim.ext)
		return;
	probers = sim_alloc(sim.nr_vcpus * sizeof(*probers));
	random_seed(random_state, 0x300);
	for (u32 i = 0; i < sim.nr_vcpus; i++) {
		probers[i].away_since = NEVER;
		probers[i].unseen = IDLE_ROUNDS;
		probers[i].end = (struct event){.kind = EV_PROBE, .owner = &probers[i]};
		probers[i].watch.vcpu = i;
		sim.vcpus[i].prober = &probers[i];
	}
	sim.probe = (struct event){.kind = EV_PROBE};
	event_at(&sim.probe, FIRST_NS);
}

/* The vCPU wants to run and does not, from now on. */
void probe_away(struct vcpu *v)
{
	if (v->prober)
		v->prober->away_since = sim.now;
}

/* It runs, or has nothing to do. */
void probe_there(struct vcpu *v)
{
	struct prober *prober = v->prober;
	struct sim_watch *watch;
	u64 since;

	if (!prober)
		return;
	watch = &prober->watch;
	since = prober->away_since;
	prober->away_since = NEVER;
	if (!prober->watching || since == NEVER || watch->nr_gaps == SIM_MAX_GAPS)
		return;
	if (since < watch->start_ns)
		since = watch->start_ns;
	if (since == sim.now)
		return;
	watch->gaps[2 * watch->nr_gaps] = since;
	watch->gaps[2 * watch->nr_gaps + 1] = sim.now - since;
	watch->nr_gaps++;
}

static void begin(struct vcpu *v, bool busy)
{
	struct prober *prober = v->prober;
	u64 length = busy ? SLEEP_NS : prober->watch.end_ns ? SPIN_NS : LONG_SPIN_NS;

	prober->watch.start_ns = sim.now;
	prober->watch.end_ns = sim.now + length;
	prober->watch.nr_gaps = 0;
	prober->watch.open_ns = 0;
	prober->watching = true;
	prober->unseen = 0;
	event_at(&prober->end, prober->watch.end_ns);
	v->spun = !busy;
	if (v->spun)
		vcpu_spin(v);
}

static void end(struct vcpu *v)
{
	struct prober *prober = v->prober;

	prober->watching = false;
	prober->watch.pcpu = v->entity->pcpu->id;
	prober->watch.speed = v->entity->pcpu->speed;
	if (prober->away_since != NEVER) {
		u64 since = prober->away_since > prober->watch.start_ns ? prober->away_since :
									  prober->watch.start_ns;

		prober->watch.open_ns = sim.now - since;
	}
	if (v->spun) {
		v->spun = false;
		if (v->hosted)
			vcpu_run(v);
	}
	if (!sim.options->probed)
		return;
	check(!sim.options->probed(&prober->watch) || sim.result.failed, "feed",
	      "user space cannot hand over what was seen of vCPU %u", v->id);
	if (sim.result.failed)
		longjmp(sim.failure, 1);
}

/* Looks at all vCPUs that are due at the same time: those that share something are seen together. */
static void round_begins(void)
{
	event_at(&sim.probe, sim.now + ROUND_NS - ROUND_JITTER_NS +
				     random_below(random_state, 2 * ROUND_JITTER_NS));
	for (u32 i = 0; i < sim.nr_vcpus; i++) {
		struct vcpu *v = &sim.vcpus[i];
		u64 free;
		bool busy;

		vcpu_account(v);
		/* free while the guest has nothing for it to do: a sleeper would see nothing then */
		free = v->halted_ns - v->prober->free_before;
		busy = v->curr && free < ROUND_NS / 4;
		v->prober->free_before = v->halted_ns;
		if (v->online && !v->prober->watching && (busy || ++v->prober->unseen >= IDLE_ROUNDS))
			begin(v, busy);
	}
}

void probe_event(struct prober *prober)
{
	if (prober)
		end(&sim.vcpus[prober->watch.vcpu]);
	else
		round_begins();
}
