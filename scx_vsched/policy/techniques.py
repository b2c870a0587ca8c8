"""The hooks of what a guest's scheduler can be built with or without: those of a feature each."""

from __future__ import annotations

from scx_vsched.policy.contract import Hook, Parameter

__all__ = ["TECHNIQUES"]

_TASK = Parameter("task", "Task")
_VCPU = Parameter("vcpu", "VCpu")
_SCHED = Parameter("sched", "Sched")

TECHNIQUES = (
    Hook(
        "is_latency_sensitive",
        (_TASK,),
        "bool",
        "Whether the waking `task` is placed by `wait_ns` rather than on the nearest idle vCPU.",
        "bvs",
    ),
    Hook(
        "wait_ns",
        (_TASK, _VCPU, Parameter("near", "VCpu"), _SCHED),
        "u64",
        "How long `task`, waking, would wait in the mean if it were put on `vcpu`, which is "
        "idle or runs only SCHED_IDLE work; the least wins, 2**63 and more is refused. `near` "
        "is where the search begins.",
        "bvs",
    ),
    Hook(
        "hedges",
        (_TASK, _VCPU),
        "bool",
        "Whether `task` waits in the queue of the cache of `vcpu`, the best for it and idle, "
        "and a second one is woken, too: whichever is there first takes it.",
        "bvs",
    ),
    Hook(
        "harvest_in_ns",
        (_TASK, _VCPU, _SCHED),
        "u64",
        "In how long `task`, which runs on `vcpu`, should look for another vCPU: at once "
        "below 50 us, 0 is never. Asked when it starts, goes on, and when that time is over.",
        "ivh",
    ),
    Hook(
        "harvest_worth",
        (_TASK, _VCPU, Parameter("target", "VCpu"), _SCHED),
        "u64",
        "How good `target`, which is idle or runs only SCHED_IDLE work, would be for `task`, "
        "which leaves `vcpu`: the most wins, 0 is refused.",
        "ivh",
    ),
    Hook(
        "is_harmful",
        (_VCPU, _SCHED),
        "bool",
        "Whether `vcpu` is hidden from ordinary tasks; `vcpu.is_hidden` says whether it is. "
        "When all would be, none is. Asked when the topology or a capacity changes.",
        "rwc",
    ),
    Hook(
        "uses_hidden",
        (_TASK, _VCPU, _SCHED),
        "bool",
        "Whether `task` may be put on hidden vCPUs; who may run on no other always is.",
        "rwc",
    ),
    Hook(
        "crosses",
        (
            _TASK,
            _VCPU,
            Parameter("target", "VCpu"),
            Parameter("distance", "u32"),
            _SCHED,
        ),
        "bool",
        "Whether `task`, for which no vCPU of its home node is idle, leaves the node of `vcpu` "
        "for that of `target` although its memory stays; `distance` between them is 10 times "
        "that within a node.",
        "numa",
    ),
    Hook(
        "returns",
        (_TASK, _VCPU, Parameter("home", "VCpu"), Parameter("distance", "u32"), _SCHED),
        "bool",
        "Whether `task`, which visits the node of `vcpu`, goes back to that of `home`, where a "
        "vCPU is idle. Asked when its slice is over; when it wakes it goes home anyway.",
        "numa",
    ),
    Hook(
        "is_critical",
        (_TASK,),
        "bool",
        "Whether the latency of `task` counts: vCPUs may be kept for it and its like at home.",
        "numa",
    ),
    Hook(
        "keeps_ns",
        (_TASK, _VCPU, _SCHED),
        "u64",
        "For how long from now on `vcpu`, on which the critical `task` starts at home or as it "
        "must, is kept for critical tasks of its node; 0 not. One vCPU of a node never is.",
        "numa",
    ),
)
