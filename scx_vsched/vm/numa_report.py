"""The outcome of `numa bench` as a Markdown table."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from scx_vsched.vm.intervals import ratio

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scx_vsched.vm.numa_bench import Bench, Measured

__all__ = ["bench_table", "reactions"]

_MIB = 1 << 20
_TURN = (0, 2, 1)  # which node of the profile is left free, stage by stage
_REFERENCE = "kernel"
_ALONE = {"kernel": "kernel, server alone", "numa": "numa, server alone"}


def bench_table(bench: Bench) -> str:
    """A row for each arm: medians over the rounds, ratios by pairs with their 95 % interval."""
    arms = list(dict.fromkeys(found.arm for found in bench.results))
    lines = [
        "| scheduler, balancer | chunks/s | against the kernel | against `kernel, coarse` "
        "| server p99 ms | against alone | MiB moved | moves | most of a task | reaction s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [_row(bench, arm) for arm in arms]
    failed = [found for found in bench.results if found.error]
    lines += [f"\nFailed: {found.arm}, round {found.round + 1}: {found.error}" for found in failed]
    return "\n".join(lines) + "\n"


def _row(bench: Bench, arm: str) -> str:
    own = _by_round(bench, arm)
    if not own:
        return f"| {arm} | failed |" + " |" * 8
    rates = [found.rate for found in own.values()]
    p99 = [found.latency_us["p99"] / 1000 for found in own.values() if "p99" in found.latency_us]
    alone = _ALONE.get(arm.partition(",")[0], "")
    moved = [found.totals.get("memory_bytes", 0) / _MIB for found in own.values()]
    moves = [found.totals.get("moves", 0) for found in own.values()]
    most = max((found.totals.get("most_moves_per_minute", 0) for found in own.values()), default=0)
    took = [s for found in own.values() for s in reactions(found, _changes(bench, found))]
    balanced = any(found.totals for found in own.values())
    cells = [
        arm,
        f"{statistics.median(rates):,.0f}" if any(rates) else "",
        _ratio(own, _by_round(bench, _REFERENCE), "rate") if any(rates) else "",
        _ratio(own, _by_round(bench, f"{_REFERENCE}, coarse"), "rate") if any(rates) else "",
        f"{statistics.median(p99):.1f}" if p99 else "",
        _ratio(own, _by_round(bench, alone), "p99") if arm != alone else "",
        f"{statistics.median(moved):,.0f}" if balanced else "",
        f"{statistics.median(moves):g}" if balanced else "",
        f"{most}" if balanced else "",
        f"{statistics.median(took):.1f} (at most {max(took):.1f})" if took else "",
    ]
    return f"| {' | '.join(cells)} |"


def reactions(found: Measured, changes: Iterable[float]) -> list[float]:
    """Seconds from each change to the first move off the node that was taken by it.

    A change after which nothing left that node says nothing: nobody may have been there.
    """
    times = []
    changes = tuple(changes)
    for number, at in enumerate(changes):
        until = changes[number + 1] if number + 1 < len(changes) else float("inf")
        left = [
            move["at_s"] - at
            for move in found.moves
            if move["source"] == _TURN[number % len(_TURN)] and at <= move["at_s"] < until
        ]
        times += [min(left)] if left else []
    return times


def _changes(bench: Bench, found: Measured) -> list[float]:
    """When nodes changed, each once: several of its vCPUs change at the same time."""
    times: list[float] = []
    for at in bench.changed.get(f"{found.arm}-{found.round}", ()):
        if not times or at - times[-1] > 1:
            times.append(at)
    return times


def _by_round(bench: Bench, arm: str) -> dict[int, Measured]:
    return {found.round: found for found in bench.results if found.arm == arm and not found.error}


def _ratio(own: dict[int, Measured], others: dict[int, Measured], what: str) -> str:
    rounds = sorted(own.keys() & others.keys())
    pairs = [
        (found.rate, other.rate)
        if what == "rate"
        else (found.latency_us.get("p99", 0.0), other.latency_us.get("p99", 0.0))
        for found, other in ((own[n], others[n]) for n in rounds)
    ]
    if own is others or not pairs or not all(a > 0 and b > 0 for a, b in pairs):
        return ""
    return str(ratio([a for a, _ in pairs], [b for _, b in pairs]))
