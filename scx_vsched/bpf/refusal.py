"""Why the verifier refused a program, in terms of the policy: which line, and what it knew there.

The verifier's log shows each source line before its instructions, and after them what it knows of
the registers that they changed (kernel/bpf/log.c, print_verifier_state).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Refusal", "explain_refusal"]

_SOURCE = re.compile(r"; (?P<text>.*) @ (?P<place>\S+:\d+)$")
_INSTRUCTION = re.compile(r"\d+: \(")
_NOISE = ("processed ", "from ", "last_idx", "regs=", "parent ", "mark_precise", ";")
_U64_MAX = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """The verdict: `place` is file:line of the policy, or of the C where no policy line is near.

    `since` is where that line begins in the log; `known` says what the verifier knew of the value
    that it complains of, empty where the log does not.
    """

    place: str
    since: int
    known: str


def explain_refusal(log: Sequence[str]) -> Refusal:
    """Finds the policy's line and the range of the register that the verdict names."""
    place, since = "", 0
    in_policy = False
    for i, line in enumerate(log):
        if found := _SOURCE.match(line):
            # helpers of the templates are inlined: what called them is the line before
            mine = found["place"].rpartition(":")[0].endswith(".py")
            if mine or not in_policy:
                place, since = found["place"], i
                in_policy = mine
    reason = _reason(log)
    register = re.search(r"\bR(\d+)\b", reason)
    known = _known(log, register[1]) if register else ""
    return Refusal(place, since, known)


def _reason(log: Sequence[str]) -> str:
    """What follows the last instruction that was looked at."""
    last = max((i for i, line in enumerate(log) if _INSTRUCTION.match(line)), default=-1)
    said = [line for line in log[last + 1 :] if line.strip() and not line.startswith(_NOISE)]
    return " ".join(said[:2])


def _known(log: Sequence[str], register: str) -> str:
    shown = re.compile(rf"\bR{register}(?:_[rwD]+)?=(\w+)(?:\(([^)]*(?:\([^)]*\)[^)]*)*)\))?")
    for line in reversed(log):
        found = list(shown.finditer(line))
        if not found:
            continue
        kind, attributes = found[-1][1], found[-1][2] or ""
        what = "the value" if kind == "scalar" else "the offset or index"
        if re.fullmatch(r"-?\d+|0x[0-9a-f]+", kind):
            return f"the value is {int(kind, 0)}"
        limits = _limits(attributes)
        if limits is None:
            return f"{what} may be anything" if kind == "scalar" else ""
        return f"{what} is {limits[0]} to {limits[1]}"
    return ""


def _limits(attributes: str) -> tuple[int, int] | None:
    """The bounds among `smin=0,smax=umax=63,var_off=(0x0; 0x3f)`, unsigned ones first."""
    values: dict[str, int] = {}
    for names, number in re.findall(r"((?:\w+=)+)(-?(?:0x[0-9a-f]+|\d+))", attributes):
        for name in names.rstrip("=").split("="):
            values[name] = int(number, 0)
    if "umax" in values or "umin" in values:
        return values.get("umin", 0), values.get("umax", _U64_MAX)
    if "smin" in values or "smax" in values:
        return values.get("smin", -(2**63)), values.get("smax", 2**63 - 1)
    return None
