"""The simulation: tasks arrive at random machines, run as fast as these let them, and are moved.

Facts: giantvm.md, "Cluster simulator". Each step: tasks submitted by now join the queue of a
machine drawn for them and are admitted in turn while requests fit; every `balance_steps` the
policy moves tasks within cells; then running tasks make progress. On a machine whose tasks want
more than its capacity all slow down alike, so that the work left stretches by
dt · (usage - capacity) / usage. A migration costs the task's assigned memory, and takes no time
unless the network is finite.

There is no object per task: a task is a row of the workload's arrays, and a step is a fixed number
of array operations over the running and the queued tasks. Integers for CPU make results
independent of the order of sums.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from scx_vsched.cluster.admission import Admission
from scx_vsched.cluster.balance import Movable, Moves, choose_moves
from scx_vsched.cluster.metrics import BALANCED_GINI, Result, Series, Summary, gini
from scx_vsched.cluster.network import Network
from scx_vsched.cluster.running import Running
from scx_vsched.cluster.schema import UNIT
from scx_vsched.cluster.setup import capacities
from scx_vsched.numa.policies import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scx_vsched.cluster.setup import Setup
    from scx_vsched.cluster.workload import Workload
    from scx_vsched.numa.policies import Policy

__all__ = ["simulate"]

_COMPACT_STEPS = 10  # between two clean-ups of what ended


def simulate(
    workload: Workload,
    policy: Policy,
    setup: Setup,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
    on_moves: Callable[[float, Moves], None] = lambda time_s, moves: None,
) -> Result:
    """Run `workload` under `policy`; the same arguments give the same result, bit for bit.

    `on_step` hears each step and how many there are, `on_moves` each decision and its time.
    """
    return _Run(workload, policy, setup).run(on_step, on_moves)


class _Run:
    """The state of one simulation. Arrays named t_… have a row for each task, m_… for a machine."""

    def __init__(self, workload: Workload, policy: Policy, setup: Setup) -> None:
        self._work, self._policy, self._setup = workload, policy, setup
        tasks = len(workload)
        self._m_capacity = capacities(setup, workload)
        self._queues = Admission(workload, setup, self._m_capacity)
        self._network = (
            None if setup.link_bytes_s is None else Network(setup.machines, setup.link_bytes_s)
        )
        self._t_start_s = np.full(tasks, np.nan)
        self._t_end_s = np.full(tasks, np.nan)
        self._t_moved_s = np.full(tasks, -np.inf)
        self._t_whole_s = np.full(tasks, -np.inf)  # when all pages have followed
        self._t_moves = np.zeros(tasks, np.int32)
        self._running = Running(workload)
        self._moves = self._bytes = 0
        self._moved = [0, 0]  # tasks, by the rank of the target
        self._moved_bytes = [0, 0]
        self._following_s = 0.0  # of all moves

    def run(
        self,
        on_step: Callable[[int, int], None],
        on_moves: Callable[[float, Moves], None],
    ) -> Result:
        """All steps."""
        step_s, length_s = self._setup.step_s, self._work.length_s
        steps = max(math.ceil(length_s / step_s), 1)
        rows = []
        for step in range(steps):
            now_s = step * step_s
            self._admit(now_s)
            if step % _COMPACT_STEPS == 0:
                self._running.compact()
            load = self._running.load(self._setup.machines)
            if self._policy.kind is not Kind.NONE and step % self._setup.balance_steps == 0:
                on_moves(now_s, self._balance(now_s, load))
                load = self._running.load(self._setup.machines)
            rows.append(self._measure(now_s, load))
            self._advance(now_s, min(step_s, length_s - now_s), load)
            on_step(step + 1, steps)
        series = Series(*(np.array(column) for column in zip(*rows, strict=True)))
        return Result(self._policy, self._setup.seed, self._summary(series), series)

    def _admit(self, now_s: float) -> None:
        """Start what may start."""
        started, machine = self._queues.admit(now_s)
        self._running.start(started, machine)
        self._t_start_s[started] = now_s

    def _balance(self, now_s: float, load: NDArray[np.float64]) -> Moves:
        """Let the policy move tasks."""
        work, setup, running = self._work, self._setup, self._running
        running.compact()
        may = work.priority[running.task] < setup.priority_below
        may &= work.max_cpu[running.sample] < setup.max_cpu_below * UNIT
        may &= now_s - self._t_moved_s[running.task] >= setup.rest_s
        may &= self._t_whole_s[running.task] <= now_s
        place = np.flatnonzero(may)
        task, sample = running.task[place], running.sample[place]
        memory = np.rint(work.memory[sample] * (setup.machine_memory_bytes / UNIT))
        movable = Movable(
            task,
            running.machine[place],
            work.cpu[sample],
            self._queues.t_request[task],
            memory.astype(np.int64),
            work.accesses[sample],
        )
        moves = choose_moves(
            self._policy,
            movable,
            load,
            capacity=self._m_capacity,
            room=self._queues.m_room,
            waiting=self._queues.waiting(),
            cell_size=setup.cell_size,
            limits=setup.limits,
        )
        place = place[moves.place]
        source = running.machine[place]
        self._queues.move(moves.task, source, moves.target)
        running.machine[place] = moves.target
        self._t_moved_s[moves.task] = now_s
        if self._network is not None:
            over_s = self._network.send(now_s, source, moves.target, moves.memory_bytes)
            self._t_whole_s[moves.task] = over_s
            self._following_s += float((over_s - now_s).sum())
        self._count(moves)
        return moves

    def _count(self, moves: Moves) -> None:
        self._t_moves[moves.task] += 1
        self._moves += len(moves.task)
        self._bytes += int(moves.memory_bytes.sum())
        for rank in (0, 1):
            there = moves.rank == rank
            self._moved[rank] += int(there.sum())
            self._moved_bytes[rank] += int(moves.memory_bytes[there].sum())

    def _measure(self, now_s: float, load: NDArray[np.float64]) -> tuple[float, ...]:
        """A row of the series."""
        wanted = load / self._m_capacity
        used = np.minimum(wanted, 1)
        beyond = (wanted - used).mean()
        return (
            *(now_s, float(used.mean()), gini(used), float(beyond)),
            *(len(self._running), self._queues.pending, self._bytes, self._moves),
        )

    def _advance(self, now_s: float, length_s: float, load: NDArray[np.float64]) -> None:
        """Let running tasks make progress, and end those that are done."""
        m_speed = np.ones(self._setup.machines)
        np.divide(self._m_capacity, load, out=m_speed, where=load > self._m_capacity)
        pace = None
        if self._network is not None:
            left_s = np.clip(self._t_whole_s[self._running.task] - now_s, 0, length_s)
            pace = 1 - (1 - self._setup.moving_speed) * left_s / length_s
        ended, machine, ran_s = self._running.advance(length_s, m_speed, pace)
        if len(ended):
            self._t_end_s[ended] = now_s + ran_s
            self._queues.leave(ended, machine)

    def _summary(self, series: Series) -> Summary:
        work = self._work
        ended = np.flatnonzero(~np.isnan(self._t_end_s))
        wait_s = self._t_start_s[ended] - work.submit_s[ended]
        ran_s = self._t_end_s[ended] - self._t_start_s[ended]
        trace_s = work.duration_s[ended]
        slowdown = (wait_s + ran_s) / trace_s

        def mean(values: NDArray[np.float64]) -> float:
            return float(values.mean()) if len(values) else 0.0

        p50, p95 = np.percentile(slowdown, (50, 95)) if len(ended) else (0.0, 0.0)
        return Summary(
            tasks=len(work),
            finished=len(ended),
            running=len(self._running),
            pending=self._queues.pending,
            unsubmitted=self._queues.unsubmitted,
            cpu=mean(series.cpu),
            gini=mean(series.gini),
            balanced_share=mean((series.gini < BALANCED_GINI).astype(np.float64)),
            overcommit=mean(series.overcommit),
            duration_s=mean(ran_s),
            wait_s=mean(wait_s),
            qos_s=mean(wait_s + ran_s),
            delay_s=mean(wait_s + ran_s - trace_s),
            slowdown_p50=float(p50),
            slowdown_p95=float(p95),
            bytes_moved=self._bytes,
            bytes_first=self._moved_bytes[0],
            bytes_second=self._moved_bytes[1],
            moves=self._moves,
            moved_first=self._moved[0],
            moved_second=self._moved[1],
            tasks_moved=int((self._t_moves > 0).sum()),
            most_moves_of_a_task=int(self._t_moves.max(initial=0)),
            following_s=self._following_s / max(self._moves, 1),
        )
