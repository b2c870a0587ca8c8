"""What a balancer would do now, without a scheduler: two looks and a plan."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from scx_vsched.numa.balancer import Balancer
from scx_vsched.numa.running import Losses
from scx_vsched.numa.settings import Places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scx_vsched.numa.settings import Settings
    from scx_vsched.runtime.feeding import Feeding

__all__ = ["plan_once"]

_FIRST_PROBE_S = 20.0


def plan_once(
    settings: Settings, *, probe: bool = False, places: Places | None = None
) -> dict[str, Any]:
    """The status after `settings.period_s` of looking, with the moves that would be made.

    With `probe` the vCPUs are measured meanwhile, which takes some seconds more. Raises UserError
    on a machine of one node.
    """
    places = places or Places()
    with _measuring(probe) as feeding:
        losses = Losses(lambda: feeding.topology if feeding else None, places)
        balancer = Balancer(settings, losses, places=places)
        deadline = time.monotonic() + _FIRST_PROBE_S
        while feeding and feeding.topology is None and time.monotonic() < deadline:
            time.sleep(0.1)
        losses()
        balancer.look()
        time.sleep(settings.period_s)
        balancer.round()
        return balancer.status()


@contextlib.contextmanager
def _measuring(wanted: bool) -> Iterator[Feeding | None]:
    if not wanted:
        yield None
        return
    from scx_vsched.runtime.feeding import Feeding  # noqa: PLC0415 - takes seconds in a slow guest

    with Feeding() as feeding:
        yield feeding
