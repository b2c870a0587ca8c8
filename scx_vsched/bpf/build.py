"""Builds a policy file into a loadable object."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Literal

from scx_vsched.backend.build import build_with, take
from scx_vsched.backend.compiler import require
from scx_vsched.bpf.compile import compile_c
from scx_vsched.bpf.loader import check_tunables
from scx_vsched.bpf.render import describe, hooks_in_use, render
from scx_vsched.errors import UserError
from scx_vsched.policy.compiler import compile_file

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from scx_vsched.backend.build import Taken
    from scx_vsched.bpf.model import ObjectMeta
    from scx_vsched.policy.program import PolicyProgram

__all__ = ["Backend", "build"]

type Backend = Literal["clang", "pythonbpf"]


def build(
    policy: Path,
    out: Path,
    *,
    without: Collection[str] = (),
    freeze: Mapping[str, int | None] | None = None,
    keep_c: Path | None = None,
    clang: str | None = None,
    backend: Backend = "clang",
) -> ObjectMeta:
    """Compiles the policy file `policy` to the object `out`, and its C to `keep_c` if given.

    With the backend pythonbpf it compiles the hooks that it can, and clang the others, which are
    named on standard error.

    `without` names features of the mechanism to leave out, `freeze` tunables that get this value
    for good, or their default for None. The policy file is read, never run.
    Prints warnings on standard error. Raises PolicyError for a mistake in the policy, UserError for
    everything else.
    """
    program = compile_file(policy)
    for warning in program.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    program = _frozen(program, freeze or {})
    taken = _by_pythonbpf(program, without) if backend == "pythonbpf" else None
    source = render(program, without, taken.c if taken else None)
    if keep_c is not None:
        try:
            keep_c.write_text(source, encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {keep_c}: {error.strerror}") from error
    if taken is None:
        compile_c(source, out, clang)
        return describe(program, without)
    build_with(taken, lambda rest: compile_c(source, rest, clang), out)
    return dataclasses.replace(describe(program, without), pythonbpf=tuple(taken.functions))


def _by_pythonbpf(program: PolicyProgram, without: Collection[str]) -> Taken:
    """What pythonbpf takes, the rest named; raises UserError where it takes nothing."""
    require()
    taken = take(program, hooks_in_use(program, without))
    for name, reason in taken.left.items():
        print(f"note: `{name}` is compiled by clang: it {reason}", file=sys.stderr)
    if not taken.functions:
        raise UserError(
            f"pythonbpf takes none of the hooks of {program.name}", "build without `--backend`"
        )
    return taken


def _frozen(program: PolicyProgram, values: Mapping[str, int | None]) -> PolicyProgram:
    """The program with these tunables fixed; raises UserError for an unknown one or a bad value."""
    defaults = {tunable.name: tunable.default for tunable in program.tunables}
    wanted = {
        name: defaults.get(name, 0) if value is None else value for name, value in values.items()
    }
    check_tunables(describe(program), wanted)
    return dataclasses.replace(
        program,
        tunables=tuple(
            dataclasses.replace(
                tunable,
                default=wanted[tunable.name],
                min=wanted[tunable.name],
                max=wanted[tunable.name],
                frozen=True,
            )
            if tunable.name in wanted
            else tunable
            for tunable in program.tunables
        ),
    )
