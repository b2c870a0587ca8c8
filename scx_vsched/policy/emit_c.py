"""Emits a policy's functions as C, for the mechanism's template.

The text reads like C written by hand: the policy's names, its docstrings as comments, and `#line`
before each statement, so that compiler, debugger and verifier point into the policy file. It needs
`arith.h`, the accessors of the views, `tunables`, and `-fwrapv`: sums, differences, products and
negations of s32 and s64 rely on signed wrap-around; nothing else relies on undefined behaviour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.policy import ir
from scx_vsched.policy.c_declarations import Placement, place
from scx_vsched.policy.c_expressions import CExpressions, constant
from scx_vsched.policy.c_names import Names
from scx_vsched.policy.types import IntType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scx_vsched.policy.program import PolicyProgram

__all__ = ["emit_c"]

# A policy may leave a variable unused or compare needlessly; that is no defect of the C.
_QUIET = """\
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Weverything"
"""
_LOUD = "#pragma clang diagnostic pop\n"
_WIDTH = 100
_ATOMICS = {"+": "add", "-": "sub", "&": "and", "|": "or", "^": "xor"}
_ATOMIC_BITS = 32
_TAB = 8


def emit_c(
    program: PolicyProgram,
    reserved: frozenset[str] = frozenset(),
    macros: frozenset[str] | None = None,
    elsewhere: Mapping[str, str] | None = None,
) -> str:
    """C of all functions of `program`: `hook_NAME` for hooks, `fn_NAME` for helpers.

    No helper is called like one of `reserved`, no variable like one of `macros`, the object-like
    macros among them (by default all of `reserved`, to be on the safe side); the parameters of
    hooks keep their names. The text ends with a `#line` of the policy in force. `elsewhere` has the
    C of functions that something else compiles.
    """
    names = Names.of_file(reserved)
    inner = Names.of_function(reserved if macros is None else macros)
    functions = {
        # the template calls hooks by these very names
        f.name: f"hook_{f.name}" if f.kind == "hook" else names.pick(f"fn_{f.name}")
        for f in program.functions
    }
    elsewhere = elsewhere or {}
    parts = [
        elsewhere.get(function.name) or _Function(function, functions, inner.copy(), program).text()
        for function in program.functions
    ]
    return "\n".join([_QUIET, *parts, _LOUD])


class _Function:
    """Writes one function."""

    def __init__(
        self,
        function: ir.Function,
        functions: dict[str, str],
        names: Names,
        program: PolicyProgram,
    ) -> None:
        self.function = function
        self.functions = functions
        self.names = names
        self.variables = {
            name: self.names.pick_variable(name)
            for name in [*(p.name for p in function.parameters), *function.locals]
        }
        self.c_name = functions[function.name]
        self.expressions = CExpressions(self.variables, functions, self.names, program)
        self.placement: Placement = place(function)
        self.lines: list[str] = []
        self.depth = 1
        self.next_line = 0

    def text(self) -> str:
        doc = _comment(self.function.doc)
        if doc:
            self.lines.append(f"/* {doc} */")
        self._goto(self.function.span)
        self._header()
        self.lines.append("{")
        self.next_line += 1
        self._block(self.function.body)
        self.lines.append("}")
        return "\n".join(self.lines) + "\n"

    def _header(self) -> None:
        returns = self.function.returns
        kind = "void" if isinstance(returns, ir.VoidType) else returns.name
        lead = f"static __always_inline {kind} {self.c_name}("
        parameters = [
            f"const struct {p.type.name.lower()}_view *{self.variables[p.name]}"
            if isinstance(p.type, ir.ViewType)
            else f"{p.type.name} {self.variables[p.name]}"
            for p in self.function.parameters
        ] or ["void"]
        line = lead
        for i, parameter in enumerate(parameters):
            end = ")" if i == len(parameters) - 1 else ","
            if len(line.replace("\t", " " * _TAB)) + len(parameter) + 2 > _WIDTH and i:
                self._append(line)
                line = "\t\t" + parameter + end
            else:
                line += (" " if i and not line.endswith("\t") else "") + parameter + end
        self._append(line)

    # ---- Lines ----

    def _goto(self, span: ir.Span) -> None:
        """Has the next line of C stand for `span`'s line of the policy."""
        if span.line != self.next_line:
            self.lines.append(f'#line {span.line} "{_c_string(self.function.filename)}"')
            self.next_line = span.line

    def _append(self, line: str) -> None:
        self.lines.append(line)
        self.next_line += 1

    def _write(self, line: str, span: ir.Span) -> None:
        self._goto(span)
        self._append("\t" * self.depth + line)

    # ---- Statements ----

    def _block(self, body: tuple[ir.Stmt, ...]) -> None:
        for statement in body:
            self._statement(statement)

    def _inner(self, body: tuple[ir.Stmt, ...]) -> None:
        self.depth += 1
        self._block(body)
        self.depth -= 1

    def _statement(self, statement: ir.Stmt) -> None:
        for name in self.placement.before.get(statement.span, ()):
            self._write(f"{self._declaration(name)};", statement.span)
        match statement:
            case ir.Assign(name=name, value=value):
                target = self.variables[name]
                if name in self.placement.at.get(statement.span, ()):
                    target = self._declaration(name)
                self._write(f"{target} = {self.expressions.bare(value)};", statement.span)
            case ir.Store():
                self._store(statement)
            case ir.Record(name=name, value=value):
                self._write(
                    f"policy_record_{name}({self.expressions.bare(value)});", statement.span
                )
            case ir.Perform(function=name, arguments=arguments):
                passed = ", ".join(self.expressions.bare(argument) for argument in arguments)
                self._write(f"{self.functions[name]}({passed});", statement.span)
            case ir.Effect(function=name, arguments=effect):
                passed = ", ".join(self.expressions.bare(argument) for argument in effect)
                self._write(f"policy_{name}({passed});", statement.span)
            case ir.Return(value=None):
                self._write("return;", statement.span)
            case ir.Return(value=ir.Expr() as value):
                self._write(f"return {self.expressions.bare(value)};", statement.span)
            case ir.If():
                self._if(statement)
            case ir.For():
                self._for(statement)
            case ir.ForBits():
                self._for_bits(statement)
            case ir.Break():
                self._write("break;", statement.span)
            case ir.Continue():
                self._write("continue;", statement.span)

    def _store(self, store: ir.Store) -> None:
        target, value = self.expressions.state(store.target), self.expressions.bare(store.value)
        kind = store.target.type
        if not self.expressions.shared(store.target):
            text = f"{target} {store.op}= {value};"
        elif store.op and isinstance(kind, IntType) and kind.bits >= _ATOMIC_BITS:
            text = f"__sync_fetch_and_{_ATOMICS[store.op]}(&{target}, {value});"
        elif store.op:
            # BPF changes nothing narrower at once
            text = f"WRITE_ONCE({target}, READ_ONCE({target}) {store.op} ({value}));"
        else:
            text = f"WRITE_ONCE({target}, {value});"
        self._write(text, store.span)

    def _declaration(self, name: str) -> str:
        return f"{self.function.locals[name].name} {self.variables[name]}"

    def _if(self, statement: ir.If) -> None:
        lead = ""
        while True:
            self._write(
                f"{lead}if ({self.expressions.bare(statement.test)}) {{", statement.test.span
            )
            self._inner(statement.body)
            match statement.orelse:
                case [ir.If() as nested] if nested.span not in self.placement.before:
                    statement, lead = nested, "} else "
                case []:
                    break
                case orelse:
                    self._append("\t" * self.depth + "} else {")
                    self._inner(orelse)
                    break
        self._append("\t" * self.depth + "}")

    def _for(self, loop: ir.For) -> None:
        if loop.span in self.placement.own_loops:
            self._constant_loop(loop)
        else:
            self._counted_loop(loop)

    def _for_bits(self, loop: ir.ForBits) -> None:
        """Takes the lowest bit from what is left of the mask, in each trip."""
        target = self.variables[loop.target]
        left, trip = (self.names.pick_variable(f"{target}_{part}") for part in ("left", "trip"))
        self._write(f"u64 {left} = {self.expressions.bare(loop.mask)};", loop.span)
        self._write(
            f"for (u64 {trip} = 0; {trip} < {loop.trips} && {left}; "
            f"{left} = py_hide({left} & ({left} - 1)), {trip} = py_hide({trip} + 1)) {{",
            loop.span,
        )
        self.depth += 1
        self._write(f"{target} = py_lowest_bit({left});", loop.span)
        self.depth -= 1
        self._inner(loop.body)
        self._append("\t" * self.depth + "}")

    def _constant_loop(self, loop: ir.For) -> None:
        """All numbers are known and only the loop sees its variable: a plain C loop."""
        name = self.variables[loop.target]
        start, stop = (self.expressions.bare(e) for e in (loop.start, loop.stop))
        self._write(
            f"for ({self._declaration(loop.target)} = {start}; "
            f"{name} {'<' if loop.step > 0 else '>'} {stop}; "
            f"{name} = py_hide({name} {'+' if loop.step > 0 else '-'} {abs(loop.step)})) {{",
            loop.span,
        )
        self._inner(loop.body)
        self._append("\t" * self.depth + "}")

    def _counted_loop(self, loop: ir.For) -> None:
        """Counts trips apart from the variable, which the body may change and later code read."""
        target = self.variables[loop.target]
        trip = self.names.pick_variable(f"{target}_trip")
        kind = ir.int_type(loop.start)
        wide = IntType("s64" if kind.signed else "u64", 64, kind.signed)
        test = f"{trip} < {loop.trips}"
        start = self.expressions.bare(loop.start)
        fixed = isinstance(loop.start, ir.Const) and isinstance(loop.stop, ir.Const)
        if not isinstance(loop.start, ir.Const):
            first = self.names.pick_variable(f"{target}_start")
            self._write(f"const {kind.name} {first} = {start};", loop.span)
            start = first
        if not fixed:
            trips = self.names.pick_variable(f"{target}_trips")
            way = "up" if loop.step > 0 else "down"
            self._write(
                f"const u64 {trips} = py_hide(py_trips_{way}_{wide.name}"
                f"({start}, {self.expressions.bare(loop.stop)}, {_u64(abs(loop.step))}));",
                loop.span,
            )
            test += f" && {trip} < {trips}"
        self._write(f"for (u64 {trip} = 0; {test}; {trip} = py_hide({trip} + 1)) {{", loop.span)
        self.depth += 1
        offset = trip if abs(loop.step) == 1 else f"{trip} * {_u64(abs(loop.step))}"
        value = f"{start} {'+' if loop.step > 0 else '-'} {offset}"
        if isinstance(loop.start, ir.Const) and loop.start.value == 0 and loop.step > 0:
            value = offset
        self._write(f"{target} = {value};", loop.span)
        self.depth -= 1
        self._inner(loop.body)
        self._append("\t" * self.depth + "}")


def _u64(value: int) -> str:
    return constant(value, IntType("u64", 64, signed=False), typed=False)


def _comment(doc: str) -> str:
    """The first line of `doc`, unable to end its comment or to continue on the next line."""
    line = doc.strip().split("\n")[0].strip()
    line = "".join(c if " " <= c <= "~" else "?" for c in line)
    return line.replace("*/", "* /").replace("/*", "/ *").replace("\\", "/")


def _c_string(text: str) -> str:
    """`text` as the inside of a C string."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in text.encode("utf-8", "surrogateescape")
    )
