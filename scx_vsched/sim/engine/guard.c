/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ends a run in which one event takes for ever: code under test that spins. What takes long by many
 * events is bounded in main.c.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api.h"

#define PATIENCE 2 /* seconds of processor time for one event */

static timer_t timer;
static struct sigaction before;
static u64 events_seen;
static u32 seconds;
static bool armed;

/* Every second of this thread's own processor time. */
static void on_timer(int signal)
{
	if (events_seen != sim.events) {
		events_seen = sim.events;
		seconds = 0;
		return;
	}
	if (++seconds < PATIENCE)
		return;
	if (sim.context)
		fail("spins", "%s() has not returned on vCPU %u after %u s",
		     ext_op_name(sim.op), sim_this_vcpu, seconds);
	fail("spins", "the simulator itself makes no progress");
}

void guard_start(void)
{
	struct sigaction action = {.sa_handler = on_timer, .sa_flags = SA_RESTART | SA_NODEFER};
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM};
	struct itimerspec often = {{1, 0}, {1, 0}};

	event._sigev_un._tid = gettid();
	if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer))
		return; /* then a run that spins is ended by hand */
	sigaction(SIGALRM, &action, &before);
	armed = true;
	timer_settime(timer, 0, &often, NULL);
}

void guard_stop(void)
{
	if (!armed)
		return;
	armed = false;
	timer_delete(timer);
	sigaction(SIGALRM, &before, NULL);
}
