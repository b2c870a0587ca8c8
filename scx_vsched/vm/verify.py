"""`vm verify`: every policy with every combination of features through every kernel's verifier."""

from __future__ import annotations

import itertools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.bpf.build import build
from scx_vsched.policies import gallery_policies, resolve_policy
from scx_vsched.policy.compiler import compile_file
from scx_vsched.vm.boot import VmLost, VmTimeout, run_job
from scx_vsched.vm.job import GUEST_DIR, Job, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scx_vsched.bpf.build import Backend
    from scx_vsched.vm.baseline import Key
    from scx_vsched.vm.job import StepResult
    from scx_vsched.vm.kernels import Kernel

__all__ = [
    "Built",
    "KernelReport",
    "ObjectReport",
    "ProgramReport",
    "build_all",
    "feature_sets",
    "instructions",
    "verify",
    "verify_kernel",
]

_FEW_FEATURES = 3
_EXERCISE_S = 3.0
_TIMEOUT_S = 1800.0
_LARGE = 1024  # vCPUs that a scheduler must be able to serve


@dataclass(frozen=True, slots=True)
class Built:
    """An object to verify; `features` are those built in, `full` says that these are all."""

    policy: str
    features: tuple[str, ...]
    full: bool
    path: Path

    @property
    def label(self) -> str:
        """The features as one word: "cgroups+smt", or "none"."""
        return "+".join(self.features) or "none"


@dataclass(frozen=True, slots=True)
class ProgramReport:
    """What one program cost the verifier."""

    name: str
    insns: int
    states: int
    peak_states: int
    time_us: int


@dataclass(frozen=True, slots=True)
class ObjectReport:
    """One object on one kernel.

    `error` is empty where it loaded (and, for the full object, worked); `stats` are the counters
    of its moment at work.
    """

    policy: str
    features: str
    load_ms: float
    programs: tuple[ProgramReport, ...]
    error: str = ""
    stats: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KernelReport:
    """One kernel; `error` tells why nothing could be verified there, `lost` counts VMs lost."""

    series: str
    release: str
    accelerator: str
    objects: tuple[ObjectReport, ...]
    error: str = ""
    lost: int = 0

    @property
    def ok(self) -> bool:
        """Whether every object loaded and worked."""
        return not self.error and not any(each.error for each in self.objects)


def feature_sets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Combinations of `names`, all of them first, none last.

    Every one of up to three names. Of more, which would be too many: each name left out, and each
    alone.
    """
    count = len(names)
    sizes = range(count, -1, -1) if count <= _FEW_FEATURES else (count, count - 1, 1, 0)
    return [combination for size in sizes for combination in itertools.combinations(names, size)]


def verify(
    policies: Sequence[str],
    kernels: Sequence[Kernel],
    *,
    backend: Backend = "clang",
    accelerator: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[KernelReport]:
    """Build `policies` with every combination of features and verify them on each of `kernels`.

    Raises:
        UserError: what building raises; what goes wrong in a VM is in its report.
    """
    with tempfile.TemporaryDirectory(prefix="scx_vsched-") as scratch:
        objects = build_all(policies, Path(scratch), say, backend)
        return [
            verify_kernel(kernel, objects, accelerator=accelerator, say=say) for kernel in kernels
        ]


def build_all(
    policies: Sequence[str],
    out: Path,
    say: Callable[[str], None] = lambda _: None,
    backend: Backend = "clang",
) -> list[Built]:
    """Build each policy (name or file) with every combination of features into `out`.

    Policies of the gallery differ in their hooks alone: they are built with all and with none.
    What pythonbpf compiled is called otherwise, since it costs the verifier otherwise.

    Raises:
        UserError: an unknown policy, a mistake in one, no clang.
    """
    jobs = []
    for number, name in enumerate(policies):
        path = resolve_policy(name)
        program = compile_file(path)
        every = program.features
        called = program.name if backend == "clang" else f"{program.name} by {backend}"
        few = path in gallery_policies().values()
        for features in [every, ()] if few else feature_sets(every):
            target = out / f"{number}-{'-'.join(features) or 'none'}.bpf.o"
            jobs.append((path, every, Built(called, features, features == every, target)))

    def one(job: tuple[Path, tuple[str, ...], Built]) -> Built:
        path, every, built = job
        without = [name for name in every if name not in built.features]
        build(path, built.path, without=without, backend=backend)
        say(f"built {built.policy} with {built.label}")
        return built

    # pythonbpf, unlike clang, works within this process, and with state of its own
    with ThreadPoolExecutor(max_workers=2 if backend == "clang" else 1) as pool:
        return list(pool.map(one, jobs))


def verify_kernel(
    kernel: Kernel,
    objects: Sequence[Built],
    *,
    accelerator: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> KernelReport:
    """Load every object in one VM on `kernel`, and let the full ones work for a moment."""
    steps = [step for built in objects for step in _steps(built)]

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "step":
            say(f"{kernel.release}: {event['name']}{' FAILED' if event['error'] else ''}")
        elif "text" in event:
            say(f"{kernel.release}: {event['text']}")

    say(f"{kernel.release}: booting")
    try:
        outcome = run_job(
            kernel,
            Job(tuple(steps)),
            force_accelerator=accelerator,
            timeout_s=_TIMEOUT_S,
            files={built.path.name: built.path for built in objects},
            on_event=on_event,
        )
    except (VmLost, VmTimeout) as error:
        text = f"{error.message}; {error.hint}"
        return KernelReport(kernel.series, kernel.release, "", (), text, lost=1)
    results = iter(outcome.steps)
    reports = []
    for built in objects:
        loaded = next(results)
        worked = next(results) if built.full else None
        reports.append(_report(built, built.label, loaded, worked))
        if built.full:
            reports.append(_report(built, f"{built.label} ({_LARGE:,} vCPUs)", next(results), None))
    return KernelReport(
        kernel.series,
        outcome.facts["release"],
        str(outcome.accelerator),
        tuple(reports),
        "" if outcome.scheduler == "disabled" else f"sched_ext was left {outcome.scheduler}",
        outcome.lost,
    )


def _steps(built: Built) -> list[Step]:
    """What is done with one object: loaded; if it is full also at work, and for a large guest."""
    path = {"object_path": f"{GUEST_DIR}/{built.path.name}"}
    name = f"{built.policy} {built.label}"
    load = "scx_vsched.vm.guest_verify:verify_object"
    if not built.full:
        return [Step(load, path, name)]
    return [
        Step(load, path, name),
        Step(
            "scx_vsched.vm.guest_verify:exercise",
            {**path, "seconds": _EXERCISE_S},
            f"{built.policy} at work",
        ),
        Step(load, {**path, "vcpus": _LARGE}, f"{name} for {_LARGE:,} vCPUs"),
    ]


def _report(
    built: Built, features: str, loaded: StepResult, worked: StepResult | None
) -> ObjectReport:
    value = loaded.value or {"load_ms": 0.0, "programs": []}
    error = loaded.error
    stats: dict[str, int] = {}
    if worked is not None and not error:
        error = worked.error
        if worked.ok:
            stats = worked.value["stats"]
            error = _fault(worked.value)
    programs = tuple(ProgramReport(**program) for program in value["programs"])
    return ObjectReport(built.policy, features, value["load_ms"], programs, error, stats)


def _fault(worked: dict[str, Any]) -> str:
    """What is wrong with a scheduler's moment at work, or nothing."""
    if worked["exit_info"] is not None:
        return f"the scheduler left: {worked['exit_info']['summary']}"
    if worked["state"] != "enabled":
        return f"sched_ext was {worked['state']} while the scheduler should have been at work"
    if not any(worked["stats"].values()):
        return "no statistic moved while the scheduler was at work"
    return ""


def instructions(reports: Sequence[KernelReport]) -> dict[Key, int]:
    """The verifier's instructions of every program that loaded, by kernel series and object."""
    return {
        (report.series, each.policy, each.features, program.name): program.insns
        for report in reports
        for each in report.objects
        for program in each.programs
    }
