"""Has pythonbpf compile functions in this process, with llvmlite's LLVM: no `opt`, no `llc`.

pythonbpf makes LLVM's text; the functions of `helpers` are ours, entered in its table. What it
reports as a mere warning ends the build.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.backend.subset import SubsetError, check_subset
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scx_vsched.backend.lower import Lowered

__all__ = ["PYTHONBPF", "BackendError", "compile_functions", "compile_programs", "require"]

PYTHONBPF = "0.2.0"  # what the list in `subset` was found out with
_HINT = f"install it: pip install 'scx_vsched[pythonbpf]', or pip install pythonbpf=={PYTHONBPF}"

_LICENSE = """\
@bpf
@bpfglobal
def LICENSE() -> str:
    return "GPL"

"""


class BackendError(UserError):
    """pythonbpf or LLVM failed on what the backend gave it: a defect, with their message."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"pythonbpf did not compile what it was given: {what}",
            "build without `--backend pythonbpf`, and please report it with the policy",
        )


def require() -> None:
    """Raises UserError unless pythonbpf is there, in the one version that is known."""
    try:
        found = importlib.metadata.version("pythonbpf")
    except importlib.metadata.PackageNotFoundError:
        raise UserError("the backend needs the package pythonbpf", _HINT) from None
    if found != PYTHONBPF:
        raise UserError(f"pythonbpf is {found}, the backend knows {PYTHONBPF}", _HINT)


def compile_functions(functions: Sequence[Lowered]) -> bytes:
    """A BPF object with the functions, to be linked; raises UserError, BackendError."""
    source = "\n".join(function.source for function in functions)
    try:
        check_subset(source)
    except SubsetError as error:
        raise BackendError(f"{error} is outside of what it compiles rightly") from None
    require()
    from scx_vsched.backend.helpers import registered  # noqa: PLC0415 - needs llvmlite

    with registered(functions):
        return _compile(_LICENSE + source)


def compile_programs(source: str, fields: Mapping[str, tuple[int, int]]) -> bytes:
    """A BPF object of whole programs in pythonbpf's Python; raises UserError, BackendError.

    `fields` are the members that `scx_field` reads, with their offsets and sizes in bytes.
    """
    require()
    from scx_vsched.backend.helpers import registered  # noqa: PLC0415 - needs llvmlite

    with registered(fields=fields):
        return _compile(source)


def _compile(source: str) -> bytes:
    import pythonbpf  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="scx_vsched.") as folder, _strict() as complaints:
        text, made = Path(folder, "functions.py"), Path(folder, "functions.ll")
        text.write_text(source, encoding="utf-8")
        try:
            pythonbpf.compile_to_ir(str(text), str(made), loglevel=logging.WARNING)
        except Exception as error:
            # it raises whatever comes to hand: SyntaxError, ValueError, AttributeError, …
            raise BackendError(f"{type(error).__name__}: {error}") from error
        if complaints:
            raise BackendError(complaints[0])
        # what the mechanism says of its license, in a section that cannot be written to
        variable, constant = (f'@"LICENSE" = dso_local {kind} ' for kind in ("global", "constant"))
        return _emit(made.read_text(encoding="utf-8").replace(variable, constant))


class _Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.getMessage())


@contextlib.contextmanager
def _strict() -> Iterator[list[str]]:
    """Collects what pythonbpf warns of, and keeps it from setting up logging for all."""
    handler, root = _Complaints(), logging.getLogger()
    theirs = logging.getLogger("pythonbpf")
    level, spreads = theirs.level, theirs.propagate
    theirs.addHandler(handler)
    theirs.setLevel(logging.WARNING)
    theirs.propagate = False
    quiet = logging.NullHandler()
    root.addHandler(quiet)  # logging.basicConfig does nothing where there is a handler
    try:
        yield handler.found
    finally:
        root.removeHandler(quiet)
        theirs.removeHandler(handler)
        theirs.setLevel(level)
        theirs.propagate = spreads


def _emit(text: str) -> bytes:
    from llvmlite import binding as llvm  # noqa: PLC0415

    _initialise()
    machine = llvm.Target.from_triple("bpfel").create_target_machine(
        cpu="v3",  # as clang is told
        opt=2,
        codemodel="default",
    )
    try:
        module: Any = llvm.parse_assembly(text)
        module.triple = "bpfel"
        module.verify()
        options = llvm.PipelineTuningOptions(speed_level=2)
        options.loop_unrolling = options.loop_vectorization = options.slp_vectorization = False
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
        made: bytes = machine.emit_object(module)
    except RuntimeError as error:
        raise BackendError(f"LLVM: {str(error).strip()}") from error
    return made


def _initialise() -> None:
    from llvmlite import binding as llvm  # noqa: PLC0415

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
