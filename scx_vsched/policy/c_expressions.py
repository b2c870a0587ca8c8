"""Emits expressions as C, with parentheses where C or a reader needs them.

C computes in the type that its own rules give: at least an int, and for two operands the wider
one. An expression is *typed* if C's type for it is the policy's (or, for types narrower than int,
if its value is within the type); it is *bare* if the place it stands in converts it anyway, which
spares `1` from being written `1ULL`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.policy import ir
from scx_vsched.policy.c_names import accessor
from scx_vsched.policy.types import IntType

if TYPE_CHECKING:
    from scx_vsched.policy.c_names import Names
    from scx_vsched.policy.program import PolicyProgram

__all__ = ["CExpressions", "constant"]

# C's precedences; larger binds tighter.
_CONDITIONAL, _LOGIC_OR, _LOGIC_AND, _COMPARE, _BITS, _SUM, _PRODUCT, _UNARY, _PRIMARY = range(9)
_PRECEDENCE = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "//": _PRODUCT, "%": _PRODUCT}
_BIT_FUNCTIONS = {"bit_count", "lowest_bit"}  # in arith.h
_INT_MAX = 2**31 - 1
_SUFFIXES = {"u32": "U", "u64": "ULL", "s64": "LL"}
_SWAPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


@dataclass(frozen=True, slots=True)
class _C:
    text: str
    precedence: int

    def within(self, precedence: int) -> str:
        """The text as an operand of an operator of `precedence`."""
        return f"({self.text})" if self.precedence < precedence else self.text


def constant(value: int, kind: IntType, *, typed: bool) -> str:
    """A C constant of type `kind`, or of any type that holds it."""
    suffix = _SUFFIXES.get(kind.name, "")
    if not typed and abs(value) <= _INT_MAX:
        suffix = ""
    if value == kind.min and kind.bits >= 32 and kind.signed:
        # -2**63 is 2**63 negated in C, and 2**63 fits no signed type.
        return f"({value + 1}{suffix} - 1)"
    return f"{value}{suffix}"


class CExpressions:
    """Emits the expressions of one function."""

    def __init__(
        self,
        variables: dict[str, str],
        functions: dict[str, str],
        names: Names,
        program: PolicyProgram,
    ) -> None:
        self._variables = variables
        self._functions = functions
        self._names = names
        self._scopes = {state.name: state.scope for state in program.states}
        self._frozen = {tunable.name for tunable in program.tunables if tunable.frozen}

    def state(self, expr: ir.StateRef) -> str:
        """The member that holds a field of the policy's state."""
        scope = self._scopes[expr.state]
        match expr.owner:
            case None:
                return f"policy_sched.{expr.state}.{expr.field}"
            case ir.ViewRef(name=name):
                owner = f"policy_of_{scope}({self._variables[name]})"
            case owner_:
                owner = f"policy_{scope}({self.bare(owner_)})"
        return f"{owner}->{expr.state}.{expr.field}"

    def shared(self, expr: ir.StateRef) -> bool:
        """Whether several vCPUs may read and change the state at the same time."""
        return self._scopes[expr.state] != "task"

    def bare(self, expr: ir.Expr | ir.ViewRef) -> str:
        """`expr` where C converts it: assigned, returned, passed or tested."""
        if isinstance(expr, ir.ViewRef):
            return self._variables[expr.name]
        return self._emit(expr, typed=False).text

    def _emit(self, expr: ir.Expr, *, typed: bool = True) -> _C:
        match expr:
            case ir.Const(value=value):
                if not isinstance(expr.type, IntType):
                    return _C("true" if value else "false", _PRIMARY)
                text = constant(value, expr.type, typed=typed)
                return _C(text, _UNARY if text[0] == "-" else _PRIMARY)
            case ir.Local(name=name):
                return _C(self._variables[name], _PRIMARY)
            case ir.Field(view=view, variable=variable, field=field):
                return _C(f"{accessor(view, field)}({self._variables[variable]})", _PRIMARY)
            case ir.TunableRef(name=name):
                owner = "frozen_tunables" if name in self._frozen else "tunables"
                return _C(f"{owner}.{name}", _PRIMARY)
            case ir.StateRef():
                text = self.state(expr)
                return _C(f"READ_ONCE({text})" if self.shared(expr) else text, _PRIMARY)
            case ir.Intrinsic(function=function, arguments=arguments):
                text = ", ".join(self.bare(argument) for argument in arguments)
                prefix = "py" if function in _BIT_FUNCTIONS else "policy"
                return _C(f"{prefix}_{function}({text})", _PRIMARY)
            case ir.Unary(op=op, operand=operand):
                inner = self._emit(operand).within(_UNARY)
                gap = "(" if inner.startswith("-") else ""
                return self._narrowed(expr, f"{op}{gap}{inner}{')' if gap else ''}", _UNARY)
            case ir.Not(operand=operand):
                return _C(f"!{self._emit(operand).within(_UNARY)}", _UNARY)
            case ir.Binary():
                return self._binary(expr)
            case ir.Compare():
                return self._compare(expr)
            case ir.Logic(op=op, operands=operands):
                precedence, sign = (_LOGIC_AND, "&&") if op == "and" else (_LOGIC_OR, "||")
                parts = (self._emit(operand).within(_COMPARE) for operand in operands)
                return _C(f" {sign} ".join(parts), precedence)
            case ir.Conditional(test=test, then=then, otherwise=otherwise):
                left, right = self._pair(then, otherwise, typed=typed)
                condition = self._emit(test).within(_LOGIC_OR)
                arms = left.within(_LOGIC_OR), right.within(_LOGIC_OR)
                return _C(f"{condition} ? {arms[0]} : {arms[1]}", _CONDITIONAL)
            case ir.Convert(operand=operand, explicit=explicit):
                if not typed and not explicit:
                    return self._emit(operand)
                return self._cast(ir.int_type(expr), self._emit(operand))
            case ir.Extremum(op=op, operands=operands):
                text = self.bare(operands[0])
                for operand in operands[1:]:
                    text = f"py_{op}_{_promoted(expr).name}({text}, {self.bare(operand)})"
                return _C(text, _PRIMARY)
            case ir.Abs(operand=operand):
                if not ir.int_type(expr).signed:
                    return self._emit(operand, typed=typed)
                text = f"py_abs_{_promoted(expr).name}({self.bare(operand)})"
                return self._narrowed(expr, text, _PRIMARY)
            case ir.Call(function=function, arguments=arguments):
                text = ", ".join(self.bare(argument) for argument in arguments)
                return _C(f"{self._functions[function]}({text})", _PRIMARY)
            case _:
                raise TypeError(f"no C for {ir.text(expr)}")

    def _pair(self, left: ir.Expr, right: ir.Expr, *, typed: bool = True) -> tuple[_C, _C]:
        """Two operands of one type that meet in an operator: one of them typed at least."""
        if isinstance(left, ir.Const) and isinstance(right, ir.Const):
            return self._emit(left, typed=typed), self._emit(right, typed=False)
        if _is_plain(left) and not _is_plain(right):
            return self._emit(left, typed=False), self._emit(right)
        return self._emit(left), self._emit(right, typed=not _is_plain(right))

    def _cast(self, kind: IntType, inner: _C) -> _C:
        return _C(f"({kind.name}){inner.within(_UNARY)}", _UNARY)

    def _narrowed(self, expr: ir.Expr, text: str, precedence: int) -> _C:
        """An int as C computed it, brought back to the expression's narrower type."""
        kind = ir.int_type(expr)
        found = _C(text, precedence)
        return self._cast(kind, found) if kind.bits < 32 else found

    def _binary(self, expr: ir.Binary) -> _C:
        kind, op = ir.int_type(expr), expr.op
        if op in {"<<", ">>"}:
            return self._shift(expr)
        constant_divisor = isinstance(expr.right, ir.Const) and not kind.signed
        if op in {"//", "%"} and not constant_divisor:
            function = (
                f"py_{'div' if op == '//' else 'mod'}_{_promoted(expr, signed=kind.signed).name}"
            )
            text = f"{function}({self.bare(expr.left)}, {self.bare(expr.right)})"
            return self._narrowed(expr, text, _PRIMARY)
        left, right = self._pair(expr.left, expr.right)
        if op in {"&", "|", "^"}:
            return _C(f"{left.within(_UNARY)} {op} {right.within(_UNARY)}", _BITS)
        precedence = _PRECEDENCE[op]
        sign = "/" if op == "//" else op
        text = f"{left.within(precedence)} {sign} {right.within(precedence + 1)}"
        return self._narrowed(expr, text, precedence)

    def _shift(self, expr: ir.Binary) -> _C:
        kind = ir.int_type(expr)
        if isinstance(expr.right, ir.Const):
            count = str(expr.right.value)
        else:
            count = f"({self._emit(expr.right).within(_UNARY)} & {kind.bits - 1})"
        left = self._emit(expr.left)
        if expr.op == ">>":
            return _C(f"{left.within(_UNARY)} >> {count}", _BITS)
        if not kind.signed:
            return self._narrowed(expr, f"{left.within(_UNARY)} << {count}", _BITS)
        # Shifting a negative number to the left is undefined in C.
        unsigned = IntType(f"u{max(kind.bits, 32)}", max(kind.bits, 32), signed=False)
        shifted = _C(f"{self._cast(unsigned, left).text} << {count}", _BITS)
        return self._cast(kind, shifted)

    # ---- Comparisons ----

    def _compare(self, expr: ir.Compare) -> _C:
        """`a < b < c` as `a < b && b < c`, with what is not just read computed once before."""
        operands = list(expr.operands)
        held: list[str] = []
        for i, operand in enumerate(operands[1:-1], start=1):
            if isinstance(operand, ir.Const | ir.Local | ir.Field | ir.TunableRef):
                continue
            name = self._names.pick(f"middle{i}")
            held.append(f"{operand.type.name} {name} = {self.bare(operand)}; ")
            self._variables[name] = name
            operands[i] = ir.Local(operand.span, operand.type, name)
        pairs = [self._compared(op, operands[i], operands[i + 1]) for i, op in enumerate(expr.ops)]
        if len(pairs) == 1:
            return pairs[0]
        text = " && ".join(pair.within(_COMPARE) for pair in pairs)
        return _C(f"({{ {''.join(held)}{text}; }})", _PRIMARY) if held else _C(text, _LOGIC_AND)

    def _compared(self, op: str, left: ir.Expr, right: ir.Expr) -> _C:
        a, b = left.type, right.type
        if isinstance(a, IntType) and isinstance(b, IntType) and a.signed != b.signed:
            signed, unsigned = (a, b) if a.signed else (b, a)
            if unsigned.bits == 64:
                if a.signed:
                    return self._mixed(op, left, right)
                return self._mixed(_SWAPPED[op], right, left)
            if unsigned.bits == 32 and signed.bits <= 32:
                wide = IntType("s64", 64, signed=True)
                first = self._cast(wide, self._emit(left))
                return _C(
                    f"{first.text} {op} {self._emit(right, typed=True).within(_SUM)}", _COMPARE
                )
        if a == b:
            first, second = self._pair(left, right)
        else:
            first, second = self._emit(left), self._emit(right)
        return _C(f"{first.within(_SUM)} {op} {second.within(_SUM)}", _COMPARE)

    def _mixed(self, op: str, signed: ir.Expr, unsigned: ir.Expr) -> _C:
        """A signed number compared with a u64, by value."""
        name, negated = {
            "<": ("lt", False),
            "<=": ("le", False),
            "==": ("eq", False),
            ">": ("le", True),
            ">=": ("lt", True),
            "!=": ("eq", True),
        }[op]
        text = f"py_{name}_s64_u64({self.bare(signed)}, {self.bare(unsigned)})"
        return _C(f"!{text}", _UNARY) if negated else _C(text, _PRIMARY)


def _is_plain(expr: ir.Expr) -> bool:
    """Whether `expr` would need a suffix or a cast to be typed."""
    match expr:
        case ir.Const():
            return True
        case ir.Convert(explicit=explicit):
            return not explicit
        case ir.Conditional(then=then, otherwise=otherwise):
            return _is_plain(then) and _is_plain(otherwise)
        case _:
            return False


def _promoted(expr: ir.Expr, *, signed: bool = True) -> IntType:
    """The type in which C computes: int for all that is narrower."""
    kind = ir.int_type(expr)
    if kind.bits >= 32:
        return kind
    return IntType("s32" if signed else "u32", 32, signed)
