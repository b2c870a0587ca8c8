"""Differences between graphs in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.topology.diff import (
    CapacityChange,
    DomainChange,
    LatencyChange,
    MembershipChange,
)
from scx_vsched.topology.domains import LEVEL_NAMES, Level
from scx_vsched.topology.measure import Origin
from scx_vsched.topology.model import FULL_CAPACITY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scx_vsched.topology.diff import Difference, Sets

__all__ = ["number_list", "sentences"]


def sentences(changes: Iterable[Difference], *, before: Origin, after: Origin) -> list[str]:
    """The differences as sentences, those of one kind and of equal numbers as one.

    What the first graph says is "told" if it is claimed and the second measured, else "was".
    """
    words = _Words(told=before is Origin.CLAIMED and after is Origin.MEASURED)
    joined: dict[Level, list[tuple[int, ...]]] = {}
    capacities: dict[tuple[int, int], list[int]] = {}
    rest: list[Difference] = []
    for change in changes:
        if isinstance(change, DomainChange) and _joins_single_vcpus(change):
            joined.setdefault(change.level, []).append(change.after[0])
        elif isinstance(change, CapacityChange):
            capacities.setdefault((change.before, change.after), []).append(change.vcpu)
        else:
            rest.append(change)
    return [
        *(words.joined(level, sets) for level, sets in sorted(joined.items())),
        *(words.sentence(change) for change in rest),
        *(words.capacity(vcpus, *values) for values, vcpus in capacities.items()),
    ]


def number_list(numbers: Iterable[int]) -> str:
    """Increasing numbers in the kernel's notation: `0-3,8`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


class _Words:
    """Sentences about one pair of graphs."""

    def __init__(self, *, told: bool) -> None:
        self.told = told
        self.was, self.now = ("told", "measured") if told else ("was", "is")

    def joined(self, level: Level, sets: Sequence[tuple[int, ...]]) -> str:
        """Several sets whose vCPUs were apart before."""
        apart = "though told apart" if self.told else "but were apart"
        verb = (
            "are stacked on one hardware thread"
            if level == Level.STACK
            else f"share a {LEVEL_NAMES[level]}"
        )
        each = "each " if len(sets) > 1 else ""
        return f"vCPUs {_listed(sets)} {each}{verb}, {apart}"

    def capacity(self, vcpus: Sequence[int], before: int, after: int) -> str:
        """vCPUs that changed in the same way."""
        return (
            f"{_vcpus(vcpus)}: capacity {self.was} {before}, {self.now} {after} "
            f"({(after - before) / FULL_CAPACITY:+.0%} of a full vCPU)"
        )

    def sentence(self, change: Difference) -> str:
        """One difference."""
        match change:
            case MembershipChange():
                only = ((change.gone, "first"), (change.new, "second"))
                return "; ".join(f"{_vcpus(v)} only in the {which}" for v, which in only if v)
            case DomainChange():
                return self._regrouped(change)
            case CapacityChange():
                return self.capacity((change.vcpu,), change.before, change.after)
            case LatencyChange():
                return (
                    f"vCPUs {change.a} and {change.b}: latency {self.was} "
                    f"{change.before_ns:.1f} ns, {self.now} {change.after_ns:.1f} ns"
                )

    def _regrouped(self, change: DomainChange) -> str:
        name = LEVEL_NAMES[change.level]
        everyone = _vcpus(sorted(vcpu for group in change.before for vcpu in group))
        was = f"{self.was} {_listed(change.before)}"
        now = f"{self.now} {_listed(change.after)}"
        if len(change.after) == 1:
            return f"{everyone} share a {name}: {was}"
        if len(change.before) == 1:
            told = "though told so" if self.told else "any more"
            return f"{everyone} do not share a {name} {told}: {now}"
        moved = ""
        if change.moved and not self.told:
            moved = f"{_vcpus(change.moved)} moved to another {name}: "
        return f"{moved}{name}s: {was}; {now}" if not moved else f"{moved}{was}; {now}"


def _joins_single_vcpus(change: DomainChange) -> bool:
    return len(change.after) == 1 and all(len(group) == 1 for group in change.before)


def _listed(sets: Sets | Sequence[tuple[int, ...]]) -> str:
    return " | ".join(map(number_list, sets))


def _vcpus(vcpus: Sequence[int]) -> str:
    return f"vCPU{'s' if len(vcpus) > 1 else ''} {number_list(vcpus)}"
