"""What a job that ran under a scheduler brought back from its VM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scx_vsched.vm.boot import Outcome


def value(outcome: Outcome, name: str) -> Any:
    """What the step brought back; the scheduler went through it."""
    step = next(step for step in outcome.steps if step.name == name)
    assert step.ok, step.traceback
    assert step.value["exit"] is None, step.value["exit"]
    return step.value
