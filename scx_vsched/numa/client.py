"""Asks the running scheduler's balancer what it sees and did, and says it in text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.numa.load import NodeLoad
from scx_vsched.runtime.socket import SOCKET_PATH, StatsClient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["ask_status", "status_text"]

_MIB = 1 << 20
_FULL = 1024
_SHOWN_MOVES = 10


def ask_status(path: Path = SOCKET_PATH) -> dict[str, Any]:
    """What the balancer says; raises UserError where none is at work."""
    with StatsClient(path) as client:
        try:
            answer = client.request("numa")
        except EOFError:
            raise UserError("the scheduler ended meanwhile") from None
        except UserError as error:
            if "unknown command" in error.message:
                raise UserError(
                    "the scheduler at work has no balancer",
                    "start one with it: scx_vsched run --numa sorted",
                ) from None
            raise
    if not isinstance(answer, dict) or "nodes" not in answer:
        raise UserError(f"the scheduler on {path} answers in another way")
    return answer


def status_text(status: Mapping[str, Any]) -> str:
    """Nodes, groups, the last moves, totals, what was skipped."""
    totals = status["totals"]
    head = f"policy {status['policy']}, every {status['period_s']:g} s"
    head += f", at most {status['budget_bytes_s'] / _MIB:g} MiB/s"
    if status["dry_run"]:
        head += ", dry run: nothing is moved"
    lines = [head, ""]
    if not status["nodes"]:
        return "\n".join([*lines, "no look at the machine yet"])
    lines += _table(
        ("node", "vCPUs", "taken by the host", "wanted by tasks", "a task gets", "memory", "free"),
        [_node_row(node) for node in status["nodes"]],
    )
    if status["groups"]:
        lines += ["", "busy or bound:"]
        lines += _table(
            ("node", "what", "processes", "vCPUs", "memory", "state"),
            [_group_row(group) for group in status["groups"]],
        )
    if status["moves"]:
        lines += ["", "last moves:"]
        lines += [_move_line(move, status["now_s"]) for move in status["moves"][-_SHOWN_MOVES:]]
    lines += [
        "",
        f"{totals['moves']} moves in {totals['rounds']} rounds, {_size(totals['memory_bytes'])} of "
        f"memory moved, at most {totals['most_moves_per_minute']} moves of a task in a minute",
    ]
    if status["waiting"]:
        big = f", {status['too_big']} of them are too big for it" if status["too_big"] else ""
        lines.append(f"{status['waiting']} groups wait for rest or budget{big}")
    if status["skipped"]:
        lines.append("skipped: " + ", ".join(f"{w} ({n})" for w, n in status["skipped"].items()))
    return "\n".join(lines)


def _node_row(node: Mapping[str, Any]) -> list[str]:
    memory = [_size(node["memory_bytes"]), _size(node["free_bytes"])]
    if not node["vcpus"]:
        return [str(node["node"]), "0", "", "", "", *memory]
    load = NodeLoad(node["node"], node["capacity"], node["lost"], node["used"])
    return [
        str(node["node"]),
        str(node["vcpus"]),
        f"{node['lost'] / _FULL:.2f}",
        f"{node['used'] / _FULL:.2f}",
        f"{load.speed():.0%}",
        *memory,
    ]


def _group_row(group: Mapping[str, Any]) -> list[str]:
    state = f"fixed: {group['fixed']}" if group["fixed"] else "bound" if group["bound"] else ""
    pids = [str(pid) for pid in group["pids"]]
    shown = ", ".join(pids[:4]) + (f" and {len(pids) - 4} more" if len(pids) > 4 else "")
    return [
        str(group["node"]),
        group["name"],
        shown,
        f"{group['load'] / _FULL:.2f}",
        _size(group["memory_bytes"]),
        state,
    ]


def _move_line(move: Mapping[str, Any], now_s: float) -> str:
    where = (
        f"bound to node {move['target']}"
        if move["source"] == move["target"]
        else f"node {move['source']} → {move['target']}"
    )
    pids = ", ".join(map(str, move["pids"]))
    return (
        f"  {now_s - move['at_s']:5.0f} s ago  {move['name']} ({pids}): {where}, "
        f"{_size(move['memory_bytes'])}; {move['why']}"
    )


def _size(size: float) -> str:
    mib = size / _MIB
    return (
        f"{mib:.1f} MiB"
        if mib < 100
        else f"{mib / 1024:.2f} GiB"
        if mib >= 1024
        else f"{mib:.0f} MiB"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [heads, *rows]
    ]
