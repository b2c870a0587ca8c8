"""A machine without hardware that knows the truth: drives the probers in tests and sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from scx_vsched.topology.records import (
    Availability,
    Demand,
    Gap,
    PairSample,
    Relation,
)
from scx_vsched.topology.synthetic.host import Host
from scx_vsched.topology.synthetic.intervals import Interval, intersect, subtract, total
from scx_vsched.topology.synthetic.spec import Steal, SyntheticSpec
from scx_vsched.topology.synthetic.transfers import Transfers

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from scx_vsched.topology.synthetic.hierarchy import Hierarchy

__all__ = ["Counters", "SyntheticMachine"]


@dataclass(slots=True)
class Counters:
    """What the probers asked for so far."""

    pair_probes: int = 0
    rounds: int = 0  # calls of pair_probes: what ran at the same time
    watches: int = 0
    cpu_ns: int = 0  # of the probers, over all vCPUs


class SyntheticMachine:
    """Implements `Machine` in simulated time; all randomness follows from `seed`."""

    def __init__(self, spec: SyntheticSpec, seed: int = 0) -> None:
        self.spec = spec
        self.counters = Counters()
        self._host = Host(spec, seed)
        self._rng = np.random.default_rng([seed, 7])
        self._now_ns = 1_000_000_000
        possible = range(len(spec.hierarchy.places))
        self._steal_ns = dict.fromkeys(possible, 0)
        self._busy_ns = dict.fromkeys(possible, 0)
        self._ran_ns = dict.fromkeys(possible, 0)
        self._transfers = Transfers(spec, seed, self._rng)

    # -- the truth, for tests ----------------------------------------------------------------

    def hierarchy(self) -> Hierarchy:
        """The true one, now."""
        return self._host.stage(self._now_ns).hierarchy

    def share(self, vcpu: int, start_ns: int, end_ns: int) -> float:
        """The share of that time in which the host would let the vCPU run, were it alone."""
        parts = self._host.stages(start_ns, end_ns)
        ran = sum(total(stage.runs(vcpu, *part)) for stage, part in parts)
        return ran / (end_ns - start_ns)

    def ran_ns(self) -> dict[int, int]:
        """How long each vCPU really ran so far, as the host accounts it."""
        return dict(self._ran_ns)

    # -- Machine -----------------------------------------------------------------------------

    def vcpus(self) -> tuple[int, ...]:
        """The vCPUs online now."""
        offline = self._host.stage(self._now_ns).offline
        return tuple(v for v in range(len(self.spec.hierarchy.places)) if v not in offline)

    def unavailable(self) -> dict[int, str]:
        """The vCPUs offline now."""
        return dict.fromkeys(sorted(self._host.stage(self._now_ns).offline), "offline")

    def now_ns(self) -> int:
        """Simulated time."""
        return self._now_ns

    def sleep_ns(self, duration_ns: int) -> None:
        """Simulated time passes, and with it the guest's own load."""
        end = self._now_ns + duration_ns
        wanted = self._host.wants((), self._now_ns, end)
        self._account(wanted, self._host.runs(wanted, self._now_ns, end))
        self._now_ns = end

    def steal_ns(self) -> dict[int, int] | None:
        """As the hypervisor of the spec reports it."""
        if self.spec.steal is Steal.NONE:
            return None
        if self.spec.steal is Steal.DEAD:
            return dict.fromkeys(self.vcpus(), 0)
        return {vcpu: self._steal_ns[vcpu] for vcpu in self.vcpus()}

    def busy_ns(self) -> dict[int, int]:
        """Time wanted by load or probes. A kernel that counts steal takes it off."""
        stolen = self._steal_ns if self.spec.steal is Steal.TRUE else {}
        return {vcpu: self._busy_ns[vcpu] - stolen.get(vcpu, 0) for vcpu in self.vcpus()}

    def watch(
        self, vcpus: Collection[int], duration_ns: int, demand: Demand
    ) -> dict[int, Availability]:
        """Watches `vcpus`; who goes offline in the middle is absent."""
        costs = self.spec.costs
        start = self._now_ns + costs.round_ns + costs.watch_ns * len(vcpus)
        self.sleep_ns(start - self._now_ns)
        end = start + duration_ns
        here = set(self.vcpus())
        watched = sorted(here.intersection(vcpus))
        wanted = self._host.wants(() if demand is Demand.SLEEP else watched, start, end)
        running = self._host.runs(wanted, start, end)
        self._account(wanted, running)
        self._now_ns = end
        self.counters.watches += 1
        stayed = here.intersection(self.vcpus())
        seen = {}
        for vcpu in watched:
            if vcpu not in stayed:
                continue
            if demand is Demand.SLEEP:
                wants, runs = wanted.get(vcpu, []), running.get(vcpu, [])
                seen[vcpu] = self._slept(vcpu, (start, end), wants, runs)
            else:
                seen[vcpu] = self._spun(vcpu, (start, end), running, demand)
            self.counters.cpu_ns += seen[vcpu].cpu_ns
        return seen

    def pair_probes(
        self, pairs: Sequence[tuple[int, int]], budget_ns: int, samples: int
    ) -> dict[tuple[int, int], PairSample]:
        """Probes `pairs`; a pair is absent when one of the two is offline."""
        probed = [vcpu for pair in pairs for vcpu in pair]
        if len(set(probed)) != len(probed):
            raise ValueError("two pairs share a vCPU")
        costs = self.spec.costs
        start = self._now_ns + costs.round_ns + costs.pair_ns * len(pairs)
        self.sleep_ns(start - self._now_ns)
        here = set(self.vcpus())
        possible = [pair for pair in pairs if here.issuperset(pair)]
        wanted = self._host.wants([v for pair in possible for v in pair], start, start + budget_ns)
        running = self._host.runs(wanted, start, start + budget_ns)
        results = {}
        for a, b in possible:
            results[a, b] = self._probe_pair((a, b), (running[a], running[b]), start, samples)
        end = start + max((result.elapsed_ns for result in results.values()), default=0)
        cut = {
            vcpu: intersect(times, [(start, end)]) for vcpu, times in wanted.items() if end > start
        }
        self._account(cut, {vcpu: intersect(running[vcpu], cut[vcpu]) for vcpu in cut})
        self._now_ns = end
        self.counters.rounds += 1
        self.counters.pair_probes += len(pairs)
        self.counters.cpu_ns += sum(sum(result.active_ns) for result in results.values())
        stayed = set(self.vcpus())
        return {pair: result for pair, result in results.items() if stayed.issuperset(pair)}

    # -- how it is done ----------------------------------------------------------------------

    def _account(
        self, wanted: dict[int, list[Interval]], running: dict[int, list[Interval]]
    ) -> None:
        for vcpu, times in wanted.items():
            wants, runs = total(times), total(running[vcpu])
            self._busy_ns[vcpu] += wants
            self._ran_ns[vcpu] += runs
            self._steal_ns[vcpu] += wants - runs

    def _spun(
        self, vcpu: int, window: Interval, running: dict[int, list[Interval]], demand: Demand
    ) -> Availability:
        runs = running[vcpu]
        if demand is Demand.IDLE:
            for stage, part in self._host.stages(*window):
                others = stage.load(vcpu, *part)
                runs = intersect(runs, subtract(window, others))
        ran = total(runs)
        noise = 1 + self.spec.noise.speed * float(self._rng.standard_normal())
        loops = ran / 1000 * self.spec.loops_per_us * self._speed(vcpu, window, runs, running)
        return Availability(
            vcpu=vcpu,
            start_ns=window[0],
            end_ns=window[1],
            gaps=tuple(Gap(start, end - start) for start, end in subtract(window, running[vcpu])),
            resolution_ns=0,
            loops=int(loops * max(noise, 0.1)),
            cpu_ns=ran,
            lost_ns=total(running[vcpu]) - ran,
        )

    def _speed(
        self,
        vcpu: int,
        window: Interval,
        runs: list[Interval],
        running: dict[int, list[Interval]],
    ) -> float:
        """Of the core, less what busy siblings take: n of them leave (1 + n)^-e of it."""
        stage = self._host.stage(window[0])
        own = stage.spec(vcpu).speed
        ran = total(runs)
        beside = 0.0
        for other in stage.siblings(vcpu):
            if other in running and ran:
                beside += total(intersect(runs, running[other])) / ran
        return own * float((1 + beside) ** np.log2(self.spec.smt_speed))

    def _slept(
        self, vcpu: int, window: Interval, wants: list[Interval], runs: list[Interval]
    ) -> Availability:
        """A sleeper wakes up late when its vCPU is away; an idle vCPU is there when it wakes up."""
        step = self.spec.sleep_ns
        idle = subtract(window, wants)
        away = subtract(window, sorted([*runs, *idle]))
        gaps = []
        for start, end in away:
            wake = window[0] + -(-(start - window[0]) // step) * step
            if wake < end:
                gaps.append(Gap(wake, end - wake))
        wakes = (window[1] - window[0]) // step
        return Availability(
            vcpu=vcpu,
            start_ns=window[0],
            end_ns=window[1],
            gaps=tuple(gaps),
            resolution_ns=step,
            loops=0,
            cpu_ns=wakes * self.spec.costs.wake_ns,
        )

    def _probe_pair(
        self,
        pair: tuple[int, int],
        runs: tuple[list[Interval], list[Interval]],
        start_ns: int,
        samples: int,
    ) -> PairSample:
        stage = self._host.stage(start_ns)
        relation = stage.hierarchy.relation(*pair)
        end_ns = max((times[-1][1] for times in runs if times), default=start_ns)
        together = intersect(*runs)
        latencies: list[float] = []
        if relation is Relation.STACKED:
            # one hand-over each time that the host changes from one to the other
            owners = sorted([(*run, 0) for run in runs[0]] + [(*run, 1) for run in runs[1]])
            for one, other in pairwise(owners):
                if one[2] != other[2]:
                    latencies.append(float(other[0] - one[0]))
        else:
            true_ns = self.spec.latencies.of(relation)
            latencies, end_ns = self._transfers.seen(true_ns, pair, together, end_ns, samples)
        window = [(start_ns, end_ns)]
        return PairSample(
            a=pair[0],
            b=pair[1],
            latencies_ns=tuple(latencies[:samples]),
            active_ns=(total(intersect(runs[0], window)), total(intersect(runs[1], window))),
            both_ns=total(intersect(together, window)),
            elapsed_ns=end_ns - start_ns,
        )
