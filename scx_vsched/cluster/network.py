"""A network of finite bandwidth: how long the pages of moved tasks follow them.

Each machine has a link that carries so many bytes a second each way. Transfers go one after the
other, in the order of the moves: one starts when both its ends are free. The task itself runs on
the target at once, as in a GiantVM, but slower until its pages are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Network"]


class Network:
    """Links of `machines` machines that carry `bytes_s` each way."""

    def __init__(self, machines: int, bytes_s: float) -> None:
        self._bytes_s = bytes_s
        self._out_free_s = [0.0] * machines
        self._in_free_s = [0.0] * machines

    def send(
        self,
        now_s: float,
        source: NDArray[np.int64],
        target: NDArray[np.int64],
        size_bytes: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """When each transfer, queued now in this order, will be over; in seconds."""
        over_s = []
        for one, other, size in zip(
            source.tolist(), target.tolist(), size_bytes.tolist(), strict=True
        ):
            start_s = max(now_s, self._out_free_s[one], self._in_free_s[other])
            end_s = start_s + size / self._bytes_s
            self._out_free_s[one] = self._in_free_s[other] = end_s
            over_s.append(end_s)
        return np.array(over_s, np.float64)
