"""`numa bench`: balancers of nodes side by side in one VM whose nodes are taken in turn."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.sim.profile import machine_named
from scx_vsched.sim.real import build_program, describe_threads
from scx_vsched.sim.workload_file import parse_workload
from scx_vsched.vm.boot import run_job
from scx_vsched.vm.guest_nodes import RESULT
from scx_vsched.vm.job import GUEST_DIR, Job, Step
from scx_vsched.vm.lab.placing import plan_for
from scx_vsched.vm.lab.session import Session
from scx_vsched.vm.run import build_object

if TYPE_CHECKING:
    from collections.abc import Callable

    from scx_vsched.vm.kernels import Kernel

__all__ = ["ARMS", "PROFILE", "Arm", "Bench", "Measured", "run_bench"]

PROFILE = "nodes-in-turn"
SECONDS = 24.0  # once through the profile
MEMORY_MIB = ((24, True), (24, True), (48, False))
"""The best-effort processes: memory, and whether they compute."""

_LEAD_S = 2.0
_OVERHEAD_S = 25.0  # of a measurement: to attach, to detach
# Both threads have the nice value of a service that its user calls latency-critical. A request
# counts from when it was due, or the client's own wait would hide that of all whom it kept waiting.
_SERVER = """
description = "a client sends requests at random times to a server beside it"
metrics = ["latency"]
channels = { queue = 4096 }
[[program]]
name = "client"
steps = ["sleep exp 20000us", "compute 10us", "send queue", "forever"]
[[program]]
name = "server"
steps = ["receive queue", "compute exp 500us", "latency latency", "forever"]
[[tasks]]
program = "client"
nice = -5
[[tasks]]
program = "server"
nice = -5
"""


@dataclass(frozen=True, slots=True)
class Arm:
    """A scheduler ("" for the kernel's own) with a balancer ("" for none), and what runs."""

    name: str
    scheduler: str
    policy: str
    workers: bool = True


ARMS = (
    Arm("kernel", "", ""),
    Arm("kernel, coarse", "", "coarse"),
    Arm("core, sorted", "core", "sorted"),
    Arm("numa, coarse", "numa", "coarse"),
    Arm("numa, sorted", "numa", "sorted"),
    Arm("kernel, server alone", "", "", workers=False),
    Arm("numa, server alone", "numa", "sorted", workers=False),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement: chunks of work a second, the server's latencies in us, the moves."""

    arm: str
    round: int
    rate: float
    latency_us: dict[str, float]
    totals: dict[str, int]
    moves: tuple[dict[str, Any], ...]
    error: str


@dataclass(slots=True)
class Bench:
    """All measurements of a VM; `changed` are the times at which nodes changed, by phase."""

    rounds: int
    seconds: float
    where: str = ""
    results: list[Measured] = field(default_factory=list)
    changed: dict[str, tuple[float, ...]] = field(default_factory=dict)


def run_bench(
    kernel: Kernel,
    *,
    rounds: int,
    arms: tuple[Arm, ...] = ARMS,
    accelerator: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Bench:
    """Boot one VM and let the arms take turns in it.

    Raises UserError: the host does not let us shape the VM, or nothing was measured.
    """
    plan = plan_for(PROFILE)
    bench = Bench(rounds, SECONDS)
    phases = [f"{arm.name}-{number}" for number in range(rounds) for arm in arms]
    session = Session(dict.fromkeys(phases, plan), phases)

    def on_event(event: dict[str, Any]) -> None:
        session.on_event(event)
        if event["event"] == RESULT:
            bench.results.append(_measured(event))
        elif "text" in event:
            say(event["text"])

    with tempfile.TemporaryDirectory(prefix="scx_vsched-") as scratch, session:
        files = {"threads": build_program()}
        for policy in sorted({arm.scheduler for arm in arms if arm.scheduler}):
            say(f"building {policy}")
            name = f"{policy}.bpf.o"
            files[name] = build_object(policy, Path(scratch) / name)
        arguments = {
            "arms": [_plain(arm) for arm in arms],
            "rounds": rounds,
            "seconds": SECONDS,
            "memory_mib": MEMORY_MIB,
            "server": _server(len(plan.profile.shapes)),
            "program": f"{GUEST_DIR}/threads",
        }
        outcome = run_job(
            kernel,
            Job((Step("scx_vsched.vm.guest_nodes:alternate", arguments, "measuring"),)),
            shape=plan.machine(),
            force_accelerator=accelerator,
            timeout_s=120 + len(phases) * (SECONDS + 2 * _OVERHEAD_S),
            files=files,
            on_event=on_event,
            on_poll=session.on_poll,
            on_machine=session.on_machine,
            attempts=1,  # what a lost VM had measured counts
        )
    bench.where = outcome.where
    for name, truth in session.results.items():
        bench.changed[name] = tuple(made for _, made in truth.changed)
    if not any(not found.error for found in bench.results):
        why = bench.results[0].error if bench.results else outcome.steps[0].error
        raise UserError(f"nothing was measured: {why}", f"logs: {outcome.directory}")
    return bench


def _plain(arm: Arm) -> dict[str, Any]:
    return {
        "name": arm.name,
        "object": f"{GUEST_DIR}/{arm.scheduler}.bpf.o" if arm.scheduler else "",
        "policy": arm.policy,
        "workers": arm.workers,
    }


def _server(vcpus: int) -> str:
    """What the native program reads for the server, without the seed."""
    machine = machine_named(str(vcpus))
    load = parse_workload(_SERVER, "server", machine)
    seconds = SECONDS - 2 * _LEAD_S
    return describe_threads(load, machine, seconds, _LEAD_S, 0).partition(" ")[2]


def _measured(event: dict[str, Any]) -> Measured:
    return Measured(
        event["arm"],
        event["round"],
        event.get("rate", 0.0),
        event.get("latency", {}),
        event.get("totals", {}),
        tuple(event.get("moves", ())),
        event["error"],
    )
