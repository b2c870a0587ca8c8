"""`vm run`: a command in a VM, under a scheduler or the kernel's own, as if it ran here."""

# ruff: noqa: PLC0415 - neither building nor shaping is always needed

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from scx_vsched.errors import UserError
from scx_vsched.vm.boot import Outcome, run_job
from scx_vsched.vm.job import GUEST_DIR, Job, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scx_vsched.vm.kernels import Kernel
    from scx_vsched.vm.lab.placing import Plan
    from scx_vsched.vm.lab.session import PhaseTruth
    from scx_vsched.vm.machine import Shape

__all__ = ["OBJECT_NAME", "RunResult", "build_object", "run_in_vm"]

OBJECT_NAME = "scheduler.bpf.o"
"""The scheduler's object in the job's directory."""

# Variables that make a command behave alike on both sides; the rest of the environment stays here.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "USER", "TZ")
_PHASE = "command"
_TOPOLOGY_NAME = "topology.json"


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a command in a VM ended; `stats` is None without a scheduler of ours.

    `exit_info` tells why the scheduler left by itself while the command ran, `truth` what the host
    gave each vCPU of a shaped VM.
    """

    exit_code: int
    stats: dict[str, int] | None
    exit_info: dict[str, Any] | None
    outcome: Outcome
    truth: PhaseTruth | None = None


class _Follower:
    """Copies what the guest appends to a file of the job's directory to a stream here."""

    def __init__(self, name: str, sink: BinaryIO) -> None:
        self._name, self._sink, self._at = name, sink, 0

    def __call__(self, directory: Path) -> None:
        try:
            with (directory / self._name).open("rb") as file:
                file.seek(self._at)
                new = file.read()
        except OSError:
            return
        if new:
            self._at += len(new)
            self._sink.write(new)
            self._sink.flush()


def build_object(policy: str, out: Path, without: Sequence[str] = ()) -> Path:
    """Build the policy named `policy` (or the file of that path) to `out`, which is returned.

    Raises:
        UserError: unknown policy, a mistake in it, no clang.
    """
    from scx_vsched.bpf.build import build
    from scx_vsched.policies import resolve_policy

    build(resolve_policy(policy), out, without=without)
    return out


def run_in_vm(
    kernel: Kernel,
    argv: Sequence[str],
    *,
    policy: str | None,
    object_path: Path | None = None,
    tunables: Mapping[str, int] | None = None,
    probe: bool = True,
    topology: Path | None = None,
    shape: Shape | None = None,
    accelerator: str | None = None,
    timeout_s: float = 600.0,
    say: Callable[[str], None] = lambda _: None,
    plan: Plan | None = None,
    output: BinaryIO | None = None,
) -> RunResult:
    """Run `argv` in a VM on `kernel` with its output copied to ours as it comes.

    `policy` is a name or a file to build, `object_path` an object built before; with neither the
    kernel's own scheduler is at work. Ours takes the vCPUs as the document `topology` says, and
    with `probe` as they are measured meanwhile; else as the VM claims. `say` gets a line for each
    thing that happens. `plan` shapes the vCPUs while the command runs; `output` takes its output
    instead of standard output.

    Raises:
        UserError: what `run_job` and `build_object` raise, or the scheduler could not be attached.
    """
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    arguments: dict[str, Any] = {"argv": list(argv), "cwd": str(Path.cwd()), "env": env}
    sink = output or sys.stdout.buffer
    followers = (_Follower("stdout", sink), _Follower("stderr", sys.stderr.buffer))
    session = None
    if plan is not None:
        from scx_vsched.vm.lab.session import Session

        session = Session({_PHASE: plan})
        arguments["shaped"] = _PHASE

    def on_poll(directory: Path) -> None:
        if session is not None:
            session.on_poll(directory)
        for follower in followers:
            follower(directory)

    def on_event(event: dict[str, Any]) -> None:
        if session is not None:
            session.on_event(event)
        if event["event"] == "hello":
            say(f"booted Linux {event['release']}, clocksource {event['clocksource']}")
        elif "text" in event:
            say(event["text"])

    with (
        tempfile.TemporaryDirectory(prefix="scx_vsched-") as scratch,
        session or contextlib.nullcontext(),
    ):
        files = {}
        task = "run_command"
        if object_path is not None or policy is not None:
            built = object_path or Path(scratch) / OBJECT_NAME
            if object_path is None and policy is not None:
                say(f"building {policy}")
                build_object(policy, built)
            files[OBJECT_NAME] = built
            task = "run_under_scheduler"
            arguments |= {
                "object_path": f"{GUEST_DIR}/{OBJECT_NAME}",
                "tunables": dict(tunables or {}),
                "probe": probe,
            }
            if topology is not None:
                files[_TOPOLOGY_NAME] = topology
                arguments["topology_path"] = f"{GUEST_DIR}/{_TOPOLOGY_NAME}"
        say(f"booting Linux {kernel.release}")
        outcome = run_job(
            kernel,
            Job((Step(f"scx_vsched.vm.guest_run:{task}", arguments, name="command"),)),
            shape=shape,
            force_accelerator=accelerator,
            timeout_s=timeout_s,
            files=files,
            on_event=on_event,
            on_poll=on_poll,
            on_machine=None if session is None else session.on_machine,
        )
    step = outcome.steps[0]
    if not step.ok:
        raise UserError(
            f"in the VM on Linux {kernel.release}: {step.error}", f"logs are in {outcome.directory}"
        )
    value = step.value
    return RunResult(
        value["exit_code"],
        value.get("stats"),
        value.get("exit_info"),
        outcome,
        None if session is None else session.results.get(_PHASE),
    )
