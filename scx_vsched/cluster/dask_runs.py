"""Simulations side by side on Dask: on this machine, or on a cluster by its address."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

from distributed import Client, LocalCluster, as_completed
from distributed.core import rpc
from distributed.scheduler import KilledWorker

from scx_vsched.cluster.simulator import simulate
from scx_vsched.cluster.sweep import Outcome, Run
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scx_vsched.cluster.metrics import Summary
    from scx_vsched.cluster.workload import Workload

__all__ = ["dask_client", "simulate_all"]

_ANSWER_S = 5.0  # that a scheduler gets to answer


@contextmanager
def dask_client(address: str | None, workers: int) -> Iterator[Client]:
    """A client of the scheduler at `address`; without one, of `workers` processes here.

    One worker needs no process of its own. Raises UserError for an address where no scheduler
    answers within seconds, or one that has no workers.
    """
    # What goes wrong is said once, by what is raised.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if address is not None:
        with _connect(address) as client:
            yield client
        return
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=workers > 1,
            dashboard_address=None,
            memory_limit=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _connect(address: str) -> Client:
    try:
        found = asyncio.run(asyncio.wait_for(_greet(address), _ANSWER_S))
    except Exception as error:  # whatever speaks there, it is no scheduler
        late = isinstance(error, TimeoutError)
        reason = f"nothing within {_ANSWER_S:g} s" if late else str(error) or type(error).__name__
        raise UserError(
            f"no Dask scheduler answers at {address} ({reason})",
            "start one with: dask scheduler; or leave --dask out to use this machine",
        ) from None
    if not found["workers"]:
        raise UserError(
            f"the Dask scheduler at {address} has no workers", f"start some: dask worker {address}"
        )
    return Client(address, timeout=_ANSWER_S, set_as_default=False)


async def _greet(address: str) -> dict[str, Any]:
    """What the scheduler at `address` says of itself.

    Asked before there is a client, which for minutes tries to close what was never opened.
    """
    async with rpc(address, timeout=_ANSWER_S) as scheduler:
        found: dict[str, Any] = await scheduler.identity()
    return found


def simulate_all(
    client: Client, runs: Sequence[Run], workloads: Callable[[int], Workload]
) -> Iterator[Outcome]:
    """The outcomes of `runs` as they come in; `workloads` gives the tasks for a seed.

    Runs of one workload are done before the next is read. Raises UserError when workers die or
    cannot run this version of the package.
    """
    by_seed = sorted(runs, key=lambda run: run.setup.seed)
    for work, group in groupby(by_seed, key=lambda run: _Same(workloads(run.setup.seed))):
        [there] = client.scatter([work.workload], hash=False)
        waiting = {client.submit(_simulate, there, run, pure=False): run for run in group}
        try:
            for future in as_completed(list(waiting), loop=client.loop):
                yield Outcome(waiting.pop(future), future.result())
        except KilledWorker:
            raise UserError(
                "workers died again and again, perhaps for want of memory", "take fewer --workers"
            ) from None
        except ImportError as error:
            raise UserError(
                f"the Dask workers cannot simulate: {error}",
                "install this version of scx_vsched[cluster] where they run",
            ) from None
        finally:
            client.cancel([*waiting, there])


class _Same:
    """A workload that equals itself only."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.workload is self.workload

    def __hash__(self) -> int:
        return id(self.workload)


def _simulate(workload: Workload, run: Run) -> Summary:
    return simulate(workload, run.policy, run.setup).summary
