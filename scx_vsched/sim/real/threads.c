// SPDX-License-Identifier: GPL-2.0-only
/*
 * A workload of the simulator with real threads: the same instructions (engine/config.h), executed
 * by the kernel that this runs on. Reads numbers from standard input (scx_vsched/sim/real.py),
 * prints numbers: how often each metric was counted, its latencies, and what was computed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t u64;

/* In the order of workload.OPS. */
enum {
	COMPUTE, SLEEP, YIELD, LOCK, UNLOCK, SPIN_LOCK, BARRIER, SEND, RECEIVE, FORK, JOIN, LOOP, END,
	FOREVER, STAMP, LATENCY, MARK, PERIOD, EXIT, UNTIL,
};
enum { FIXED, UNIFORM, EXPONENTIAL };

#define MAX_LOOPS 8
#define MAX_SAMPLES (1 << 20)

struct instruction {
	u64 op, a, b, c, distribution;
};

struct channel {
	pthread_mutex_t lock;
	pthread_cond_t filled, emptied;
	u64 *stamps;
	u64 capacity, first, used;
};

struct metric {
	atomic_ullong count, samples;
	u64 *values;
};

struct thread {
	struct {
		u64 start, nice, policy, delay_ns;
	} is;
	pthread_t id;
	u64 random;
};

struct source {
	struct {
		u64 channel, interval_ns, vcpu;
	} is;
	pthread_t id;
	u64 random;
};

static struct instruction *code;
static pthread_mutex_t *locks;
static pthread_spinlock_t *spins;
static pthread_barrier_t *barriers;
static struct channel *channels;
static struct metric *metrics;
static double loops_per_ns;
static u64 begun, measure_from, end_at;

static u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static void sleep_until(u64 at)
{
	struct timespec t = {at / 1000000000, at % 1000000000};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

static u64 number(void)
{
	long long value;

	if (scanf("%lld", &value) != 1) {
		fprintf(stderr, "the description ends too early\n");
		exit(2);
	}
	return value;
}

/* As many 64-bit members as @to has, in their order. */
static void numbers(void *to, size_t size)
{
	for (size_t i = 0; i < size / sizeof(u64); i++)
		((u64 *)to)[i] = number();
}

static void *table(u64 count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);

	if (!memory)
		exit(3);
	return memory;
}

/* ---- Work ---- */

static void work(u64 loops)
{
	while (loops--)
		__asm__ volatile("");
}

/* The fastest of many short spells: the others were interrupted. */
static void calibrate(void)
{
	const u64 loops = 20000;
	u64 until = now() + 300000000, best = ~0ULL;

	while (now() < until) {
		u64 started = now(), took;

		work(loops);
		took = now() - started;
		if (took && took < best)
			best = took;
	}
	loops_per_ns = (double)loops / best;
}

static u64 next_random(u64 *state)
{
	u64 x = *state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

/* -log(u) for u in (0, 1], by halving: no mathematics library is needed */
static double negative_log(double u)
{
	double sum = 0, term, y, power;

	while (u < 0.5) {
		u *= 2;
		sum += 0.6931471805599453;
	}
	y = 1 - u;
	power = y;
	for (int i = 1; i < 60; i++) {
		term = power / i;
		sum += term;
		power *= y;
	}
	return sum;
}

static u64 draw(u64 *random, u64 distribution, u64 a, u64 b)
{
	double u = ((next_random(random) >> 11) + 1) / 9007199254740992.0;

	if (distribution == UNIFORM)
		return a + (u64)(u * (b - a));
	if (distribution == EXPONENTIAL)
		return (u64)(a * negative_log(u));
	return a;
}

/* ---- What threads share ---- */

static bool put(struct channel *channel, u64 stamp, bool wait)
{
	pthread_mutex_lock(&channel->lock);
	while (wait && channel->used == channel->capacity)
		pthread_cond_wait(&channel->emptied, &channel->lock);
	if (channel->used == channel->capacity) {
		pthread_mutex_unlock(&channel->lock);
		return false;
	}
	channel->stamps[(channel->first + channel->used++) % channel->capacity] = stamp;
	pthread_mutex_unlock(&channel->lock);
	pthread_cond_signal(&channel->filled);
	return true;
}

static u64 take(struct channel *channel)
{
	u64 stamp;

	pthread_mutex_lock(&channel->lock);
	while (!channel->used)
		pthread_cond_wait(&channel->filled, &channel->lock);
	stamp = channel->stamps[channel->first];
	channel->first = (channel->first + 1) % channel->capacity;
	channel->used--;
	pthread_mutex_unlock(&channel->lock);
	pthread_cond_signal(&channel->emptied);
	return stamp;
}

static void sample(struct metric *metric, u64 value)
{
	u64 slot;

	if (now() < measure_from || now() > end_at)
		return;
	slot = atomic_fetch_add(&metric->samples, 1);
	if (slot < MAX_SAMPLES)
		metric->values[slot] = value;
}

/* ---- Threads ---- */

static void become(u64 policy, long nice)
{
	struct sched_param param = {};

	if (sched_setscheduler(0, policy, &param)) {
		perror("sched_setscheduler");
		_exit(4);
	}
	if (policy != SCHED_IDLE)
		setpriority(PRIO_PROCESS, syscall(SYS_gettid), nice);
}

static void *run(void *argument)
{
	struct thread *t = argument;
	u64 loops[MAX_LOOPS], depth = 0, stamp = now(), next = 0;
	const struct instruction *in = code + t->is.start;

	become(t->is.policy, t->is.nice);
	if (t->is.delay_ns)
		sleep_until(now() + t->is.delay_ns);
	for (;; in++) {
		switch (in->op) {
		case COMPUTE:
			work(draw(&t->random, in->distribution, in->a, in->b) * loops_per_ns);
			break;
		case SLEEP:
			stamp = now() + draw(&t->random, in->distribution, in->a, in->b);
			sleep_until(stamp);
			break;
		case YIELD:
			sched_yield();
			break;
		case LOCK:
			pthread_mutex_lock(&locks[in->a]);
			break;
		case SPIN_LOCK:
			pthread_spin_lock(&spins[in->a]);
			break;
		case UNLOCK:
			if (in->b)
				pthread_spin_unlock(&spins[in->a]);
			else
				pthread_mutex_unlock(&locks[in->a]);
			break;
		case BARRIER:
			pthread_barrier_wait(&barriers[in->a]);
			break;
		case SEND:
			put(&channels[in->a], stamp, true);
			break;
		case RECEIVE:
			stamp = take(&channels[in->a]);
			break;
		case LOOP:
			loops[depth++] = in->a;
			break;
		case END:
			if (--loops[depth - 1])
				in = code + in->a - 1;
			else
				depth--;
			break;
		case FOREVER:
			in = code + in->a - 1;
			break;
		case STAMP:
			stamp = now();
			break;
		case LATENCY:
			sample(&metrics[in->a], now() - stamp);
			break;
		case MARK:
			if (now() >= measure_from && now() <= end_at)
				atomic_fetch_add(&metrics[in->a].count, 1);
			break;
		case PERIOD:
			next = (next ? next : now()) + in->a;
			if (next <= now())
				next += (now() - next) / in->a * in->a;
			else
				sleep_until(next);
			stamp = next;
			break;
		case UNTIL:
			stamp = begun + in->a;
			if (stamp > now())
				sleep_until(stamp);
			break;
		default:
			return NULL;
		}
	}
}

/* Requests as interrupts of one vCPU bring them: before all ordinary tasks. */
static void *arrive(void *argument)
{
	struct source *s = argument;
	struct sched_param param = {.sched_priority = 50};
	u64 at = now();
	cpu_set_t here;

	CPU_ZERO(&here);
	CPU_SET(s->is.vcpu, &here);
	sched_setaffinity(0, sizeof(here), &here);
	sched_setscheduler(0, SCHED_FIFO, &param);
	for (;;) {
		at += draw(&s->random, EXPONENTIAL, s->is.interval_ns, 0);
		sleep_until(at);
		put(&channels[s->is.channel], at, false);
	}
	return NULL;
}

static void set_up(u64 nr_locks, u64 nr_barriers, u64 nr_channels, u64 nr_metrics)
{
	locks = table(nr_locks, sizeof(*locks));
	spins = table(nr_locks, sizeof(*spins));
	for (u64 i = 0; i < nr_locks; i++) {
		pthread_mutex_init(&locks[i], NULL);
		pthread_spin_init(&spins[i], 0);
	}
	barriers = table(nr_barriers, sizeof(*barriers));
	for (u64 i = 0; i < nr_barriers; i++)
		pthread_barrier_init(&barriers[i], NULL, number());
	channels = table(nr_channels, sizeof(*channels));
	for (u64 i = 0; i < nr_channels; i++) {
		channels[i] = (struct channel){.capacity = number()};
		channels[i].stamps = table(channels[i].capacity, sizeof(u64));
		pthread_mutex_init(&channels[i].lock, NULL);
		pthread_cond_init(&channels[i].filled, NULL);
		pthread_cond_init(&channels[i].emptied, NULL);
	}
	metrics = table(nr_metrics, sizeof(*metrics));
	for (u64 i = 0; i < nr_metrics; i++)
		metrics[i].values = table(MAX_SAMPLES, sizeof(u64));
}

int main(void)
{
	struct {
		u64 seed, warmup_ns, length_ns;
		u64 code, locks, barriers, channels, metrics, threads, sources;
	} is;
	struct sched_param first = {.sched_priority = 60};
	struct thread *threads;
	struct source *sources;

	numbers(&is, sizeof(is));
	set_up(is.locks, is.barriers, is.channels, is.metrics);
	code = table(is.code, sizeof(*code));
	numbers(code, is.code * sizeof(*code));
	threads = table(is.threads, sizeof(*threads));
	for (u64 i = 0; i < is.threads; i++) {
		numbers(&threads[i].is, sizeof(threads[i].is));
		threads[i].random = is.seed + i;
	}
	sources = table(is.sources, sizeof(*sources));
	for (u64 i = 0; i < is.sources; i++) {
		numbers(&sources[i].is, sizeof(sources[i].is));
		sources[i].random = ~is.seed - i;
	}
	calibrate();
	/* ends on time, whatever the others do */
	sched_setscheduler(0, SCHED_FIFO, &first);
	begun = now();
	measure_from = begun + is.warmup_ns;
	end_at = measure_from + is.length_ns;
	for (u64 i = 0; i < is.sources; i++)
		pthread_create(&sources[i].id, NULL, arrive, &sources[i]);
	for (u64 i = 0; i < is.threads; i++) {
		pthread_attr_t attributes;

		pthread_attr_init(&attributes);
		pthread_attr_setstacksize(&attributes, 65536);
		pthread_create(&threads[i].id, &attributes, run, &threads[i]);
	}
	sleep_until(end_at);
	for (u64 i = 0; i < is.metrics; i++) {
		u64 samples = metrics[i].samples < MAX_SAMPLES ? metrics[i].samples : MAX_SAMPLES;

		printf("%llu %llu", metrics[i].count, (unsigned long long)samples);
		for (u64 k = 0; k < samples; k++)
			printf(" %llu", (unsigned long long)metrics[i].values[k]);
		printf("\n");
	}
	fflush(stdout);
	_exit(0);
}
