"""What a hook sees: typed, read-only views of a task, a vCPU and the scheduler.

Each field has a type, a unit and a line of documentation; the compiler turns `task.weight` into a
call of the accessor `task_weight()` that the mechanism's template provides, so a field costs
nothing unless a hook reads it. In CPython a view is a frozen dataclass with defaults, made by
tests and simulations: `Task(weight=2048)`; a value that its field's type cannot hold is refused.
"""

# ruff: noqa: RUF009 - `_attr()` returns a dataclass field, not a default that instances share
from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

from scx_vsched.policy.types import INT_TYPES, IntType, s32, u32, u64

__all__ = ["VIEWS", "FieldInfo", "Sched", "Task", "VCpu", "field_info"]


def _attr(
    default: int, doc: str, unit: str = "", *, tracked: bool = False, feature: str = ""
) -> Any:
    metadata = {"doc": doc, "unit": unit, "tracked": tracked or bool(feature), "feature": feature}
    return dataclasses.field(default=default, metadata=metadata)


class _View:
    """Checks that each field is given what the kernel could hold there."""

    __slots__ = ()

    def __post_init__(self) -> None:
        view = type(self).__name__
        for name, info in field_info(view).items():
            value = getattr(self, name)
            if info.type is None:
                if not isinstance(value, bool):
                    raise TypeError(f"{view}.{name} = {value!r} is not a bool")
            elif not isinstance(value, int):
                raise TypeError(f"{view}.{name} = {value!r} is not an integer")
            elif not info.type.holds(value):
                raise ValueError(f"{view}.{name} = {value} does not fit {info.type}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(_View):
    """A thread, as the scheduler knows it at the moment of the hook."""

    pid: s32 = _attr(1, "thread id in the initial namespace")
    tgid: s32 = _attr(1, "process id in the initial namespace")
    nice: s32 = _attr(0, "nice value, -20 to 19")
    weight: u32 = _attr(
        1024, "share of the vCPU from nice and cgroup weights; 1024 is nice 0 alone", "1/1024"
    )
    vtime: u64 = _attr(0, "virtual time received so far, weighted", "ns")
    ran_ns: u64 = _attr(0, "time on a vCPU since the task was last charged", "ns")
    total_ns: u64 = _attr(0, "time on a vCPU in its whole life", "ns")
    slice_left_ns: u64 = _attr(0, "what is left of its slice", "ns")
    allowed_vcpus: u32 = _attr(1, "number of vCPUs that its affinity allows")
    domain: u32 = _attr(0, "number of its domain, that is its cgroup; 0 is the root")
    is_waking: bool = _attr(False, "has just woken, rather than used up its slice")
    is_idle_class: bool = _attr(False, "has the policy SCHED_IDLE")
    is_batch: bool = _attr(False, "has the policy SCHED_BATCH")
    is_kthread: bool = _attr(False, "is a kernel thread")
    util: u32 = _attr(
        0, "part of its time that it ran, lately; 1024 never sleeps", "1/1024", tracked=True
    )
    burst_ns: u64 = _attr(
        0, "how long it runs for each wake-up, lately; 0 unknown", "ns", tracked=True
    )
    interval_ns: u64 = _attr(
        0, "time from one wake-up to the next, lately; 0 unknown", "ns", tracked=True
    )
    homing: u32 = _attr(
        0,
        "part of its wake-ups that came from the vCPU on which it slept, lately, as those by "
        "timers do",
        "1/1024",
        tracked=True,
    )
    asked_slice_ns: u64 = _attr(
        0, "slice that it asked for by sched_setattr(), a hint; 0 none", "ns", tracked=True
    )
    settled_ns: u64 = _attr(
        0, "time since it was last taken to another vCPU while it ran", "ns", tracked=True
    )
    ahead_ns: u64 = _attr(
        0,
        "virtual time that it has received more than others of its queue; known to `uses_hidden`",
        "ns",
        tracked=True,
    )
    memory_bytes: u64 = _attr(
        0, "what its process has used of late, at home; 0 unknown", "bytes", feature="numa"
    )
    awake_ns: u64 = _attr(
        0, "what it has run since it woke, or did the time before if more", "ns", feature="numa"
    )
    is_fixed: bool = _attr(False, "its process is fixed at its home", feature="numa")
    is_critical: bool = _attr(
        False,
        "`is_critical` said so when it started; known of what `preempts` asks about",
        feature="numa",
    )
    away_ns: u64 = _attr(
        0, "how long it has visited another node than its home; 0 it does not", "ns", feature="numa"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VCpu(_View):
    """A vCPU of this guest."""

    id: u32 = _attr(0, "number of the vCPU in the guest")
    capacity: u32 = _attr(1024, "share of time really available times speed", "1/1024")
    pace: u32 = _attr(
        1024,
        "what a task's run time here is worth: the capacity, or the speed alone where the "
        "kernel leaves stolen time out",
        "1/1024",
    )
    latency_ns: u64 = _attr(0, "mean time for which it is taken away; 0 never or unknown", "ns")
    stack: u32 = _attr(0, "lowest vCPU on the same hardware thread: its own id unless stacked")
    queued: u32 = _attr(0, "tasks in the queue of this vCPU")
    passed: u32 = _attr(0, "tasks put past its queue since it last took one from there")
    llc: u32 = _attr(0, "index of its last-level cache")
    llc_queued: u32 = _attr(0, "tasks in the queue of its last-level cache")
    llc_vcpus: u32 = _attr(1, "online vCPUs that share its last-level cache")
    node: u32 = _attr(0, "NUMA node")
    vtime: u64 = _attr(0, "virtual time that it has reached", "ns")
    llc_vtime: u64 = _attr(
        0, "virtual time of its last-level cache, the mean of its vCPUs' progress", "ns"
    )
    spent_ns: u64 = _attr(
        0,
        "time for which it has run since the host last gave it back, as far as it has noticed; "
        "what it regains while it rests is taken off",
        "ns",
        tracked=True,
    )
    renews_in_ns: u64 = _attr(
        0,
        "until the host lets it run for as long as ever again; 0 unless a quota makes that regular",
        "ns",
        tracked=True,
    )
    period_ns: u64 = _attr(
        0, "from one such time to the next; 0 where they are not regular", "ns", tracked=True
    )
    margin_ns: u64 = _attr(
        0,
        "by how much earlier than `harvest_in_ns` said it was taken away, lately",
        "ns",
        tracked=True,
    )
    rested_ns: u64 = _attr(
        0, "time for which it has had nothing to do; 0 while it runs a task", "ns", tracked=True
    )
    silent_ns: u64 = _attr(
        0, "time since its last sign of life: a tick, a task that came or went", "ns", tracked=True
    )
    answer_ns: u64 = _attr(
        0,
        "how long it takes to come up when it is woken, lately, beyond what waking takes a vCPU "
        "of this machine that nobody keeps away",
        "ns",
        tracked=True,
    )
    runs_idle_class: bool = _attr(False, "what it runs has the policy SCHED_IDLE", tracked=True)
    has_busy_sibling: bool = _attr(
        False,
        "is idle, and another vCPU of its core is not; known of vCPUs that are compared",
        tracked=True,
    )
    is_hidden: bool = _attr(False, "ordinary tasks are kept off it", tracked=True)
    node_capacity: u32 = _attr(
        1024, "capacities of the online vCPUs of its node together", "1/1024", feature="numa"
    )
    node_vcpus: u32 = _attr(1, "online vCPUs of its node", feature="numa")
    node_queued: u32 = _attr(0, "tasks in all queues of its node", feature="numa")
    node_kept: u32 = _attr(
        0, "online vCPUs of its node that are kept for critical tasks", feature="numa"
    )
    is_kept: bool = _attr(False, "is kept for critical tasks of its node", feature="numa")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sched(_View):
    """The scheduler as a whole, and the clock that the decision goes by."""

    now_ns: u64 = _attr(0, "monotonic time", "ns")
    vtime: u64 = _attr(0, "virtual time of the vCPU or cache that the decision is about", "ns")
    vcpus: u32 = _attr(1, "online vCPUs")
    domains: u32 = _attr(1, "domains' numbers are below this; numbers of gone ones are used again")
    mean_capacity: u32 = _attr(1024, "mean capacity of the online vCPUs", "1/1024")
    moving_ns: u64 = _attr(
        0,
        "what it takes of a running task's time to be moved by `harvest_worth`, lately",
        "ns",
        tracked=True,
    )
    saturated_ns: u64 = _attr(
        0,
        "how long all vCPUs that are not hidden have had more to do than SCHED_IDLE work; known "
        "to `uses_hidden`",
        "ns",
        tracked=True,
    )
    first_rank: u64 = _attr(
        0, "rank of the first that waits for any CPU, where `waits` says so", tracked=True
    )
    waits: bool = _attr(False, "somebody waits for any CPU; known to `run_ns`", tracked=True)


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """A view's field: `type` is an IntType, or None for a boolean.

    What is `tracked` is kept by the mechanism only where some hook reads it, and what belongs to
    a `feature` is 0 without that.
    """

    name: str
    type: IntType | None
    doc: str
    unit: str
    tracked: bool
    feature: str


VIEWS: dict[str, type] = {"Task": Task, "VCpu": VCpu, "Sched": Sched}


@functools.cache
def field_info(view: str) -> dict[str, FieldInfo]:
    """The fields of the view named `view`, by name, in declaration order."""
    return {
        f.name: FieldInfo(
            f.name,
            None if f.type == "bool" else INT_TYPES[str(f.type)],
            f.metadata["doc"],
            f.metadata["unit"],
            f.metadata["tracked"],
            f.metadata["feature"],
        )
        for f in dataclasses.fields(VIEWS[view])
    }
