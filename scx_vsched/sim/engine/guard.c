/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ends a run whose code spins within one event, crashes, or reaches beyond what it may (in a build
 * with sanitizers), and says what it was about. What takes long by many events is bounded in main.c.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api.h"

#define PATIENCE 4 /* quarters of a second of processor time for one event */

/* SIGILL is what undefined behaviour ends with in a build with sanitizers. */
static const int crashes[] = {SIGILL, SIGSEGV, SIGBUS, SIGFPE};

static timer_t timer;
static struct sigaction before_timer, before_crash[ARRAY_SIZE(crashes)];
static u64 events_seen;
static u32 quarters;
static bool timed, guarded;

/* Every quarter of a second of this thread's own processor time. */
static void on_timer(int signal)
{
	if (events_seen != sim.events) {
		events_seen = sim.events;
		quarters = 0;
		return;
	}
	if (++quarters < PATIENCE)
		return;
	if (sim.context)
		fail("spins", "%s() has not returned on vCPU %u for a second of processor time",
		     ext_op_name(sim.op), sim_this_vcpu);
	fail("spins", "the simulator itself makes no progress");
}

static void on_crash(int signal, siginfo_t *info, void *context)
{
	Dl_info where = {};

	if (signal == SIGILL)
		dladdr(info->si_addr, &where);
	fail(signal == SIGILL ? "undefined" : "crash", "%s in %s on vCPU %u (+0x%llx)",
	     signal == SIGILL ? "undefined behaviour" : strsignal(signal),
	     sim.context ? ext_op_name(sim.op) : "the simulator itself", sim_this_vcpu,
	     where.dli_fbase ? (u64)info->si_addr - (u64)where.dli_fbase : (u64)info->si_addr);
}

#ifdef __SANITIZE_ADDRESS__

void __asan_set_error_report_callback(void (*callback)(const char *));

static char invalid[512]; /* the first invalid access, until somebody looks */

/* The sanitizer holds its locks: the run ends at guard_check(). */
static void on_invalid(const char *report)
{
	const char *summary = strstr(report, "SUMMARY: AddressSanitizer: ");
	const char *what = summary ? summary + 27 : report;

	if (invalid[0])
		return;
	snprintf(invalid, sizeof(invalid), "%.*s (%s on vCPU %u)", (int)strcspn(what, "\n"), what,
		 sim.context ? ext_op_name(sim.op) : "the simulator itself", sim_this_vcpu);
}

void guard_check(void)
{
	check(!invalid[0], "address", "%s", invalid);
}

static void watch_addresses(bool on)
{
	__asan_set_error_report_callback(on ? on_invalid : NULL);
}

#else

static void watch_addresses(bool on)
{
}

#endif

/* A debugger may look at one hook for as long as it likes. */
static void start_timer(void)
{
	struct sigaction action = {.sa_handler = on_timer, .sa_flags = SA_RESTART | SA_NODEFER};
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM};
	struct itimerspec often = {{0, 250000000}, {0, 250000000}};

	event._sigev_un._tid = gettid();
	if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer))
		return; /* then a run that spins is ended by hand */
	sigaction(SIGALRM, &action, &before_timer);
	timed = true;
	timer_settime(timer, 0, &often, NULL);
}

void guard_start(void)
{
	struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_NODEFER};

	for (u32 i = 0; i < ARRAY_SIZE(crashes); i++)
		sigaction(crashes[i], &action, &before_crash[i]);
	guarded = true;
	watch_addresses(true);
	if (!sim.options->hook)
		start_timer();
}

void guard_stop(void)
{
	watch_addresses(false);
	if (timed) {
		timer_delete(timer);
		sigaction(SIGALRM, &before_timer, NULL);
	}
	for (u32 i = 0; guarded && i < ARRAY_SIZE(crashes); i++)
		sigaction(crashes[i], &before_crash[i], NULL);
	timed = guarded = false;
}
