"""`lab run`: one VM for each profile, shaped, with every scheduler in turn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.lab.machine import Boot, Objects
from scx_vsched.lab.tasks import estimate_s

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scx_vsched.lab.document import Document, Profile
    from scx_vsched.lab.tasks import Settings, Task
    from scx_vsched.vm.kernels import Kernel

__all__ = ["run_lab"]


def run_lab(
    kernel: Kernel,
    tasks: Sequence[Task],
    document: Document,
    settings: Settings,
    *,
    keep: Callable[[Document], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Document:
    """Run every task; a VM that is lost or a host that refuses leaves its profile incomplete.

    `keep` gets the document after each profile, and when the run is interrupted.

    Raises:
        UserError: a policy cannot be built; or nothing at all was measured.
        KeyboardInterrupt: after `keep` had what there is.
    """
    with Objects({arm.policy for task in tasks for arm in task.arms if arm.policy}, say) as objects:
        done: list[Profile] = []
        for number, task in enumerate(tasks):
            name = task.plan.profile.name
            minutes = estimate_s(task, settings) / 60
            say(f"{name} ({number + 1} of {len(tasks)}, about {minutes:.0f} minutes)")
            boot = Boot(kernel, task, settings, objects, say)
            try:
                boot.run()
            except UserError as error:
                boot.error = f"{error.message}{f' ({error.hint})' if error.hint else ''}"
                say(f"{name} is incomplete: {boot.error}")
            except KeyboardInterrupt:
                boot.error = "interrupted"
                keep(replace(document, profiles=(*done, boot.profile()), error="interrupted"))
                raise
            done.append(boot.profile())
            keep(replace(document, profiles=tuple(done)))
    if not any(profile.measurements for profile in done):
        raise UserError(f"nothing was measured: {done[0].error}")
    return replace(document, profiles=tuple(done))
