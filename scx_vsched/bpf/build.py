"""Builds a policy file into a loadable object."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

from scx_vsched.bpf.compile import compile_c
from scx_vsched.bpf.loader import check_tunables
from scx_vsched.bpf.render import describe, render
from scx_vsched.errors import UserError
from scx_vsched.policy.compiler import compile_file

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from scx_vsched.bpf.model import ObjectMeta
    from scx_vsched.policy.program import PolicyProgram

__all__ = ["build"]


def build(
    policy: Path,
    out: Path,
    *,
    without: Collection[str] = (),
    freeze: Mapping[str, int | None] | None = None,
    keep_c: Path | None = None,
    clang: str | None = None,
) -> ObjectMeta:
    """Compiles the policy file `policy` to the object `out`, and its C to `keep_c` if given.

    `without` names features of the mechanism to leave out, `freeze` tunables that get this value
    for good, or their default for None. The policy file is read, never run.
    Prints warnings on standard error. Raises PolicyError for a mistake in the policy, UserError for
    everything else.
    """
    program = compile_file(policy)
    for warning in program.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    program = _frozen(program, freeze or {})
    source = render(program, without)
    if keep_c is not None:
        try:
            keep_c.write_text(source, encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {keep_c}: {error.strerror}") from error
    compile_c(source, out, clang)
    return describe(program, without)


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
