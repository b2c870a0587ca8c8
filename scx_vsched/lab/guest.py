"""The guest's side of the lab: every scheduler in turn under every workload, in one boot.

Each measurement is told to the host as soon as it is made, so a VM that is lost later takes nothing
with it. The probers go on from scheduler to scheduler, and rest while the kernel's own is at work.
"""

from __future__ import annotations

import time
from functools import partial
from itertools import groupby, product
from typing import TYPE_CHECKING, Any

from scx_vsched.lab.guest_measure import Measuring, measuring, read_rates
from scx_vsched.lab.guest_sides import Knowledge, Side, at_work
from scx_vsched.vm.lab.guest import phase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scx_vsched.vm.agent import Guest

__all__ = ["CAPACITY", "MAIN", "RESULT", "alternate", "changes"]

# Events: a measurement; the marks around a time in which every vCPU was kept busy.
RESULT, CAPACITY = "result", "capacity"
MAIN = "main"  # the phase in which nothing changes

_LEARN_MOST_S = 40.0


def _learn(guest: Guest, knowledge: Knowledge, meter: Measuring, seconds: float) -> None:
    """Keep the vCPUs busy while the probers see them; that is also what the vCPUs can give."""
    guest.progress("learning what the vCPUs get")
    guest.emit(CAPACITY, marks=meter.spin(seconds))
    deadline = time.monotonic() + _LEARN_MOST_S
    while knowledge.feeding.topology is None and time.monotonic() < deadline:
        time.sleep(0.1)


def alternate(
    guest: Guest,
    *,
    arms: Sequence[Mapping[str, Any]],
    loads: Sequence[Mapping[str, Any]],
    rounds: int,
    turn: int,
    seconds: float,
    warmup: float,
    learn_s: float,
    program: str,
) -> dict[str, Any]:
    """`rounds` rounds of every scheduler under every load, `turn` of them before the next one's.

    Each turn begins with another scheduler: taking over takes seconds in an emulated guest.
    An arm has `name`, `object` (a path, "" for the kernel's own) and `tunables`; arms of one object
    follow each other. A measurement that fails is told with its error, and the next one is made.
    """
    names = [load["name"] for load in loads]
    objects = [(path, list(group)) for path, group in groupby(arms, lambda arm: arm["object"])]
    with measuring(guest, program, seconds, warmup, names) as meter:
        knowledge = Knowledge()
        with phase(guest, MAIN), knowledge.feeding:
            _learn(guest, knowledge, meter, learn_s)
            for since in range(0, rounds, turn):
                first = since // turn % len(objects)
                numbers = range(since, min(since + turn, rounds))
                for path, group in objects[first:] + objects[:first]:
                    with at_work(path, knowledge) as side:
                        for arm in group:
                            side.tune(arm["tunables"])
                            for number, load in product(numbers, loads):
                                told = _told(number, arm, load)
                                _tell(guest, side, told, partial(meter.measure, load, number + 1))
    return {"rounds": rounds}


def _tell(
    guest: Guest, side: Side, told: Mapping[str, Any], run: Callable[[], dict[str, Any]]
) -> None:
    """Make one measurement and tell it, or why it failed; `told` says which it is."""
    result: dict[str, Any] = {"values": {}, "curves": {}, "rates": [], "error": ""}
    before, started, own = side.counters(), time.monotonic(), time.process_time()
    try:
        result |= run()
        side.check()
    except Exception as error:  # told with the measurement; the others go on
        result["error"] = str(error) or type(error).__name__
    counters = {
        name: value - before.get(name, 0)
        for name, value in side.counters().items()
        if value != before.get(name, 0)
    }
    # this process does nothing but probe meanwhile, and wait
    probing = (time.process_time() - own) / (time.monotonic() - started)
    guest.emit(RESULT, **told, **result, counters=counters, seen=side.seen(), probing=probing)
    which = f"round {told['round'] + 1}, {told['scheduler']}: {told['workload']}"
    guest.progress(which + _brief(result))


def _brief(result: Mapping[str, Any]) -> str:
    if result["error"]:
        return f" failed: {result['error']}"
    values = list(result["values"].items())[:2]
    return " " + ", ".join(f"{name} {value:,.4g} {unit}" for name, (value, unit) in values)


def _told(number: int, arm: Mapping[str, Any], load: Mapping[str, Any]) -> dict[str, Any]:
    return {"round": number, "scheduler": arm["name"], "workload": load["name"]}


def _follow(meter: Measuring, load: Mapping[str, Any], seed: int, seconds: float) -> dict[str, Any]:
    out, marks = meter.run_threads(load, seed, seconds, 0.0)
    return {"marks": marks, "rates": read_rates(out, seconds)}


def changes(
    guest: Guest,
    *,
    arms: Sequence[Mapping[str, Any]],
    load: Mapping[str, Any],
    rounds: int,
    seconds: float,
    program: str,
) -> dict[str, Any]:
    """Each scheduler through the whole of a profile that changes: the rate of each second.

    The phases are called `ARM-ROUND`.
    """
    with measuring(guest, program, seconds, 0.0) as meter:
        knowledge = Knowledge()
        with knowledge.feeding:
            for number in range(rounds):
                for arm in arms:
                    with (
                        at_work(arm["object"], knowledge) as side,
                        phase(guest, f"{arm['name']}-{number}"),
                    ):
                        side.tune(arm["tunables"])
                        told = _told(number, arm, load)
                        run = partial(_follow, meter, load, number + 1, seconds)
                        _tell(guest, side, told, run)
    return {"rounds": rounds}
