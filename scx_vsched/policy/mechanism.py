"""What a mechanism offers to a policy: its hooks, its build-time features and its statistics.

A mechanism is a template that holds queues, locking and the sched_ext operations; it asks the
policy's hooks for every decision. This table is the contract between the two: the language checks
hooks against it, the renderer generates the C declarations from it, and the documentation and
`--help-stats` are printed from it.
"""

from __future__ import annotations

from scx_vsched.policy.contract import Feature, Hook, Mechanism, Parameter, Stat
from scx_vsched.policy.host_mechanism import host
from scx_vsched.policy.techniques import TECHNIQUES

__all__ = ["MECHANISMS", "Feature", "Hook", "Mechanism", "Parameter", "Stat", "guest", "host"]


_TASK = Parameter("task", "Task")
_VCPU = Parameter("vcpu", "VCpu")
_SCHED = Parameter("sched", "Sched")

guest = Mechanism(
    name="guest",
    template="guest.bpf.c.j2",
    doc="Schedules the tasks of a guest on its vCPUs.",
    hooks=(
        Hook(
            "slice_ns",
            (_TASK, _VCPU, _SCHED),
            "u64",
            "How long `task` may run before others get their turn.",
        ),
        Hook(
            "charge_ns",
            (_TASK, _VCPU),
            "u64",
            "Virtual time that `task` pays for the `task.ran_ns` it has just run on `vcpu`.",
        ),
        Hook(
            "wakeup_vtime",
            (_TASK, _SCHED),
            "u64",
            "Virtual time with which `task` joins the queue after it slept.",
        ),
        Hook(
            "queue_key",
            (_TASK, _VCPU, _SCHED),
            "u64",
            "Place of `task` in its queue: the smallest key runs first (compared modulo 2**64).",
        ),
        Hook(
            "cache_first",
            (Parameter("key", "u64"), Parameter("cache_key", "u64"), _VCPU),
            "bool",
            "Whether the first task of the cache's queue, with `cache_key`, runs on `vcpu` before "
            "the one with `key`, which runs there or is the first of its own queue.",
        ),
        Hook(
            "max_wait_ms",
            (_TASK,),
            "u32",
            "How long `task` may wait in a queue before it runs next whatever its key, give or "
            "take half a second; half the watchdog's time at most.",
        ),
        Hook(
            "preempts",
            (_TASK, Parameter("running", "Task", from_afar=True), _VCPU),
            "bool",
            "Whether `task`, which has just woken, takes `vcpu` from `running` at once.",
        ),
        Hook(
            "idle_scope",
            (_TASK, _VCPU),
            "u32",
            "How far from `vcpu` an idle vCPU is searched for `task` when it wakes: "
            "0 this one only, 1 its last-level cache, 2 its NUMA node, 3 everywhere.",
        ),
        Hook(
            "is_strong",
            (_VCPU, _SCHED),
            "bool",
            "Whether `vcpu` is a first choice among the idle vCPUs in scope; the others are taken "
            "when no strong one is idle. Asked when the topology or a capacity changes, not when "
            "tasks wake.",
        ),
        Hook(
            "follows_waker",
            (_TASK, Parameter("waker", "VCpu"), _VCPU, Parameter("sync", "bool")),
            "bool",
            "Whether `task`, woken by a task on `waker`, is placed near `waker` instead of near "
            "`vcpu`, where it last ran. Asked before an idle vCPU is searched when the waker is "
            "about to sleep (`sync`), else only when there is none.",
        ),
        Hook(
            "stays",
            (_TASK, _VCPU),
            "bool",
            "Whether `task` waits for `vcpu` alone, where it last ran, rather than for any vCPU of "
            "the cache; vCPUs with nothing to do may still steal it.",
        ),
        Hook(
            "passes",
            (_TASK, _VCPU),
            "bool",
            "Whether `task`, which has just woken and finds no idle vCPU, goes past the queue of "
            "`vcpu`, to run after those that were taken from it. It costs less than queueing, but "
            "what went past can be neither stolen nor overtaken.",
        ),
        Hook(
            "batch",
            (_VCPU,),
            "u32",
            "How many waiting tasks `vcpu` takes from its queue at once, 1 to 8. More cost less "
            "each, but what is taken can be neither stolen nor overtaken.",
        ),
        Hook(
            "steals",
            (_VCPU, Parameter("victim", "VCpu"), Parameter("distance", "u32")),
            "bool",
            "Whether `vcpu`, which has nothing to do, takes a task that waits for `victim` or its "
            "cache; `distance` is 1 in the same cache, 2 on the same NUMA node, 3 across nodes.",
        ),
        Hook(
            "balances",
            (_VCPU, Parameter("victim", "VCpu"), Parameter("distance", "u32")),
            "bool",
            "Whether `vcpu`, busy itself, takes a task that waits for `victim` (`distance` 1, same "
            "cache) or in the queue of its cache (2 on the same NUMA node, 3 across nodes). Asked "
            "every quarter of a second at most, where tasks wait.",
        ),
        *TECHNIQUES,
        Hook(
            "on_start",
            (_TASK, _VCPU, _SCHED),
            "None",
            "`task` starts to run on `vcpu`, or goes on with a new slice.",
            optional=True,
        ),
        Hook(
            "on_stop",
            (_TASK, _VCPU, _SCHED, Parameter("runnable", "bool")),
            "None",
            "`task` stops running on `vcpu`, having been charged; it goes on waiting if "
            "`runnable`, else it sleeps.",
            optional=True,
        ),
        Hook(
            "on_tick",
            (_TASK, _VCPU, _SCHED),
            "bool",
            "The kernel's tick (every 1 to 10 ms) finds `task` running on `vcpu`; returns whether "
            "its slice ends now.",
            optional=True,
        ),
        Hook(
            "on_timer",
            (_SCHED,),
            "u64",
            "A timer of the policy's own has run out, the first time when the scheduler starts; "
            "returns the time until the next, at least 100 us, in ns; 0 ends it. Asked on some "
            "vCPU, whatever runs there; `sched.vtime` is 0.",
            optional=True,
        ),
    ),
    features=(
        Feature("cgroups", "share vCPUs by cgroup weight (cpu.weight)"),
        Feature("preemption", "let a waking task take a vCPU from a running one"),
        Feature("smt", "prefer cores whose siblings are idle too"),
        Feature(
            "bvs", "put small, latency-sensitive tasks on vCPUs that answer soon", keeps_usage=True
        ),
        Feature(
            "ivh",
            "take running tasks off vCPUs that are about to be taken away",
            ("SCX_OPS_ENQ_LAST",),
            keeps_usage=True,
        ),
        Feature(
            "rwc", "keep tasks off vCPUs that do harm", ("SCX_OPS_ENQ_LAST",), keeps_usage=True
        ),
        Feature("numa", "keep tasks on the NUMA node of their memory", ("SCX_OPS_ENQ_LAST",)),
    ),
    stats=(
        Stat("idle_previous", "woken straight onto the idle vCPU that the search began at"),
        Stat("idle_llc", "woken straight onto another idle vCPU of the same cache"),
        Stat("idle_node", "woken straight onto an idle vCPU of another cache of the node"),
        Stat("idle_any", "woken straight onto an idle vCPU of another node"),
        Stat("followed_waker", "placed near their waker"),
        Stat("preempted", "took the vCPU from the task that ran there"),
        Stat("queued_llc", "queued for any vCPU of a cache"),
        Stat("queued_vcpu", "queued for one vCPU"),
        Stat("passed", "woken past the queue of their vCPU"),
        Stat("queued_kthread", "kernel threads of one vCPU, put straight onto it"),
        Stat("kicked_idle", "idle vCPUs woken for a queued task"),
        Stat("dispatched_llc", "started from the cache's queue"),
        Stat("dispatched_vcpu", "started from the vCPU's own queue"),
        Stat("stolen_near", "taken from another vCPU of the cache by one with nothing to do"),
        Stat("stolen_far", "taken from another cache by a vCPU with nothing to do"),
        Stat("balanced", "taken from where more waited by a busy vCPU"),
        Stat("rescued", "ran because they had waited too long"),
        Stat("kept", "ran on with a new slice, since nobody ahead of them waited"),
        Stat("hotplug", "vCPUs that came online or went offline"),
        Stat("topologies", "topologies that were put in force after the first"),
        Stat("settled", "tasks moved to another cache's queue because the topology changed"),
        Stat("capacities", "times that new capacities or latencies were taken over"),
        Stat("gaps", "ticks that came late: their vCPU had been taken away while it was busy"),
        Stat("biased_idle", "put on the idle vCPU with the least expected wait", "bvs"),
        Stat("biased_busy", "put in front of SCHED_IDLE work where waiting is shortest", "bvs"),
        Stat("biased_none", "latency-sensitive, but no vCPU fits", "bvs"),
        Stat("hedged", "offered to two idle vCPUs, whichever is there first", "bvs"),
        Stat("harvests", "running tasks taken to another vCPU", "ivh"),
        Stat("harvest_calls", "vCPUs woken to take over a running task", "ivh"),
        Stat("harvest_none", "wanted to leave their vCPU, but no other was worth it", "ivh"),
        Stat("harvest_lost", "that another had claimed, or that were gone, when called", "ivh"),
        Stat("harvest_late", "given up: the vCPU called did not answer in time", "ivh"),
        Stat("harvest_needed", "given up: the vCPU called had got work of its own", "ivh"),
        Stat("harvest_void", "given up: the task had stopped, or must not move", "ivh"),
        Stat("returns", "timers that came late: the vCPU had been taken away meanwhile", "ivh"),
        Stat("hidden", "vCPUs that were hidden", "rwc"),
        Stat("shown", "vCPUs that came back", "rwc"),
        Stat("diverted", "tasks sent elsewhere from a hidden vCPU", "rwc"),
        Stat("hidden_used", "tasks put or taken on a hidden vCPU that may use it", "rwc"),
        Stat(
            "numa_home", "sent to a home that was moved, or that they were forked away from", "numa"
        ),
        Stat("numa_crossed", "put on or taken to another node, which is worth its pages", "numa"),
        Stat("numa_returned", "back home after a visit to another node", "numa"),
        Stat("numa_refused", "times that waiting at home was found better than crossing", "numa"),
        Stat("numa_confined", "started elsewhere, since they must not run at home", "numa"),
        Stat("numa_kept", "times that a vCPU was kept for critical tasks", "numa"),
        Stat("numa_opened", "times that a vCPU that was kept was opened to all", "numa"),
    ),
    # exiting tasks are scheduled like any other: they can hold locks for long
    ops_flags=("SCX_OPS_ENQ_EXITING",),
    lacks={"Sched": frozenset({"first_rank", "waits"})},
)

MECHANISMS: dict[str, Mechanism] = {found.name: found for found in (guest, host)}
