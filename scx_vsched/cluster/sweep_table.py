"""The outcomes of a sweep as a table: a row for each point and policy, means over seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from scx_vsched.cluster.compare import estimate
from scx_vsched.cluster.report import COLUMNS, estimate_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scx_vsched.cluster.setup import Setup
    from scx_vsched.cluster.sweep import Outcome
    from scx_vsched.numa.policies import Policy

__all__ = ["sweep_table"]


def sweep_table(
    points: Sequence[tuple[Mapping[str, object], Setup]],
    policies: Sequence[Policy],
    outcomes: Sequence[Outcome],
) -> Table:
    """A row for each point and policy; `outcomes` by point, policy and seed, all there."""
    table = Table(box=None, pad_edge=False)
    for name in points[0][0]:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column("policy")
    for head, _, _ in COLUMNS.values():
        table.add_column(head, justify="right")
    seeds = len(outcomes) // (len(points) * len(policies))
    rows = ((point, policy) for point, _ in points for policy in policies)
    for number, (point, policy) in enumerate(rows):
        own = outcomes[number * seeds : (number + 1) * seeds]
        cells = [
            estimate_text(estimate([getattr(one.summary, metric) for one in own]), scale, digits)
            for metric, (_, scale, digits) in COLUMNS.items()
        ]
        table.add_row(
            *("none" if value is None else f"{value}" for value in point.values()),
            str(policy),
            *cells,
        )
    return table
