"""Builds a policy file into a loadable object."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from scx_vsched.bpf.compile import compile_c
from scx_vsched.bpf.render import describe, render
from scx_vsched.errors import UserError
from scx_vsched.policy.compiler import compile_file

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from scx_vsched.bpf.model import ObjectMeta

__all__ = ["build"]


def build(
    policy: Path,
    out: Path,
    *,
    without: Collection[str] = (),
    keep_c: Path | None = None,
    clang: str | None = None,
) -> ObjectMeta:
    """Compiles the policy file `policy` to the object `out`, and its C to `keep_c` if given.

    `without` names features of the mechanism to leave out. The policy file is read, never run.
    Prints warnings on standard error. Raises PolicyError for a mistake in the policy, UserError for
    everything else.
    """
    program = compile_file(policy)
    for warning in program.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    source = render(program, without)
    if keep_c is not None:
        try:
            keep_c.write_text(source, encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {keep_c}: {error.strerror}") from error
    compile_c(source, out, clang)
    return describe(program, without)
