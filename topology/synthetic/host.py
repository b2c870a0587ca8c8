"""The hidden host: who runs when, of those vCPUs that want to."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from scx_vsched.topology.synthetic.intervals import Interval, intersect, join
from scx_vsched.topology.synthetic.spec import VCpuSpec

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from scx_vsched.topology.synthetic.hierarchy import Hierarchy
    from scx_vsched.topology.synthetic.patterns import Source
    from scx_vsched.topology.synthetic.spec import Change, SyntheticSpec

__all__ = ["Host", "Stage"]


# Hardware threads do not change over at the same time.
_SHIFT_NS = 779_351


class Stage:
    """The machine as it is between two changes."""

    def __init__(
        self,
        hierarchy: Hierarchy,
        vcpus: Mapping[int, VCpuSpec],
        offline: frozenset[int],
        seed: int,
    ) -> None:
        self.hierarchy = hierarchy
        self.vcpus = vcpus
        self.offline = offline
        self._seed = seed
        self._cores: dict[int, list[int]] = {}
        for vcpu, place in enumerate(hierarchy.places):
            self._cores.setdefault(place.core, []).append(vcpu)
        self._runs: dict[int, Source] = {}
        self._loads: dict[int, Source] = {}
        self.loaded = frozenset(
            vcpu for vcpu in vcpus if vcpu not in offline and self.load(vcpu, 0, 10**9)
        )

    def spec(self, vcpu: int) -> VCpuSpec:
        """Of one vCPU."""
        return self.vcpus.get(vcpu, VCpuSpec())

    def siblings(self, vcpu: int) -> list[int]:
        """The vCPUs on the other hardware threads of its core."""
        place = self.hierarchy.places[vcpu]
        core = self._cores[place.core]
        return [other for other in core if self.hierarchy.places[other].thread != place.thread]

    def runs(self, vcpu: int, start_ns: int, end_ns: int) -> list[Interval]:
        """When the host would let it run, were it alone on its hardware thread."""
        if vcpu not in self._runs:
            self._runs[vcpu] = self.spec(vcpu).runs.source([self._seed, vcpu, 0])
        return self._runs[vcpu].within(start_ns, end_ns)

    def load(self, vcpu: int, start_ns: int, end_ns: int) -> list[Interval]:
        """When the guest's own tasks want it."""
        if vcpu not in self._loads:
            self._loads[vcpu] = self.spec(vcpu).load.source([self._seed, vcpu, 1])
        return self._loads[vcpu].within(start_ns, end_ns)


class Host:
    """Knows every stage, and shares hardware threads out."""

    def __init__(self, spec: SyntheticSpec, seed: int) -> None:
        self._slice_ns = spec.slice_ns
        stage = Stage(spec.hierarchy, spec.vcpus, spec.offline, seed)
        self._stages = [(0, stage)]
        for change in sorted(spec.changes, key=lambda change: change.at_ns):
            stage = _changed(stage, change, seed)
            self._stages.append((change.at_ns, stage))

    def stage(self, at_ns: int) -> Stage:
        """The stage at a time."""
        return next(stage for start, stage in reversed(self._stages) if start <= at_ns)

    def stages(self, start_ns: int, end_ns: int) -> list[tuple[Stage, Interval]]:
        """The stages within a window, each with its part of it."""
        ends = [at for at, _ in self._stages[1:]] + [max(end_ns, self._stages[-1][0] + 1)]
        parts = []
        for (at, stage), until in zip(self._stages, ends, strict=True):
            part = (max(at, start_ns), min(until, end_ns))
            if part[0] < part[1]:
                parts.append((stage, part))
        return parts

    def wants(
        self, probed: Collection[int], start_ns: int, end_ns: int
    ) -> dict[int, list[Interval]]:
        """When each vCPU is wanted: probed ones always, others when the guest has work there."""
        wanted: dict[int, list[Interval]] = {}
        for stage, (start, end) in self.stages(start_ns, end_ns):
            for vcpu in stage.loaded.difference(probed):
                wanted.setdefault(vcpu, []).extend(stage.load(vcpu, start, end))
            for vcpu in probed:
                if vcpu not in stage.offline:
                    wanted.setdefault(vcpu, []).append((start, end))
        return {vcpu: join(times) for vcpu, times in wanted.items()}

    def runs(
        self, wanted: Mapping[int, Sequence[Interval]], start_ns: int, end_ns: int
    ) -> dict[int, list[Interval]]:
        """When each wanted vCPU really runs."""
        running: dict[int, list[Interval]] = {vcpu: [] for vcpu in wanted}
        for stage, (start, end) in self.stages(start_ns, end_ns):
            threads: dict[int, list[int]] = {}
            for vcpu in sorted(wanted):
                threads.setdefault(stage.hierarchy.places[vcpu].thread, []).append(vcpu)
            for thread, members in threads.items():
                free = {
                    vcpu: intersect(stage.runs(vcpu, start, end), wanted[vcpu]) for vcpu in members
                }
                shared = free if len(members) == 1 else self._alternate(free, (start, end), thread)
                for vcpu, times in shared.items():
                    running[vcpu].extend(times)
        return {vcpu: join(times) for vcpu, times in running.items()}

    def _alternate(
        self, free: dict[int, list[Interval]], window: Interval, thread: int
    ) -> dict[int, list[Interval]]:
        """Slices in turn, each thread at its own times; who cannot use its slice leaves it."""
        members = list(free)
        shift = thread * _SHIFT_NS
        first, last = ((at - shift) // self._slice_ns for at in window)
        edges = {*window, *(k * self._slice_ns + shift for k in range(first + 1, last + 1))}
        edges.update(at for times in free.values() for run in times for at in run)
        cuts = sorted(edges)
        shared: dict[int, list[Interval]] = {vcpu: [] for vcpu in members}
        at = dict.fromkeys(members, 0)
        for start, end in pairwise(cuts):
            turn = (start - shift) // self._slice_ns % len(members)
            for vcpu in members[turn:] + members[:turn]:
                times = free[vcpu]
                while at[vcpu] < len(times) and times[at[vcpu]][1] <= start:
                    at[vcpu] += 1
                if at[vcpu] < len(times) and times[at[vcpu]][0] <= start:
                    shared[vcpu].append((start, end))
                    break
        return {vcpu: join(times) for vcpu, times in shared.items()}


def _changed(stage: Stage, change: Change, seed: int) -> Stage:
    return Stage(
        stage.hierarchy if change.hierarchy is None else change.hierarchy,
        {**stage.vcpus, **change.vcpus},
        stage.offline if change.offline is None else change.offline,
        seed,
    )
