"""Random, well-typed policy functions with an evaluator of their own.

Nothing here uses the compiler: types are (bits, signed) pairs or "bool", trees are plain nodes, and
`Evaluator` walks them with Python's integers. It is the third opinion in the differential test.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import kept

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

BOOL = "bool"
Type = tuple[int, bool] | str  # (bits, signed) or BOOL
INTS: tuple[tuple[int, bool], ...] = tuple((b, s) for b in (8, 16, 32, 64) for s in (False, True))
NAMES = {t: f"{'s' if t[1] else 'u'}{t[0]}" for t in INTS}
TYPES = {name: t for t, name in NAMES.items()} | {"bool": BOOL}

SCALARS: dict[str, Type] = {
    "a": (64, False), "b": (64, True), "c": (32, False), "d": (32, True),
    "e": (16, False), "f": (16, True), "g": (8, False), "h": (8, True), "p": BOOL,
}  # fmt: skip
MAX_TRIPS = 5
VOID = "None"
U32, U64 = (32, False), (64, False)


def name_of(t: Type) -> str:
    return t if isinstance(t, str) else NAMES[t]


def limits(t: tuple[int, bool]) -> tuple[int, int]:
    bits, signed = t
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def wrap(value: int, t: tuple[int, bool]) -> int:
    low, high = limits(t)
    return (value - low) % (high - low + 1) + low


def fits_within(small: tuple[int, bool], large: tuple[int, bool]) -> bool:
    return limits(large)[0] <= limits(small)[0] and limits(small)[1] <= limits(large)[1]


@dataclass
class Expr:
    """An operator or a leaf; `type` is None for a bare number."""

    kind: str
    type: Type | None
    parts: tuple[Any, ...]

    def source(self) -> str:
        kind, parts = self.kind, self.parts
        match kind:
            case "number":
                return str(parts[0]) if parts[0] >= 0 else f"({parts[0]})"
            case "name":
                return str(parts[0])
            case "unary":
                return f"({parts[0]}{parts[1].source()})"
            case "not":
                return f"(not {parts[0].source()})"
            case "binary" | "shift":
                return f"({parts[1].source()} {parts[0]} {parts[2].source()})"
            case "compare":
                ops, operands = parts
                rest = "".join(f" {o} {e.source()}" for o, e in zip(ops, operands[1:], strict=True))
                return f"({operands[0].source()}{rest})"
            case "logic":
                return "(" + f" {parts[0]} ".join(e.source() for e in parts[1]) + ")"
            case "if":
                return f"({parts[1].source()} if {parts[0].source()} else {parts[2].source()})"
            case "call":
                return f"{parts[0]}({', '.join(e.source() for e in parts[1])})"
            case "state":
                return f"{owner_source(*parts[:2])}.{parts[2]}"
            case _:
                raise AssertionError(kind)


def owner_source(scope: str, owner: Any) -> str:
    """`self.mine(task)`, or the variable that stands for it."""
    kind, what = owner
    if kind == "alias":
        return str(what)
    name = f"self.{kept.SCOPES[scope]}"
    if kind == "all":
        return name
    return f"{name}({what if kind == 'view' else what.source()})"


@dataclass
class Stmt:
    kind: str
    parts: tuple[Any, ...]

    def lines(self) -> list[str]:
        kind, parts = self.kind, self.parts
        match kind:
            case "assign":
                name, annotation, value, _ = parts
                return [f"{name}{f': {annotation}' if annotation else ''} = {value.source()}"]
            case "augment":
                return [f"{parts[0]} {parts[1]}= {parts[2].source()}"]
            case "return":
                return [f"return {parts[0].source()}" if parts else "return"]
            case "store":
                target, op, value = parts
                return [f"{target.source()} {op}= {value.source()}"]
            case "alias":
                return [f"{parts[0]} = {owner_source(*parts[1:])}"]
            case "record":
                name, value = parts
                return [f"self.{name}.add({value.source() if value else ''})"]
            case "kick":
                return [f"kick({parts[0].source()})"]
            case "perform":
                name, _, call = parts
                return [f"{name} = {call.source()}" if name else call.source()]
            case "break" | "continue":
                return [kind]
            case "if":
                test, body, orelse = parts
                lines = [f"if {test.source()}:", *_indented(body)]
                if len(orelse) == 1 and orelse[0].kind == "if":
                    first, *rest = orelse[0].lines()
                    lines += [f"el{first}", *rest]
                elif orelse:
                    lines += ["else:", *_indented(orelse)]
                return lines
            case "bits":
                target, mask, body = parts
                return [f"for {target} in vcpus_of({mask.source()}):", *_indented(body)]
            case "for":
                target, arguments, body = parts
                shown = ", ".join(e.source() for e in arguments)
                return [f"for {target} in range({shown}):", *_indented(body)]
            case _:
                raise AssertionError(kind)


def _indented(body: list[Stmt]) -> list[str]:
    return [f"    {line}" for statement in body for line in statement.lines()] or ["    pass"]


@dataclass
class Function:
    name: str
    method: bool
    views: dict[str, str]
    scalars: dict[str, Type]
    returns: Type
    body: list[Stmt] = field(default_factory=list)
    depth: int = 0  # of the calls below it
    effects: bool = False

    @property
    def full(self) -> bool:
        """Whether this is a tested function, not a helper of one."""
        return len(self.scalars) == len(SCALARS)

    def source(self) -> str:
        parameters = [f"{n}: {v}" for n, v in self.views.items()]
        parameters += [f"{n}: {name_of(t)}" for n, t in self.scalars.items()]
        if self.method:
            parameters.insert(0, "self")
        head = f"def {self.name}({', '.join(parameters)}) -> {name_of(self.returns)}:"
        return "\n".join([head, *_indented(self.body)])


class Generator:
    """Draws well-typed functions; `fields` gives each view's fields and their types.

    Those that are `stateful` read and change what `kept` declares.
    """

    def __init__(
        self,
        random: Random,
        fields: dict[str, dict[str, Type]],
        tunables: dict[str, Type],
        *,
        stateful: bool = False,
    ):
        self.stateful = stateful
        self.random = random
        self.fields = fields
        self.tunables = tunables
        self.callable: list[Function] = []

    def function(self, name: str, *, method: bool, views: dict[str, str], full: bool) -> Function:
        random = self.random
        chosen = dict(SCALARS) if full else dict(random.sample(sorted(SCALARS.items()), 3))
        returns: Type = random.choice([*INTS, (64, False), (64, True), BOOL, BOOL])
        if self.stateful and not full and random.random() < 0.3:
            returns = VOID
        made = Function(name, method, views, chosen, returns)
        made.body = _Body(self, made).statements()
        made.effects = any(_changes(statement) for statement in made.body)
        return made

    def expression(self, name: str, views: dict[str, str]) -> Function:
        """A function that returns one expression."""
        returns = self.random.choice(INTS)
        made = Function(name, True, views, dict(SCALARS), returns)
        made.body = [Stmt("return", (_Body(self, made).strict(returns, 4),))]
        return made


class _Body:
    def __init__(self, generator: Generator, function: Function) -> None:
        self.generator = generator
        self.random = generator.random
        self.function = function
        self.readable: dict[str, Type] = dict(function.scalars)
        self.writable: dict[str, Type] = {}
        self.names = 0
        self.most = 8 if function.full else 3  # the compiler limits them
        self.loops = 0
        self.calls = 0
        self.aliases: dict[str, str] = {}  # a variable that stands for state, and its scope
        self.keeps = generator.stateful and function.method

    # ---- Statements ----

    def statements(self) -> list[Stmt]:
        body = [self.declare() for _ in range(self.random.randint(0, 3))]
        if self.keeps:
            body += [self.alias() for _ in range(self.random.randint(0, 2))]
        body += self.block(2, self.random.randint(1, 4))
        if self.function.returns != VOID or self.random.random() < 0.3:
            body.append(self.give_up(4))
        return body

    # ---- State ----

    def owner(self, scope: str) -> tuple[str, Any]:
        """Whose state: a view's, a vCPU's by number, a variable's that stands for it, or all's."""
        aliases = [name for name, of in self.aliases.items() if of == scope]
        if aliases and self.random.random() < 0.5:
            return "alias", self.random.choice(aliases)
        if scope == "sched":
            return "all", None
        view = kept.OWNERS[scope][0]
        names = [name for name, of in self.function.views.items() if of == view]
        if names and (scope == "task" or self.random.random() < 0.6):
            return "view", self.random.choice(names)
        number = Expr("number", None, (kept.KEYS - 1,))
        return "index", Expr("binary", U32, ("&", self.variable(U32), number))

    def scope(self) -> str:
        found = ["vcpu", "domain", "sched"]
        if "Task" in self.function.views.values():
            found += ["task", "task"]
        return self.random.choice(found)

    def state(self, t: Type) -> Expr:
        scope = self.scope()
        names = [name for name, of in kept.FIELDS.items() if of == t]
        return Expr("state", t, (scope, self.owner(scope), self.random.choice(names)))

    def alias(self) -> Stmt:
        scope = self.scope()
        owner = self.owner(scope)
        name = self.fresh()
        self.aliases[name] = scope
        return Stmt("alias", (name, scope, owner))

    def effect(self) -> Stmt | None:
        """A statement that changes something, or None where nothing can be changed."""
        kind = self.random.choice(["store"] * 5 + ["record", "kick", "draw", "perform", "perform"])
        if kind == "kick":
            return Stmt("kick", (self.expr(U32, 2),))
        if kind == "draw":
            names = [n for n, t in self.writable.items() if t == U32]
            if not names and self.names >= self.most:
                return Stmt("kick", (self.expr(U32, 1),))
            name = self.random.choice(names) if names else self.fresh()
            self.readable[name] = self.writable[name] = U32
            return Stmt("perform", (name, U32, Expr("call", U32, ("random_u32", []))))
        if kind == "perform":
            found = self.perform()
            if found:
                return found
        if not self.keeps:
            return Stmt("kick", (self.expr(U32, 2),))
        if kind == "record":
            name = self.random.choice(sorted(kept.COUNTERS))
            bare = name == "hits" and self.random.random() < 0.3
            return Stmt("record", (name, None if bare else self.expr(U64, 3)))
        target = self.state(self.random.choice([*INTS, U64, (64, True), BOOL]))
        t = target.type
        if t == BOOL or self.random.random() < 0.3:
            return Stmt("store", (target, "", self.expr(t, 3)))  # type: ignore[arg-type]
        assert isinstance(t, tuple)
        op = self.random.choice(["+", "-", "+", "-", "*", "//", "%", "&", "|", "^", "<<", ">>"])
        if op in {"<<", ">>"}:
            return Stmt("store", (target, op, self.count(t)))
        value = self.expr(t, 3, bare=True)
        return Stmt("store", (target, op, self.nonzero(value, t) if op in {"//", "%"} else value))

    def perform(self) -> Stmt | None:
        """A call of a function that changes something, alone."""
        found = [f for f in self.callees() if f.effects]
        if not found:
            return None
        function = self.random.choice(found)
        call = self.passing(function)
        if function.returns == VOID or self.random.random() < 0.3:
            return Stmt("perform", ("", None, call))
        names = [n for n, t in self.writable.items() if t == function.returns]
        if not names:
            return Stmt("perform", ("", None, call))
        return Stmt("perform", (self.random.choice(names), function.returns, call))

    def fresh(self) -> str:
        self.names += 1
        return f"x{self.names}"

    def declare(self) -> Stmt:
        t: Type = self.random.choice([*INTS, (64, True), BOOL])
        name = self.fresh()
        if self.random.random() < 0.3 and t == (64, True):
            value, annotation = Expr("number", None, (self.number((64, True)),)), ""
        elif self.random.random() < 0.5:
            value, annotation = self.expr(t, 3), name_of(t)
        else:
            value = self.strict(t, 3)
            annotation = "" if value.type == t else name_of(t)
        self.readable[name] = self.writable[name] = t
        return Stmt("assign", (name, annotation, value, t))

    def block(self, depth: int, count: int) -> list[Stmt]:
        before = dict(self.readable), dict(self.writable)
        body = [self.changing(depth) for _ in range(count)]
        if depth < 2:  # what an inner block declares may be unassigned after it
            self.readable, self.writable = before
        return body

    def changing(self, depth: int) -> Stmt:
        if self.generator.stateful and self.random.random() < 0.4:
            found = self.effect()
            if found:
                return found
        return self.statement(depth)

    def statement(self, depth: int) -> Stmt:
        kind = self.random.choice(["assign", "assign", "augment", "declare", "if", "if", "for"])
        if kind in {"assign", "augment"} and not self.writable:
            kind = "declare"
        if (kind in {"if", "for"} and depth == 0) or (kind == "for" and self.names >= self.most):
            kind = "declare" if self.names < self.most else "return"
        if kind == "declare" and self.names >= self.most:
            kind = "assign" if self.writable else "return"
        if kind == "return":
            return Stmt("if", (self.condition(2), [self.give_up()], []))
        if kind == "declare":
            return self.declare()
        if kind == "assign":
            name = self.random.choice(sorted(self.writable))
            t = self.writable[name]
            return Stmt("assign", (name, "", self.expr(t, 3), t))
        if kind == "augment":
            return self.augment()
        if kind == "if":
            return self.branch(depth)
        return self.loop(depth)

    def give_up(self, depth: int = 2) -> Stmt:
        if self.function.returns == VOID:
            return Stmt("return", ())
        return Stmt("return", (self.expr(self.function.returns, depth),))

    def augment(self) -> Stmt:
        ints = [n for n in sorted(self.writable) if self.writable[n] != BOOL]
        if not ints:
            return self.declare()
        name = self.random.choice(ints)
        t = self.writable[name]
        assert isinstance(t, tuple)
        op = self.random.choice(["+", "-", "*", "//", "%", "&", "|", "^", "<<", ">>"])
        if op in {"<<", ">>"}:
            return Stmt("augment", (name, op, self.count(t)))
        if op in {"//", "%"}:
            return Stmt("augment", (name, op, self.nonzero(self.expr(t, 2, bare=True), t)))
        return Stmt("augment", (name, op, self.expr(t, 2, bare=True)))

    def branch(self, depth: int) -> Stmt:
        test = self.condition(3)
        shared = self.fresh() if self.names < self.most and self.random.random() < 0.3 else ""
        t: Type = self.random.choice([*INTS, BOOL])
        arms = []
        for arm in range(2):
            body = self.block(depth - 1, self.random.randint(1, 2))
            if shared:
                annotation = name_of(t) if arm == 0 else ""
                body.append(Stmt("assign", (shared, annotation, self.expr(t, 2), t)))
            arms.append(body)
        if shared:
            self.readable[shared] = self.writable[shared] = t
        elif self.random.random() < 0.3:
            arms[1] = []
        elif self.loops and self.random.random() < 0.3:
            arms[0].append(Stmt(self.random.choice(["break", "continue"]), ()))
        elif self.random.random() < 0.15:
            arms[0].append(self.give_up())
        return Stmt("if", (test, arms[0], arms[1]))

    def loop_bits(self) -> Stmt:
        """A loop over the vCPUs of a mask that has few, with none in it: the verifier walks all."""
        target = self.fresh()
        few = self.random.choice([0x0D, 0x8000000000000005, 0x10000000100010])
        value = Expr("binary", U64, ("&", self.strict(U64, 2), Expr("number", None, (few,))))
        outer = dict(self.readable), dict(self.writable)
        self.readable[target] = U32
        if self.random.random() < 0.3:
            self.writable[target] = U32
        self.loops += 1
        body = self.block(0, self.random.randint(1, 3))
        self.loops -= 1
        self.readable, self.writable = outer
        return Stmt("bits", (target, value, body))

    def loop(self, depth: int) -> Stmt:
        random = self.random
        if self.generator.stateful and not self.loops and random.random() < 0.3:
            return self.loop_bits()
        target = self.fresh()
        bound: Type = (64, True)
        least = 0
        kind = random.choice(["stop", "start", "step", "min", "mod", "and", "count", "tunable"])
        number = lambda low, high: Expr("number", None, (random.randint(low, high),))  # noqa: E731
        if kind == "stop":
            least = random.randint(0, MAX_TRIPS)
            arguments = [Expr("number", None, (least,))]
        elif kind == "start":
            start, least = random.randint(-4, 4), random.randint(0, MAX_TRIPS)
            arguments = [Expr("number", None, (v,)) for v in (start, start + least)]
        elif kind == "step":
            step = random.choice([-3, -2, -1, 2, 3, 7])
            start = random.randint(-9, 9)
            least = random.randint(0, MAX_TRIPS)
            end = (
                start
                + step * least
                - (random.randint(0, abs(step) - 1) if least else 0) * (1 if step > 0 else -1)
            )
            arguments = [Expr("number", None, (v,)) for v in (start, end, step)]
        elif kind == "tunable":
            bound = self.generator.tunables["trips"]
            arguments = (
                [Expr("name", bound, ("self.trips",))]
                if self.function.method
                else [number(0, MAX_TRIPS)]
            )
            bound = bound if self.function.method else (64, True)
        else:
            bound = random.choice(INTS)
            value = self.strict(bound, 2)
            limit = random.randint(1, MAX_TRIPS)
            if kind == "mod":
                value = Expr("binary", bound, ("%", value, Expr("number", None, (limit,))))
            elif kind == "and":
                value = Expr("binary", bound, ("&", value, Expr("number", None, (3,))))
            else:
                low = Expr("number", None, (-2 if bound[1] else 0,))
                value = Expr("call", bound, ("min", [value, Expr("number", None, (limit,))]))
                value = Expr("call", bound, ("max", [value, low]))
            arguments = [value]
            if kind == "count" and bound[1]:
                arguments = [value, Expr("number", None, (-4,)), Expr("number", None, (-2,))]
        outer = dict(self.readable), dict(self.writable)
        self.readable[target] = bound
        if random.random() < 0.3:
            self.writable[target] = bound
        self.loops += 1
        body = self.block(depth - 1, random.randint(1, 3))
        self.loops -= 1
        self.readable, self.writable = outer
        if least > 0 and kind in {"stop", "start", "step"}:
            self.readable[target] = bound  # a loop that surely ran leaves its variable behind
        return Stmt("for", (target, arguments, body))

    # ---- Expressions ----

    def number(self, t: tuple[int, bool]) -> int:
        low, high = limits(t)
        random = self.random
        value = random.choice(
            [0, 1, 2, 3, 5, 7, 10, 100, 1000, low, high, low + 1, high - 1, high // 2 + 1,
             random.randint(low, high), 1 << random.randint(0, t[0] - 1), -1, -2, -7]
        )  # fmt: skip
        return value if low <= value <= high else random.randint(0, min(high, 9))

    def count(self, t: tuple[int, bool]) -> Expr:
        if self.random.random() < 0.5:
            return Expr("number", None, (self.random.randint(0, t[0] - 1),))
        drawn = self.strict(self.random.choice(INTS), 1)
        return self.variable(t) if _is_constant(drawn) else drawn

    def variable(self, t: tuple[int, bool]) -> Expr:
        """Something that no compiler knows, as a `t`."""
        variable, view = self.random.choice(sorted(self.function.views.items()))
        fields = [f for f, k in self.generator.fields[view].items() if k != BOOL]
        field_name = self.random.choice(fields)
        read = Expr("name", self.generator.fields[view][field_name], (f"{variable}.{field_name}",))
        return Expr("call", t, (NAMES[t], [read]))

    def nonzero(self, divisor: Expr, t: tuple[int, bool]) -> Expr:
        """Constant zeros are refused; what only happens to be zero is not."""
        if divisor.kind == "number":
            return Expr("number", None, (divisor.parts[0] or 7,))
        return self.variable(t) if _is_constant(divisor) else divisor

    def condition(self, depth: int) -> Expr:
        if self.random.random() < 0.3:
            return self.strict(self.random.choice(INTS), depth)
        return self.strict(BOOL, depth)

    def expr(self, t: Type, depth: int, *, bare: bool = False) -> Expr:
        """An expression that may stand where a `t` is expected: narrower, or a bare number."""
        random = self.random
        if t == BOOL:
            return self.strict(BOOL, depth)
        assert isinstance(t, tuple)
        if random.random() < (0.2 if bare or depth < 2 else 0.05):
            return Expr("number", None, (self.number(t),))
        if random.random() < 0.1:
            numbers = [Expr("number", None, (self.number(t),)) for _ in range(2)]
            return Expr("if", None, (self.condition(depth - 1), *numbers))
        if random.random() < 0.25:
            narrower = [s for s in INTS if fits_within(s, t)]
            return self.strict(random.choice(narrower), depth)
        return self.strict(t, depth)

    def leaf(self, t: Type) -> Expr:
        random = self.random
        if self.keeps and random.random() < 0.25:
            return self.state(t)
        if self.generator.stateful and t == U64 and random.random() < 0.05:
            return Expr("call", t, ("now_ns", []))
        if self.generator.stateful and t == U32 and random.random() < 0.1:
            name = random.choice(["bit_count", "lowest_bit"])
            return Expr("call", t, (name, [self.variable(U64)]))
        found = [Expr("name", t, (n,)) for n, kind in self.readable.items() if kind == t]
        for variable, view in self.function.views.items():
            fields = self.generator.fields[view]
            found += [Expr("name", t, (f"{variable}.{f}",)) for f, k in fields.items() if k == t]
        if self.function.method:
            found += [
                Expr("name", t, (f"self.{n}",))
                for n, k in self.generator.tunables.items()
                if k == t
            ]
        if found and random.random() < 0.9:
            return random.choice(found)
        if t == BOOL:
            pool = [n for n, kind in self.readable.items() if kind != BOOL]
            if pool:
                name = random.choice(sorted(pool))
                left = Expr("name", self.readable[name], (name,))
                kind = self.readable[name]
                assert isinstance(kind, tuple)
                right = Expr("number", None, (self.number(kind),))
                return Expr("compare", BOOL, ((random.choice(["<", "!="]),), (left, right)))
            return Expr("name", BOOL, (random.choice(["True", "False"]),))
        assert isinstance(t, tuple)
        number = self.number(random.choice(INTS))
        return Expr("call", t, (NAMES[t], [Expr("number", None, (number,))]))

    def strict(self, t: Type, depth: int) -> Expr:
        """An expression whose type is `t` itself."""
        if depth <= 0:
            return self.leaf(t)
        return self.boolean(depth) if t == BOOL else self.integer(t, depth)  # type: ignore[arg-type]

    def boolean(self, depth: int) -> Expr:
        random = self.random
        kind = random.choice(
            ["compare"] * 4 + ["chain", "not", "logic", "logic", "if", "call", "leaf"]
        )
        if kind == "leaf":
            return self.leaf(BOOL)
        if kind == "not":
            return Expr("not", BOOL, (self.condition(depth - 1),))
        if kind == "logic":
            parts = [self.strict(BOOL, depth - 1) for _ in range(random.randint(2, 3))]
            return Expr("logic", BOOL, (random.choice(["and", "or"]), parts))
        if kind == "if":
            arms = [self.strict(BOOL, depth - 1) for _ in range(2)]
            return Expr("if", BOOL, (self.condition(depth - 1), *arms))
        if kind == "call":
            found = self.call(BOOL, depth)
            if found:
                return found
        if random.random() < 0.1:
            pair = [self.strict(BOOL, depth - 1) for _ in range(2)]
            return Expr("compare", BOOL, ((random.choice(["==", "!="]),), tuple(pair)))
        count = 2 if kind != "chain" else random.randint(3, 4)
        ops = tuple(random.choice(["==", "!=", "<", "<=", ">", ">="]) for _ in range(count - 1))
        operands = [self.strict(random.choice(INTS), depth - 1) for _ in range(count)]
        if random.random() < 0.4:
            # a bare number fits the types on both sides
            i = random.randrange(count)
            low, high = 0, 127
            if count == 2:
                low, high = limits(operands[1 - i].type)  # type: ignore[arg-type]
            value = random.choice([low, high, random.randint(low, high)])
            operands[i] = Expr("number", None, (value,))
        return Expr("compare", BOOL, (ops, tuple(operands)))

    def integer(self, t: tuple[int, bool], depth: int) -> Expr:
        random = self.random
        kind = random.choice(
            ["binary"] * 6 + ["shift", "shift", "unary", "convert", "convert", "if", "extremum"]
            + ["abs", "call", "leaf"]
        )  # fmt: skip
        if kind == "unary":
            op = random.choice(["-", "~", "+"])
            return Expr("unary", t, (op, self.strict(t, depth - 1)))
        if kind == "convert":
            source = self.strict(random.choice([*INTS, BOOL]), depth - 1)
            return Expr("call", t, (NAMES[t], [source]))
        if kind == "abs":
            return Expr("call", t, ("abs", [self.strict(t, depth - 1)]))
        if kind == "if":
            pair = self.meeting(t, depth)
            return Expr("if", t, (self.condition(depth - 1), *pair))
        if kind == "extremum":
            parts = self.meeting(t, depth)
            if random.random() < 0.3:
                parts.append(Expr("number", None, (self.number(t),)))
            return Expr("call", t, (random.choice(["min", "max"]), parts))
        if kind == "shift":
            left = self.strict(t, depth - 1)
            return Expr("shift", t, (random.choice(["<<", ">>"]), left, self.count(t)))
        if kind == "call":
            found = self.call(t, depth)
            if found:
                return found
        if kind == "leaf":
            return self.leaf(t)
        op = random.choice(["+", "-", "*", "//", "//", "%", "%", "&", "|", "^"])
        left, right = self.meeting(t, depth)
        if op in {"//", "%"} and (right.kind == "number" or _is_constant(right)):
            right = self.nonzero(right, t)
        if left.type is None and right.type != t:
            left = self.strict(t, depth - 1)
        return Expr("binary", t, (op, left, right))

    def meeting(self, t: tuple[int, bool], depth: int) -> list[Expr]:
        """Two operands that meet in the type `t`."""
        pair = [self.strict(t, depth - 1), self.expr(t, depth - 1, bare=True)]
        self.random.shuffle(pair)
        return pair

    def call(self, t: Type, depth: int) -> Expr | None:
        """A call of an earlier function that returns a `t`, outside of loops and rarely."""
        found = [f for f in self.callees() if f.returns == t and not f.effects]
        if not found:
            return None
        return self.passing(self.random.choice(found), depth)

    def callees(self) -> list[Function]:
        """The earlier functions that may be called here."""
        if self.loops or self.calls >= 2:
            return []
        return [
            f
            for f in self.generator.callable
            if f.depth <= self.function.full
            and set(f.views.values()) <= set(self.function.views.values())
            and (self.function.method or not f.method)
        ]

    def passing(self, function: Function, depth: int = 2) -> Expr:
        """A call of `function`."""
        self.calls += 1
        self.function.depth = max(self.function.depth, function.depth + 1)
        arguments = []
        for view in function.views.values():
            names = [n for n, v in self.function.views.items() if v == view]
            arguments.append(Expr("name", None, (self.random.choice(names),)))
        arguments += [self.expr(s, min(1, depth - 1)) for s in function.scalars.values()]
        name = f"self.{function.name}" if function.method else function.name
        return Expr("call", function.returns, (name, arguments))


def _changes(statement: Stmt) -> bool:
    """Whether the statement, or one within, changes anything but variables."""
    return statement.kind in {"store", "record", "kick", "perform"} or any(
        _changes(inner)
        for part in statement.parts
        if isinstance(part, list)
        for inner in part
        if isinstance(inner, Stmt)
    )


def _is_constant(expr: Expr) -> bool:
    """Whether a compiler might fold `expr`."""
    if expr.kind == "name":
        return expr.parts[0] in {"True", "False"}
    if expr.kind == "state" or (expr.kind == "call" and expr.parts[0] == "now_ns"):
        return False
    if expr.kind == "if" and _is_constant(expr.parts[0]):
        return _is_constant(expr.parts[1]) or _is_constant(expr.parts[2])
    return all(
        _is_constant(e)
        for part in expr.parts
        for e in (part if isinstance(part, list | tuple) else [part])
        if isinstance(e, Expr)
    )


class Evaluator:
    """Walks a function's tree. `views` maps a variable to its fields' values."""

    def __init__(
        self,
        functions: dict[str, Function],
        tunables: dict[str, int],
        model: kept.Model | None = None,
    ) -> None:
        self.functions = functions
        self.tunables = tunables
        self.model = model or kept.Model()

    def call(
        self, function: Function, views: dict[str, dict[str, int]], scalars: dict[str, int]
    ) -> int:
        types: dict[str, Type] = dict(function.scalars)
        frame = _Frame(self, function, views, dict(scalars), types)
        outcome = frame.run(function.body)
        if function.returns == VOID:
            return 0
        assert isinstance(outcome, tuple)
        return outcome[0]


class _Frame:
    def __init__(
        self,
        evaluator: Evaluator,
        function: Function,
        views: dict[str, dict[str, int]],
        values: dict[str, int],
        types: dict[str, Type],
    ) -> None:
        self.evaluator = evaluator
        self.function = function
        self.views = views
        self.values = values
        self.types = types

    def run(self, body: list[Stmt]) -> Any:
        """None, "break", "continue" or the returned value in a tuple."""
        for statement in body:
            outcome = self.step(statement)
            if outcome is not None:
                return outcome
        return None

    def step(self, statement: Stmt) -> Any:
        parts = statement.parts
        match statement.kind:
            case "assign":
                name, _, value, t = parts
                self.values[name] = self.value(value)
                self.types[name] = t
            case "augment":
                name, op, operand = parts
                t = self.types[name]
                assert isinstance(t, tuple)
                self.values[name] = arithmetic(op, self.values[name], self.value(operand), t)
            case "return":
                return (self.value(parts[0]) if parts else 0,)
            case "store":
                target, op, operand = parts
                owned = self.owned(*target.parts[:2])
                value, t = self.value(operand), target.type
                if op:
                    assert isinstance(t, tuple)
                    value = arithmetic(op, owned[target.parts[2]], value, t)
                owned[target.parts[2]] = value
            case "alias":
                self.values[parts[0]] = self.key(*parts[1:])
            case "record":
                name, given = parts
                self.evaluator.model.record(name, self.value(given) if given else 1)
            case "kick":
                self.evaluator.model.kick(self.value(parts[0]))
            case "perform":
                name, t, call = parts
                result = self.value(call)
                if name:
                    self.values[name] = result
                    self.types[name] = t
            case "break" | "continue":
                return statement.kind
            case "if":
                return self.run(parts[1] if self.value(parts[0]) else parts[2])
            case "bits":
                target, mask, body = parts
                self.types[target] = U32
                set_bits = self.value(mask)
                return self.loop(target, (i for i in range(64) if set_bits >> i & 1), body)
            case "for":
                target, arguments, body = parts
                typed = [e.type for e in arguments[:2] if e.type is not None]
                self.types[target] = typed[0] if typed else (64, True)
                return self.loop(target, range(*(self.value(e) for e in arguments)), body)
        return None

    def loop(self, target: str, numbers: Iterable[int], body: Any) -> Any:
        """What ends the function out of the loop, if anything does."""
        for number in numbers:
            self.values[target] = number
            outcome = self.run(body)
            if outcome == "break":
                break
            if isinstance(outcome, tuple):
                return outcome
        return None

    def key(self, scope: str, owner: tuple[str, Any]) -> int:
        kind, what = owner
        if kind == "alias":
            return self.values[what]
        if kind == "all":
            return 0
        if kind == "view":
            return self.views[what][kept.OWNERS[scope][1]]
        return self.value(what)

    def owned(self, scope: str, owner: tuple[str, Any]) -> dict[str, int]:
        return self.evaluator.model.kept[scope, self.key(scope, owner)]

    def value(self, expr: Expr) -> int:
        parts, t = expr.parts, expr.type
        match expr.kind:
            case "state":
                return int(self.owned(*parts[:2])[parts[2]])
            case "number":
                return int(parts[0])
            case "name":
                return self.name(parts[0])
            case "unary":
                assert isinstance(t, tuple)
                value = self.value(parts[1])
                return wrap({"-": -value, "~": ~value, "+": value}[parts[0]], t)
            case "not":
                return int(not self.value(parts[0]))
            case "binary" | "shift":
                assert isinstance(t, tuple)
                return arithmetic(parts[0], self.value(parts[1]), self.value(parts[2]), t)
            case "compare":
                values = [self.value(e) for e in parts[1]]
                return int(all(compare(op, *values[i : i + 2]) for i, op in enumerate(parts[0])))
            case "logic":
                decide = all if parts[0] == "and" else any
                return int(decide(self.value(e) for e in parts[1]))
            case "if":
                return self.value(parts[1] if self.value(parts[0]) else parts[2])
            case "call":
                return self.call(expr)
            case _:
                raise AssertionError(expr.kind)

    def name(self, name: str) -> int:
        if name in {"True", "False"}:
            return int(name == "True")
        if "." not in name:
            return self.values[name]
        owner, attribute = name.split(".")
        if owner == "self":
            return self.evaluator.tunables[attribute]
        return self.views[owner][attribute]

    def call(self, expr: Expr) -> int:
        name, arguments = expr.parts
        name = name.removeprefix("self.")
        if name in self.evaluator.functions:
            callee = self.evaluator.functions[name]
            count = len(callee.views)
            views = {
                parameter: self.views[argument.parts[0]]
                for parameter, argument in zip(callee.views, arguments[:count], strict=True)
            }
            values = [self.value(e) for e in arguments[count:]]
            return self.evaluator.call(
                callee, views, dict(zip(callee.scalars, values, strict=True))
            )
        if name == "now_ns":
            return self.evaluator.model.now
        if name == "random_u32":
            return self.evaluator.model.draw()
        values = [self.value(e) for e in arguments]
        if name in {"bit_count", "lowest_bit"}:
            bits = [i for i in range(64) if values[0] >> i & 1]
            return len(bits) if name == "bit_count" else min(bits, default=64)
        if name in {"min", "max"}:
            return sorted(values)[0 if name == "min" else -1]
        t = expr.type
        assert isinstance(t, tuple)
        return wrap(-values[0] if name == "abs" and values[0] < 0 else values[0], t)


def arithmetic(op: str, x: int, y: int, t: tuple[int, bool]) -> int:
    """The language's operators, each from its definition."""
    match op:
        case "+":
            result = x + y
        case "-":
            result = x - y
        case "*":
            result = x * y
        case "//":
            result = 0 if y == 0 else _floor(x, y)
        case "%":
            result = x if y == 0 else x - y * _floor(x, y)
        case "&" | "|" | "^":
            bits = 64
            p, q = x % 2**bits, y % 2**bits
            result = {"&": p & q, "|": p | q, "^": p ^ q}[op]
        case "<<":
            result = x * 2 ** (y % t[0])
        case ">>":
            result = _floor(x, 2 ** (y % t[0]))
        case _:
            raise AssertionError(op)
    return wrap(result, t)


def _floor(x: int, y: int) -> int:
    """The largest integer that is not above the quotient."""
    quotient = abs(x) // abs(y)
    if (x < 0) == (y < 0):
        return quotient
    return -quotient - (1 if abs(x) % abs(y) else 0)


def compare(op: str, x: int, y: int) -> bool:
    difference = x - y
    return {
        "==": difference == 0, "!=": difference != 0, "<": difference < 0,
        "<=": difference <= 0, ">": difference > 0, ">=": difference >= 0,
    }[op]  # fmt: skip
