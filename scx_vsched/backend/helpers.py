"""What the text calls beside Python's own: `scx_input`, `scx_field`, `scx_hide`, `scx_line`.

pythonbpf keeps a table of helpers by name, each a function that writes LLVM's instructions; these
are four more. The last also gives a function what the kernel asks of it: its type, and the line of
the policy for each instruction.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

from llvmlite import ir
from pythonbpf.helper import HelperHandlerRegistry
from pythonbpf.type_deducer import IntTy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scx_vsched.backend.lower import Lowered

__all__ = ["registered", "scx_field", "scx_input"]

_WORD = ir.IntType(64)
_POINTER_TAG, _STRUCT_TAG = "DW_TAG_pointer_type", "DW_TAG_structure_type"
_UNSIGNED = "DW_ATE_unsigned"


def scx_input(offset: int, size: int) -> int:
    """For editors: what programs in pythonbpf's Python call to read their argument."""
    raise NotImplementedError(f"runs in BPF only: {offset}, {size}")


def scx_field(task: int, name: str) -> int:
    """For editors: the like for a member of a task."""
    raise NotImplementedError(f"runs in BPF only: {task}, {name}")


@contextlib.contextmanager
def registered(
    functions: Sequence[Lowered] = (), fields: Mapping[str, tuple[int, int]] | None = None
) -> Iterator[None]:
    """They are in pythonbpf's table, for these functions, and fields with offset and size."""
    lines = _Lines({function.name: function for function in functions})
    table: dict[str, Any] = HelperHandlerRegistry._handlers
    mine = {"scx_input": _input, "scx_hide": _hide, "scx_line": lines.goto}
    mine["scx_field"] = functools.partial(_field, fields or {})
    for name, handler in mine.items():
        HelperHandlerRegistry.register(name, param_types=[])(handler)
    try:
        yield
    finally:
        for name in mine:
            table.pop(name, None)


def _input(call: Any, _map: Any, _context: Any, builder: Any, func: Any, _names: Any) -> Any:
    """`scx_input(offset, size)`: what is there behind the function's only argument, in bytes."""
    offset, size = (argument.value for argument in call.args)
    kind = ir.IntType(8 * size)
    at = builder.gep(func.args[0], [ir.Constant(_WORD, offset)], source_etype=ir.IntType(8))
    # as wide as its variable, so that the sign does not matter; but for truth values, which are 0
    # or 1 in a byte
    return builder.load(at, typ=kind), IntTy(8 * size, signed=False)


def _field(
    fields: Mapping[str, tuple[int, int]],
    call: Any,
    _map: Any,
    _context: Any,
    builder: Any,
    _func: Any,
    names: Any,
) -> Any:
    """`scx_field(x, name)`: that member of what the u64 `x` points to."""
    offset, size = fields[call.args[1].value]
    pointer = builder.inttoptr(builder.load(names[call.args[0].id].var), ir.PointerType())
    at = builder.gep(pointer, [ir.Constant(_WORD, offset)], source_etype=ir.IntType(8))
    return builder.load(at, typ=ir.IntType(8 * size)), IntTy(8 * size, signed=False)


def _hide(call: Any, _map: Any, _context: Any, builder: Any, _func: Any, names: Any) -> Any:
    """`scx_hide(x)`: the same value, of which LLVM knows nothing."""
    symbol = names[call.args[0].id]
    value = builder.load(symbol.var)
    kind = ir.FunctionType(value.type, [value.type])
    return builder.asm(kind, "", "=r,0", [value], side_effect=True), symbol.ir_type


class _Lines:
    """`scx_line(line, file)`: the instructions that follow stand for this line of the policy.

    Line 0 ends a function.
    """

    def __init__(self, functions: dict[str, Lowered]) -> None:
        self._functions = functions
        self._files: dict[str, Any] = {}
        self._scopes: dict[tuple[str, int], Any] = {}
        self._argument: Any = None

    def goto(self, call: Any, _map: Any, context: Any, builder: Any, func: Any, _names: Any) -> Any:
        line, place = (argument.value for argument in call.args)
        if not line:
            # The argument's scope is the function, whose nodes hold the argument: a circle, in
            # which llvmlite gets lost when it makes further nodes.
            self._argument.operands += (("scope", func.metadata["dbg"]),)
            return ir.Constant(_WORD, 0), IntTy(64)
        scope = self._scope(context.module, func, place)
        builder.debug_metadata = context.module.add_debug_info(
            "DILocation", {"line": line, "column": 0, "scope": scope}
        )
        return ir.Constant(_WORD, 0), IntTy(64)

    def _scope(self, module: Any, func: Any, place: int) -> Any:
        """The function, or for lines of another file a block in it."""
        key = (func.name, place)
        if key not in self._scopes:
            if "dbg" not in func.metadata:
                func.set_metadata("dbg", self._subprogram(module, self._functions[func.name]))
            scope = func.metadata["dbg"]
            if place:
                file = self._file(module, self._functions[func.name].files[place])
                scope = module.add_debug_info(
                    "DILexicalBlockFile", {"scope": scope, "file": file, "discriminator": 0}
                )
            self._scopes[key] = scope
        return self._scopes[key]

    def _file(self, module: Any, name: str) -> Any:
        if name not in self._files:
            self._files[name] = module.add_debug_info("DIFile", {"filename": name, "directory": ""})
        return self._files[name]

    def _subprogram(self, module: Any, function: Lowered) -> Any:
        """`unsigned long long NAME(struct NAME *frame)`, as the C declares it.

        Kernels check what is passed against the struct's size.
        """
        file = self._file(module, function.files[0])
        result = module.add_debug_info(
            "DIBasicType",
            {"name": "unsigned long long", "size": 64, "encoding": ir.DIToken(_UNSIGNED)},
        )
        struct = module.add_debug_info(
            "DICompositeType",
            {
                "tag": ir.DIToken(_STRUCT_TAG),
                "name": function.name,
                "file": file,
                "line": function.line,
                "size": 8 * function.size,
                "elements": [],
            },
        )
        pointer = module.add_debug_info(
            "DIDerivedType", {"tag": ir.DIToken(_POINTER_TAG), "baseType": struct, "size": 64}
        )
        kind = module.add_debug_info("DISubroutineType", {"types": [result, pointer]})
        # the kernel wants the argument's name
        self._argument = module.add_debug_info(
            "DILocalVariable",
            {"name": "frame", "arg": 1, "file": file, "line": function.line, "type": pointer},
        )
        return module.add_debug_info(
            "DISubprogram",
            {
                "name": function.name,
                "scope": file,
                "file": file,
                "line": function.line,
                "scopeLine": function.line,
                "type": kind,
                "spFlags": ir.DIToken("DISPFlagDefinition | DISPFlagOptimized"),
                "unit": module._debug_compile_unit,
                "retainedNodes": [self._argument],
            },
            is_distinct=True,
        )
