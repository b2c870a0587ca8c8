#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Weverything"

/* How far `task` is behind the others, * / and not the end of a comment. */
#line 29 "sample_policy.py"
static __always_inline s64 fn_lag(const struct task_view *task, const struct sched_view *sched)
{
	return (s64)(sched_vtime(sched) - task_vtime(task));
}

#line 34 "sample_policy.py"
static __always_inline s64 fn_clamp(s64 x, s64 low, s64 high)
{
#line 35 "sample_policy.py"
	return py_max_s64(low, py_min_s64(x, high));
}

#line 86 "sample_policy.py"
static __always_inline s8 fn_halved(s8 x)
{
#line 87 "sample_policy.py"
	s8 half = (s8)py_mod_s32(x, 2) != 0 ? (s8)py_div_s32(x, 2) : (s8)py_div_s32(x, (s8)tunables.bias);
	return (s8)~half ^ (s8)((u32)(s8)-(half | 1) << 2);
}

/* Loops of all kinds. */
#line 47 "sample_policy.py"
static __always_inline u64 hook_slice_ns(const struct task_view *task, const struct vcpu_view *vcpu,
		const struct sched_view *sched)
{
#line 49 "sample_policy.py"
	u64 total = 0;
	for (s64 i = 0; i < 4; i = py_hide(i + 1)) {
		total = total + (u64)i * 3;
	}
#line 52 "sample_policy.py"
	s32 j;
#line 52 "sample_policy.py"
	const u64 j_trips = py_hide(py_trips_up_s64(0, py_min_s32(task_nice(task), 8), 1));
#line 52 "sample_policy.py"
	for (u64 j_trip = 0; j_trip < 8 && j_trip < j_trips; j_trip = py_hide(j_trip + 1)) {
#line 52 "sample_policy.py"
		j = j_trip;
		if (j == 3) {
			continue;
		} else if (({ s32 middle1 = py_abs_s32(task_nice(task) - j) * 2; 0 < middle1 && middle1 <= 7; })) {
			total = total - (u64)fn_halved((s8)j);
		} else {
			break;
		}
	}
#line 59 "sample_policy.py"
	u64 k;
#line 59 "sample_policy.py"
	const u64 k_trips = py_hide(py_trips_up_u64(0, tunables.rounds, 1));
#line 59 "sample_policy.py"
	for (u64 k_trip = 0; k_trip < 16 && k_trip < k_trips; k_trip = py_hide(k_trip + 1)) {
#line 59 "sample_policy.py"
		k = k_trip;
		s32 long_;
#line 60 "sample_policy.py"
		const u64 long__trips = py_hide(py_trips_down_s64(10, (s32)(k & 3), 2));
#line 60 "sample_policy.py"
		for (u64 long__trip = 0; long__trip < 5 && long__trip < long__trips; long__trip = py_hide(long__trip + 1)) {
#line 60 "sample_policy.py"
			long_ = 10 - long__trip * 2;
			total = total ^ ((u64)(s32)((u32)long_ << (k & 31)) + k);
		}
	}
#line 62 "sample_policy.py"
	s64 last;
#line 62 "sample_policy.py"
	for (u64 last_trip = 0; last_trip < 3; last_trip = py_hide(last_trip + 1)) {
#line 62 "sample_policy.py"
		last = 2 + last_trip * 3;
		total = total + (u64)last;
	}
#line 64 "sample_policy.py"
	total = total + (u64)last;
	return true && total <= 18446744073709551615ULL ? total : tunables.slice_us * 1000;
}

/* Conversions, and a local that two branches assign. */
#line 67 "sample_policy.py"
static __always_inline u64 hook_wakeup_vtime(const struct task_view *task,
		const struct sched_view *sched)
{
#line 69 "sample_policy.py"
	s64 back;
#line 69 "sample_policy.py"
	if (fn_lag(task, sched) > tunables.bias) {
		back = fn_clamp(fn_lag(task, sched), tunables.bias, 1099511627776LL);
	} else if (task_is_batch(task)) {
		back = -1;
	} else {
		back = 0;
	}
#line 75 "sample_policy.py"
	u16 small = 15;
	small = ((u16)task_weight(task) >> 3) & small;
	return sched_vtime(sched) - (u64)back + small + (task_is_kthread(task) ? 1 : 2);
}

/* Comparisons of all kinds. */
#line 79 "sample_policy.py"
static __always_inline bool hook_preempts(const struct task_view *task,
		const struct task_view *running, const struct vcpu_view *vcpu)
{
#line 81 "sample_policy.py"
	if (!(task_weight(task) != 0) || task_is_batch(task) == task_is_batch(running)) {
		return task_nice(task) < task_nice(running);
	}
#line 83 "sample_policy.py"
	bool far = py_lt_s64_u64(task_nice(task), task_vtime(task)) && ((u32)task_nice(task) > vcpu_id(vcpu) && vcpu_id(vcpu) != 0);
	return far || !((s64)task_nice(task) != vcpu_queued(vcpu) || !py_lt_s64_u64(task_nice(task), task_vtime(running)));
}

#pragma clang diagnostic pop
