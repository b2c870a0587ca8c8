"""One VM of the lab: its job, the host's side of it, and what came of both."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from scx_vsched.errors import UserError
from scx_vsched.lab.document import Measurement, Picture, Profile, measurement
from scx_vsched.lab.guest import CAPACITY, MAIN, RESULT
from scx_vsched.lab.guest_picture import trace_name
from scx_vsched.lab.schedulers import ALL, DEFAULT
from scx_vsched.lab.session import LabSession
from scx_vsched.lab.tasks import PICTURE_S, estimate_s
from scx_vsched.lab.tracing import picture, read_log
from scx_vsched.sim.real import build_program
from scx_vsched.vm.boot import run_job
from scx_vsched.vm.job import GUEST_DIR, Job, Step
from scx_vsched.vm.run import build_object

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from scx_vsched.lab.schedulers import Arm
    from scx_vsched.lab.tasks import Settings, Task
    from scx_vsched.vm.kernels import Kernel

__all__ = ["Boot", "Objects"]

_PROGRAM = "threads"
_SHOWN_NS = 400_000_000


class Objects:
    """The policies' objects and the native program, built for the length of the context."""

    def __init__(self, policies: Collection[str], say: Callable[[str], None]) -> None:
        self._policies, self._say = sorted(policies), say
        self.files: dict[str, Path] = {}

    def __enter__(self) -> Self:
        self._scratch = tempfile.TemporaryDirectory(prefix="scx_vsched-")
        self.files[_PROGRAM] = build_program()
        for policy in self._policies:
            self._say(f"building {policy}")
            name = f"{policy}.bpf.o"
            self.files[name] = build_object(policy, Path(self._scratch.name) / name)
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.cleanup()


class Boot:
    """What one VM is to do, and what is known of it so far; `error` says why it is incomplete."""

    def __init__(
        self,
        kernel: Kernel,
        task: Task,
        settings: Settings,
        objects: Objects,
        say: Callable[[str], None],
    ) -> None:
        self._kernel, self._task, self._settings = kernel, task, settings
        self._objects, self._say = objects, say
        self._results: list[Measurement] = []
        self._labels: list[tuple[str, str] | None] = []
        self._capacity: tuple[str, str] | None = None
        self._pictures: list[Picture] = []
        self._where = ""
        self._session = LabSession(self._plans(), [MAIN])
        self.error = ""

    def _plans(self) -> dict[str, Any]:
        names = [MAIN, *(f"picture-{arm.name}" for arm in self._pictured())]
        names += [
            f"{arm.name}-{number}"
            for arm in self._task.arms
            for number in range(self._settings.rounds)
        ]
        return dict.fromkeys(names, self._task.plan)

    def _pictured(self) -> list[Arm]:
        if self._task.picture is None:
            return []
        return [arm for arm in self._task.arms if arm.name in {DEFAULT, ALL}]

    def _steps(self) -> tuple[Step, ...]:
        task, settings = self._task, self._settings
        arms = [self._arm(arm) for arm in task.arms]
        program = f"{GUEST_DIR}/{_PROGRAM}"
        module = "scx_vsched.lab.guest"
        if task.pace is not None:
            arguments = {
                "arms": arms,
                "load": task.pace.plain(),
                "rounds": settings.rounds,
                "seconds": task.length_s,
                "program": program,
            }
            return (Step(f"{module}:changes", arguments, "measuring"),)
        arguments = {
            "arms": arms,
            "loads": [load.plain() for load in task.loads],
            "rounds": settings.rounds,
            "turn": settings.turn,
            "seconds": settings.seconds,
            "warmup": settings.warmup,
            "learn_s": settings.learn_s,
            "program": program,
        }
        steps = [Step(f"{module}:alternate", arguments, "measuring", required=True)]
        if task.picture is not None:
            arguments = {
                "arms": [self._arm(arm) for arm in self._pictured()],
                "load": task.picture.plain(),
                "learn_s": settings.learn_s,
                "seconds": PICTURE_S,
                "program": program,
            }
            steps.append(Step(f"{module}_picture:pictures", arguments, "tracing"))
        return tuple(steps)

    def _arm(self, arm: Arm) -> dict[str, Any]:
        path = f"{GUEST_DIR}/{arm.policy}.bpf.o" if arm.policy else ""
        return {**arm.plain(), "object": path}

    def run(self) -> None:
        """Boot and follow it to its end; results so far are kept whatever happens.

        Raises:
            UserError: what `run_job` and shaping raise, or a step of the guest failed.
        """
        settings = self._settings
        limit = settings.timeout_s or 2 * estimate_s(self._task, settings) + 120
        with self._session as session:
            outcome = run_job(
                self._kernel,
                Job(self._steps()),
                shape=self._task.plan.machine(),
                force_accelerator=settings.accelerator,
                timeout_s=limit,
                files=self._objects.files,
                on_event=self._on_event,
                on_poll=session.on_poll,
                on_machine=session.on_machine,
                attempts=1,  # what a lost VM had measured counts
            )
        self._where = outcome.where
        for step in outcome.steps:
            if not step.ok:
                raise UserError(
                    f"{step.name} in the VM failed: {step.error}", f"logs: {outcome.directory}"
                )
        self._draw(outcome.directory)

    def _on_event(self, event: dict[str, Any]) -> None:
        self._session.on_event(event)
        if event["event"] == "hello":
            clock = event["clocksource"]
            self._where = f"Linux {event['release']}, clocksource {clock}"
        elif event["event"] == RESULT:
            self._results.append(measurement(event))
            marks = event.get("marks")
            self._labels.append(tuple(marks) if marks else None)
        elif event["event"] == CAPACITY:
            self._capacity = tuple(event["marks"])
        elif "text" in event:
            self._say(event["text"])

    def _draw(self, directory: Path) -> None:
        for arm in self._pictured():
            found = self._session.results.get(f"picture-{arm.name}")
            path = directory / trace_name(arm.name)
            if found is None or not path.exists():
                continue
            log = read_log(path.read_text(errors="replace"), len(self._task.plan.profile.shapes))
            clocks = [each for each in self._session.clocks if self._within(arm.name, each)]
            if clocks and log.end_ns:
                truths = found.stages[0][1]
                self._pictures.append(picture(arm.name, log, truths, clocks, _SHOWN_NS))

    def _within(self, arm: str, clock: tuple[int, int, int]) -> bool:
        """Whether the clock was told in the picture of `arm`, the latest that had begun."""
        began = {
            name: at
            for name, at in self._session.began_ns.items()
            if name.startswith("picture-") and at <= clock[2]
        }
        return bool(began) and max(began, key=lambda name: began[name]) == f"picture-{arm}"

    def profile(self) -> Profile:
        """All that is known of it."""
        plan, session = self._task.plan, self._session
        shapes = plan.stages[0].shapes
        members: dict[str, list[int]] = {}
        for vcpu, shape in enumerate(shapes):
            if shape.stack:
                members.setdefault(shape.stack, []).append(vcpu)
        capacity = session.used(*self._capacity) if self._capacity else None
        return Profile(
            name=plan.profile.name,
            description=plan.profile.description,
            note=plan.note,
            asked=tuple(shape.share for shape in shapes),
            stacks=tuple(map(tuple, members.values())),
            where=self._where,
            capacity=capacity or (),
            measurements=tuple(map(self._with_account, self._results, self._labels)),
            pictures=tuple(self._pictures),
            load=max((found.load for found in session.results.values()), default=0.0),
            error=self.error,
        )

    def _with_account(self, found: Measurement, marks: tuple[str, str] | None) -> Measurement:
        """`found` with what the host saw meanwhile."""
        if marks is None:
            return found
        session, changed = self._session, None
        name = f"{found.scheduler}-{found.round}"
        before = session.marks.get(marks[0])
        if found.rates and name in session.results and before:
            since = (before.at_ns - session.began_ns[name]) / 1e9
            times = session.results[name].changed
            changed = times[-1][1] - since if times else None
        return replace(found, used=session.used(*marks), changed_s=changed)
