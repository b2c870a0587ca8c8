"""The default policy's scheduler with faults put into its C, for the simulator to find."""

from __future__ import annotations

from unittest import mock

from scx_vsched.bpf.render import render
from scx_vsched.policies import resolve_policy
from scx_vsched.policy.compiler import compile_file
from scx_vsched.sim.build import build_library
from scx_vsched.sim.scheduler import Scheduler

__all__ = ["faulty"]

_ENQUEUE = "	/* a change of affinity or class takes a task out of its queue without a word */\n"
_DISPATCH = "	place.vcpu->dispatches += 1 + place.vcpu->passed;"
_JOIN = "		join_llc_queue(tctx, &place);\n"

# The text that goes wrong by what goes wrong: (where, what stands there instead).
_FAULTS = {
    "loses a task": (_ENQUEUE, f"	if (p->pid == 3)\n		return;\n{_ENQUEUE}"),
    "inserts twice": (
        _ENQUEUE,
        f"	dsq_insert(p, local, 1, flags);\n	dsq_insert(p, local, 1, flags);\n{_ENQUEUE}",
    ),
    "moves in enqueue": (_ENQUEUE, f"	dsq_move_to_local(VCPU_DSQ(place.id));\n{_ENQUEUE}"),
    "ignores affinity": (
        _ENQUEUE,
        "	dsq_insert(p, CORE_ENUM(scx_dsq_id_flags, SCX_DSQ_LOCAL_ON) | 1, 1, flags);\n"
        "	return;\n",
    ),
    "spins": (_DISPATCH, f"	for (volatile u64 i = 0;; i++)\n		;\n{_DISPATCH}"),
    "crashes": (_DISPATCH, f"	*(volatile int *)(u64)place.id = 0;\n{_DISPATCH}"),
    "goes in circles": (
        _DISPATCH,
        f"	scx_bpf_kick_cpu(place.id, CORE_ENUM(scx_kick_flags, SCX_KICK_PREEMPT));\n{_DISPATCH}",
    ),
    "dispatches nothing": (_DISPATCH, f"	if (place.id)\n		return;\n{_DISPATCH}"),
    "shifts too far": (
        _DISPATCH,
        f"	volatile int far = 40;\n	far = 1 << far;\n{_DISPATCH}",
    ),
    "reads beyond an array": (
        _DISPATCH,
        f"	u32 few[4];\n	volatile u32 *volatile at = few;\n	(void)at[5];\n{_DISPATCH}",
    ),
    "reads before a map": (
        _DISPATCH,
        f"	(void)((volatile char *)(place.vcpu - place.id))[-100];\n{_DISPATCH}",
    ),
    "miscounts": (_JOIN, f"{_JOIN}		__sync_fetch_and_add(&place.llc->queued, 1);\n"),
}


def faulty(fault: str, *, sanitize: bool = False) -> Scheduler:
    """The scheduler that goes wrong in this way, ready to run."""
    text = render(compile_file(resolve_policy("core")))
    where, instead = _FAULTS[fault]
    head, mark, operations = text.partition("/* ---- The scheduler's operations ---- */")
    assert operations.count(where) == 1, f"the mechanism has changed: {where!r}"
    source = head + mark + operations.replace(where, instead)
    with mock.patch("scx_vsched.sim.build.OPTIMISE", "-O0"):  # quick to compile
        return Scheduler(fault, build_library(None, source=source, sanitize=sanitize), ("fault",))
