/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Logs when each watched thread goes on and off a host CPU and when it is woken, in the order in
 * which it happens: one array that only grows, read by the process that loaded this.
 */
#include "bpf.h"

enum { ON = 1, WOKEN = 2, OFF = 1U << 31 }; /* OFF comes with the task's state in the lower bits */

struct event {
	u64 at_ns;
	u32 tid;
	u32 what;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, u32);
	__type(value, u32);
} watched SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set before load */
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct event);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, u64);
} used SEC(".maps");

static __always_inline void note(u32 tid, u32 what)
{
	struct event *event;
	u32 zero = 0, at;
	u64 *count;

	if (!bpf_map_lookup_elem(&watched, &tid))
		return;
	count = bpf_map_lookup_elem(&used, &zero);
	if (!count)
		return;
	at = __sync_fetch_and_add(count, 1);
	event = bpf_map_lookup_elem(&events, &at);
	if (!event)
		return; /* full: the reader sees that more were counted than there is room for */
	event->at_ns = bpf_ktime_get_ns();
	event->tid = tid;
	event->what = what;
}

/* Arguments as in include/trace/events/sched.h: (preempt, prev, next, prev_state) and (p). */
SEC("tp_btf/sched_switch")
int on_switch(u64 *ctx)
{
	struct task_struct *prev = (void *)ctx[1], *next = (void *)ctx[2];

	note(prev->pid, OFF | (u32)ctx[3]);
	note(next->pid, ON);
	return 0;
}

SEC("tp_btf/sched_wakeup")
int on_wakeup(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];

	note(task->pid, WOKEN);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
