"""The workloads of the lab: native threads after the simulator's programs, and real programs.

Native ones are descriptions for `scx_vsched.sim.real`, whose program needs nothing else in the
guest. Requests come at a fixed part of what the profile's vCPUs can do on this host, so that a
small machine is not flooded by what a large one serves with ease.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.lab.programs import PROGRAMS
from scx_vsched.sim.real import describe_threads
from scx_vsched.sim.scenarios import THREADS
from scx_vsched.sim.workload_file import builtin_workloads, load_workload, parse_workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scx_vsched.sim.machine import Machine

__all__ = ["Load", "Missing", "known_loads", "missing_programs", "prepare_loads", "sweep"]

_LOAD = 0.3  # of what the vCPUs can do
_SERVICE_US = 500
_BEST_EFFORT = """
[[program]]
name = "hog"
steps = ["compute 1ms", "mark besteffort", "forever"]
[[tasks]]
program = "hog"
count = "vcpus"
policy = "idle"
"""
_REQUESTS = """
description = "threads of the guest send requests at random times to servers beside them"
metrics = ["waiting", "latency"{more}]
channels = {{ queue = 65536 }}
[[program]]
name = "client"
steps = ["sleep exp {interval}us", "compute 10us", "stamp", "send queue", "forever"]
[[program]]
name = "server"
steps = [
  "receive queue", "latency waiting", "compute exp {service}us", "latency latency", "forever",
]
[[tasks]]
program = "client"
count = "vcpus"
[[tasks]]
program = "server"
count = "2 * vcpus"
"""
# Each sample is when a millisecond of work was done: the rate second by second.
_PACE = """
description = "computing threads that note when each piece of work is done"
metrics = ["done"]
[[program]]
name = "worker"
steps = ["stamp", "loop 100000000", "compute 1ms", "latency done", "end", "forever"]
[[tasks]]
program = "worker"
count = {count}
"""
_COMPUTE = re.compile(r"compute-(\d+)$")
_OWN = ("requests", "requests-mixed", "compute", "barrier")


@dataclass(frozen=True, slots=True)
class Load:
    """A workload for one machine: the `text` that the native program reads, or a real program.

    The text lacks its first word, the seed. `metrics` are in the order of the program's output.
    """

    name: str
    text: str = ""
    metrics: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """For the guest, in what JSON can hold."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Missing:
    """A real program that is not installed, and the command that installs it."""

    workload: str
    program: str
    command: str


def known_loads() -> tuple[str, ...]:
    """All names, for messages."""
    threads = (name for name in builtin_workloads() if name not in _OWN)
    return (*_OWN, "compute-N", *PROGRAMS, *threads)


def sweep(vcpus: int) -> tuple[str, ...]:
    """`compute` by its numbers of threads: one, a quarter, half, three quarters, all."""
    counts = {max(1, round(vcpus * part)) for part in (0, 0.25, 0.5, 0.75, 1)}
    return tuple(f"compute-{count}" for count in sorted(counts))


def missing_programs(names: Sequence[str]) -> tuple[Missing, ...]:
    """The programs that workloads of these names need and this machine lacks."""
    return tuple(
        Missing(name, program, f"apt-get install {package}")
        for name in dict.fromkeys(names)
        if name in PROGRAMS
        for program, package in PROGRAMS[name].needs
        if shutil.which(program) is None
    )


def prepare_loads(
    names: Sequence[str], machine: Machine, capacity: float, seconds: float, warmup: float
) -> tuple[Load, ...]:
    """The workloads `names` on `machine`, whose vCPUs get `capacity` host CPUs together.

    Raises:
        UserError: an unknown name, or one that threads cannot do.
    """
    found: list[Load] = []
    for name in names:
        each = sweep(len(machine.vcpus)) if name == "compute" else (name,)
        found += [_prepare(part, machine, capacity, seconds, warmup) for part in each]
    return tuple(dict.fromkeys(found))


def pace_load(machine: Machine, seconds: float) -> Load:
    """Half as many computing threads as vCPUs, for the rate second by second."""
    text = _PACE.format(count=max(1, len(machine.vcpus) // 2))
    load = parse_workload(text, "pace", machine)
    described = describe_threads(load, machine, seconds, 0.0, 0)
    return Load("pace", described.partition(" ")[2], tuple(load.metrics))


def _prepare(name: str, machine: Machine, capacity: float, seconds: float, warmup: float) -> Load:
    if name in PROGRAMS:
        return Load(name)
    count = _COMPUTE.match(name)
    if count:
        if int(count[1]) < 1:
            raise UserError(f"{name}: at least one thread")
        load = parse_workload(THREADS.format(count=int(count[1])), name, machine)
    elif name in {"requests", "requests-mixed"}:
        mixed = name.endswith("mixed")
        interval = _SERVICE_US * len(machine.vcpus) / (_LOAD * capacity)
        text = _REQUESTS.format(
            interval=round(interval), service=_SERVICE_US, more=', "besteffort"' if mixed else ""
        )
        load = parse_workload(text + (_BEST_EFFORT if mixed else ""), name, machine)
    elif name in builtin_workloads():
        load = load_workload(name, machine)
    else:
        raise UserError(f"unknown workload {name}", f"there are: {', '.join(known_loads())}")
    described = describe_threads(load, machine, seconds, warmup, 0)
    return Load(name, described.partition(" ")[2], tuple(load.metrics))
