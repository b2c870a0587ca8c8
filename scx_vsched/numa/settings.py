"""What a balancer is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scx_vsched.numa.planning import Damping
from scx_vsched.numa.policies import Key, Kind, Policy, parse_policy
from scx_vsched.numa.rules import Rules

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MIB", "Places", "Settings", "balancer_policy"]

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to balance: every `period_s`, at most `budget_bytes_s` of memory a second.

    With `keep_memory` only tasks move and their memory stays. With `working_set` only memory in
    use counts, which costs what clearing the kernel's marks costs (see `referenced_part`). With
    `dry_run` nothing is done. `record` is a file that gets a line of JSON for each look.
    """

    policy: Policy
    rules: Rules = field(default_factory=Rules)
    period_s: float = 2.0
    budget_bytes_s: float = 256.0 * MIB
    keep_memory: bool = False
    working_set: bool = False
    dry_run: bool = False
    record: Path | None = None
    damping: Damping = field(default_factory=Damping)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the kernel's files are."""

    proc: str = "/proc"
    sys: str = "/sys"


def balancer_policy(text: str) -> Policy:
    """As `parse_policy`, where plain `sorted` is by memory, which costs the network least."""
    return Policy(Kind.SORTED, Key.MEMORY) if text == "sorted" else parse_policy(text)
