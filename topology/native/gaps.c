// SPDX-License-Identifier: GPL-2.0-only
/* Lists of gaps, and how much of a thread's absence the guest itself is the cause of. */
#define _GNU_SOURCE
#include "probe.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

bool gaps_init(struct gaps *gaps, uint32_t max)
{
	gaps->count = 0;
	gaps->max = max;
	gaps->list = calloc(max, sizeof(*gaps->list));
	return gaps->list;
}

void gaps_free(struct gaps *gaps)
{
	free(gaps->list);
	gaps->list = NULL;
}

bool gaps_add(struct gaps *gaps, uint64_t start_ns, uint64_t length_ns)
{
	if (gaps->count == gaps->max)
		return false;
	gaps->list[gaps->count++] = (struct gap){start_ns, length_ns};
	return gaps->count < gaps->max;
}

static uint64_t least(uint64_t one, uint64_t other)
{
	return one < other ? one : other;
}

void gaps_trim(struct gaps *gaps, uint64_t head_ns, uint64_t tail_ns)
{
	for (uint32_t i = 0; i < gaps->count; i++) {
		struct gap *gap = &gaps->list[i];
		uint64_t head = least(head_ns, gap->length_ns);

		gap->start_ns += head;
		gap->length_ns -= head;
		gap->length_ns -= least(tail_ns, gap->length_ns);
	}
}

void gaps_clip(struct gaps *gaps, uint64_t end_ns)
{
	struct gap *last;

	while (gaps->count && gaps->list[gaps->count - 1].start_ns >= end_ns)
		gaps->count--;
	if (!gaps->count)
		return;
	last = &gaps->list[gaps->count - 1];
	if (last->start_ns + last->length_ns > end_ns)
		last->length_ns = end_ns - last->start_ns;
}

uint64_t gaps_total(const struct gaps *gaps)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < gaps->count; i++)
		total += gaps->list[i].length_ns;
	return total;
}

uint64_t gaps_union(const struct gaps *a, const struct gaps *b)
{
	uint64_t covered = 0, until = 0;
	uint32_t i = 0, j = 0;

	while (i < a->count || j < b->count) {
		bool from_a = j == b->count ||
			      (i < a->count && a->list[i].start_ns <= b->list[j].start_ns);
		const struct gap *gap = from_a ? &a->list[i++] : &b->list[j++];
		uint64_t start = gap->start_ns > until ? gap->start_ns : until;
		uint64_t end = gap->start_ns + gap->length_ns;

		if (end > start) {
			covered += end - start;
			until = end;
		}
	}
	return covered;
}

uint64_t thread_cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * 1000000000ULL + (uint64_t)used.tv_nsec;
}

/*
 * The second number in the file is the time waited on a run queue, by the kernel's plain clock:
 * unlike CPU time it does not depend on whether the kernel takes steal off. False when the kernel
 * does not count.
 */
static bool read_delay(int file, uint64_t *delay_ns)
{
	char text[96];
	ssize_t length = pread(file, text, sizeof(text) - 1, 0);
	char *end;

	if (length <= 0)
		return false;
	text[length] = '\0';
	strtoull(text, &end, 10);
	*delay_ns = strtoull(end, &end, 10);
	/* the third counts runs: 0 for a thread that is just running means that nothing is counted */
	return strtoull(end, NULL, 10) > 0;
}

void waits_open(struct waits *waits)
{
	waits->file = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	if (waits->file >= 0 && !read_delay(waits->file, &waits->delay_ns)) {
		close(waits->file);
		waits->file = -1;
	}
	waits->at_ns = now_ns();
	waits->cpu_ns = thread_cpu_ns();
}

uint64_t waits_read(struct waits *waits)
{
	uint64_t waited = 0, delay_ns, now, cpu_ns;

	if (waits->file >= 0) {
		if (read_delay(waits->file, &delay_ns)) {
			waited = delay_ns - waits->delay_ns;
			waits->delay_ns = delay_ns;
		}
		return waited;
	}
	/*
	 * The guest's account of CPU time goes on while the host has the vCPU, and stops while the
	 * guest runs others. Where the kernel takes steal off, this errs towards fewer gaps.
	 */
	now = now_ns();
	cpu_ns = thread_cpu_ns();
	if (now - waits->at_ns > cpu_ns - waits->cpu_ns)
		waited = (now - waits->at_ns) - (cpu_ns - waits->cpu_ns);
	waits->at_ns = now;
	waits->cpu_ns = cpu_ns;
	return waited;
}

void waits_close(struct waits *waits)
{
	if (waits->file >= 0)
		close(waits->file);
}
