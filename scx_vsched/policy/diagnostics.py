"""What is wrong with a policy file, and where: collected, then raised as one error."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from scx_vsched.errors import UserError
from scx_vsched.policy.ir import Span

__all__ = [
    "MAX_DIAGNOSTICS",
    "Diagnostic",
    "PolicyError",
    "Refused",
    "Reporter",
    "header_span",
    "span_of",
]

MAX_DIAGNOSTICS = 20
"""A file with more mistakes than this is reported up to here."""

_MAX_SOURCE_WIDTH = 120


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake: `width` characters of `source`, the line's text, from `column` (from 1) on."""

    filename: str
    line: int
    column: int
    width: int
    source: str
    message: str
    suggestion: str

    def __str__(self) -> str:
        lines = [_printable(f"{self.filename}:{self.line}:{self.column}: {self.message}")]
        if self.source.strip():
            # Very long lines are shown from just before the mistake on.
            skipped = max(0, self.column - 1 - _MAX_SOURCE_WIDTH // 2)
            shown = self.source[skipped : skipped + _MAX_SOURCE_WIDTH]
            before = self.source[skipped : self.column - 1]
            lead = "".join("\t" if c == "\t" else " " for c in before)
            tail = "~" * (min(self.width, max(1, len(shown) - len(before))) - 1)
            lines += [f"    {_printable(shown)}", f"    {lead}^{tail}"]
        if self.suggestion:
            lines.append(f"    {_printable(self.suggestion)}")
        return "\n".join(lines)


class PolicyError(UserError):
    """A policy file that is not a policy: every mistake found in it, in the file's order."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        shown = [str(d) for d in diagnostics[:MAX_DIAGNOSTICS]]
        if len(diagnostics) > MAX_DIAGNOSTICS:
            shown.append(f"… and {len(diagnostics) - MAX_DIAGNOSTICS} more")
        super().__init__("\n".join(shown))
        self.diagnostics = diagnostics


class Refused(Exception):  # noqa: N818 - control flow within the front end, never seen outside
    """Ends the check of a statement whose mistake has been reported."""


class Reporter:
    """Collects the diagnostics of one file."""

    def __init__(self, filename: str, lines: tuple[str, ...]) -> None:
        self.filename = filename
        self._lines = lines
        self._found: dict[tuple[int, int, str], Diagnostic] = {}
        self._warnings: dict[tuple[int, int, str], Diagnostic] = {}

    def report(self, where: Span | ast.AST, message: str, suggestion: str = "") -> None:
        """Notes a mistake at `where`; the same one twice counts once."""
        self._note(self._found, where, message, suggestion)

    def warn(self, where: Span | ast.AST, message: str, suggestion: str = "") -> None:
        """Notes what is correct and yet hardly meant."""
        self._note(self._warnings, where, message, suggestion)

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """What `warn` noted, in the file's order."""
        return tuple(self._warnings[key] for key in sorted(self._warnings))

    def _note(
        self,
        found: dict[tuple[int, int, str], Diagnostic],
        where: Span | ast.AST,
        message: str,
        suggestion: str,
    ) -> None:
        span = where if isinstance(where, Span) else span_of(where)
        source = self._lines[span.line - 1] if 0 < span.line <= len(self._lines) else ""
        start = _characters(source, span.column)
        end = _characters(source, span.end_column) if span.end_line == span.line else len(source)
        found.setdefault(
            (span.line, start, message),
            Diagnostic(
                self.filename,
                span.line,
                start + 1,
                max(1, end - start),
                source,
                message,
                suggestion,
            ),
        )

    def refuse(self, where: Span | ast.AST, message: str, suggestion: str = "") -> Refused:
        """Notes a mistake; raising what is returned gives up the statement that it is in."""
        self.report(where, message, suggestion)
        return Refused()

    def error(self) -> PolicyError:
        """All mistakes reported so far as one error."""
        return PolicyError(tuple(self._found[key] for key in sorted(self._found)))

    def check(self) -> None:
        """Raises PolicyError if any mistake was reported."""
        if self._found:
            raise self.error()


def span_of(node: ast.AST) -> Span:
    """Where `node` stands; nodes without a place of their own (operators, …) stand at 1:0."""
    line = getattr(node, "lineno", 1)
    column = getattr(node, "col_offset", 0)
    end_line = getattr(node, "end_lineno", None)
    end_column = getattr(node, "end_col_offset", None)
    return Span(
        line,
        column,
        line if end_line is None else end_line,
        column if end_column is None else end_column,
    )


def header_span(node: ast.FunctionDef | ast.ClassDef) -> Span:
    """Where a definition names itself: `def name`, `class Name`."""
    word = "class " if isinstance(node, ast.ClassDef) else "def "
    end = node.col_offset + len(word) + len(node.name.encode())
    return Span(node.lineno, node.col_offset, node.lineno, end)


def _characters(source: str, offset: int) -> int:
    """The number of characters in the first `offset` bytes of `source` in UTF-8."""
    return len(source.encode(errors="replace")[:offset].decode(errors="ignore"))


def _printable(shown: str) -> str:
    """`shown` without what would control the terminal."""
    return "".join(
        c if c.isprintable() or c in "\t\n" else "\N{REPLACEMENT CHARACTER}" for c in shown
    )
