"""Guest side: a scheduler attached by the agent itself for the length of a block."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.bpf.feed import Feed
from scx_vsched.runtime.histograms import Histogram, summaries
from scx_vsched.runtime.session import fed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scx_vsched.bpf.loader import Attached
    from scx_vsched.runtime.feeding import Feeding
    from scx_vsched.topology import Topology

__all__ = ["Scheduler", "attached"]


@dataclass(frozen=True, slots=True)
class Scheduler:
    """A scheduler at work in this guest; `attach_ms` says how long taking over took."""

    policy: str
    running: Attached
    attach_ms: float

    def stats(self) -> dict[str, int]:
        """Its counters since it was attached, and its histograms as a few numbers each."""
        found = {name: Histogram(tuple(b)) for name, b in self.running.histograms().items()}
        return {**self.running.stats(), **summaries(found)}

    def exit_info(self) -> dict[str, Any] | None:
        """Why it left, or None while it is at work."""
        info = self.running.exit_info()
        return None if info is None else {**dataclasses.asdict(info), "summary": info.summary()}


@contextlib.contextmanager
def attached(
    object_path: str,
    tunables: Mapping[str, int] | None = None,
    *,
    topology: Topology | None = None,
    feeding: Feeding | None = None,
) -> Iterator[Scheduler]:
    """The scheduler in `object_path` at work for the length of the block.

    It begins with `topology` (None: the claimed one), and follows what `feeding` measures;
    a scheduler of a host has no use for either.
    """
    with fed(Path(object_path), topology=topology, tunables=tunables) as (obj, feed):
        started = time.monotonic()
        with obj.attach() as running, contextlib.ExitStack() as company:
            attach_ms = (time.monotonic() - started) * 1000
            if feeding is not None and isinstance(feed, Feed):
                company.enter_context(feeding)
                company.enter_context(feeding.following(feed))
            yield Scheduler(obj.meta.policy, running, attach_ms)
