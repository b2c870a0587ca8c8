"""Checks and types a function's statements: assignments, flow of control, bounded loops.

Follows which locals have a value on every path, and whether every path returns.
"""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scx_vsched.policy import ir
from scx_vsched.policy.bounds import Interval, interval, most_bits
from scx_vsched.policy.calls import check_statement_call
from scx_vsched.policy.conversions import coerce, common_type, settle
from scx_vsched.policy.diagnostics import Refused, Reporter, header_span, span_of
from scx_vsched.policy.expressions import Expressions
from scx_vsched.policy.ranges import read_mask, read_range
from scx_vsched.policy.references import find_reference
from scx_vsched.policy.refusals import refuse_statement
from scx_vsched.policy.scope import TAKEN_NAMES, FunctionScope, Scope, Signature
from scx_vsched.policy.signatures import scalar_type
from scx_vsched.policy.stores import check_store, refer
from scx_vsched.policy.types import INT_TYPES, IntType

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_function"]

_UNREACHABLE = None


@dataclass(slots=True)
class _Loop:
    """The locals that have a value where a loop is left or continued."""

    breaks: list[frozenset[str]] = field(default_factory=list)
    continues: list[frozenset[str]] = field(default_factory=list)


def check_function(scope: Scope, signature: Signature, node: ast.FunctionDef) -> ir.Function | None:
    """The typed body of `node`, or None if it has mistakes (which are then reported)."""
    return _FunctionChecker(scope, signature, node).function()


class _FunctionChecker:
    def __init__(self, scope: Scope, signature: Signature, node: ast.FunctionDef) -> None:
        self.scope = scope
        self.reporter: Reporter = scope.reporter
        self.signature = signature
        self.node = node
        stores = Counter(
            child.id
            for child in ast.walk(node)
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store)
        )
        # AugAssign reads what it assigns, so such a local is never "assigned once".
        self.once = {name for name, count in stores.items() if count == 1} - {
            child.target.id
            for child in ast.walk(node)
            if isinstance(child, ast.AugAssign) and isinstance(child.target, ast.Name)
        }
        self.names = FunctionScope(stored=frozenset(stores), is_method=signature.kind != "function")
        for parameter in signature.parameters:
            if isinstance(parameter.type, ir.ViewType):
                self.names.views[parameter.name] = parameter.type.name
            else:
                self.names.scalars[parameter.name] = parameter.type
        self.check = Expressions(scope, self.names)
        self.loops: list[_Loop] = []
        self.failed = False

    def function(self) -> ir.Function | None:
        for argument in self.node.args.args[self.names.is_method :]:
            try:
                self._check_free(argument, argument.arg)
            except Refused:
                self.failed = True
        body = list(self.node.body)
        doc = ast.get_docstring(self.node) or ""
        if doc:
            body.pop(0)
        statements, after = self.block(body, frozenset())
        void = isinstance(self.signature.returns, ir.VoidType)
        if after is not _UNREACHABLE and not void and not self.failed:
            self.reporter.report(
                header_span(self.node),
                f"`{self.node.name}` can end without returning {_a(self.signature.returns)}",
                "end every path with `return`",
            )
            self.failed = True
        if self.failed:
            return None
        return ir.Function(
            span_of(self.node),
            self.signature.name,
            self.signature.name,
            self.signature.kind,
            self.reporter.filename,
            doc,
            self.signature.parameters,
            self.signature.returns,
            {name: t for name, t in self.names.locals.items() if t is not None},
            statements,
        )

    # ---- Blocks ----

    def block(
        self, body: Sequence[ast.stmt], assigned: frozenset[str] | None
    ) -> tuple[tuple[ir.Stmt, ...], frozenset[str] | None]:
        """The typed statements, and the locals with a value after them (None: never reached)."""
        found: list[ir.Stmt] = []
        for node in body:
            if assigned is None:
                self.failed = True
                self.reporter.report(node, "this is never reached", "remove it")
                break
            before = self.names.assigned = assigned
            try:
                statement, assigned = self.statement(node, before)
            except Refused:
                self.failed = True
                assigned = self._poison(node, before)
                continue
            if statement is not None:
                found.append(statement)
        return tuple(found), assigned

    def _poison(self, node: ast.stmt, assigned: frozenset[str]) -> frozenset[str] | None:
        """Goes on after a wrong statement as if it had worked, to find further mistakes."""
        if isinstance(node, ast.Return | ast.Raise):
            return _UNREACHABLE
        stored = {
            child.id
            for child in ast.walk(node)
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store)
        }
        for name in stored:
            self.names.locals.setdefault(name, None)
        return assigned | stored

    def statement(
        self, node: ast.stmt, assigned: frozenset[str]
    ) -> tuple[ir.Stmt | None, frozenset[str] | None]:
        match node:
            case ast.Pass():
                return None, assigned
            case ast.Return():
                return self._return(node), _UNREACHABLE
            case ast.Assign(targets=[ast.Attribute() as target]):
                return self._store(node, target, node.value), assigned
            case ast.AugAssign(target=ast.Attribute() as target):
                load = ast.copy_location(ast.Attribute(target.value, target.attr), target)
                value = ast.copy_location(ast.BinOp(load, node.op, node.value), node)
                return self._store(node, target, value), assigned
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if (
                reference := find_reference(self.check, value)
            ) is not None:
                self._check_local_name(node.targets[0], name)
                return refer(self.check, node, name, reference), assigned | {name}
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                statement = self._assignment(node)
                return statement, assigned | {statement.name}
            case ast.If():
                return self._if(node, assigned)
            case ast.For(iter=ast.Call(func=ast.Name(id="vcpus_of")) as call, orelse=[]):
                return self._for_bits(node, call, assigned)
            case ast.For():
                return self._for(node, assigned)
            case ast.Break():
                self.loops[-1].breaks.append(assigned)
                return ir.Break(span_of(node)), _UNREACHABLE
            case ast.Continue():
                self.loops[-1].continues.append(assigned)
                return ir.Continue(span_of(node)), _UNREACHABLE
            case ast.Expr(value=ast.Call() as call):
                performed = check_statement_call(self.check, call)
                if performed is None:
                    raise self._refused_value(node)
                return performed, assigned
            case ast.Expr():
                raise self._refused_value(node)
            case _:
                raise refuse_statement(self.reporter, node)

    def _refused_value(self, node: ast.Expr) -> Refused:
        match node.value:
            case ast.Constant(value=str()):
                return self.reporter.refuse(
                    node, "text that is not a docstring", "write a comment: `# …`"
                )
            case ast.Constant(value=value) if value is Ellipsis:
                return self.reporter.refuse(
                    node, "the body is missing", "write what the function returns"
                )
            case _:
                return self.reporter.refuse(
                    node,
                    "a value that nothing uses",
                    "assign or return it",
                )

    # ---- Simple statements ----

    def _return(self, node: ast.Return) -> ir.Return:
        if isinstance(self.signature.returns, ir.VoidType):
            if node.value is not None:
                raise self.reporter.refuse(
                    node, f"`{self.signature.name}` returns nothing", "write `return` alone"
                )
            return ir.Return(span_of(node), None)
        if node.value is None:
            raise self.reporter.refuse(
                node, f"`return` without {_a(self.signature.returns)}", "return a value"
            )
        value = self.check.value(
            node.value, self.signature.returns, f"as `{self.signature.name}` returns"
        )
        return ir.Return(span_of(node), value)

    def _store(self, node: ast.stmt, target: ast.Attribute, value: ast.expr) -> ir.Store:
        found = check_store(self.check, node, target, value)
        if found is None:
            self._target(target)  # says what cannot be assigned
            raise Refused
        return found

    def _assignment(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> ir.Assign:
        if isinstance(node, ast.Assign):
            if len(node.targets) != 1:
                raise self.reporter.refuse(
                    node, "several assignments in one", "write one on each line"
                )
            name = self._target(node.targets[0])
            return self._assign(node, name, node.value, None)
        name = self._target(node.target)
        if isinstance(node, ast.AnnAssign):
            declared = scalar_type(self.scope, node.annotation)
            if node.value is None:
                raise self.reporter.refuse(
                    node, f"`{name}` gets no value", f"write `{name}: {declared.name} = …`"
                )
            return self._assign(node, name, node.value, declared)
        load = ast.copy_location(ast.Name(id=name, ctx=ast.Load()), node.target)
        combined = ast.copy_location(ast.BinOp(left=load, op=node.op, right=node.value), node)
        return self._assign(node, name, combined, None)

    def _assign(
        self,
        node: ast.stmt,
        name: str,
        value: ast.expr,
        declared: ir.ScalarType | None,
    ) -> ir.Assign:
        known = self.names.locals.get(name)
        if declared is not None and known is not None and declared != known:
            raise self.reporter.refuse(
                node,
                f"`{name}` is {_a(known)} already",
                "a variable keeps its first type; use another name",
            )
        target = declared or known
        if target is None:
            found = settle(self.reporter, value, self.check.any(value))
            target = found.type
        else:
            found = self._fitting(name, value, target, declared is None)
        self.names.locals[name] = target
        if name in self.once and isinstance(target, IntType):
            self.names.intervals[name] = interval(found, self.names.intervals, self.scope.tunables)
        return ir.Assign(span_of(node), name, found)

    def _fitting(
        self, name: str, value: ast.expr, target: ir.ScalarType, inferred: bool
    ) -> ir.Expr:
        found = self.check.any(value)
        if inferred and target != ir.BOOL and isinstance(found.type, IntType):
            role = f"that `{name}` has since its first assignment"
        else:
            role = f"for `{name}`"
        return coerce(self.reporter, value, found, target, role)

    def _target(self, node: ast.expr) -> str:
        match node:
            case ast.Name(id=name):
                self._check_value_name(node, name)
                return name
            case ast.Attribute(value=ast.Name(id="self")):
                raise self.reporter.refuse(
                    node,
                    "a hook cannot change the policy",
                    "use a local variable, or declare state",
                )
            case ast.Attribute():
                raise self.reporter.refuse(node, "a view is read-only", "use a local variable")
            case ast.Tuple() | ast.List():
                raise self.reporter.refuse(
                    node, "several targets", "assign one variable on each line"
                )
            case _:
                raise self.reporter.refuse(
                    node, "this cannot be assigned", "assign a local variable"
                )

    def _check_value_name(self, node: ast.expr, name: str) -> None:
        if name in self.names.references:
            raise self.reporter.refuse(
                node, f"`{name}` stands for state already", "use another name for the value"
            )
        self._check_local_name(node, name)

    def _check_local_name(self, node: ast.expr, name: str) -> None:
        if name in self.names.views or name in self.names.scalars:
            raise self.reporter.refuse(
                node, f"`{name}` is a parameter and keeps its value", "use a variable of its own"
            )
        self._check_free(node, name)

    def _check_free(self, node: ast.AST, name: str) -> None:
        if name in TAKEN_NAMES | self.scope.constants.keys() | self.scope.functions.keys():
            raise self.reporter.refuse(
                node, f"`{name}` already stands for something else", "use another name"
            )

    # ---- Flow of control ----

    def _if(self, node: ast.If, assigned: frozenset[str]) -> tuple[ir.If, frozenset[str] | None]:
        test: ir.Expr | None = None
        try:
            test = self.check.truth(node.test)
        except Refused:
            self.failed = True  # the branches are still worth checking
        body, after_body = self.block(node.body, assigned)
        orelse, after_orelse = self.block(node.orelse, assigned)
        if after_body is _UNREACHABLE:
            after = after_orelse
        elif after_orelse is _UNREACHABLE:
            after = after_body
        else:
            after = after_body & after_orelse
        placeholder = ir.Const(span_of(node.test), ir.BOOL, False)
        return ir.If(span_of(node), test or placeholder, body, orelse), after

    def _for_bits(
        self, node: ast.For, call: ast.Call, assigned: frozenset[str]
    ) -> tuple[ir.ForBits | None, frozenset[str]]:
        target = self._target(node.target)
        mask, trips, bits = None, 64, 64
        try:
            mask = read_mask(self.check, call)
            bits = interval(mask, self.names.intervals, self.scope.tunables).high.bit_length()
            trips = min(bits, most_bits(mask))
            known = self.names.locals.get(target) or INT_TYPES["u32"]
            if known != INT_TYPES["u32"]:
                raise self.reporter.refuse(
                    node.target,
                    f"the loop counts in u32, `{target}` is {_a(known)} already",
                    "use another variable",
                )
            self.names.locals[target] = known
        except Refused:
            self.failed = True
            self.names.locals.setdefault(target, None)
        if target in self.once:
            self.names.intervals[target] = Interval(0, max(0, bits - 1))
        body, _ = self._loop_body(node.body, assigned | {target})
        if mask is None:
            return None, assigned
        return ir.ForBits(span_of(node), target, mask, trips, body), assigned

    def _for(self, node: ast.For, assigned: frozenset[str]) -> tuple[ir.For | None, frozenset[str]]:
        if node.orelse:
            raise self.reporter.refuse(
                node.orelse[0], "`else` of a loop is not in the policy language", "use a flag"
            )
        target = self._target(node.target)
        try:
            found = read_range(self.check, node.iter)
            kind = ir.int_type(found.start)
            known = self.names.locals.get(target) or kind
            if not isinstance(known, IntType) or common_type(kind, known) != known:
                raise self.reporter.refuse(
                    node.target,
                    f"the loop counts in {kind.name}, `{target}` is {_a(known)} already",
                    "use another variable",
                )
        except Refused:
            self.failed = True
            self.names.locals.setdefault(target, None)
            self._loop_body(node.body, assigned | {target})
            return None, assigned | {target}
        self.names.locals[target] = known
        if target in self.once:
            self.names.intervals[target] = found.values
        body, after = self._loop_body(node.body, assigned | {target})
        loop = ir.For(
            span_of(node), target, found.start, found.stop, found.step, found.trips.high, body
        )
        return loop, after if found.trips.low > 0 else assigned

    def _loop_body(
        self, body: Sequence[ast.stmt], assigned: frozenset[str]
    ) -> tuple[tuple[ir.Stmt, ...], frozenset[str]]:
        """The body, and the locals with a value after the loop if it makes a trip at all."""
        loop = _Loop()
        self.loops.append(loop)
        statements, after = self.block(body, assigned)
        self.loops.pop()
        ends = [*loop.breaks, *loop.continues, *([] if after is _UNREACHABLE else [after])]
        # A body that always returns never gets past the loop; any set is right then.
        return statements, frozenset.intersection(*ends) if ends else assigned


def _a(found: ir.ReturnType) -> str:
    return f"{'an' if found.name in {'s8', 's16', 's32', 's64'} else 'a'} {found.name}"
