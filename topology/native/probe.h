/* SPDX-License-Identifier: GPL-2.0-only */
/* What the probes share: the clock, teams of pinned threads, and the times they did not run. */
#ifndef PROBE_H
#define PROBE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* Two lines of 64 bytes: processors fetch lines in pairs. */
#define CACHE_LINE 128
/* vCPU numbers that a cpu_set_t can name. */
#define MAX_VCPUS 1024
/* How long the threads of a team wait for each other. */
#define START_WAIT_NS 100000000ULL

/*
 * The clock of all probes. It is read without a system call wherever the clock source allows, the
 * kernel keeps it the same on all vCPUs, and gaps of different vCPUs can be laid side by side.
 */
static inline uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

/* CPU time of the calling thread. */
uint64_t thread_cpu_ns(void);

/* ---- Gaps (gaps.c) ---- */

struct gap {
	uint64_t start_ns, length_ns;
};

/* Times in which a thread did not run, in order. Memory is touched only as gaps come. */
struct gaps {
	struct gap *list;
	uint32_t count, max;
};

bool gaps_init(struct gaps *gaps, uint32_t max);
void gaps_free(struct gaps *gaps);
/* False when the list is full: the probe then has to end. */
bool gaps_add(struct gaps *gaps, uint64_t start_ns, uint64_t length_ns);
/* Takes @head_ns off the start of each, and @tail_ns off its end. */
void gaps_trim(struct gaps *gaps, uint64_t head_ns, uint64_t tail_ns);
/* Forgets what lies after @end_ns. */
void gaps_clip(struct gaps *gaps, uint64_t end_ns);
uint64_t gaps_total(const struct gaps *gaps);
/* Time covered by at least one of the two lists. */
uint64_t gaps_union(const struct gaps *a, const struct gaps *b);

/*
 * How long the calling thread has waited for its vCPU because the guest ran others there. That is
 * no gap of the vCPU's.
 */
struct waits {
	int file; /* its schedstat, -1 where the kernel does not count */
	uint64_t delay_ns; /* the count at the last reading */
	uint64_t at_ns, cpu_ns; /* instead of the file: when that was, and the CPU time then */
};

void waits_open(struct waits *waits);
/* Time waited since the last reading. Without the file, all time not run counts as waited. */
uint64_t waits_read(struct waits *waits);
void waits_close(struct waits *waits);

/* ---- Teams (team.c) ---- */

enum state {
	STATE_OK,
	STATE_OFFLINE, /* the kernel refuses the vCPU: offline, or outside the cpuset */
	STATE_LEFT, /* the kernel moved the thread elsewhere, as it does when the vCPU goes offline */
	STATE_NO_THREAD,
};

struct team;

/* One pinned thread. */
struct worker {
	struct team *team;
	int vcpu;
	enum state state;
	void (*run)(struct worker *worker);
	void *job;
	bool made;
	pthread_t thread;
	_Atomic pid_t tid; /* 0 before and after the thread's life */
	uint64_t cpu_ns;
};

struct team {
	struct worker *workers;
	uint32_t size;
	uint32_t started; /* threads made */
	_Atomic bool stop; /* everybody ends as soon as they see it */
	_Atomic bool released; /* threads may be anywhere: their time is over */
	_Atomic uint32_t ready; /* threads that got as far as waiting for the start */
	_Atomic uint32_t finished;
	_Atomic uint32_t open; /* the start is known */
	uint64_t start_ns;
};

bool team_init(struct team *team, uint32_t size);
/* Makes a thread per worker. A worker whose thread cannot be made has its state say so. */
void team_start(struct team *team);
/* Lets those who wait in team_wait_start() go, together, once all are there or some time is over. */
void team_open(struct team *team);
/* Sleeps until all threads have ended (true), @until_ns, or a signal. */
bool team_wait(struct team *team, uint64_t until_ns);
void team_stop(struct team *team);
/* Lets threads that are late leave vCPUs on which they do not get to run. */
void team_release(struct team *team);
void team_join(struct team *team);
void team_free(struct team *team);

/* For the threads. */
/* The least real-time priority; false when it is not permitted. */
bool worker_real_time(void);
/* @policy is SCHED_OTHER or SCHED_IDLE. What is not permitted stays as it was. */
void worker_ordinary(int policy, int nice);
bool worker_pin(struct worker *worker);
/* Whether the thread is where it should be; else the state says that it left. */
bool worker_in_place(struct worker *worker);
void worker_wait_start(struct worker *worker);
void futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t until_ns);
void futex_wake_all(_Atomic uint32_t *word);

/* ---- Pair probe (pair.c) ---- */

struct pair_result {
	uint64_t active_ns[2], both_ns, elapsed_ns;
	const double *latencies_ns;
	uint32_t count;
};

struct pair;

/* Two workers a pair, from workers[0] on. NULL without memory. */
struct pair *pairs_prepare(struct team *team, uint64_t budget_ns, uint32_t samples);
void pair_finish(struct pair *pairs, uint32_t index, struct pair_result *result);
void pairs_free(struct pair *pairs, uint32_t count);

/* ---- Watch (watch.c) ---- */

enum demand { DEMAND_SLEEP, DEMAND_IDLE, DEMAND_NORMAL, DEMAND_URGENT, DEMANDS };

struct watch {
	enum demand demand;
	uint64_t duration_ns, period_ns, threshold_ns;
	uint64_t start_ns, end_ns;
	uint64_t lost_ns, loops;
	uint64_t blip_ns, blip_squares; /* sums over steps of the clock that are too short for gaps */
	bool waits; /* may have to wait for the guest's others */
	struct gaps gaps;
};

/* One watch per worker. NULL without memory. */
struct watch *watches_prepare(struct team *team, const struct watch *settings);
void watches_free(struct watch *watches, uint32_t count);

#endif
