"""The mechanism `host`: what it asks a hypervisor's policy, and what it counts.

A domain is a cgroup that the user names, its vCPUs are the tasks in it; whatever is in no such
cgroup is domain 0. templates/host/ is the mechanism.
"""

from __future__ import annotations

from scx_vsched.policy.contract import Feature, Hook, Mechanism, Parameter, Stat

__all__ = ["host"]

_TASK = Parameter("task", "Task")
_SCHED = Parameter("sched", "Sched")
_DOMAIN = Parameter("domain", "u32")

host = Mechanism(
    name="host",
    template="host.bpf.c.j2",
    doc="Schedules the vCPUs of domains, which are cgroups, on the CPUs of a host.",
    hooks=(
        Hook(
            "rank",
            (_TASK, _SCHED),
            "u64",
            "Place of `task` among those that wait: the smallest runs first (compared modulo "
            "2**64), equal ones in the order in which they came. Asked when it is queued, and of "
            "who runs when its time is over.",
        ),
        Hook(
            "run_ns",
            (_TASK, _SCHED),
            "u64",
            "How long `task`, which starts or goes on, may run before others get their turn.",
        ),
        Hook(
            "burn",
            (_TASK, _SCHED),
            "None",
            "`task` has run for `task.ran_ns` since it was last charged. Told at every tick, and "
            "when it stops.",
        ),
        Hook(
            "on_wake",
            (_TASK, _SCHED),
            "None",
            "`task` becomes runnable; `task.is_waking` unless it has changed its domain, say.",
            optional=True,
        ),
        Hook(
            "on_sleep",
            (_TASK, _SCHED),
            "None",
            "`task` is no longer runnable, or leaves its domain; each follows an `on_wake`.",
            optional=True,
        ),
        Hook(
            "on_run",
            (_TASK, _SCHED),
            "None",
            "`task` starts to run, or goes on, before `run_ns` is asked.",
            optional=True,
        ),
        Hook(
            "held_ns",
            (_TASK, _SCHED),
            "u64",
            "For how long `task` is held back although it is runnable; 0 it may run. It is asked "
            "again when that time is over, when it runs at every tick, and when the user changes "
            "a domain. Up to 50 us count as none when it is let go.",
            optional=True,
        ),
        Hook(
            "tickles",
            (
                _TASK,
                Parameter("running", "Task", from_afar=True),
                Parameter("previous", "bool"),
                _SCHED,
            ),
            "u64",
            "How much it is worth that `task`, which has woken or was let go and finds no idle "
            "CPU, takes the CPU from `running`; 0 nothing, the most wins. `previous`: `task` last "
            "ran there. `running.ran_ns` is the time since its state was noted, at most a tick.",
            optional=True,
        ),
        Hook(
            "expires",
            (_TASK, _SCHED),
            "bool",
            "The kernel's tick (every 1 to 10 ms) finds `task` running; returns whether its time "
            "ends now.",
            optional=True,
        ),
        Hook(
            "on_timer",
            (_SCHED,),
            "u64",
            "A timer of the policy's own has run out, the first time when the scheduler starts; "
            "returns the time until the next, at least 100 us, in ns; 0 ends it.",
            optional=True,
        ),
        Hook(
            "on_account",
            (_DOMAIN, _SCHED),
            "None",
            "Told of each domain, by its number, right after `on_timer`.",
            optional=True,
        ),
        Hook(
            "reorders",
            (_SCHED,),
            "bool",
            "Asked after these: whether all that wait are asked for their rank anew.",
            optional=True,
        ),
        Hook(
            "admits",
            (_DOMAIN, _SCHED),
            "bool",
            "Whether the domain of this number is accepted as the user has set it; if not, the "
            "user is told and everything stays as it was.",
            optional=True,
        ),
    ),
    features=(Feature("preemption", "let a waking task take a CPU from a running one"),),
    stats=(
        Stat("idle_previous", "woken straight onto the idle CPU where they last ran"),
        Stat("idle_other", "woken straight onto another idle CPU"),
        Stat("preempted", "took the CPU from what ran there when they woke"),
        Stat("tickled", "CPUs told to choose anew for a task that was let go"),
        Stat("kthreads", "kernel threads, put straight onto their CPU"),
        Stat("queued", "queued to wait for a CPU"),
        Stat("dispatched", "started from a queue"),
        Stat("kept", "ran on, since nobody ahead of them waited"),
        Stat("kicked_idle", "idle CPUs woken for a queued task"),
        Stat("parked", "held back by the policy"),
        Stat("released", "let go again"),
        Stat("hotplug", "CPUs that came online or went offline"),
    ),
    # who is held back must not run because nobody else is there
    ops_flags=("SCX_OPS_ENQ_EXITING", "SCX_OPS_ENQ_LAST"),
    defaults=False,
    settings=True,
    lacks={
        "Task": frozenset(
            {
                "vtime",
                "util",
                "burst_ns",
                "interval_ns",
                "asked_slice_ns",
                "settled_ns",
                "memory_bytes",
                "awake_ns",
                "away_ns",
            }
        ),
        "Sched": frozenset({"vtime", "mean_capacity"}),
    },
)
