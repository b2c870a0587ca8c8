"""In the guest: the schedulers that are compared, and the probers beside them."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scx_vsched.bpf.feed import Feed
    from scx_vsched.bpf.loader import Attached
    from scx_vsched.runtime.feeding import Feeding

__all__ = ["Knowledge", "Side", "at_work"]

_SETTLE_S = 1.0  # after another scheduler, or other tunables, are in force


class Knowledge:
    """Probers that can rest, and what they have found so far."""

    def __init__(self) -> None:
        from scx_vsched.runtime.feeding import Feeding  # noqa: PLC0415 - takes seconds
        from scx_vsched.runtime.probing import snapshots  # noqa: PLC0415 - likewise

        self._awake = threading.Event()
        self._awake.set()

        def at_times(claims: Any, stopping: threading.Event, ticks: Any) -> Iterator[Any]:
            for snapshot in snapshots(claims, stopping, ticks):
                yield snapshot
                while not self._awake.wait(0.1) and not stopping.is_set():
                    pass

        self.feeding: Feeding = Feeding(at_times)

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """No probing for the length of the block, once the probe under way has ended."""
        self._awake.clear()
        try:
            yield
        finally:
            self._awake.set()


class Side:
    """A scheduler at work: what it counts, and why it left."""

    def __init__(self, running: Attached | None, feed: Feed | None) -> None:
        self._running, self._feed = running, feed

    def counters(self) -> dict[str, int]:
        """What it has counted since it was attached; nothing of the kernel's own."""
        return self._running.stats() if self._running else {}

    def seen(self) -> list[tuple[int, float]]:
        """Capacity and latency (us) of each vCPU, as the scheduler was told last."""
        topology = self._feed.topology if self._feed else None
        return [(v.capacity, v.latency_ns / 1000) for v in topology.vcpus] if topology else []

    def tune(self, tunables: Mapping[str, int]) -> None:
        """Set tunables, and wait until that has settled."""
        if self._running and tunables:
            self._running.tune(tunables)
        time.sleep(_SETTLE_S)

    def check(self) -> None:
        """Raises RuntimeError where the kernel has ended it."""
        info = self._running.exit_info() if self._running else None
        if info is not None:
            raise RuntimeError(f"the kernel ended the scheduler: {info.summary()}")


@contextlib.contextmanager
def at_work(path: str, knowledge: Knowledge) -> Iterator[Side]:
    """The scheduler in the object `path` (none: the kernel's) for the length of the block."""
    if not path:
        with knowledge.resting():
            yield Side(None, None)
        return
    from scx_vsched.bpf.feed import Feed  # noqa: PLC0415 - imported by the probers already
    from scx_vsched.runtime.session import fed  # noqa: PLC0415 - likewise

    with fed(Path(path), topology=knowledge.feeding.topology) as (obj, feed):
        if not isinstance(feed, Feed):
            raise RuntimeError(f"{obj.meta.policy} is no scheduler of a guest")
        with obj.attach() as running, knowledge.feeding.following(feed):
            yield Side(running, feed)
