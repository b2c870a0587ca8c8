"""How well the probers see what the host does: shaped VMs, and both sides of the story.

What each vCPU got is the host's accounting (accounting.py) over the time in which the probers ran.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.vm.boot import run_job
from scx_vsched.vm.job import Job, Step
from scx_vsched.vm.lab.accuracy_patterns import (
    away_patterns,
    dedicated_profile,
    probed_for_stacks,
    share_patterns,
    stack_profiles,
    truly_stacked,
)
from scx_vsched.vm.lab.accuracy_records import Accuracy, Overhead, ShareSample, StackProbe
from scx_vsched.vm.lab.guest import BEGIN
from scx_vsched.vm.lab.guest_probe import prober_cost
from scx_vsched.vm.lab.placing import host_cpus, place
from scx_vsched.vm.lab.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager

    from scx_vsched.vm.job import StepResult
    from scx_vsched.vm.kernels import Kernel
    from scx_vsched.vm.lab.accounting import Truth
    from scx_vsched.vm.lab.profile import Profile
    from scx_vsched.vm.lab.session import PhaseTruth

__all__ = ["Measurement", "overhead_of", "samples_of", "stack_probes_of"]

_TIMEOUT_S = 900.0
_TASK = "scx_vsched.vm.lab.guest_probe"


class Measurement:
    """The VMs of a measurement, and what was found in them so far (`result`)."""

    def __init__(
        self,
        kernel: Kernel,
        accelerator: str | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Nothing is booted yet.

        Raises:
            UserError: the host has one CPU only.
        """
        if len(host_cpus()) < 2:
            raise UserError("the accuracy of probers is measured with two host CPUs; here is one")
        self._kernel, self._accelerator, self._say = kernel, accelerator, say
        self._samples: list[ShareSample] = []
        self._stacks: list[StackProbe] = []
        self._overheads: list[Overhead] = []
        self._problems: list[str] = []
        self._where: list[str] = []

    @property
    def result(self) -> Accuracy:
        """What was found so far."""
        return Accuracy(
            tuple(dict.fromkeys(self._where)),
            tuple(self._samples),
            tuple(self._stacks),
            tuple(self._overheads),
            tuple(self._problems),
        )

    def shares(self, busy: bool, seconds: float) -> None:
        """Boot the VM of two vCPUs and have the probers work for `seconds` under each pattern.

        Only the vCPU that is shaped is judged.
        """
        kinds = {profile.name: "share" for profile in share_patterns()}
        kinds |= {profile.name: "absence" for profile in away_patterns()}
        steps = tuple(
            Step(f"{_TASK}:probe_shares", {"name": name, "seconds": seconds, "busy": busy}, name)
            for name in kinds
        )
        profiles = (*share_patterns(), *away_patterns())
        for step, truth in self._run(profiles, steps, f"{_word(busy)} vCPUs"):
            self._samples += samples_of(kinds[step.name], busy, truth, step.value["vcpus"])

    def stacks(self, probes: int, unstacked_probes: int) -> None:
        """Boot the VM of five vCPUs and probe each topology so often, idle and busy."""
        named = {
            f"{profile.name}, {_word(busy)}": (profile, busy)
            for busy in (False, True)
            for profile in stack_profiles()
        }
        steps = tuple(
            Step(
                f"{_TASK}:probe_stacks",
                {
                    "name": name,
                    "times": probes if truly_stacked(profile) else unstacked_probes,
                    "busy": busy,
                    "vcpus": probed_for_stacks(profile, len(host_cpus())),
                },
                name,
            )
            for name, (profile, busy) in named.items()
        )
        profiles = tuple(replace(profile, name=name) for name, (profile, _) in named.items())
        for step, truth in self._run(profiles, steps, "stacks"):
            self._stacks += stack_probes_of(*named[step.name], step.value, truth.load)

    def overheads(self, seconds: float) -> None:
        """Boot the VM of two vCPUs, take nothing away, and let the probers run for `seconds`.

        On idle vCPUs and on busy ones, each after as long without probers.
        """
        names = {
            f"{_word(busy)}, {'probing' if probing else 'alone'}": (busy, probing)
            for busy in (False, True)
            for probing in (False, True)
        }
        steps = tuple(
            Step(
                f"{_TASK}:probe_overhead",
                {"name": name, "seconds": seconds, "busy": busy, "probing": probing},
                name,
            )
            for name, (busy, probing) in names.items()
        )
        profiles = tuple(dedicated_profile(name) for name in names)
        found = {
            names[step.name]: (step, truth)
            for step, truth in self._run(profiles, steps, "overhead")
        }
        for busy in (False, True):
            if (busy, False) in found and (busy, True) in found:
                step, truth = found[busy, True]
                before = found[busy, False][1]
                self._overheads.append(overhead_of(busy, step.value, truth, before))

    def overheads_here(self, seconds: float) -> None:
        """Let the probers run for `seconds` on this machine itself, its vCPUs idle, then busy."""
        self._where.append(f"Linux {os.uname().release}, this machine itself")
        # a process of its own, whose CPU time is the probers' alone
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            for busy in (False, True):
                self._say(f"overhead on this machine, {_word(busy)}")
                during: AbstractContextManager[None] = contextlib.nullcontext()
                said = process.submit(prober_cost, seconds, busy, True, during).result()
                load = os.getloadavg()[0]
                self._overheads.append(
                    Overhead(
                        busy, said["seconds"], said["vcpus"], said["overhead"], None, None, load
                    )
                )

    def _run(
        self, profiles: tuple[Profile, ...], steps: tuple[Step, ...], title: str
    ) -> list[tuple[StepResult, PhaseTruth]]:
        """One VM that goes through `profiles`, one for each of `steps`; those that worked."""
        plans = {profile.name: place(profile, host_cpus()) for profile in profiles}

        def on_event(event: dict[str, Any]) -> None:
            session.on_event(event)
            if event["event"] == BEGIN:
                self._say(f"{title}: {event['phase']}")
            elif "text" in event:
                self._say(event["text"])

        self._say(f"{title}: booting Linux {self._kernel.release}")
        with Session(plans) as session:
            outcome = run_job(
                self._kernel,
                Job(steps),
                shape=plans[profiles[0].name].machine(),
                force_accelerator=self._accelerator,
                timeout_s=_TIMEOUT_S,
                on_event=on_event,
                on_poll=session.on_poll,
                on_machine=session.on_machine,
            )
        self._where.append(outcome.where)
        found = []
        for step in outcome.steps:
            truth = session.results.get(step.name)
            if step.ok and truth is not None:
                found.append((step, truth))
            else:
                self._problems.append(f"{title}: {step.name}: {step.error or 'no truth'}")
        return found


def _word(busy: bool) -> str:
    return "busy" if busy else "idle"


def samples_of(
    about: str, busy: bool, found: PhaseTruth, estimates: Mapping[str, Mapping[str, Any]]
) -> list[ShareSample]:
    """What was true and what was said of each shaped vCPU in a phase; `estimates` by number."""
    (number, truths), *_ = found.stages
    samples = []
    for truth in truths:
        asked = found.plan.stages[number].shapes[truth.vcpu].share
        if asked == 1:
            continue
        said = estimates.get(str(truth.vcpu), {})
        true, away = _true(truth, busy)
        samples.append(
            ShareSample(
                found.plan.profile.name,
                about,
                truth.vcpu,
                busy,
                asked,
                true,
                said.get("share"),
                away,
                said.get("mean_away_ns"),
                truth.exact,
                found.load,
            )
        )
    return samples


def _true(truth: Truth, busy: bool) -> tuple[float, float]:
    """The share and the mean absence: of a busy vCPU what it got, of an idle one what was left."""
    if busy or truth.offered is None:
        return truth.share, truth.mean_away_ns
    lengths = [each.length_ns for each in truth.withheld]
    return truth.offered, sum(lengths) / len(lengths) if lengths else 0.0


def stack_probes_of(
    profile: Profile, busy: bool, found: Iterable[Mapping[str, Any]], load: float
) -> list[StackProbe]:
    """What each probe of the topology that `profile` makes has found."""
    return [
        StackProbe(
            profile.name,
            busy,
            truly_stacked(profile),
            tuple(tuple(stack) for stack in each["stacks"]),
            each["pair_probes"],
            each["seconds"],
            load,
        )
        for each in found
    ]


def overhead_of(
    busy: bool, said: Mapping[str, Any], probing: PhaseTruth, alone: PhaseTruth
) -> Overhead:
    """What probing cost: `said` in the guest, and by the host's view of both phases."""
    return Overhead(
        busy,
        said["seconds"],
        said["vcpus"],
        said["overhead"],
        _ran(probing),
        _ran(alone),
        probing.load,
    )


def _ran(found: PhaseTruth) -> float:
    """The part of the time that the host ran a vCPU, on the average."""
    return fmean(truth.run_ns / truth.wall_ns for _, truths in found.stages for truth in truths)
