"""Workloads of the simulator with real threads, to compare it with real kernels."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.bpf.compile import find_clang
from scx_vsched.errors import UserError
from scx_vsched.sim.build import cache_dir, digest, make
from scx_vsched.sim.report import measures_of
from scx_vsched.sim.workload import DISTRIBUTIONS, OPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scx_vsched.sim.machine import Machine
    from scx_vsched.sim.report import Measure
    from scx_vsched.sim.workload import Workload

__all__ = ["build_program", "describe_threads", "run_threads"]

_SOURCE = Path(__file__).parent / "threads.c"
_FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra", "-pthread")


def build_program() -> Path:
    """The compiled program, kept in the cache; CompileError where clang refuses it."""
    text = _SOURCE.read_text(encoding="utf-8")
    path = cache_dir() / f"threads-{digest([text, *_FLAGS])}"
    if path.exists():  # in a guest without clang
        return path
    return make(path, [find_clang().path, *_FLAGS, str(_SOURCE)])


def run_threads(
    load: Workload, machine: Machine, *, seconds: float, warmup: float = 0.5, seed: int = 1
) -> dict[Measure, float]:
    """Runs `load` with threads of this machine; the same measures as of a simulated run.

    Requests arrive at all of `machine`'s vCPUs in turn. Raises UserError for what threads cannot
    do: forks, groups, affinities.
    """
    text = describe_threads(load, machine, seconds, warmup, seed)
    done = subprocess.run(
        [str(build_program())],
        input=text,
        capture_output=True,
        text=True,
        timeout=seconds + warmup + 60,
        check=False,
    )
    if done.returncode:
        raise UserError(f"the threads of {load.name} failed: {done.stderr.strip()}")
    counts: dict[str, int] = {}
    latencies: dict[str, list[int]] = {}
    for name, line in zip(load.metrics, done.stdout.splitlines(), strict=True):
        count, _, *values = map(int, line.split())
        counts[name], latencies[name] = count, values
    return measures_of(counts, latencies, seconds)


def describe_threads(
    load: Workload, machine: Machine, seconds: float, warmup: float, seed: int
) -> str:
    """What the program reads from its standard input; its first word is `seed`.

    Raises UserError for what threads cannot do.
    """
    _check(load)
    return " ".join(str(value) for value in _description(load, machine, seconds, warmup, seed))


def _description(
    load: Workload, machine: Machine, seconds: float, warmup: float, seed: int
) -> Iterator[int]:
    starts: dict[str, int] = {}
    code: list[tuple[int, int, int, int, int]] = []
    spins = {s.a for p in load.programs for s in p.instructions if s.op == "spin_lock"}
    for program in load.programs:
        starts[program.name] = len(code)
        loops: list[int] = []
        for step in program.instructions:
            a, b = step.a, step.b
            if step.op == "loop":
                loops.append(len(code) + 1)
            elif step.op == "end":
                a = loops.pop()
            elif step.op == "forever":
                a = starts[program.name]
            elif step.op == "unlock":
                b = int(step.a in spins)
            code.append((OPS.index(step.op), a, b, step.c, DISTRIBUTIONS.index(step.distribution)))
    threads = [
        (starts[t.program], t.nice, t.policy, t.start_ns + number * t.stagger_ns)
        for t in load.tasks
        for number in range(t.count)
    ]
    vcpus = len(machine.vcpus)
    sources = [
        (s.channel, s.interval_ns * vcpus, vcpu) for s in load.sources for vcpu in range(vcpus)
    ]
    yield from (seed, round(warmup * 1e9), round(seconds * 1e9))
    yield from (len(code), load.locks, len(load.barriers), len(load.channels))
    yield from (len(load.metrics), len(threads), len(sources))
    yield from (*load.barriers, *load.channels)
    for row in (*code, *threads, *sources):
        yield from row


def _check(load: Workload) -> None:
    steps = {step.op for program in load.programs for step in program.instructions}
    for op in ("fork", "join"):
        if op in steps:
            raise UserError(f"{load.name} has the step {op}, which threads here do not do")
    if len(load.groups) > 1 or any(t.affinity or t.kthread for t in load.tasks):
        raise UserError(f"{load.name} has groups, affinities or kernel threads")
    if any(s.distribution != "exponential" for s in load.sources):
        raise UserError(f"{load.name} has requests that do not arrive at random")
