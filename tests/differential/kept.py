"""The state that random policies keep: how it is declared, and a model of it for the evaluator.

Every scope has one class with a field of each type. Tasks, vCPUs and domains have one of KEYS
numbers, so that calls meet again in the same state.
"""

from __future__ import annotations

from dataclasses import dataclass, field

KEYS = 4
FIELDS: dict[str, tuple[int, bool] | str] = {
    "a8": (8, False), "b8": (8, True), "a16": (16, False), "b16": (16, True),
    "a32": (32, False), "b32": (32, True), "a64": (64, False), "b64": (64, True),
    "c64": (64, False), "flag": "bool",
}  # fmt: skip
DEFAULTS = {
    "a8": 250, "b8": -128, "a16": 0, "b16": -1, "a32": 2**32 - 1, "b32": -(2**31), "a64": 1,
    "b64": -(2**63), "c64": 2**63, "flag": True,
}  # fmt: skip
SCOPES = {"task": "mine", "vcpu": "here", "domain": "group", "sched": "all"}
DECLARERS = {
    "task": "per_task",
    "vcpu": "per_vcpu",
    "domain": "per_domain",
    "sched": "per_scheduler",
}
OWNERS = {"task": ("Task", "pid"), "vcpu": ("VCpu", "id"), "domain": ("Task", "domain")}
"""The view whose state a scope's is, and the view's field that tells whose."""
COUNTERS = {"hits": "counter", "sizes": "histogram"}
CALLS = ("bit_count", "kick", "lowest_bit", "now_ns", "random_u32", "vcpus_of")
WORDS = ("State", "counter", "histogram", *CALLS, *DECLARERS.values())


def class_source() -> list[str]:
    """The class of state, for above the policy."""
    lines = ["class Kept(State):"]
    for name, t in FIELDS.items():
        kind = t if isinstance(t, str) else f"{'s' if t[1] else 'u'}{t[0]}"
        lines.append(f"    {name}: {kind} = {DEFAULTS[name]}")
    return [*lines, ""]


def member_source() -> list[str]:
    """Who has it, and what is counted, for inside the policy."""
    lines = [f"    {SCOPES[scope]} = {DECLARERS[scope]}(Kept)" for scope in SCOPES]
    return [*lines, *(f'    {name} = {kind}(doc="{name}")' for name, kind in COUNTERS.items())]


@dataclass
class Model:
    """All that a random policy keeps, as plain numbers."""

    now: int = 0
    draws: list[int] = field(default_factory=list)
    drawn: int = 0
    kicked: int = 0
    hits: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * 64)
    kept: dict[tuple[str, int], dict[str, int]] = field(
        default_factory=lambda: {
            (scope, key): dict(DEFAULTS)
            for scope in SCOPES
            for key in range(1 if scope == "sched" else KEYS)
        }
    )

    def begin(self, now: int, draws: list[int]) -> None:
        """Another call: its time and chance."""
        self.now, self.draws, self.drawn, self.kicked = now, draws, 0, 0

    def draw(self) -> int:
        self.drawn += 1
        return self.draws[(self.drawn - 1) % len(self.draws)]

    def kick(self, vcpu: int) -> None:
        self.kicked = fold(self.kicked, vcpu)

    def record(self, name: str, value: int) -> None:
        if name == "hits":
            self.hits = (self.hits + value) % 2**64
            return
        bucket = 0
        while bucket < 63 and value >= 2**bucket:
            bucket += 1
        self.buckets[bucket] += 1


def fold(kicked: int, vcpu: int) -> int:
    """One number for a sequence of kicks."""
    return (kicked * 31 + vcpu + 1) % 2**64
