"""What the templates need to know of a policy's state, counters and calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.policy import ir
from scx_vsched.policy.c_state import emit_state, has_initial
from scx_vsched.policy.effects import seen_from_afar
from scx_vsched.policy.state import HISTOGRAM_BUCKETS

if TYPE_CHECKING:
    from collections.abc import Collection

    from scx_vsched.policy.program import PolicyProgram

__all__ = ["Kept", "describe_kept"]


@dataclass(frozen=True, slots=True)
class Kept:
    """`text` is the structs' C; the flags say which scopes have state, and which begins with
    anything but zeros. `afar`: hooks look at the state of tasks that run on other vCPUs.
    """

    text: str
    task: bool
    vcpu: bool
    domain: bool
    sched: bool
    task_initial: bool
    vcpu_initial: bool
    domain_initial: bool
    afar: bool
    histograms: int
    buckets: int
    intrinsics: frozenset[str]
    calls: bool
    events: bool


def describe_kept(program: PolicyProgram, features: Collection[str] = ()) -> Kept:
    """The same for a build of `program` with these `features` of its mechanism."""
    scopes = {state.scope for state in program.states}
    afar = "preemption" in features and seen_from_afar(program)
    intrinsics = frozenset(
        node.function
        for function in program.functions
        for node in ir.walk(function)
        if isinstance(node, ir.Intrinsic | ir.Effect)
    )
    optional = {hook.name for hook in program.mechanism.hooks if hook.optional}
    hooked = {function.name for function in program.functions if function.kind == "hook"}
    return Kept(
        text=emit_state(program),
        task="task" in scopes,
        vcpu="vcpu" in scopes,
        domain="domain" in scopes,
        sched="sched" in scopes,
        task_initial="task" in scopes and has_initial(program, "task"),
        vcpu_initial="vcpu" in scopes and has_initial(program, "vcpu"),
        domain_initial="domain" in scopes and has_initial(program, "domain"),
        afar=afar,
        histograms=sum(counter.kind == "histogram" for counter in program.counters),
        buckets=HISTOGRAM_BUCKETS,
        intrinsics=intrinsics,
        calls=bool(scopes or program.counters or intrinsics),
        events=bool(scopes & {"vcpu", "domain"} or afar or hooked & optional),
    )
