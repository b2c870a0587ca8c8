"""Keeps what processes share, reading as little as possible: busy ones often, idle ones rarely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.numa.groups import Channels, form_groups
from scx_vsched.numa.shares import Shares, read_shares
from scx_vsched.numa.sockets import unix_peers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scx_vsched.numa.files import Skips
    from scx_vsched.numa.processes import Process

__all__ = ["Sharing"]

_BUSY_EVERY_S, _IDLE_EVERY_S = 2.0, 30.0
_MOST_READS = 200  # of one look: a machine with thousands of processes is learnt bit by bit
_NOTHING = Shares({})


@dataclass(slots=True)
class _Read:
    at_s: float
    shares: Shares


class Sharing:
    """What every process shares, as far as it has been read, and the groups that come of it."""

    def __init__(
        self,
        skips: Skips,
        proc: str = "/proc",
        peers: Callable[[], Mapping[str, str]] = unix_peers,
    ) -> None:
        self._skips = skips
        self._proc = proc
        self._peers = peers
        self._read: dict[tuple[int, int], _Read] = {}
        self._channels = Channels({})

    def groups(
        self, processes: Sequence[Process], now_s: float
    ) -> list[tuple[tuple[int, int], ...]]:
        """The groups of `processes`, by their keys; one that cannot be read is a group alone."""
        alive = {process.key for process in processes}
        self._read = {key: read for key, read in self._read.items() if key in alive}
        due = [process for process in processes if self._is_due(process, now_s)]
        due.sort(key=lambda process: not process.active)
        peers = self._peers() if due else {}
        for process in due[:_MOST_READS]:
            try:
                shares = read_shares(process.pid, self._proc, peers)
            except OSError as error:
                self._skips.note("maps", error)
                shares = _NOTHING
            except ValueError:
                self._skips["maps: unreadable"] += 1
                shares = _NOTHING
            self._read[process.key] = _Read(now_s, shares)
        shares_of = {p.key: self.shares(p) for p in processes}
        self._channels.follow(shares_of, [p.key for p in processes if p.active])
        return form_groups(shares_of, self._channels)

    def shares(self, process: Process) -> Shares:
        """What `process` shares, as it was last read."""
        read = self._read.get(process.key)
        return read.shares if read else _NOTHING

    def _is_due(self, process: Process, now_s: float) -> bool:
        read = self._read.get(process.key)
        every = _BUSY_EVERY_S if process.active else _IDLE_EVERY_S
        # a look that comes a little early must not put it off by a whole period
        return read is None or now_s - read.at_s >= every * 0.9
