"""The simulations of `scx_vsched cluster report`: the thesis's figures, and what goes beyond.

Each experiment changes one thing of a base setup and compares some policies over all seeds.
Source: giantvm.md, "What the thesis reports" and "Cluster simulator"; the values between the
thesis's ends, and everything from cell sizes on, are chosen here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from scx_vsched.cluster.compare import Comparison, difference
from scx_vsched.cluster.sweep import Run
from scx_vsched.numa.policies import THESIS_POLICIES, Key, Kind, Limits, Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scx_vsched.cluster.compare import Estimate
    from scx_vsched.cluster.setup import Setup
    from scx_vsched.cluster.sweep import Outcome

__all__ = [
    "BASE",
    "COARSE",
    "EXPERIMENTS",
    "FINE",
    "MEMORY",
    "NONE",
    "PRICED",
    "Experiment",
    "Study",
    "changed",
]

NONE, COARSE, FINE = Policy(Kind.NONE), Policy(Kind.COARSE), Policy(Kind.SORTED)
MEMORY, PRICED = Policy(Kind.SORTED, Key.MEMORY), Policy(Kind.PRICED)
_MOVING = (COARSE, FINE, MEMORY, PRICED)
_FEW = (NONE, *_MOVING)
_GIB = 1 << 30
_RATIOS = (0.5, 0.7, 1.0, 1.2, 1.4)


@dataclass(frozen=True, slots=True)
class Experiment:
    """`policies` with each of `values` for one field of Setup or Limits, and `fixed` for others."""

    name: str
    policies: tuple[Policy, ...]
    varied: str = "machines"
    values: tuple[Any, ...] = (None,)
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def setup(self, base: Setup, value: object) -> Setup:
        """The base with what this experiment changes; None leaves the varied field as it is."""
        own = changed(base, self.fixed)
        return own if value is None else changed(own, {self.varied: value})


def changed(setup: Setup, changes: Mapping[str, Any]) -> Setup:
    """A setup with other values for fields of its own or of its limits."""
    names = {one.name for one in fields(Limits)} & changes.keys()
    limits = replace(setup.limits, **{name: changes[name] for name in names})
    others = {name: changes[name] for name in changes.keys() - names}
    return replace(setup, limits=limits, **others)


BASE = Experiment("base", (*THESIS_POLICIES, PRICED))
EXPERIMENTS = {
    one.name: one
    for one in (
        BASE,
        Experiment("machines", _FEW, "machines", (700, 750, 800, 850, 900)),
        Experiment("ratio", _FEW, "allocation_ratio", _RATIOS),
        Experiment("one target", (FINE,), "allocation_ratio", _RATIOS, {"targets": 1}),
        Experiment("cell queue", _FEW, "allocation_ratio", _RATIOS, {"cell_queue": True}),
        Experiment("price", (PRICED,), "least_gain", (2.0, 5.0, 10.0, 20.0, 50.0, 100.0)),
        Experiment("gap", (COARSE, FINE, MEMORY), "least_gap", (0.0, 0.05, 0.1, 0.2)),
        Experiment("cell size", _MOVING, "cell_size", (2, 4, 8, 16)),
        Experiment("period", _MOVING, "balance_steps", (2, 5, 10, 20, 40)),
        Experiment("link", _MOVING, "link_bytes_s", (None, 1.0 * _GIB, _GIB / 8)),
        Experiment("own capacities", _FEW, "capacity", (None,), {"capacity": None}),
    )
}


class Study:
    """The experiments for one trace: their runs, and their outcomes once `find` knows them all.

    The sweep over machines is of the trace's own number of them, scaled: 800 stands for all.
    """

    def __init__(self, base: Setup, seeds: int) -> None:
        self.base, self.seeds = base, seeds
        self._find: Callable[[Run], Outcome | None] = lambda run: None

    def values(self, name: str) -> tuple[Any, ...]:
        """The values of an experiment's varied field."""
        values = EXPERIMENTS[name].values
        if name != "machines":
            return values
        return tuple(round(value / 800 * self.base.machines) for value in values)

    def runs(self) -> list[Run]:
        """All simulations, each once."""
        every = (
            run
            for name, one in EXPERIMENTS.items()
            for value in self.values(name)
            for policy in one.policies
            for run in self._runs(one, value, policy)
        )
        return list(dict.fromkeys(every))

    def _runs(self, one: Experiment, value: object, policy: Policy) -> list[Run]:
        setup = one.setup(self.base, value)
        first = self.base.seed
        return [Run(replace(setup, seed=seed), policy) for seed in range(first, first + self.seeds)]

    def use(self, find: Callable[[Run], Outcome | None]) -> None:
        """Take outcomes from there."""
        self._find = find

    def comparison(self, name: str, value: object = None) -> Comparison[Outcome]:
        """The outcomes of an experiment at one value, for each policy and seed."""
        one = EXPERIMENTS[name]
        found = {
            policy: [self._find(run) for run in self._runs(one, value, policy)]
            for policy in one.policies
        }
        return Comparison(
            {
                policy: tuple(outcome for outcome in outcomes if outcome is not None)
                for policy, outcomes in found.items()
            }
        )

    def above_none(self, name: str, value: object, policy: Policy, metric: str) -> Estimate:
        """How much more of `metric` there is than without migration, placement by placement.

        What an experiment without that policy varies does not concern it: the base has it.
        """
        found = self.comparison(name, value)
        none = found if NONE in found.runs else self.comparison("base")
        return difference(found.values(policy, metric), none.values(NONE, metric))
