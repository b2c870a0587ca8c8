"""Why a task is where it is, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["as_lines"]

# Counters of decisions after which whichever vCPU gets there first takes the task.
_SHARED = {"queued_llc", "queued_vcpu", "hedged"}
_STATES = {"R": "runnable", "S": "asleep", "D": "asleep, uninterruptibly", "T": "stopped"}
_CLASSES = {0: "normal", 1: "real-time (fifo)", 2: "real-time (round robin)", 3: "batch", 5: "idle"}
_FULL = 1024


def as_lines(found: Mapping[str, Any]) -> list[str]:
    """What the socket's `explain` answered, for people."""
    vcpu = found["vcpu"]
    here = vcpu["vcpu"]
    state = _STATES.get(found["state"], f"in state {found['state']}")
    if vcpu["pid"] == found["pid"]:
        state = "running"
    lines = [f"{found['task']} ({found['pid']}) is {state} on vCPU {here}"]
    lines += [f"vCPU {here}: {_vcpu(vcpu)}"]
    allowed = found["allowed"]
    if len(allowed) == 1:
        lines.append(f"it may run on vCPU {allowed[0]} only: no other is ever looked at")
    elif hidden := sorted(set(found["hidden"]) & set(allowed)):
        lines.append(f"kept off, unless it may use them: vCPUs {_numbers(hidden)}, hidden")
    if not found["ours"]:
        kind = _CLASSES.get(found["policy"], str(found["policy"]))
        lines.append(f"this scheduler has not placed it (its class is {kind})")
        return lines
    lines += _decision(found, here)
    return lines + _habits(found)


def _vcpu(vcpu: Mapping[str, Any]) -> str:
    parts = [vcpu["state"], f"{vcpu['capacity'] / _FULL:.0%} of a CPU"]
    if vcpu["latency_us"]:
        parts.append(f"away for {vcpu['latency_us'] / 1000:.1f} ms at once")
    if vcpu["hidden"]:
        parts.append(f"hidden: {vcpu['why']}")
    return ", ".join(parts)


def _decision(found: Mapping[str, Any], here: int) -> list[str]:
    decision = found["decision"]
    if not found["noted"]:
        return ["decisions are not noted; start the scheduler with: scx_vsched run --explain"]
    if decision is None:
        return ["nothing was decided about it lately; it has stayed where it was"]
    since = max(0, found["now_ns"] - decision["at_ns"])
    moved = ""
    if decision["source"] != decision["vcpu"]:
        moved = f" from vCPU {decision['source']}"
    lines = [
        f"{_ago(since)} ago it came{moved} to vCPU {decision['vcpu']}: {decision['why']} "
        f"({decision['counter']})"
    ]
    if decision["before"]:
        lines.append(f"counted just before: {decision['before']}")
    if decision["vcpu"] != here and decision["counter"] in _SHARED:
        lines.append(f"vCPU {here} was there first and took it")
    return lines


def _habits(found: Mapping[str, Any]) -> list[str]:
    habits, small_us = found["habits"], found["small_us"]
    burst, interval = habits.get("burst_ns"), habits.get("interval_ns")
    if not burst or not interval:
        return []
    text = f"it runs for {_ago(burst)} each time it wakes, every {_ago(interval)}"
    if small_us is not None:
        kind = "small: BVS places it" if burst <= small_us * 1000 else "not small: BVS leaves it"
        text += f"; that is {kind} (small_us = {small_us})"
    lines = [text]
    if habits.get("moved_ns"):
        since = max(0, found["now_ns"] - habits["moved_ns"])
        lines.append(f"{_ago(since)} ago IVH took it to another vCPU while it ran")
    return lines


def _ago(ns: int) -> str:
    for unit, size in (("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns} ns"


def _numbers(values: list[int]) -> str:
    return ", ".join(map(str, values))
