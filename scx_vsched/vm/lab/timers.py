"""The timer processes of a plan (pulse.py), from the side of the process that starts them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.vm.lab.profile import Mechanism
from scx_vsched.vm.lab.pulse import Program, Pulse, Switch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scx_vsched.vm.lab.groups import Groups
    from scx_vsched.vm.lab.placing import Plan
    from scx_vsched.vm.lab.profile import VcpuShape

__all__ = ["Timer", "programs"]

_NS = 1_000_000_000
_LIMIT_S = 7200.0  # no timer process lives longer


class Timer:
    """A process of pulse.py; `vcpus` are those that each switch of its program takes away."""

    def __init__(self, program: Program, vcpus: tuple[tuple[int, ...], ...]) -> None:
        self.vcpus = vcpus
        self.freezes = program.cpu < 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scx_vsched.vm.lab.pulse"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._send(program.to_json())

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _answer(self) -> dict[str, object]:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            answer = json.loads(self._process.stdout.readline())
        except ValueError:
            answer = {"error": "it ended"}
        if isinstance(answer, dict) and "error" not in answer:
            return answer
        reason = answer["error"] if isinstance(answer, dict) else "it makes no sense"
        raise UserError(
            f"the timer that shapes vCPUs failed: {reason}",
            "co-runners and freezers need the right to use real-time priorities (root)",
        )

    def ready(self) -> None:
        """Wait until it has done everything but start."""
        self._answer()

    def start(self, at_ns: int) -> None:
        """Let it begin at `at_ns`."""
        self._send(str(at_ns))

    def stop(self) -> list[tuple[int, int, int]]:
        """End it; what it did, as (target, away_ns, back_ns)."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            log = self._answer()["log"]
        finally:
            self.kill()
        assert isinstance(log, list)  # noqa: S101 - of our own making
        return [(int(t), int(a), int(b)) for t, a, b in log]

    def kill(self) -> None:
        """End it without asking."""
        self._process.kill()
        self._process.wait()


def programs(plan: Plan, groups: Groups) -> Iterator[tuple[Program, tuple[tuple[int, ...], ...]]]:
    """The timer processes that a plan needs, each with the vCPUs of each of its switches."""
    frozen = sorted({vcpu for vcpu, _ in _timed(plan, Mechanism.FREEZER)})
    if frozen:
        switches = []
        for vcpu in frozen:
            path, away, back = groups.freezer(vcpu)
            switches.append(Switch(str(path), away, back))
        pulses = tuple(
            _pulse(frozen.index(vcpu), *made) for vcpu, made in _timed(plan, Mechanism.FREEZER)
        )
        yield Program(tuple(switches), pulses, -1, _LIMIT_S), tuple((vcpu,) for vcpu in frozen)
    by_cpu: dict[int, dict[Pulse, set[int]]] = {}
    for vcpu, made in _timed(plan, Mechanism.CORUNNER):
        by_cpu.setdefault(made[0].cpus[0], {}).setdefault(_pulse(0, *made), set()).add(vcpu)
    for cpu, found in sorted(by_cpu.items()):
        # A switch for each stretch, for the vCPUs on this host CPU may change.
        pulses = tuple(replace(pulse, target=number) for number, pulse in enumerate(found))
        program = Program((Switch(),) * len(pulses), pulses, cpu, _LIMIT_S)
        yield program, tuple(tuple(sorted(vcpus)) for vcpus in found.values())


def _timed(plan: Plan, by: Mechanism) -> Iterator[tuple[int, tuple[VcpuShape, float, float]]]:
    """Each stretch of time in which a vCPU is shaped `by`: (vCPU, (shape, from, to)) in seconds."""
    ends = [stage.at_s for stage in plan.stages[1:]] + [_LIMIT_S]
    for vcpu in range(len(plan.profile.shapes)):
        begin: float | None = None
        for number, (stage, end) in enumerate(zip(plan.stages, ends, strict=True)):
            shape = stage.shapes[vcpu]
            if shape.by is not by or shape.quota_us is None or shape.share >= 1:
                begin = None
                continue
            begin = stage.at_s if begin is None else begin
            following = plan.stages[number + 1 : number + 2]
            if following and following[0].shapes[vcpu] == shape:
                continue
            yield vcpu, (shape, begin, end)
            begin = None


def _pulse(target: int, shape: VcpuShape, begin_s: float, end_s: float) -> Pulse:
    assert shape.quota_us is not None  # noqa: S101 - only shaped vCPUs get here
    return Pulse(
        target,
        round(begin_s * _NS),
        round(end_s * _NS),
        shape.period_us * 1000,
        (shape.period_us - shape.quota_us) * 1000,
        (shape.phase_us or 0) * 1000,
    )
