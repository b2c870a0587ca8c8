"""Several policies over several seeds: means, how sure they are, and differences run by run.

All policies of a seed get the same tasks on the same machines at the same times, so that their
difference is taken in pairs: what chance placed badly was bad for all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from scx_vsched.cluster.metrics import Result, Summarised, Summary
from scx_vsched.cluster.simulator import simulate
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scx_vsched.cluster.setup import Setup
    from scx_vsched.cluster.workload import Workload
    from scx_vsched.numa.policies import Policy

__all__ = ["Comparison", "Estimate", "compare", "difference", "estimate"]

# Student's t for a two-sided interval of 95 %, for 1, 2, … degrees of freedom.
_T95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)
_T95_MORE = 2.08


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds and half the width of its 95 % interval; None for a single seed."""

    mean: float
    half_width: float | None

    @property
    def sure(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.half_width is not None and abs(self.mean) > self.half_width


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of at least one value, with Student's interval."""
    count = len(values)
    mean = sum(values) / count
    if count == 1:
        return Estimate(mean, None)
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    quantile = _T95[count - 2] if count - 2 < len(_T95) else _T95_MORE
    return Estimate(mean, quantile * math.sqrt(variance / count))


def difference(values: Sequence[float], others: Sequence[float]) -> Estimate:
    """How much more the values are than the others, taken in pairs."""
    return estimate([one - two for one, two in zip(values, others, strict=True)])


@dataclass(frozen=True, slots=True)
class Comparison[One: Summarised]:
    """Runs by policy, each with one result for each seed, in the same order of seeds."""

    runs: dict[Policy, tuple[One, ...]]

    def values(self, policy: Policy, metric: str) -> list[float]:
        """A field of the summary, for each seed."""
        return [float(getattr(result.summary, metric)) for result in self.runs[policy]]

    def mean(self, policy: Policy, metric: str) -> Estimate:
        """The mean of a field of the summary."""
        return estimate(self.values(policy, metric))

    def difference(self, policy: Policy, other: Policy, metric: str) -> Estimate:
        """How much more `policy` has of a field than `other`, taken seed by seed."""
        return difference(self.values(policy, metric), self.values(other, metric))

    @staticmethod
    def metrics() -> list[str]:
        """The names of the fields of a summary."""
        return [field.name for field in fields(Summary)]


def compare(
    workloads: Callable[[int], Workload],
    policies: Sequence[Policy],
    setup: Setup,
    seeds: int,
    on_step: Callable[[Policy, int, int, int], None] = lambda policy, seed, step, steps: None,
) -> Comparison[Result]:
    """Run each policy for each of the seeds `setup.seed`, `setup.seed` + 1, …

    `workloads` gives the tasks for a seed. `on_step` hears the policy, the seed, the step and how
    many there are. Raises UserError for a policy that is named twice.
    """
    if len(set(policies)) != len(policies):
        raise UserError("a policy is named twice")
    runs: dict[Policy, list[Result]] = {policy: [] for policy in policies}
    for seed in range(setup.seed, setup.seed + seeds):
        workload = workloads(seed)
        for policy in policies:

            def heard(step: int, steps: int, policy: Policy = policy, seed: int = seed) -> None:
                on_step(policy, seed, step, steps)

            result = simulate(workload, policy, replace(setup, seed=seed), heard)
            runs[policy].append(result)
    return Comparison({policy: tuple(results) for policy, results in runs.items()})
