"""Several processes that run cases beside each other; how many does not change what is found."""

from __future__ import annotations

import queue
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from scx_vsched.sim.apart import Apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from scx_vsched.sim.apart import Verdict
    from scx_vsched.sim.case import Case

__all__ = ["Team"]

_AHEAD = 4  # cases for each process that wait for a slow one before them


class Team:
    """As many processes apart as `jobs` says, each with a thread that waits for its answers."""

    def __init__(self, jobs: int, *, sanitize: bool = False) -> None:
        self._jobs = jobs
        self._all = [Apart(sanitize=sanitize) for _ in range(jobs)]
        self._free: queue.SimpleQueue[Apart] = queue.SimpleQueue()
        for apart in self._all:
            self._free.put(apart)
        self._threads = ThreadPoolExecutor(jobs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        for apart in self._all:
            apart.close()

    def run(self, case: Case) -> Verdict:
        """Runs one case in whichever process is free next; see `Apart.run`."""
        apart = self._free.get()
        try:
            return apart.run(case)
        finally:
            self._free.put(apart)

    def verdicts(
        self, numbers: Iterable[int], draw: Callable[[int], Case]
    ) -> Iterator[tuple[int, Case, Verdict]]:
        """Each number with the case drawn for it and what became of that, in their order."""

        def one(number: int) -> tuple[int, Case, Verdict]:
            case = draw(number)
            return number, case, self.run(case)

        under_way: deque[Future[tuple[int, Case, Verdict]]] = deque()
        for number in numbers:
            under_way.append(self._threads.submit(one, number))
            if len(under_way) > self._jobs * _AHEAD:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
