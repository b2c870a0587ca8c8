/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stands in for templates/include/bpf.h in the simulator: sections vanish, a map's definition
 * becomes its own storage, helpers become functions of the simulator.
 */
#pragma once

#include "kernel.h"

#define SEC(name)
#undef __always_inline /* the system's headers have their own */
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define __ksym
#define __weak __attribute__((weak))
#define __pure __attribute__((pure))
#define __kptr
#define __apart __weak __noinline
#define __arg_trusted
#define __arg_nonnull
#define __cacheline_aligned __attribute__((aligned(64)))

#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile typeof(x) *)&(x) = (v))

#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_MAP_TYPE_QUEUE 22
#define BPF_MAP_TYPE_TASK_STORAGE 29
enum { BPF_ANY = 0, BPF_F_NO_PREALLOC = 1, BPF_F_MMAPABLE = 1 << 10 };
enum { BPF_LOCAL_STORAGE_GET_F_CREATE = 1 };

/*
 * A map is a struct of pointers that only describe types: `type` and `max_entries` point to arrays
 * of that many ints. Two of them that nothing else uses hold what the simulator needs: `type` the
 * map's state, and `value` the storage of an array. SIM_MAP() lists each map for the simulator,
 * which sets both before anything of the scheduler runs; the list comes from the build.
 */
struct sim_map {
	const char *name;
	void **state; /* the map's `type` */
	void **values; /* the map's `value`, NULL without one */
	u32 kind, entries, key_size, value_size;
};

#define SIM_KIND(map) (sizeof(*(map)->type) / sizeof(int))
#define SIM_MAX(map) (sizeof(*(map)->max_entries) / sizeof(int))
#define SIM_MAP_VALUES(map, max)                                                            \
	{#map, (void **)&(map).type, (void **)&(map).value, SIM_KIND(&(map)), max,            \
	 sizeof(*(map).key), sizeof(*(map).value)}
#define SIM_MAP(map) SIM_MAP_VALUES(map, SIM_MAX(&(map)))
#define SIM_MAP_STORAGE(map) SIM_MAP_VALUES(map, 0)
#define SIM_MAP_QUEUE(map)                                                                  \
	{#map, (void **)&(map).type, NULL, SIM_KIND(&(map)), SIM_MAX(&(map)), 0,              \
	 sizeof(*(map).value_size) / sizeof(int)}

/* A member of an array's entries that must be 0 when no task is left. */
struct sim_counter {
	const char *map, *member;
	u32 offset, size;
};

#define SIM_COUNTER(map, member)                                                            \
	{#map, #member, __builtin_offsetof(typeof(*(map).value), member),                     \
	 sizeof((map).value->member)}

/* A member of an array's entries that must be 0 then, too. */
struct sim_array {
	void *values;
	u32 entries, size, offset;
};

void sim_count(u32 stat);

extern u32 sim_this_vcpu; /* the vCPU that executes the scheduler's code */

struct bpf_timer {
	u64 opaque[2];
} __attribute__((aligned(8)));

enum { BPF_F_TIMER_CPU_PIN = 2 };

/* The key that the callback gets follows from where the timer lies in the map. */
#define bpf_timer_init(timer, map, flags) sim_timer_init(timer, (map)->value, sizeof(*(map)->value))
long sim_timer_init(struct bpf_timer *timer, void *values, u32 size);
long bpf_timer_set_callback(struct bpf_timer *timer, void *callback);
long bpf_timer_start(struct bpf_timer *timer, u64 nsecs, u64 flags);
long bpf_timer_cancel(struct bpf_timer *timer);

void *sim_hash_lookup(void *map, const void *key);
long sim_hash_update(void *map, const void *key, const void *value, u64 flags);
long sim_hash_delete(void *map, const void *key);
long sim_queue_push(void *map, const void *value);
long sim_queue_pop(void *map, void *value);
void *sim_task_storage(void *map, const struct task_struct *task, u64 flags);
long sim_copy_string(void *dst, u32 size, const void *src);

static __always_inline void *sim_lookup(void *state, void *values, u32 kind, u32 max, u32 size,
					const void *key)
{
	u32 index;

	if (kind == BPF_MAP_TYPE_HASH)
		return sim_hash_lookup(state, key);
	index = *(const u32 *)key;
	if (index >= max)
		return NULL;
	if (kind == BPF_MAP_TYPE_PERCPU_ARRAY)
		return (char *)values + ((u64)sim_this_vcpu * max + index) * size;
	return (char *)values + (u64)index * size;
}

static __always_inline void *sim_lookup_percpu(void *values, u32 max, u32 size, const void *key,
					       u32 vcpu, u32 vcpus)
{
	u32 index = *(const u32 *)key;

	if (index >= max || vcpu >= vcpus)
		return NULL;
	return (char *)values + ((u64)vcpu * max + index) * size;
}

u32 scx_bpf_nr_cpu_ids(void);

/* Chance that is the same in every run: xorshift (Marsaglia 2003). */
static __always_inline u32 bpf_get_prandom_u32(void)
{
	static u32 drawn = 2463534242U;

	drawn ^= drawn << 13;
	drawn ^= drawn >> 17;
	drawn ^= drawn << 5;
	return drawn;
}

/* What the scheduler counts is shown beside its steps; the comparison costs nothing at run time. */
#define bpf_map_lookup_elem(map, key)                                                       \
	(!__builtin_strcmp(#map, "&stats") ? sim_count(*(const u32 *)(key)) : (void)0,        \
	 sim_lookup((map)->type, (map)->value, SIM_KIND(map), SIM_MAX(map),                    \
		    sizeof(*(map)->value), key))
#define bpf_map_lookup_percpu_elem(map, key, vcpu)                                          \
	sim_lookup_percpu((map)->value, SIM_MAX(map), sizeof(*(map)->value), key, vcpu,       \
			  scx_bpf_nr_cpu_ids())
#define bpf_map_update_elem(map, key, new, flags)                                           \
	({                                                                                    \
		_Static_assert(SIM_KIND(map) == BPF_MAP_TYPE_HASH, "hashes only");             \
		sim_hash_update((map)->type, key, new, flags);                                 \
	})
#define bpf_map_delete_elem(map, key)                                                       \
	({                                                                                    \
		_Static_assert(SIM_KIND(map) == BPF_MAP_TYPE_HASH, "hashes only");             \
		sim_hash_delete((map)->type, key);                                             \
	})
#define bpf_map_push_elem(map, new, flags) sim_queue_push((map)->type, new)
#define bpf_map_pop_elem(map, out) sim_queue_pop((map)->type, out)
#define bpf_task_storage_get(map, task, initial, flags)                                     \
	sim_task_storage((map)->type, task, flags)
#define bpf_probe_read_kernel_str(dst, size, src) sim_copy_string(dst, size, src)

u64 bpf_ktime_get_ns(void) __pure;
struct task_struct *bpf_get_current_task_btf(void);

static __always_inline u32 bpf_get_smp_processor_id(void)
{
	return sim_this_vcpu;
}

static __always_inline long bpf_loop(u32 count, void *callback, void *context, u64 flags)
{
	u32 i = 0;

	while (i < count) {
		if (((long (*)(u32, void *))callback)(i++, context))
			break;
	}
	return i;
}

static __always_inline void *bpf_kptr_xchg(void *slot, void *kptr)
{
	void *before = *(void **)slot;

	*(void **)slot = kptr;
	return before;
}

#define KFUNC_EXISTS(name) (!!(void *)(name))
