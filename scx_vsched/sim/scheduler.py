"""The scheduler of a run: a policy with the mechanism, or the kernel's default one."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.bpf.loader import check_tunables
from scx_vsched.bpf.render import describe
from scx_vsched.policies import resolve_policy
from scx_vsched.policy.compiler import compile_file
from scx_vsched.sim.build import DEFAULT_KERNEL, build_library
from scx_vsched.sim.hooks import Hooks
from scx_vsched.sim.run import Outcome, simulate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scx_vsched.bpf.model import ObjectMeta
    from scx_vsched.policy.program import PolicyProgram
    from scx_vsched.sim.machine import Machine
    from scx_vsched.sim.run import Options
    from scx_vsched.sim.workload import Workload

__all__ = ["CHAOS", "DEFAULT", "Scheduler", "prepare"]

DEFAULT = "default"
CHAOS = "chaos"  # decides at random, for the fuzzer
_A_YEAR_S = 365 * 86_400.0  # a debugger takes its time
CHAOS_FILE = Path(__file__).parent / "chaos.py"


@dataclass(frozen=True, slots=True)
class Scheduler:
    """A compiled scheduler, ready to run any number of times."""

    name: str
    library: Path
    stat_names: tuple[str, ...] = ()
    tunables: Mapping[int, int] = field(default_factory=dict)  # by place in the description
    hooks: Hooks | None = None  # computed in CPython
    ops_flags: tuple[str, ...] = ()
    meta: ObjectMeta | None = None  # of its object

    @property
    def is_default(self) -> bool:
        """Whether it is the model of the kernel's default scheduler."""
        return not self.stat_names

    def run(self, machine: Machine, load: Workload, options: Options) -> Outcome:
        """One run; see `simulate`."""
        options = replace(options, scheduler=not self.is_default, ops_flags=self.ops_flags)
        if self.hooks:
            options = replace(options, max_wall_s=_A_YEAR_S)
        return simulate(
            self.library,
            machine,
            load,
            options,
            tunables=self.tunables,
            stat_names=self.stat_names,
            hooks=self.hooks,
            meta=self.meta,
        )


@dataclass(frozen=True, slots=True)
class Compiled:
    """A scheduler and the description of its object."""

    scheduler: Scheduler
    program: PolicyProgram
    meta: ObjectMeta


@functools.lru_cache(maxsize=64)
def _program(source: Path) -> PolicyProgram:
    return compile_file(source)


@functools.lru_cache(maxsize=16)
def _default(kernel: str, sanitize: bool) -> Scheduler:
    return Scheduler(DEFAULT, build_library(None, kernel=kernel, sanitize=sanitize))


# a fuzzer meets every policy with every selection of features on every kernel
@functools.lru_cache(maxsize=1024)
def compiled(
    source: Path, without: tuple[str, ...], kernel: str, sanitize: bool, cpython: bool = False
) -> Compiled:
    """The scheduler of the policy in `source`, compiled once in the life of the process."""
    program = _program(source)
    meta = describe(program, without)
    return Compiled(
        Scheduler(
            source.stem,
            build_library(program, without, kernel, sanitize=sanitize, cpython=cpython),
            tuple(stat.name for stat in meta.stats),
            ops_flags=meta.ops_flags,
            meta=meta,
        ),
        program,
        meta,
    )


def prepare(
    policy: str,
    *,
    tunables: Mapping[str, int] | None = None,
    without: Sequence[str] = (),
    kernel: str = DEFAULT_KERNEL,
    sanitize: bool = False,
    cpython: bool = False,
) -> Scheduler:
    """Compiles `policy`: a built-in one by name, a file, or `default` for the kernel's own.

    With `cpython` its hooks are computed by CPython. Raises UserError (PolicyError for a mistake
    in the policy) where that is not possible.
    """
    if policy == DEFAULT:
        return _default(kernel, sanitize)
    source = CHAOS_FILE if policy == CHAOS else resolve_policy(policy)
    found = compiled(source, tuple(without), kernel, sanitize, cpython)
    check_tunables(found.meta, tunables or {})
    places = {tunable.name: index for index, tunable in enumerate(found.meta.tunables)}
    return replace(
        found.scheduler,
        tunables={places[name]: value for name, value in (tunables or {}).items()},
        hooks=Hooks(found.program, tunables or {}) if cpython else None,
    )
