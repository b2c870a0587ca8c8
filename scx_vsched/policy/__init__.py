"""The policy language: what a policy file imports.

    from scx_vsched.policy import Policy, Sched, Task, VCpu, guest, tunable, u64

See docs/policies.md. The compiler is in `scx_vsched.policy.compiler`.
"""

from scx_vsched.policy.base import Policy, tunable
from scx_vsched.policy.intrinsics import (
    bit_count,
    kick,
    lowest_bit,
    now_ns,
    random_u32,
    vcpus_of,
    world,
)
from scx_vsched.policy.mechanism import guest, host
from scx_vsched.policy.state import (
    State,
    counter,
    histogram,
    per_domain,
    per_scheduler,
    per_task,
    per_vcpu,
    setting,
)
from scx_vsched.policy.types import s8, s16, s32, s64, u8, u16, u32, u64
from scx_vsched.policy.views import Sched, Task, VCpu

__all__ = [
    "Policy",
    "Sched",
    "State",
    "Task",
    "VCpu",
    "bit_count",
    "counter",
    "guest",
    "histogram",
    "host",
    "kick",
    "lowest_bit",
    "now_ns",
    "per_domain",
    "per_scheduler",
    "per_task",
    "per_vcpu",
    "random_u32",
    "s8",
    "s16",
    "s32",
    "s64",
    "setting",
    "tunable",
    "u8",
    "u16",
    "u32",
    "u64",
    "vcpus_of",
    "world",
]
