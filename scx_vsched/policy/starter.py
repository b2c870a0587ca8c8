"""The files that `scx_vsched new` writes: a commented policy to start from, and its test."""

from __future__ import annotations

import keyword
import re
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.policy.c_names import C_WORDS
from scx_vsched.policy.scope import TAKEN_NAMES

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["write_starter"]

_POLICY = '''\
"""NAME: say here in a line what the policy is for."""

from scx_vsched.policy import (
    Policy,
    Sched,
    State,
    Task,
    VCpu,
    counter,
    guest,
    per_task,
    tunable,
    u64,
)

US = 1000  # ns


class Record(State):
    """What the policy remembers of each task; fields begin with their defaults."""

    wakeups: u64 = 0


class CLASS(Policy):
    """Say here in more words how it decides. Hooks left out are the core policy's."""

    mechanism = guest

    # What the user may set: `run --set`, and `scx_vsched tune` while it runs.
    slice_us = tunable(4000, unit="us", min=100, max=100_000, doc="longest run before others")
    bonus_us = tunable(500, unit="us", min=0, max=10_000, doc="head start of tasks that sleep")

    # What each task has of the policy's own, and what appears in the statistics.
    record = per_task(Record)
    boosts = counter(doc="wake-ups with a head start")

    def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """How long `task` may run: shorter the more tasks wait for this vCPU."""
        return self.slice_us * US // (1 + min(vcpu.queued, 3))

    def wakeup_vtime(self, task: Task, sched: Sched) -> u64:
        """With which virtual time `task` joins the queue after it slept; the least runs first."""
        record = self.record(task)
        record.wakeups += 1
        if record.wakeups < 3:  # a task that hardly ever sleeps is not an interactive one
            return sched.vtime
        self.boosts.add()
        return sched.vtime - self.bonus_us * US
'''

_TEST = '''\
"""Tests of NAME: hooks compute in CPython what they compute in the kernel."""

from NAME import CLASS

from scx_vsched.policy import Sched, Task, VCpu

MS = 1_000_000


def test_slices_shrink_with_the_queue() -> None:
    policy = CLASS(slice_us=8000)
    alone, crowded = (policy.slice_ns(Task(), VCpu(queued=n), Sched()) for n in (0, 9))
    assert (alone, crowded) == (8 * MS, 2 * MS)


def test_sleepers_get_a_head_start_from_the_third_time_on() -> None:
    policy = CLASS(bonus_us=1000)
    sched = Sched(vtime=50 * MS)
    woken = [policy.wakeup_vtime(Task(pid=1), sched) for _ in range(3)]
    assert woken == [50 * MS, 50 * MS, 49 * MS]
    assert policy.boosts.value == 1
    assert policy.record(Task(pid=2)).wakeups == 0  # every task has its own
'''


def write_starter(name: str, directory: Path) -> tuple[Path, Path]:
    """Writes NAME.py and test_NAME.py into `directory`; returns their paths.

    Raises UserError where `name` cannot name a policy or a file is there already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", name):
        raise UserError(
            f"{name!r} cannot name a policy",
            "use lower-case letters, digits and underscores, as in `my_policy`",
        )
    if keyword.iskeyword(name) or name in C_WORDS | TAKEN_NAMES or name.startswith("test_"):
        raise UserError(f"{name!r} means something else already", "choose another name")
    cls = "".join(part.capitalize() for part in name.split("_"))
    if cls in C_WORDS | TAKEN_NAMES:
        raise UserError(f"{name!r} means something else already", "choose another name")
    files = directory / f"{name}.py", directory / f"test_{name}.py"
    for path in files:
        if path.exists():
            raise UserError(f"{path} is there already", "choose another name, or move it away")
    for path, text in zip(files, (_POLICY, _TEST), strict=True):
        try:
            path.write_text(text.replace("NAME", name).replace("CLASS", cls), encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from None
    return files
