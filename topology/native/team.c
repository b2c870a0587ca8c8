// SPDX-License-Identifier: GPL-2.0-only
/*
 * Teams of threads, each pinned to a vCPU of its own. The caller's thread stays where it is and
 * only sleeps. Every thread ends by its own clock; the caller's part is to let go those that do
 * not get to run.
 */
#define _GNU_SOURCE
#include "probe.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Small, since there may be 1,024; what a thread needs is a few hundred bytes and the C library. */
#define STACK_BYTES (64 * 1024)
/* From the start's announcement to the start: every thread has to set its timer. */
#define START_DELAY_NS 300000ULL
#define START_DELAY_EACH_NS 20000ULL

void futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t until_ns)
{
	struct timespec until = {(time_t)(until_ns / 1000000000ULL), (long)(until_ns % 1000000000ULL)};

	/* the absolute deadline of FUTEX_WAIT_BITSET is on CLOCK_MONOTONIC */
	syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, &until, NULL,
		FUTEX_BITSET_MATCH_ANY);
}

void futex_wake_all(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

bool team_init(struct team *team, uint32_t size)
{
	*team = (struct team){.size = size};
	team->workers = calloc(size, sizeof(*team->workers));
	if (!team->workers)
		return false;
	for (uint32_t i = 0; i < size; i++)
		team->workers[i].team = team;
	return true;
}

static void *worker_main(void *argument)
{
	struct worker *worker = argument;
	struct team *team = worker->team;

	atomic_store(&worker->tid, (pid_t)syscall(SYS_gettid));
	worker->run(worker);
	worker->cpu_ns = thread_cpu_ns();
	atomic_store(&worker->tid, 0);
	atomic_fetch_add(&team->finished, 1);
	futex_wake_all(&team->finished);
	return NULL;
}

void team_start(struct team *team)
{
	sigset_t all, before;
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	/* signals are the caller's: it has to notice an interrupt at once */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	for (uint32_t i = 0; i < team->size; i++) {
		struct worker *worker = &team->workers[i];

		worker->made = !pthread_create(&worker->thread, &attr, worker_main, worker);
		if (worker->made)
			team->started++;
		else
			worker->state = STATE_NO_THREAD;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
}

void team_open(struct team *team)
{
	uint64_t until = now_ns() + START_WAIT_NS;
	uint32_t ready;

	while ((ready = atomic_load(&team->ready)) < team->started && now_ns() < until &&
	       !atomic_load(&team->stop))
		futex_wait(&team->ready, ready, until);
	team->start_ns = now_ns() + START_DELAY_NS + team->started * START_DELAY_EACH_NS;
	atomic_store(&team->open, 1);
	futex_wake_all(&team->open);
}

bool team_wait(struct team *team, uint64_t until_ns)
{
	uint32_t finished = atomic_load(&team->finished);

	if (finished < team->started && now_ns() < until_ns)
		futex_wait(&team->finished, finished, until_ns);
	return atomic_load(&team->finished) == team->started;
}

void team_stop(struct team *team)
{
	atomic_store(&team->stop, true);
}

void team_release(struct team *team)
{
	struct sched_param normal = {0};
	cpu_set_t everywhere;

	CPU_ZERO(&everywhere);
	for (size_t i = 0; i < MAX_VCPUS; i++)
		CPU_SET(i, &everywhere);
	atomic_store(&team->released, true);
	for (uint32_t i = 0; i < team->size; i++) {
		pid_t tid = atomic_load(&team->workers[i].tid);

		if (!tid)
			continue;
		sched_setscheduler(tid, SCHED_OTHER, &normal);
		sched_setaffinity(tid, sizeof(everywhere), &everywhere);
	}
}

void team_join(struct team *team)
{
	for (uint32_t i = 0; i < team->size; i++)
		if (team->workers[i].made)
			pthread_join(team->workers[i].thread, NULL);
}

void team_free(struct team *team)
{
	free(team->workers);
	team->workers = NULL;
}

bool worker_real_time(void)
{
	struct sched_param least = {.sched_priority = 1};

	return !sched_setscheduler(0, SCHED_FIFO, &least);
}

void worker_ordinary(int policy, int nice)
{
	struct sched_param none = {0};

	sched_setscheduler(0, policy, &none);
	/* of the calling thread alone, in Linux */
	setpriority(PRIO_PROCESS, 0, nice);
}

bool worker_pin(struct worker *worker)
{
	cpu_set_t only;

	CPU_ZERO(&only);
	CPU_SET((size_t)worker->vcpu, &only);
	if (sched_setaffinity(0, sizeof(only), &only)) {
		worker->state = STATE_OFFLINE;
		return false;
	}
	return worker_in_place(worker);
}

bool worker_in_place(struct worker *worker)
{
	if (sched_getcpu() != worker->vcpu && !atomic_load(&worker->team->released))
		worker->state = STATE_LEFT;
	return worker->state == STATE_OK;
}

void worker_wait_start(struct worker *worker)
{
	struct team *team = worker->team;

	atomic_fetch_add(&team->ready, 1);
	futex_wake_all(&team->ready);
	while (!atomic_load(&team->open))
		futex_wait(&team->open, 0, now_ns() + START_WAIT_NS);
}
