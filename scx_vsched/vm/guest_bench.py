"""Guest side of `vm bench`: what a scheduler costs, and real programs under it and the default."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.runtime.feeding import Feeding
from scx_vsched.runtime.session import loaded
from scx_vsched.vm.bpf_stats import counting, counting_ns, program_times, spent
from scx_vsched.vm.guest_sched import attached
from scx_vsched.vm.intervals import ratio
from scx_vsched.vm.workloads import WORKLOADS, Workload, warm_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scx_vsched.vm.agent import Guest
    from scx_vsched.vm.intervals import Ratio

__all__ = ["compare", "decided", "measure_cost"]

_FIRST_S = 60.0  # for the first measurement of all vCPUs
_MEMORY = Path("/dev/shm")  # noqa: S108 - memory is the point
# Ours between two of the default's, and every order equally often: what drifts cancels out, and
# the two of the default against each other are the noise floor.
_ORDERS = (("first", "ours", "second"), ("ours", "first", "second"), ("first", "second", "ours"))


def _chosen(names: Sequence[str]) -> tuple[Workload, ...]:
    return tuple(each for each in WORKLOADS if not names or each.name in names)


@contextlib.contextmanager
def _prepared(workloads: Sequence[Workload]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=_MEMORY) as scratch:
        for workload in workloads:
            workload.prepare(Path(scratch))
        yield Path(scratch)


def measure_cost(guest: Guest, object_path: str, seconds: float) -> dict[str, Any]:
    """Nanoseconds and calls of each operation under hackbench, and BPF's share of the vCPUs' time.

    `share` is the time in BPF over wall time and vCPUs; `counting_share` of it is what the counting
    itself shows, at least: as much as of an empty program with all it needs at hand.
    """
    cpus = os.cpu_count() or 1
    hackbench = WORKLOADS[0]
    with (
        _prepared([hackbench]) as memory,
        loaded(Path(object_path), verifier_stats=True) as obj,
        obj.attach() as running,
    ):
        rate = warm_up(hackbench, memory, cpus)
        guest.progress("measuring the cost of operations")
        with counting():
            before, started = program_times(), time.monotonic()
            hackbench.measure(memory, cpus, seconds, rate)
            wall_ns = (time.monotonic() - started) * 1e9
            programs = spent(before, program_times())
            calls = sum(program.calls for program in programs)
            counting_share = calls * counting_ns() / (wall_ns * cpus)
        names = [program.name for program in obj.programs]
        stats = running.stats()
    total = sum(program.time_ns for program in programs)
    return {
        "wall_s": wall_ns / 1e9,
        "vcpus": cpus,
        "share": total / (wall_ns * cpus),
        "counting_share": counting_share,
        "programs": [
            {**asdict(program), "name": _full_name(program.name, names)}
            for program in programs
            if program.calls
        ],
        "stats": stats,
    }


def _full_name(short: str, names: Sequence[str]) -> str:
    matches = [name for name in names if name.startswith(short)]
    return matches[0] if len(matches) == 1 else short


def compare(
    guest: Guest,
    object_path: str,
    *,
    seconds: float,
    rounds: int,
    limit: float,
    probe: bool = False,
    min_rounds: int = 4,
    names: Sequence[str] = (),
) -> dict[str, Any]:
    """Alternate rounds of each workload under the default scheduler and ours, in this boot.

    With `probe` ours goes by what it measures of the vCPUs, which costs; the first measurement of
    each round is over before its workloads begin. Without, it goes by the VM's claims.

    Ends once every workload's interval lies on one side of `limit` (0.97: three per cent worse is
    excluded, or certain) and at least `min_rounds` were made, or after `rounds`.
    """
    cpus = os.cpu_count() or 1
    workloads = _chosen(names)
    rates: dict[str, dict[str, list[float]]] = {
        workload.name: {"first": [], "ours": [], "second": []} for workload in workloads
    }
    stats: dict[str, int] = {}
    with _prepared(workloads) as memory:
        expected = {workload.name: warm_up(workload, memory, cpus) for workload in workloads}
        for number in range(rounds):
            for arm in _ORDERS[number % len(_ORDERS)]:
                with contextlib.ExitStack() as stack:
                    ours = None
                    if arm == "ours":
                        feeding = Feeding(say=guest.progress) if probe else None
                        ours = stack.enter_context(attached(object_path, feeding=feeding))
                        if feeding is not None:
                            _wait_for(feeding)
                    for workload in workloads:
                        rate = workload.measure(memory, cpus, seconds, expected[workload.name])
                        rates[workload.name][arm].append(rate)
                    if ours is not None:
                        info = ours.exit_info()
                        if info is not None:
                            raise RuntimeError(f"the scheduler left: {info['summary']}")
                        for name, value in ours.stats().items():
                            stats[name] = stats.get(name, 0) + value
            ratios = {name: _ratios(arms)[0] for name, arms in rates.items()}
            guest.progress(
                f"round {number + 1}: "
                + ", ".join(f"{name} {value}" for name, value in ratios.items())
            )
            if number + 1 >= min_rounds and all(decided(value, limit) for value in ratios.values()):
                break
    return {"rates": rates, "stats": stats, "vcpus": cpus}


def _wait_for(feeding: Feeding) -> None:
    deadline = time.monotonic() + _FIRST_S
    while feeding.topology is None:
        if time.monotonic() > deadline:
            raise TimeoutError("the first measurement of the vCPUs did not end")
        time.sleep(0.05)


def _ratios(arms: dict[str, list[float]]) -> tuple[Ratio, Ratio]:
    """Ours over the default, and the default over itself."""
    default = [(a * b) ** 0.5 for a, b in zip(arms["first"], arms["second"], strict=True)]
    return ratio(arms["ours"], default), ratio(arms["second"], arms["first"])


def decided(value: Ratio, limit: float) -> bool:
    """Whether the interval says on which side of `limit` the ratio is."""
    return value.low >= limit or value.high < limit
