"""What a VM's vCPUs shall be: the profile, a TOML file, as checked records.

    version = 1
    description = "two vCPUs that are taken away, two stacked on one host CPU"
    vcpus = 4
    smp = "4,sockets=1,cores=4,threads=1"   # what the guest is told; the default is `vcpus`

    [[vcpu]]
    ids = "0-1"
    quota_ms = 4
    period_ms = 8

    [[vcpu]]
    ids = [2, 3]
    stack = "pair"

    [[change]]                              # from 10 s on vCPU 0 is another
    at_s = 10
    ids = 0
    quota_ms = 1
    period_ms = 20

A vCPU that no row names is the guest's alone. docs/probing.md describes every key.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from scx_vsched.errors import UserError
from scx_vsched.named_files import read_named
from scx_vsched.vm.lab.reader import Table

__all__ = ["Change", "Mechanism", "Profile", "VcpuShape", "builtin_profiles", "load_profile"]

VERSION = 1
MAX_VCPUS = 1024
_BUILTIN = Path(__file__).parents[1] / "profiles"
# The bounds of the kernel's bandwidth control (kernel/sched/core.c, tg_set_cfs_bandwidth).
_MIN_QUOTA_US, _MAX_PERIOD_US = 1_000, 1_000_000
_MIN_PULSE_US = 200  # shorter windows drown in the host's timer and wake-up latency


class Mechanism(StrEnum):
    """How the host takes a vCPU away."""

    QUOTA = "quota"  # cgroup bandwidth control: the share is exact, the pattern is the kernel's
    FREEZER = "freezer"  # a timer freezes and thaws the thread: exact windows, any number of vCPUs
    CORUNNER = "corunner"  # a thread of higher priority on the vCPU's host CPU: as a rival VM would


@dataclass(frozen=True, slots=True)
class VcpuShape:
    """What one vCPU gets: `quota_us` in every `period_us`, or everything where `quota_us` is None.

    `cpus` are the host CPUs that it may run on (empty: any), `pin` asks for one of its own, and
    vCPUs with the same non-empty `stack` share one. `phase_us` shifts the windows of exact
    mechanisms; without it they begin with the shaping, and in the simulator at any time.
    """

    quota_us: int | None = None
    period_us: int = 0
    by: Mechanism = Mechanism.QUOTA
    cpus: tuple[int, ...] = ()
    pin: bool = False
    stack: str = ""
    phase_us: int | None = None

    @property
    def share(self) -> float:
        """The part of a host CPU that is asked for."""
        return 1.0 if self.quota_us is None else self.quota_us / self.period_us


@dataclass(frozen=True, slots=True)
class Change:
    """New shapes from `at_s` seconds after the start on: (vCPU, shape)."""

    at_s: float
    shapes: tuple[tuple[int, VcpuShape], ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """A VM to be: `shapes` by vCPU, `changes` in the order of time.

    `smp`, `numa`, `distances` and `memory` are as in `vm.machine.Shape`. `fit` lets every share be
    scaled down to what the host has.
    """

    name: str
    description: str
    shapes: tuple[VcpuShape, ...]
    changes: tuple[Change, ...] = ()
    smp: str = ""
    numa: tuple[str, ...] = ()
    distances: tuple[str, ...] = ()
    memory: str = "2G"
    fit: bool = False

    def stages(self) -> tuple[tuple[float, tuple[VcpuShape, ...]], ...]:
        """All shapes at the start and after each change, each with its time in seconds."""
        current = list(self.shapes)
        found = [(0.0, tuple(current))]
        for change in self.changes:
            for vcpu, shape in change.shapes:
                current[vcpu] = shape
            found.append((change.at_s, tuple(current)))
        return tuple(found)


def builtin_profiles() -> dict[str, Path]:
    """The profiles that come with the package, by name."""
    return {path.stem: path for path in sorted(_BUILTIN.glob("*.toml"))}


def load_profile(name: str) -> Profile:
    """The built-in profile `name`, or the one in the file of that path.

    Raises:
        UserError: there is none, or it is not valid; file and key are named.
    """
    text, path = read_named("profile", name, builtin_profiles())
    return parse_profile(text, path)


def parse_profile(text: str, path: Path) -> Profile:
    """The profile in `text`; `path` is for its name and for messages.

    Raises:
        UserError: a mistake, with file and key.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None
    top = Table(raw, path, "")
    version = top.integer("version", 1, 1 << 30)
    if version != VERSION:
        raise UserError(
            f"{path}: version is {version}, and this scx_vsched reads version {VERSION}"
        )
    count = top.integer("vcpus", 1, MAX_VCPUS)
    profile = Profile(
        name=path.stem,
        description=top.text("description", ""),
        shapes=_initial(top, count),
        changes=_changes(top, count),
        smp=_smp(top, count),
        numa=top.texts("numa"),
        distances=top.texts("distances"),
        memory=top.text("memory", "2G"),
        fit=top.flag("fit"),
    )
    top.finish()
    for at_s, shapes in profile.stages():
        _check_stacks(top, at_s, shapes)
    return profile


def _initial(top: Table, count: int) -> tuple[VcpuShape, ...]:
    shapes: dict[int, VcpuShape] = {}
    for row in top.tables("vcpu"):
        for vcpu, shape in _row(row, count):
            if vcpu in shapes:
                raise row.error("ids", f"vCPU {vcpu} is described twice")
            shapes[vcpu] = shape
    return tuple(shapes.get(vcpu, VcpuShape()) for vcpu in range(count))


def _changes(top: Table, count: int) -> tuple[Change, ...]:
    found: dict[float, dict[int, VcpuShape]] = {}
    for row in top.tables("change"):
        at_s = row.number("at_s", 0.001, 86_400)
        shapes = found.setdefault(at_s, {})
        for vcpu, shape in _row(row, count):
            if vcpu in shapes:
                raise row.error("ids", f"vCPU {vcpu} changes twice at {at_s:g} s")
            shapes[vcpu] = shape
    return tuple(Change(at_s, tuple(sorted(found[at_s].items()))) for at_s in sorted(found))


def _row(row: Table, count: int) -> list[tuple[int, VcpuShape]]:
    """The shape in `row` for each vCPU that it names."""
    ids = row.numbers("ids")
    if not ids:
        raise row.error("ids", "names no vCPU")
    for vcpu in ids:
        if vcpu >= count:
            raise row.error("ids", f"there is no vCPU {vcpu}: the profile has 0 to {count - 1}")
    shape = _shape(row)
    row.finish()
    return [(vcpu, shape) for vcpu in ids]


def _shape(row: Table) -> VcpuShape:
    by = row.choice("by", Mechanism, Mechanism.QUOTA)
    quota_us, period_us = row.microseconds("quota_ms"), row.microseconds("period_ms")
    if (quota_us is None) != (period_us is None):
        missing = "quota_ms" if quota_us is None else "period_ms"
        raise row.error(missing, "quota_ms and period_ms go together, and it is missing")
    if quota_us is None and row.has("by"):
        raise row.error("by", "needs quota_ms and period_ms")
    shape = VcpuShape(
        quota_us,
        period_us or 0,
        by,
        row.numbers("cpus"),
        row.flag("pin"),
        row.text("stack", ""),
        row.microseconds("phase_ms"),
    )
    if quota_us is not None and period_us is not None:
        _check_window(row, by, quota_us, period_us)
    if sum((bool(shape.cpus), shape.pin)) > 1:
        raise row.error("pin", "cpus already says which host CPUs; leave one of the two out")
    if shape.stack and (shape.pin or len(shape.cpus) > 1):
        raise row.error("stack", "a stack has one host CPU: name it with cpus, or leave cpus out")
    return shape


def _check_window(row: Table, by: Mechanism, quota_us: int, period_us: int) -> None:
    least = _MIN_QUOTA_US if by is Mechanism.QUOTA else _MIN_PULSE_US
    if quota_us < least:
        raise row.error("quota_ms", f"by {by} a vCPU gets at least {least / 1000:g} ms at a time")
    if period_us > _MAX_PERIOD_US:
        raise row.error("period_ms", f"at most {_MAX_PERIOD_US // 1000} ms")
    if quota_us > period_us:
        raise row.error("quota_ms", "more than period_ms; one vCPU cannot use several host CPUs")


def _smp(top: Table, count: int) -> str:
    smp = top.text("smp", str(count))
    if smp.partition(",")[0] != str(count):
        raise top.error("smp", f"must begin with the number of vCPUs, {count}")
    return smp


def _check_stacks(top: Table, at_s: float, shapes: tuple[VcpuShape, ...]) -> None:
    """Members of a stack must name the same host CPU, and there must be two of them."""
    members: dict[str, list[VcpuShape]] = {}
    for shape in shapes:
        if shape.stack:
            members.setdefault(shape.stack, []).append(shape)
    when = f" at {at_s:g} s" if at_s else ""
    for name, group in members.items():
        if len(group) < 2:
            raise top.error("stack", f'"{name}" has one member{when}; a stack has at least two')
        if len({shape.cpus for shape in group}) > 1:
            raise top.error("stack", f'members of "{name}" name different host CPUs{when}')
