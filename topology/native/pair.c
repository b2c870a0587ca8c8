// SPDX-License-Identifier: GPL-2.0-only
/*
 * The pair probe: two pinned threads pass one cache line to and fro.
 *
 * A sample is the mean over a batch of round trips, halved and timed by the first thread alone, so
 * that clocks that differ between vCPUs cancel out and the clock is read once a batch; the cost of
 * reading it is taken off. A batch in which either thread noticed a gap is no sample. Waiting is
 * done without the processor's pause instruction: it is as long as a transfer on some processors,
 * and hypervisors take the vCPU away that pauses in a loop.
 *
 * The probe begins when both threads have been seen running, so coming late is no inactivity.
 */
#define _GNU_SOURCE
#include "probe.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* Round trips a sample: at 50 ns a transfer, about a microsecond in which both have to run. */
#define ROUNDS 8
/* Looks at the line between two looks at the clock, longer than any transfer takes. */
#define POLLS 1024
/*
 * The thread did not run if it could not look at the clock for so long. A timer interrupt takes
 * less than 10 us, in an emulated guest up to about 50 us; no host gives time in smaller pieces.
 */
#define GAP_NS 50000ULL
#define MAX_GAPS 2048

/* What the thread that came first is told. */
enum { ASLEEP, WOKEN, IN_VAIN };

struct side {
	_Alignas(CACHE_LINE) _Atomic uint32_t noticed; /* gaps so far */
	struct gaps gaps;
	uint64_t last_ns; /* its last look at the clock */
};

struct pair {
	_Alignas(CACHE_LINE) _Atomic uint32_t turn; /* odd: the second's move */
	_Alignas(CACHE_LINE) _Atomic bool stop;
	_Atomic uint32_t arrived, woken;
	_Atomic uint64_t start_ns;
	struct side sides[2];
	uint64_t budget_ns;
	double *latencies_ns;
	uint32_t samples, count;
};

/* One thread's view of its probe. */
struct player {
	struct worker *worker;
	struct pair *pair;
	struct side *own, *other;
	uint64_t deadline_ns;
};

/* Looks at the clock, notes a gap. False when the probe is over. */
static bool look(struct player *player)
{
	struct side *own = player->own;
	uint64_t now = now_ns();

	if (now - own->last_ns > GAP_NS) {
		bool room = gaps_add(&own->gaps, own->last_ns, now - own->last_ns);

		atomic_fetch_add_explicit(&own->noticed, 1, memory_order_relaxed);
		if (!room || !worker_in_place(player->worker)) {
			own->last_ns = now;
			return false;
		}
	}
	own->last_ns = now;
	return now < player->deadline_ns &&
	       !atomic_load_explicit(&player->pair->stop, memory_order_relaxed) &&
	       !atomic_load_explicit(&player->worker->team->stop, memory_order_relaxed);
}

static bool await_turn(struct player *player, uint32_t turn)
{
	do {
		for (int i = 0; i < POLLS; i++)
			if (atomic_load_explicit(&player->pair->turn, memory_order_acquire) == turn)
				return true;
	} while (look(player));
	return false;
}

static void pass_turn(struct player *player, uint32_t turn)
{
	atomic_store_explicit(&player->pair->turn, turn, memory_order_release);
}

static uint32_t gaps_noticed(const struct player *player)
{
	return atomic_load_explicit(&player->own->noticed, memory_order_relaxed) +
	       atomic_load_explicit(&player->other->noticed, memory_order_relaxed);
}

/* The least time between two readings of the clock. */
static uint64_t clock_cost_ns(void)
{
	uint64_t least = UINT64_MAX, last = now_ns();

	for (int i = 0; i < 64; i++) {
		uint64_t now = now_ns();

		if (now - last < least)
			least = now - last;
		last = now;
	}
	return least;
}

static void play_first(struct player *player)
{
	/* a batch takes one look by each thread */
	const uint64_t looks_ns = 2 * clock_cost_ns();
	struct pair *pair = player->pair;
	bool warm = false;
	uint32_t turn = 0;

	while (pair->count < pair->samples) {
		uint64_t began = player->own->last_ns, took;
		uint32_t noticed = gaps_noticed(player);

		for (int i = 0; i < ROUNDS; i++) {
			pass_turn(player, ++turn);
			if (!await_turn(player, ++turn))
				return;
		}
		if (!look(player))
			return;
		took = player->own->last_ns - began;
		if (gaps_noticed(player) != noticed)
			continue;
		if (warm)
			pair->latencies_ns[pair->count++] =
				(double)(took > looks_ns ? took - looks_ns : 0) / (2 * ROUNDS);
		warm = true;
	}
}

static void play_second(struct player *player)
{
	uint32_t turn = 0;

	for (uint32_t round = 1;; round++) {
		if (!await_turn(player, ++turn))
			return;
		/* a gap is noted before the answer, so that the first thread hears of it */
		if (round % ROUNDS == 0 && !look(player))
			return;
		pass_turn(player, ++turn);
	}
}

static void wake(struct pair *pair, uint32_t why)
{
	uint32_t asleep = ASLEEP;

	if (atomic_compare_exchange_strong(&pair->woken, &asleep, why))
		futex_wake_all(&pair->woken);
}

/*
 * Waits for the other thread. Who comes first sleeps; who comes last waits for the sleeper to run,
 * which is the start.
 */
static bool meet(struct player *player)
{
	uint64_t until = now_ns() + START_WAIT_NS;
	struct pair *pair = player->pair;

	if (atomic_fetch_add(&pair->arrived, 1) == 0) {
		while (atomic_load(&pair->woken) == ASLEEP && now_ns() < until)
			futex_wait(&pair->woken, ASLEEP, until);
		if (atomic_load(&pair->woken) != WOKEN)
			return false;
		atomic_store(&pair->start_ns, now_ns());
	} else {
		wake(pair, WOKEN);
		while (!atomic_load(&pair->start_ns))
			if (atomic_load(&pair->stop) || now_ns() > until)
				return false;
	}
	player->own->last_ns = atomic_load(&pair->start_ns);
	player->deadline_ns = player->own->last_ns + pair->budget_ns;
	return look(player);
}

static void run_pair(struct worker *worker)
{
	size_t place = (size_t)(worker - worker->team->workers) % 2;
	struct pair *pair = worker->job;
	struct player player = {worker, pair, &pair->sides[place], &pair->sides[1 - place], 0};

	/* an ordinary task, since real time would hold up all others, but the first among them */
	worker_ordinary(SCHED_OTHER, -20);
	if (place == 0)
		memset(pair->latencies_ns, 0, pair->samples * sizeof(double));
	if (worker_pin(worker) && meet(&player)) {
		if (place == 0)
			play_first(&player);
		else
			play_second(&player);
		worker_in_place(worker);
	}
	atomic_store(&pair->stop, true);
	wake(pair, IN_VAIN);
}

struct pair *pairs_prepare(struct team *team, uint64_t budget_ns, uint32_t samples)
{
	uint32_t count = team->size / 2;
	struct pair *pairs = aligned_alloc(CACHE_LINE, count * sizeof(*pairs));
	bool complete = pairs;

	if (!pairs)
		return NULL;
	memset(pairs, 0, count * sizeof(*pairs));
	for (uint32_t i = 0; i < count; i++) {
		struct pair *pair = &pairs[i];

		pair->budget_ns = budget_ns;
		pair->samples = samples;
		pair->latencies_ns = malloc(samples * sizeof(double));
		complete &= pair->latencies_ns && gaps_init(&pair->sides[0].gaps, MAX_GAPS) &&
			    gaps_init(&pair->sides[1].gaps, MAX_GAPS);
		for (uint32_t side = 0; side < 2; side++) {
			team->workers[2 * i + side].job = pair;
			team->workers[2 * i + side].run = run_pair;
		}
	}
	if (complete)
		return pairs;
	pairs_free(pairs, count);
	return NULL;
}

void pair_finish(struct pair *pairs, uint32_t index, struct pair_result *result)
{
	struct pair *pair = &pairs[index];
	struct side *a = &pair->sides[0], *b = &pair->sides[1];
	uint64_t start = atomic_load(&pair->start_ns);

	*result = (struct pair_result){.latencies_ns = pair->latencies_ns, .count = pair->count};
	if (!start || !a->last_ns || !b->last_ns) {
		/* they never met */
		result->elapsed_ns = START_WAIT_NS;
		return;
	}
	result->elapsed_ns = a->last_ns < b->last_ns ? a->last_ns - start : b->last_ns - start;
	if (result->elapsed_ns > pair->budget_ns)
		result->elapsed_ns = pair->budget_ns;
	for (int i = 0; i < 2; i++) {
		gaps_clip(&pair->sides[i].gaps, start + result->elapsed_ns);
		result->active_ns[i] = result->elapsed_ns - gaps_total(&pair->sides[i].gaps);
	}
	result->both_ns = result->elapsed_ns - gaps_union(&a->gaps, &b->gaps);
}

void pairs_free(struct pair *pairs, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		gaps_free(&pairs[i].sides[0].gaps);
		gaps_free(&pairs[i].sides[1].gaps);
		free(pairs[i].latencies_ns);
	}
	free(pairs);
}
