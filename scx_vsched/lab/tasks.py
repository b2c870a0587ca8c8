"""What a run of the lab is going to do, checked before the first VM boots."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.lab.document import Document
from scx_vsched.lab.loads import missing_programs, pace_load, prepare_loads
from scx_vsched.lab.schedulers import chosen
from scx_vsched.sim.profile import machine_named
from scx_vsched.version import VERSION
from scx_vsched.vm.lab.placing import demand, plan_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scx_vsched.lab.loads import Load
    from scx_vsched.lab.schedulers import Arm
    from scx_vsched.lab.suites import Entry
    from scx_vsched.vm.lab.placing import Plan

__all__ = ["PICTURE_S", "Settings", "Task", "estimate_s", "prepare"]

PICTURE_S = 0.6  # how long is traced for a timeline
_AFTER_CHANGE_S = 9.0
_BOOT_S, _ATTACH_S, _PROGRAM_S, _OVERHEAD_S = 35.0, 10.0, 8.0, 0.8


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is measured; times in seconds. `timeout_s` bounds each VM, None: by what it does.

    A scheduler makes `turn` rounds before the next one has its turn.
    """

    rounds: int = 5
    turn: int = 1
    seconds: float = 3.0
    warmup: float = 0.5
    learn_s: float = 6.0
    timeout_s: float | None = None
    accelerator: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """One VM to be: what runs in it. `pace` is what runs through a profile that changes."""

    plan: Plan
    arms: tuple[Arm, ...]
    loads: tuple[Load, ...]
    pace: Load | None
    picture: Load | None

    @property
    def length_s(self) -> float:
        """How long one run through a profile that changes takes; 0 for the others."""
        last = self.plan.stages[-1].at_s
        return last + _AFTER_CHANGE_S if last else 0.0


def prepare(entries: Sequence[Entry], settings: Settings) -> tuple[tuple[Task, ...], Document]:
    """Check everything that can be wrong before the first VM boots; what is to be done, and an
    empty document.

    Raises:
        UserError: an unknown profile, workload or scheduler, or one that does not fit the host.
    """
    names = [name for entry in entries for name in entry.workloads]
    missing = missing_programs(names)
    lacking = {each.workload for each in missing}
    tasks = []
    for entry in entries:
        plan = plan_for(entry.profile)
        machine = machine_named(str(len(plan.profile.shapes)))
        changing = len(plan.stages) > 1
        kept = [name for name in entry.workloads if name not in lacking]
        sizes = demand(plan.stages[0].shapes), settings.seconds, settings.warmup
        loads = () if changing else prepare_loads(kept, machine, *sizes)
        if not (loads or changing):
            raise UserError(
                f"nothing is left to measure on {entry.profile}",
                "; ".join(sorted({each.command for each in missing})),
            )
        pace = picture = None
        if changing:
            pace = pace_load(machine, plan.stages[-1].at_s + _AFTER_CHANGE_S)
        elif entry.picture:
            native = [load.name for load in loads if load.text]
            length = settings.learn_s + 2 * PICTURE_S + 1
            picture = prepare_loads(native[:1] or ["half"], machine, sizes[0], length, 0.0)[0]
        tasks.append(Task(plan, chosen(entry.schedulers), loads, pace, picture))
    document = Document(
        version=VERSION,
        host=f"{len(os.sched_getaffinity(0))} CPUs, Linux {platform.release()}",
        started=time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        command="",
        rounds=settings.rounds,
        seconds=settings.seconds,
        missing=tuple((each.workload, each.program, each.command) for each in missing),
    )
    return tuple(tasks), document


def estimate_s(task: Task, settings: Settings) -> float:
    """About how long one VM takes."""
    per_arm = sum(
        settings.seconds + _OVERHEAD_S + (settings.warmup if load.text else 0)
        for load in task.loads
    )
    per_round = len(task.arms) * (per_arm + task.length_s * 1.15)
    programs = sum(_PROGRAM_S for load in task.loads if not load.text)
    pictures = 2 * (settings.learn_s + 10) if task.picture else 0
    turns = -(-settings.rounds // settings.turn)
    objects = len({arm.policy for arm in task.arms if arm.policy})
    taking_over = turns * (len(task.arms) + objects * _ATTACH_S)
    measuring = settings.rounds * per_round
    return _BOOT_S + programs + settings.learn_s + measuring + taking_over + pictures
