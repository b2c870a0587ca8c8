"""How a simulated cluster did: what is measured at each step, and what is said of the whole run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scx_vsched.numa.policies import Policy

__all__ = ["BALANCED_GINI", "Result", "Series", "Summarised", "Summary", "gini"]

BALANCED_GINI = 0.25  # below it a cluster counts as balanced (giantvm.md, "Outputs")


def gini(values: NDArray[np.float64]) -> float:
    """The Gini coefficient of values ≥ 0: 0 all alike, towards 1 one has all; 0 if all are 0."""
    total = float(values.sum())
    if total <= 0:
        return 0.0
    count = len(values)
    ranks = np.arange(1, count + 1)
    return float(2 * (ranks * np.sort(values)).sum() / (count * total) - (count + 1) / count)


@dataclass(frozen=True, slots=True)
class Series:
    """What was seen at each step, after migration; arrays of one length.

    `time_s` from the start. `cpu`: mean over machines of the CPU in use, of the capacity.
    `gini`: of the same. `overcommit`: mean over machines of the CPU wanted beyond the capacity, of
    the capacity. `running` and `pending` count tasks, `bytes_moved` and `moves` what moved so far.
    """

    time_s: NDArray[np.float64]
    cpu: NDArray[np.float64]
    gini: NDArray[np.float64]
    overcommit: NDArray[np.float64]
    running: NDArray[np.int64]
    pending: NDArray[np.int64]
    bytes_moved: NDArray[np.int64]
    moves: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in numbers. Shares of CPU are of the machines' capacity; times are simulated.

    All `tasks` are `finished`, or at the end `running`, `pending` (submitted, not admitted) or
    `unsubmitted` (submitted after the last step began). Of the finished ones: `duration_s` they
    ran, `wait_s` they waited to start, `qos_s` both (the thesis's QoS), `delay_s` how much that is
    beyond what they ran in the trace, and how many times that, `slowdown` (median and 95th
    percentile), each a mean over tasks but for these. Moves to the least loaded node are
    `moved_first`, to the second least `moved_second`; `following_s` is how long the pages of a move
    followed, on average.
    """

    tasks: int
    finished: int
    running: int
    pending: int
    unsubmitted: int
    cpu: float
    gini: float
    balanced_share: float
    overcommit: float
    duration_s: float
    wait_s: float
    qos_s: float
    delay_s: float
    slowdown_p50: float
    slowdown_p95: float
    bytes_moved: int
    bytes_first: int
    bytes_second: int
    moves: int
    moved_first: int
    moved_second: int
    tasks_moved: int
    most_moves_of_a_task: int
    following_s: float


class Summarised(Protocol):
    """What is known of a run when it is over."""

    @property
    def policy(self) -> Policy: ...

    @property
    def seed(self) -> int: ...

    @property
    def summary(self) -> Summary: ...


@dataclass(frozen=True, slots=True)
class Result:
    """One run of one policy."""

    policy: Policy
    seed: int
    summary: Summary
    series: Series
