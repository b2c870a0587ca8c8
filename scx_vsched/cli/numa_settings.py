"""What `run --numa` and its companions say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from scx_vsched.numa.settings import Settings

__all__ = ["numa_settings"]


def numa_settings(
    policy: str | None,
    *,
    rules: Path | None = None,
    period_s: float | None = None,
    budget_mib_s: float | None = None,
    keep_memory: bool = False,
    working_set: bool = False,
    dry_run: bool = False,
    record: Path | None = None,
) -> Settings | None:
    """What `run --numa POLICY` and its companions say; None without it.

    Raises UserError for companions without it, and for whatever is wrong with them.
    """
    companions = {
        "--numa-rules": rules,
        "--numa-period": period_s,
        "--numa-budget": budget_mib_s,
        "--numa-keep-memory": keep_memory,
        "--numa-working-set": working_set,
        "--numa-dry-run": dry_run,
        "--numa-record": record,
    }
    if policy is None:
        for name, value in companions.items():
            if value not in (None, False):
                raise UserError(f"{name} without --numa", "name a policy: --numa sorted")
        return None
    from scx_vsched.numa.rules import Rules, read_rules  # noqa: PLC0415
    from scx_vsched.numa.settings import MIB, Settings, balancer_policy  # noqa: PLC0415

    found = Settings(
        policy=balancer_policy(policy),
        rules=read_rules(rules) if rules else Rules(),
        keep_memory=keep_memory,
        working_set=working_set,
        dry_run=dry_run,
        record=record,
    )
    return replace(
        found,
        period_s=found.period_s if period_s is None else period_s,
        budget_bytes_s=found.budget_bytes_s if budget_mib_s is None else budget_mib_s * MIB,
    )
