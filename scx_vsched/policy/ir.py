"""The typed intermediate form of a policy's functions, between the front end and the emitters.

Every expression carries its type, and every conversion between types is a node of its own: an
emitter needs no typing rules. Nodes are frozen and carry the place in the policy file that they
come from. `text()` prints any node as an S-expression.

Invariants that the front end guarantees:
- both operands of a `Binary` have the node's type; a shift's right operand may have any integer
  type, and its count is taken modulo the width of the left one;
- operands of a `Compare` are all booleans or all integers; integers may differ in type and are
  compared by their mathematical values;
- a local is assigned on every path before it is read, and every path of a function returns;
- a `For` never makes more than `trips` trips;
- calls are not recursive, and expressions have no side effects: a call of a function that changes
  something is all of an assigned or returned value or a statement of its own, so that the order in
  which an emitter's language evaluates operands does not matter.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from scx_vsched.policy.types import IntType

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "BOOL",
    "VOID",
    "Abs",
    "Assign",
    "Binary",
    "BoolType",
    "Break",
    "Call",
    "Compare",
    "Conditional",
    "Const",
    "Continue",
    "Convert",
    "Effect",
    "Expr",
    "Extremum",
    "ExtremumOp",
    "Field",
    "For",
    "ForBits",
    "Function",
    "If",
    "Intrinsic",
    "Local",
    "Logic",
    "LogicOp",
    "Node",
    "Not",
    "Parameter",
    "Perform",
    "Record",
    "Return",
    "ReturnType",
    "ScalarType",
    "Span",
    "StateRef",
    "Stmt",
    "Store",
    "TunableRef",
    "Type",
    "Unary",
    "UnaryOp",
    "ViewRef",
    "ViewType",
    "VoidType",
    "children",
    "int_type",
    "text",
    "walk",
]


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a policy file: lines from 1, columns from 0 in UTF-8 bytes, as `ast` counts."""

    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True)
class BoolType:
    """The type of `True` and `False`."""

    name: str = "bool"


BOOL = BoolType()


@dataclass(frozen=True, slots=True)
class ViewType:
    """A view (`Task`, `VCpu`, …), which is only read from or passed on."""

    name: str


@dataclass(frozen=True, slots=True)
class VoidType:
    """What a helper returns that only changes something."""

    name: str = "None"


VOID = VoidType()

type UnaryOp = Literal["-", "~"]
type LogicOp = Literal["and", "or"]
type ExtremumOp = Literal["min", "max"]
type ScalarType = IntType | BoolType
type ReturnType = IntType | BoolType | VoidType
type Type = IntType | BoolType | ViewType


@dataclass(frozen=True, slots=True)
class Node:
    """Anything that stands at a place of the policy file."""

    span: Span


@dataclass(frozen=True, slots=True)
class Expr(Node):
    """A value of type `type`."""

    type: ScalarType


@dataclass(frozen=True, slots=True)
class Const(Expr):
    """An integer within its type's range, or a boolean."""

    value: int


@dataclass(frozen=True, slots=True)
class Local(Expr):
    """A local variable, a loop variable or a scalar parameter."""

    name: str


@dataclass(frozen=True, slots=True)
class ViewRef(Node):
    """A view handed on to a call."""

    type: ViewType
    name: str


@dataclass(frozen=True, slots=True)
class Field(Expr):
    """`variable.field`, where the parameter `variable` is a view."""

    view: str
    variable: str
    field: str


@dataclass(frozen=True, slots=True)
class TunableRef(Expr):
    """`self.name`, a tunable."""

    name: str


@dataclass(frozen=True, slots=True)
class Unary(Expr):
    """`-x` or `~x`, wrapped to the type."""

    op: UnaryOp
    operand: Expr


@dataclass(frozen=True, slots=True)
class Not(Expr):
    """`not x` of a boolean."""

    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    """`left op right` for + - * // % & | ^ << >>, wrapped to the type."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Compare(Expr):
    """`a < b <= c …`: len(ops) + 1 operands, each evaluated at most once, left to right."""

    ops: tuple[str, ...]
    operands: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Logic(Expr):
    """`a and b …` or `a or b …` of booleans; stops at the first that decides."""

    op: LogicOp
    operands: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Conditional(Expr):
    """`then if test else otherwise`; evaluates one of the two."""

    test: Expr
    then: Expr
    otherwise: Expr


@dataclass(frozen=True, slots=True)
class Convert(Expr):
    """An integer or a boolean wrapped to an integer type; `explicit` when the policy wrote it."""

    operand: Expr
    explicit: bool


@dataclass(frozen=True, slots=True)
class Extremum(Expr):
    """`min(a, b, …)` or `max(a, b, …)` of integers of one type."""

    op: ExtremumOp
    operands: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Abs(Expr):
    """`abs(x)`, wrapped: the smallest value of a signed type is its own absolute value."""

    operand: Expr


@dataclass(frozen=True, slots=True)
class Call(Expr):
    """A call of another function of the program, by its unique name."""

    function: str
    arguments: tuple[Expr | ViewRef, ...]


@dataclass(frozen=True, slots=True)
class StateRef(Expr):
    """`self.state(owner).field`, a value that the policy keeps.

    `owner` is the view whose state it is, the number of a vCPU (a u32 without side effects), or
    None for what the scheduler has once.
    """

    state: str
    owner: ViewRef | Expr | None
    field: str


@dataclass(frozen=True, slots=True)
class Intrinsic(Expr):
    """A call of a function of the language itself: `now_ns`, `random_u32`, …"""

    function: str
    arguments: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Assign(Node):
    """`name = value`; the value has the local's type."""

    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Store(Node):
    """`target = value`, or `target op= value` done at once as other vCPUs see it."""

    target: StateRef
    op: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Record(Node):
    """`self.name.add(value)` of a counter or a histogram; the value is a u64."""

    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Perform(Node):
    """A call for what it changes, its result unused."""

    function: str
    arguments: tuple[Expr | ViewRef, ...]


@dataclass(frozen=True, slots=True)
class Effect(Node):
    """A call of a function of the language for what it does: `kick(vcpu)`."""

    function: str
    arguments: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Return(Node):
    """`return value`; the value has the function's type, None for a function without one."""

    value: Expr | None


@dataclass(frozen=True, slots=True)
class If(Node):
    """`if test: body else: orelse`; the test is a boolean."""

    test: Expr
    body: tuple[Stmt, ...]
    orelse: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class For(Node):
    """`for target in range(start, stop, step): body`.

    `start` and `stop` have one type and are evaluated once; `target` is a local whose type holds
    that type's values, assigned at the start of each trip and kept after the loop. `trips` is the
    largest number of trips that any input can cause.
    """

    target: str
    start: Expr
    stop: Expr
    step: int
    trips: int
    body: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class ForBits(Node):
    """`for target in vcpus_of(mask): body`: the set bits of a u64, the lowest first.

    `target` is a u32 local, assigned at the start of each trip and kept after the loop. The mask
    is evaluated once; `trips` is the largest number of bits that can be set in it.
    """

    target: str
    mask: Expr
    trips: int
    body: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class Break(Node):
    """Leaves the innermost loop."""


@dataclass(frozen=True, slots=True)
class Continue(Node):
    """Goes on with the innermost loop's next trip."""


type Stmt = (
    Assign | Store | Record | Perform | Effect | Return | If | For | ForBits | Break | Continue
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a function, without `self`."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Function(Node):
    """A hook, a helper method (called through `self`) or a helper function of the module.

    `name` is unique in its program, `source_name` what its own file calls it; `filename` is the
    file that `span` and all spans within refer to (an inherited hook comes from another file).
    """

    name: str
    source_name: str
    kind: Literal["hook", "method", "function"]
    filename: str
    doc: str
    parameters: tuple[Parameter, ...]
    returns: ReturnType
    locals: dict[str, ScalarType]
    body: tuple[Stmt, ...]


def int_type(expr: Expr) -> IntType:
    """The type of an expression that is known to be an integer."""
    if isinstance(expr.type, IntType):
        return expr.type
    raise TypeError(f"{text(expr)} is no integer")


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below `node`, in source order."""
    found: list[Node] = []
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if isinstance(value, Node):
            found.append(value)
        elif isinstance(value, tuple):
            found.extend(item for item in value if isinstance(item, Node))
    return tuple(found)


def walk(node: Node) -> Iterator[Node]:
    """`node` and all nodes below it, in source order."""
    pending = [node]
    while pending:
        found = pending.pop()
        yield found
        pending.extend(reversed(children(found)))


def text(node: Node) -> str:
    """`node` as an S-expression with types: `(Binary u64 + (Field u64 …) (Const u64 5))`."""
    parts = [type(node).__name__]
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if field.name in {"span", "filename", "doc"}:
            continue
        parts.extend(_item_text(item) for item in (value if isinstance(value, tuple) else (value,)))
    return f"({' '.join(parts)})"


def _item_text(item: object) -> str:
    match item:
        case Node():
            return text(item)
        case IntType() | BoolType() | ViewType() | VoidType():
            return item.name
        case Parameter():
            return f"{item.name}:{item.type.name}"
        case dict():
            return "{" + " ".join(f"{name}:{t.name}" for name, t in item.items()) + "}"
        case _:
            return str(item)
