/* SPDX-License-Identifier: GPL-2.0-only */
/* Clocks, masks and messages: helpers and kfuncs that have nothing to do with sched_ext. */
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "scx.h"

u64 bpf_ktime_get_ns(void)
{
	return sim.now;
}

/* The task on whose behalf the guest's kernel runs; the idle task is nobody's. */
struct task_struct *bpf_get_current_task_btf(void)
{
	if (sim.forker)
		return &sim.forker->p;
	return sim.this && sim.this->curr ? &sim.this->curr->p : &sim.no_task->p;
}

struct bpf_cpumask *bpf_cpumask_create(void)
{
	return sim_alloc(sizeof(struct bpf_cpumask));
}

void bpf_cpumask_release(struct bpf_cpumask *mask)
{
}

void bpf_cpumask_set_cpu(u32 cpu, struct bpf_cpumask *mask)
{
	if (cpu < sim.nr_vcpus)
		mask_set(&mask->cpumask, cpu);
}

void bpf_cpumask_clear_cpu(u32 cpu, struct bpf_cpumask *mask)
{
	if (cpu < sim.nr_vcpus)
		mask_clear(&mask->cpumask, cpu);
}

bool bpf_cpumask_test_cpu(u32 cpu, const struct cpumask *mask)
{
	return cpu < sim.nr_vcpus && mask_test(mask, cpu);
}

bool bpf_cpumask_and(struct bpf_cpumask *dst, const struct cpumask *a, const struct cpumask *b)
{
	unsigned long any = 0;

	for (u32 i = 0; i < sim.mask_words; i++)
		any |= dst->cpumask.bits[i] = a->bits[i] & b->bits[i];
	return any;
}

bool bpf_cpumask_empty(const struct cpumask *mask)
{
	return mask_first_and(mask, mask) == NONE;
}

bool bpf_cpumask_intersects(const struct cpumask *a, const struct cpumask *b)
{
	return mask_first_and(a, b) != NONE;
}

u32 bpf_cpumask_any_and_distribute(const struct cpumask *a, const struct cpumask *b)
{
	return idle_distribute(a, b);
}

void bpf_rcu_read_lock(void)
{
}

void bpf_rcu_read_unlock(void)
{
}

/* Formats as bpf_bstr_printf() does: %s takes an address, numbers their low bits. */
static void format(char *out, size_t room, const char *fmt, const unsigned long long *data)
{
	size_t used = 0;

	for (; *fmt && used + 1 < room; fmt++) {
		char spec[16];
		size_t length = 0;
		bool wide = false;

		if (*fmt != '%' || fmt[1] == '%') {
			out[used++] = *fmt;
			fmt += *fmt == '%';
			continue;
		}
		while (length < sizeof(spec) - 1 && !strchr("diuxXscp", fmt[length])) {
			wide |= fmt[length] == 'l';
			spec[length] = fmt[length];
			length++;
		}
		spec[length] = fmt[length];
		spec[length + 1] = 0;
		fmt += length;
		if (*fmt == 's')
			used += snprintf(out + used, room - used, spec, (const char *)*data++);
		else if (wide)
			used += snprintf(out + used, room - used, spec, *data++);
		else
			used += snprintf(out + used, room - used, spec, (u32)*data++);
		if (used >= room)
			used = room - 1;
	}
	out[used] = 0;
}

void scx_bpf_error_bstr(char *fmt, unsigned long long *data, u32 size)
{
	char text[512];

	format(text, sizeof(text), fmt, data);
	fail("scx_error", "%s", text);
}

void scx_bpf_dump_bstr(char *fmt, unsigned long long *data, u32 size)
{
	char text[512];

	format(text, sizeof(text), fmt, data);
	fprintf(stderr, "%s", text);
}
