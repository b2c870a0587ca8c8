"""What host and guest say to each other: a job going in, events coming out.

Both sides import this module, and Python starts slowly under TCG, so it uses the standard library
only. A job is a list of steps; a step names a function of a module that the guest imports
(`scx_vsched.vm.guest_run:run_command`) and its keyword arguments. Events are JSON lines in a file
that the guest appends to and the host follows.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["END", "GUEST_DIR", "HELLO", "PROGRESS", "STEP", "Job", "Step", "StepResult", "decode"]

GUEST_DIR = "/run/vsched"
"""Where the guest sees the job's directory (read and write)."""

# Kinds of events, in the order in which they come: HELLO once the agent runs, PROGRESS any number
# of times, STEP after each step with its outcome, END when all is done. A file without END is a
# lost VM.
HELLO, PROGRESS, STEP, END = "hello", "progress", "step", "end"


@dataclass(frozen=True, slots=True)
class Step:
    """A call of `task` ("module:function") with `args`, which JSON can hold.

    `required` steps end the job when they fail; others are recorded and the next one runs.
    """

    task: str
    args: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    required: bool = False

    @property
    def title(self) -> str:
        """What to call the step in messages."""
        return self.name or self.task.rpartition(":")[2]


@dataclass(frozen=True, slots=True)
class StepResult:
    """The outcome of a step: its value, or the error's text with the guest's traceback."""

    name: str
    value: Any
    error: str
    traceback: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the step returned."""
        return not self.error


@dataclass(frozen=True, slots=True)
class Job:
    """Steps for one boot, with what the guest has to prepare for them.

    `path` is prepended to the guest's sys.path; `visible` are directories below /tmp that the
    guest shall see as they are here, for its own /tmp is empty and writable.
    """

    steps: tuple[Step, ...]
    path: tuple[str, ...] = ()
    visible: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The job as the guest reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The job in `text`, as `to_json` wrote it."""
        raw = json.loads(text)
        steps = tuple(Step(**step) for step in raw["steps"])
        return cls(steps, tuple(raw["path"]), tuple(raw["visible"]))


def decode(line: str) -> dict[str, Any] | None:
    """The event in a line, or None if the line is torn: a VM may die in the middle of one."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None
