"""The backend as a whole: which hooks it takes, their C, and the linked object."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.backend.compiler import compile_functions
from scx_vsched.backend.fits import UnfitError, check_fit
from scx_vsched.backend.link import link
from scx_vsched.backend.lower import lower
from scx_vsched.backend.shim import shim
from scx_vsched.backend.text import MAX_LINES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from scx_vsched.backend.lower import Lowered
    from scx_vsched.policy.program import PolicyProgram

__all__ = ["Taken", "build_with", "take"]


@dataclass(frozen=True, slots=True)
class Taken:
    """What the backend compiles, by the function's name, and why it does not take others."""

    functions: Mapping[str, Lowered]
    c: Mapping[str, str]  # what stands in the generated C for each
    left: Mapping[str, str]


def take(
    program: PolicyProgram, names: Iterable[str], prefix: str = "hook", most: int = MAX_LINES
) -> Taken:
    """Sorts the functions called `names` of `program`; `prefix` is that of their names in C.

    All that are taken have `most` operations together.
    """
    functions, c, left = {}, {}, {}
    lines = 0
    for name in names:
        try:
            check_fit(program, name)
            lowered = lower(program, name)
            made = lowered.source.count("\n")
            if lines + made > most:
                raise UnfitError(f"would make more than {most:,} operations together with others")
            functions[name] = lowered
            lines += made
        except UnfitError as reason:
            left[name] = str(reason)
        else:
            c[name] = shim(program, name, functions[name], f"{prefix}_{name}")
    return Taken(functions, c, left)


def build_with(taken: Taken, compile_rest: Callable[[Path], None], out: Path) -> None:
    """Links what `compile_rest` makes with the functions taken; raises UserError."""
    with tempfile.TemporaryDirectory(prefix="scx_vsched.") as folder:
        rest, hooks = Path(folder, "mechanism.o"), Path(folder, "hooks.o")
        compile_rest(rest)
        hooks.write_bytes(compile_functions(tuple(taken.functions.values())))
        link((rest, hooks), out, {function.name for function in taken.functions.values()})
