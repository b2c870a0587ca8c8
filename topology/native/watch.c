// SPDX-License-Identifier: GPL-2.0-only
/*
 * The watch: a thread per vCPU sees when it does not run.
 *
 * A spinner does rounds of a fixed piece of work and looks at the clock after each: a step of the
 * clock beyond the threshold is time without the vCPU. A sleeper wakes up in fixed periods: a wake-
 * up that is late by more than the threshold found the vCPU away when it was due. What the guest
 * itself gave to others in between (struct waits) is taken off and reported apart; not so for a
 * probe at real-time priority, since nothing of the guest's but other real-time tasks holds it up,
 * and a sleeper's waits are mostly a host that takes the vCPU between the timer and the thread. What
 * the host takes while an ordinary spinner waits for the guest's tasks shows nowhere.
 */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/prctl.h>

/* Memory bound; a watch whose list is full ends early. */
#define MAX_GAPS 16384
/*
 * A spinner's step that makes it look at what the guest gave to others, so that no long sum of
 * short absences is taken off a gap later. Nothing is given away and taken back in less.
 */
#define BLIP_NS 20000ULL
/* The same for a sleeper: lateness on time, summed up, of which some may be waiting. */
#define BLIPS_NS 200000ULL
#define WORK_STEPS 256

/* A round: dependent steps that no compiler shortens and no cache matters to. */
static uint64_t work(uint64_t value)
{
	for (int i = 0; i < WORK_STEPS; i++) {
		value ^= value << 13;
		value ^= value >> 7;
		value ^= value << 17;
	}
	return value;
}

/*
 * The thread was away from @from_ns for @length_ns of which it waited @waited_ns for the guest's
 * others. False when the watch has to end.
 */
static bool away(struct worker *worker, uint64_t from_ns, uint64_t length_ns, uint64_t waited_ns)
{
	struct watch *watch = worker->job;
	uint64_t taken_ns;

	if (waited_ns > length_ns)
		waited_ns = length_ns;
	/* the host's part comes first: the guest can only choose another when it runs again */
	taken_ns = length_ns - waited_ns;
	if (from_ns + length_ns <= watch->end_ns)
		watch->lost_ns += waited_ns;
	else if (from_ns + taken_ns < watch->end_ns)
		watch->lost_ns += watch->end_ns - from_ns - taken_ns;
	if (taken_ns > watch->threshold_ns && !gaps_add(&watch->gaps, from_ns, taken_ns))
		return false;
	return worker_in_place(worker);
}

static bool over(const struct worker *worker, uint64_t now)
{
	const struct watch *watch = worker->job;

	return now >= watch->end_ns ||
	       atomic_load_explicit(&worker->team->stop, memory_order_relaxed);
}

/* Returns when it stopped looking. */
static uint64_t spin(struct worker *worker, struct waits *waits)
{
	struct watch *watch = worker->job;
	uint64_t last = watch->start_ns, value = (uint64_t)worker->vcpu + 1, ahead = 0;
	bool going = true;

	while (going) {
		uint64_t now;

		value = work(value);
		now = now_ns();
		watch->loops++;
		going = !over(worker, now);
		if (now - last > BLIP_NS) {
			uint64_t waited = watch->waits ? waits_read(waits) + ahead : 0;

			if (!waited && now - last <= watch->threshold_ns) {
				watch->blip_ns += now - last;
				watch->blip_squares += (now - last) * (now - last);
			}
			going = away(worker, last, now - last, waited) && going;
			/* a wait between the two readings shows in the clock's next step */
			ahead = waited > now - last ? waited - (now - last) : 0;
		} else {
			ahead = 0;
		}
		last = now;
	}
	/* xorshift never yields 0, which the compiler does not know: the work has to be done */
	return value ? last : 0;
}

static void sleep_until(uint64_t until_ns)
{
	struct timespec until = {(time_t)(until_ns / 1000000000ULL),
				 (long)(until_ns % 1000000000ULL)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

/* Returns when it stopped looking. */
static uint64_t sleep_and_wake(struct worker *worker, struct waits *waits)
{
	struct watch *watch = worker->job;
	const bool counts = watch->waits && waits->file >= 0;
	uint64_t due = watch->start_ns, now = due, blips = 0, prompt_ns = 0, prompts = 0;
	bool going = true;

	while (going && due + watch->period_ns <= watch->end_ns) {
		uint64_t late;

		due += watch->period_ns;
		sleep_until(due);
		now = now_ns();
		late = now - due;
		if (late > watch->threshold_ns) {
			going = away(worker, due, late, counts ? waits_read(waits) : 0);
			blips = 0;
		} else {
			prompt_ns += late;
			prompts++;
			blips += late;
			if (blips > BLIPS_NS && counts) {
				waits_read(waits);
				blips = 0;
			}
			going = worker_in_place(worker);
		}
		/* what was slept through is over: the next is in the future */
		due += late / watch->period_ns * watch->period_ns;
		going = going && !over(worker, now);
	}
	/*
	 * Waking up takes as long after a gap, and is no part of it; nor is the same time at its
	 * start: who was due shortly before the vCPU was taken away had not yet got as far.
	 */
	if (prompts)
		gaps_trim(&watch->gaps, prompt_ns / prompts, prompt_ns / prompts);
	return going && now < watch->end_ns ? watch->end_ns : now;
}

/* The window begins for all at the same time; who is not there by then was away. */
static void begin(struct worker *worker, struct waits *waits)
{
	struct watch *watch = worker->job;

	worker_wait_start(worker);
	watch->start_ns = worker->team->start_ns;
	watch->end_ns = watch->start_ns + watch->duration_ns;
	if (now_ns() < watch->start_ns) {
		waits_read(waits);
		sleep_until(watch->start_ns);
	}
	if (waits->file < 0 && watch->demand != DEMAND_SLEEP) {
		/* who is the cause of a late start cannot be told */
		waits_read(waits);
		watch->start_ns = now_ns();
	}
}

static void run_watch(struct worker *worker)
{
	struct watch *watch = worker->job;
	struct waits waits;
	bool pinned;
	uint64_t end;

	waits_open(&waits);
	if (watch->demand == DEMAND_SLEEP || watch->demand == DEMAND_URGENT) {
		watch->waits = !worker_real_time();
		if (watch->waits)
			worker_ordinary(SCHED_OTHER, -20);
		prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
	} else {
		watch->waits = true;
		worker_ordinary(SCHED_OTHER, 0);
	}
	pinned = worker_pin(worker);
	/* only now, or it might never get as far as this on a busy vCPU */
	if (watch->demand == DEMAND_IDLE)
		worker_ordinary(SCHED_IDLE, 0);
	begin(worker, &waits);
	if (pinned) {
		if (watch->demand == DEMAND_SLEEP)
			end = sleep_and_wake(worker, &waits);
		else
			end = spin(worker, &waits);
		worker_in_place(worker);
		if (end < watch->end_ns)
			watch->end_ns = end;
		gaps_clip(&watch->gaps, watch->end_ns);
	}
	waits_close(&waits);
}

struct watch *watches_prepare(struct team *team, const struct watch *settings)
{
	struct watch *watches = calloc(team->size, sizeof(*watches));
	bool complete = watches;

	for (uint32_t i = 0; watches && i < team->size; i++) {
		watches[i] = *settings;
		complete &= gaps_init(&watches[i].gaps, MAX_GAPS);
		team->workers[i].job = &watches[i];
		team->workers[i].run = run_watch;
	}
	if (complete)
		return watches;
	watches_free(watches, watches ? team->size : 0);
	return NULL;
}

void watches_free(struct watch *watches, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		gaps_free(&watches[i].gaps);
	free(watches);
}
