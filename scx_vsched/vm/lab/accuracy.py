"""How well the probers see what the host does: shaped VMs, and both sides of the story.

Two VMs. In the first, of two vCPUs with a host CPU each, co-runners take the vCPUs away in exact
windows: shares from .1 to .8, and absences from 2 to 20 ms. In the second, of five vCPUs under
quotas, two and three share a host CPU, and then none. What each vCPU got is the host's accounting
(accounting.py) over the time in which the probers ran.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.vm.boot import run_job
from scx_vsched.vm.job import Job, Step
from scx_vsched.vm.lab.guest import BEGIN
from scx_vsched.vm.lab.placing import host_cpus, place
from scx_vsched.vm.lab.profile import Mechanism, Profile, VcpuShape
from scx_vsched.vm.lab.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from scx_vsched.vm.job import StepResult
    from scx_vsched.vm.kernels import Kernel
    from scx_vsched.vm.lab.accounting import Truth
    from scx_vsched.vm.lab.session import PhaseTruth

__all__ = [
    "Accuracy",
    "Measurement",
    "ShareSample",
    "StackProbe",
    "away_patterns",
    "load",
    "samples_of",
    "share_patterns",
    "stack_profiles",
    "truly_stacked",
]

_LADDER_PERIOD_US = 20_000
# Both vCPUs of a pair together never leave the host without any CPU for the emulator itself.
_LADDER = ((0.1, 0.8), (0.2, 0.7), (0.3, 0.6), (0.4, 0.5), (0.8, 0.1), (0.6, 0.3))
# (away, period) of both vCPUs, in ms.
_AWAY = (((2, 4), (20, 40)), ((3, 8), (15, 30)), ((5, 10), (10, 20)), ((8, 16), (4, 8)))
_QUOTA_US, _QUOTA_PERIOD_US = 3_000, 10_000
_TIMEOUT_S = 900.0
_TASK = "scx_vsched.vm.lab.guest_probe"


@dataclass(frozen=True, slots=True)
class ShareSample:
    """One vCPU in one phase: `asked`, what the host gave (`true`), and what the prober said.

    Shares from 0 to 1, absences in ns (their mean). `busy`: the guest wanted the vCPU all the
    time; an idle one is judged by the windows that the co-runner left. `about` is "share" for a
    rung of the ladder, "absence" for one of the patterns of absences.
    """

    phase: str
    about: str
    vcpu: int
    busy: bool
    asked: float
    true: float
    estimate: float | None
    true_away_ns: float
    estimate_away_ns: float | None
    exact: bool
    load: float


@dataclass(frozen=True, slots=True)
class StackProbe:
    """One full probe of the topology: `true` and `found` are stacks of two or more vCPUs."""

    phase: str
    true: tuple[tuple[int, ...], ...]
    found: tuple[tuple[int, ...], ...]
    pair_probes: int
    seconds: float
    load: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Everything measured; `where` are the VMs, `problems` what could not be measured."""

    where: tuple[str, ...]
    samples: tuple[ShareSample, ...]
    stacks: tuple[StackProbe, ...]
    problems: tuple[str, ...]

    def joined(self, later: Accuracy) -> Accuracy:
        """Both; of a kind of vCPU or a topology that both have, what `later` says."""
        kinds = {each.busy for each in later.samples}
        phases = {each.phase for each in later.stacks}
        return Accuracy(
            tuple(dict.fromkeys((*self.where, *later.where))),
            (*(each for each in self.samples if each.busy not in kinds), *later.samples),
            (*(each for each in self.stacks if each.phase not in phases), *later.stacks),
            (*self.problems, *later.problems),
        )

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_data(cls, raw: Mapping[str, Any]) -> Accuracy:
        """From what `as_data` gave, perhaps through JSON."""

        def sets(found: Iterable[Iterable[int]]) -> tuple[tuple[int, ...], ...]:
            return tuple(tuple(each) for each in found)

        return cls(
            tuple(raw["where"]),
            tuple(ShareSample(**each) for each in raw["samples"]),
            tuple(
                StackProbe(**{**each, "true": sets(each["true"]), "found": sets(each["found"])})
                for each in raw["stacks"]
            ),
            tuple(raw["problems"]),
        )


def load(path: Path) -> Accuracy:
    """What an earlier measurement wrote as JSON.

    Raises:
        UserError: the file cannot be read, or is something else.
    """
    try:
        return Accuracy.from_data(json.loads(path.read_text()))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path} is no accuracy measurement of this version", "measure again without --from"
        ) from None


def _pair(name: str, windows: Iterable[tuple[int, int]]) -> Profile:
    """Two vCPUs that get (quota, period) microseconds beside a co-runner each."""
    shapes = tuple(
        VcpuShape(quota, period, Mechanism.CORUNNER, pin=True) for quota, period in windows
    )
    return Profile(name, "", shapes, smp=str(len(shapes)))


def share_patterns() -> tuple[Profile, ...]:
    """The ladder of shares."""
    period = _LADDER_PERIOD_US
    return tuple(
        _pair(f"share-{a:g}-{b:g}", [(round(a * period), period), (round(b * period), period)])
        for a, b in _LADDER
    )


def away_patterns() -> tuple[Profile, ...]:
    """Absences of different lengths."""
    return tuple(
        _pair(
            f"away-{first[0]}-{second[0]}",
            [((period - away) * 1000, period * 1000) for away, period in (first, second)],
        )
        for first, second in _AWAY
    )


def stack_profiles() -> tuple[Profile, ...]:
    """Five contended vCPUs: a stacked pair, a stacked triple, and none stacked."""

    def profile(name: str, members: tuple[int, ...]) -> Profile:
        shapes = tuple(
            VcpuShape(_QUOTA_US, _QUOTA_PERIOD_US, stack=name if vcpu in members else "")
            for vcpu in range(5)
        )
        return Profile(name, "", shapes, smp="5")

    return profile("pair", (0, 3)), profile("triple", (0, 2, 4)), profile("none", ())


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
        self._problems: list[str] = []
        self._where: list[str] = []

    @property
    def result(self) -> Accuracy:
        """What was found so far."""
        where = tuple(dict.fromkeys(self._where))
        return Accuracy(where, tuple(self._samples), tuple(self._stacks), tuple(self._problems))

    def shares(self, busy: bool, seconds: float) -> None:
        """Boot the VM of two vCPUs and have the probers work for `seconds` under each pattern."""
        word = "busy" if busy else "idle"
        kinds = {profile.name: "share" for profile in share_patterns()}
        kinds |= {profile.name: "absence" for profile in away_patterns()}
        steps = tuple(
            Step(f"{_TASK}:probe_shares", {"name": name, "seconds": seconds, "busy": busy}, name)
            for name in kinds
        )
        for step, truth in self._run((*share_patterns(), *away_patterns()), steps, f"{word} vCPUs"):
            self._samples += samples_of(kinds[step.name], busy, truth, step.value["vcpus"])

    def stacks(self, probes: int, unstacked_probes: int) -> None:
        """Boot the VM of five vCPUs and probe each topology so often."""
        profiles = {profile.name: profile for profile in stack_profiles()}
        steps = tuple(
            Step(
                f"{_TASK}:probe_stacks",
                {"name": name, "times": probes if truly_stacked(p) else unstacked_probes},
                name,
            )
            for name, p in profiles.items()
        )
        for step, truth in self._run(tuple(profiles.values()), steps, "stacks"):
            self._stacks += _stack_probes(profiles[step.name], step.value, truth.load)

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


def truly_stacked(profile: Profile) -> tuple[tuple[int, ...], ...]:
    """The vCPUs that a profile puts on one host CPU, each set in increasing order."""
    groups: dict[str, list[int]] = {}
    for vcpu, shape in enumerate(profile.shapes):
        if shape.stack:
            groups.setdefault(shape.stack, []).append(vcpu)
    return tuple(tuple(each) for each in groups.values())


def samples_of(
    about: str, busy: bool, found: PhaseTruth, estimates: Mapping[str, Mapping[str, Any]]
) -> list[ShareSample]:
    """What was true and what was said of each vCPU in a phase; `estimates` by vCPU number."""
    (number, truths), *_ = found.stages
    samples = []
    for truth in truths:
        said = estimates.get(str(truth.vcpu), {})
        true, away = _true(truth, busy)
        samples.append(
            ShareSample(
                found.plan.profile.name,
                about,
                truth.vcpu,
                busy,
                found.plan.stages[number].shapes[truth.vcpu].share,
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


def _stack_probes(
    profile: Profile, found: Iterable[Mapping[str, Any]], load: float
) -> list[StackProbe]:
    return [
        StackProbe(
            profile.name,
            truly_stacked(profile),
            tuple(tuple(stack) for stack in each["stacks"]),
            each["pair_probes"],
            each["seconds"],
            load,
        )
        for each in found
    ]
