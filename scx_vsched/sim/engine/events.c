/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is due when: a heap with four children to each node. Events of one time happen in the order
 * in which they were asked for, which makes the run the same wherever it runs.
 */
#include <stdlib.h>

#include "api.h"

#define CHILDREN 4

struct node {
	u64 at, order;
	struct event *event;
};

static struct node *heap;
static u32 used, room;

static inline bool sooner(const struct node *a, const struct node *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static inline void place(u32 slot, struct node node)
{
	heap[slot] = node;
	node.event->slot = slot + 1;
}

static void rise(u32 slot, struct node node)
{
	while (slot) {
		u32 parent = (slot - 1) / CHILDREN;

		if (!sooner(&node, &heap[parent]))
			break;
		place(slot, heap[parent]);
		slot = parent;
	}
	place(slot, node);
}

static void sink(u32 slot, struct node node)
{
	for (;;) {
		u32 first = slot * CHILDREN + 1, least = first;

		if (first >= used)
			break;
		for (u32 child = first + 1; child < first + CHILDREN && child < used; child++) {
			if (sooner(&heap[child], &heap[least]))
				least = child;
		}
		if (!sooner(&heap[least], &node))
			break;
		place(slot, heap[least]);
		slot = least;
	}
	place(slot, node);
}

static void settle(u32 slot, struct node node)
{
	if (slot && sooner(&node, &heap[(slot - 1) / CHILDREN]))
		rise(slot, node);
	else
		sink(slot, node);
}

static void grow(void)
{
	u32 more = room ? 2 * room : 1024;
	struct node *bigger = sim_alloc((u64)more * sizeof(*heap));

	for (u32 i = 0; i < used; i++)
		bigger[i] = heap[i];
	heap = bigger;
	room = more;
}

/* Lets @event happen at @at instead of whenever it was due. */
void event_at(struct event *event, u64 at)
{
	struct node node = {at, sim.order++, event};

	event->at = at;
	if (event->slot) {
		settle(event->slot - 1, node);
		return;
	}
	if (used == room)
		grow();
	used++;
	rise(used - 1, node);
}

void event_cancel(struct event *event)
{
	u32 slot = event->slot;
	struct node last;

	if (!slot)
		return;
	event->slot = 0;
	last = heap[--used];
	if (slot - 1 != used)
		settle(slot - 1, last);
}

u64 event_next_at(void)
{
	return used ? heap[0].at : NEVER;
}

struct event *event_next(void)
{
	struct event *event = heap[0].event;

	event_cancel(event);
	return event;
}
