/* SPDX-License-Identifier: GPL-2.0-only */
/* BPF maps: arrays are plain memory (templates/sim/bpf.h), the others are here. */
#include <stdio.h>
#include <string.h>

#include "api.h"

struct slot {
	u64 key;
	bool used;
	void *value;
};

/* A hash with open addressing, or a queue, or a map of task storage. */
struct map_state {
	const struct sim_map *map;
	struct slot *slots;
	u32 mask, used; /* of a hash */
	char *items; /* of a queue: a stack would do too, but queues give back in order */
	u32 first, nr;
	char *storage; /* of task storage, by the task's index */
	bool *present;
};

static struct slot *hash_find(struct map_state *state, u64 key, bool create)
{
	u32 at = key * 0x9e3779b97f4a7c15ULL >> 32;

	for (;; at++) {
		struct slot *slot = &state->slots[at & state->mask];

		if (slot->value ? slot->key == key : true) {
			if (!slot->value && !create)
				return NULL;
			return slot;
		}
	}
}

static u64 hash_key(const struct map_state *state, const void *key)
{
	u64 wide = 0;

	check(state->map->key_size <= sizeof(wide), "unsupported_map",
	      "keys of %s are longer than eight bytes", state->map->name);
	memcpy(&wide, key, state->map->key_size);
	return wide;
}

void *sim_hash_lookup(void *map, const void *key)
{
	struct map_state *state = map;
	struct slot *slot = hash_find(state, hash_key(state, key), false);

	return slot && slot->used ? slot->value : NULL;
}

long sim_hash_update(void *map, const void *key, const void *value, u64 flags)
{
	struct map_state *state = map;
	struct slot *slot = hash_find(state, hash_key(state, key), true);

	if (!slot->used && state->used == state->map->entries)
		return -7; /* E2BIG */
	if (!slot->value) {
		check(state->used < state->mask, "map_full", "%s holds too many keys",
		      state->map->name);
		slot->value = sim_alloc(state->map->value_size);
		slot->key = hash_key(state, key);
	}
	if (!slot->used)
		state->used++;
	slot->used = true;
	memcpy(slot->value, value, state->map->value_size);
	return 0;
}

/* The slot stays, so that what lies behind it is still found. */
long sim_hash_delete(void *map, const void *key)
{
	struct map_state *state = map;
	struct slot *slot = hash_find(state, hash_key(state, key), false);

	if (!slot || !slot->used)
		return -2; /* ENOENT */
	slot->used = false;
	state->used--;
	return 0;
}

long sim_queue_push(void *map, const void *value)
{
	struct map_state *state = map;
	u32 size = state->map->value_size, room = state->map->entries;

	if (state->nr == room)
		return -7; /* E2BIG */
	memcpy(state->items + (u64)((state->first + state->nr++) % room) * size, value, size);
	return 0;
}

long sim_queue_pop(void *map, void *value)
{
	struct map_state *state = map;
	u32 size = state->map->value_size;

	if (!state->nr)
		return -2; /* ENOENT */
	memcpy(value, state->items + (u64)state->first * size, size);
	state->first = (state->first + 1) % state->map->entries;
	state->nr--;
	return 0;
}

void *sim_task_storage(void *map, const struct task_struct *task, u64 flags)
{
	struct map_state *state = map;
	u32 index = task->sim_index, size = state->map->value_size;
	char *value = state->storage + (u64)index * size;

	if (state->present[index])
		return value;
	if (!(flags & BPF_LOCAL_STORAGE_GET_F_CREATE))
		return NULL;
	state->present[index] = true;
	memset(value, 0, size);
	return value;
}

long sim_copy_string(void *dst, u32 size, const void *src)
{
	if (!size)
		return 0;
	return snprintf(dst, size, "%s", src ? (const char *)src : "") + 1;
}

static void map_setup(const struct sim_map *map)
{
	struct map_state *state = sim_alloc(sizeof(*state));
	u64 entries = map->entries;

	state->map = map;
	*map->state = state;
	switch (map->kind) {
	case BPF_MAP_TYPE_PERCPU_ARRAY:
		entries *= sim.nr_vcpus;
		/* fallthrough */
	case BPF_MAP_TYPE_ARRAY:
		*map->values = sim_alloc(entries * map->value_size);
		break;
	case BPF_MAP_TYPE_HASH:
		for (state->mask = 63; state->mask < 2 * entries;)
			state->mask = 2 * state->mask + 1;
		state->slots = sim_alloc((state->mask + 1ULL) * sizeof(*state->slots));
		break;
	case BPF_MAP_TYPE_QUEUE:
		state->items = sim_alloc(entries * map->value_size);
		break;
	case BPF_MAP_TYPE_TASK_STORAGE:
		state->storage = sim_alloc((sim.load->max_tasks + 1) * map->value_size);
		state->present = sim_alloc(sim.load->max_tasks + 1);
		break;
	default:
		fail("unsupported_map", "%s has the type %u", map->name, map->kind);
	}
}

void maps_setup(void)
{
	if (!&sim_nr_maps)
		return;
	for (u32 i = 0; i < sim_nr_maps; i++)
		map_setup(&sim_maps[i]);
}

/* A task's storage goes with the task. */
void maps_forget_task(const struct task *t)
{
	if (!&sim_nr_maps)
		return;
	for (u32 i = 0; i < sim_nr_maps; i++) {
		struct map_state *state = *sim_maps[i].state;

		if (sim_maps[i].kind == BPF_MAP_TYPE_TASK_STORAGE)
			state->present[t->p.sim_index] = false;
	}
}

/* The state of the hash called @name, NULL where there is none. */
void *sim_hash(const char *name)
{
	for (u32 i = 0; &sim_nr_maps && i < sim_nr_maps; i++) {
		const struct sim_map *map = &sim_maps[i];

		if (map->kind == BPF_MAP_TYPE_HASH && !__builtin_strcmp(map->name, name))
			return *map->state;
	}
	return NULL;
}

/* The values of the map called @name, NULL where there is none. */
void *sim_map_values(const char *name, u32 *entries, u32 *size)
{
	if (!&sim_nr_maps)
		return NULL;
	for (u32 i = 0; i < sim_nr_maps; i++) {
		const struct sim_map *map = &sim_maps[i];

		if (__builtin_strcmp(map->name, name) || !map->values)
			continue;
		*entries = map->entries;
		*size = map->value_size;
		return *map->values;
	}
	return NULL;
}
