"""From a policy file's bytes to its syntax tree, without ever running it.

Whatever the file holds, the outcome is a tree of bounded size and depth, or a PolicyError.
"""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.policy.diagnostics import PolicyError, Reporter
from scx_vsched.policy.ir import Span

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "Source", "parse", "read_text"]

MAX_BYTES = 256 * 1024
"""Size of the largest policy file; the built-in ones have a few thousand bytes."""

MAX_NODES = 50_000
"""Nodes of the largest syntax tree."""

MAX_DEPTH = 64
"""Nesting of expressions and blocks; keeps generated C below clang's 256 brackets."""

_START = Span(1, 0, 1, 0)


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed policy file and the reporter for what is wrong with it."""

    filename: str
    tree: ast.Module
    reporter: Reporter


def read_text(path: Path) -> str:
    """The text of the policy file `path`; PolicyError if it cannot be read or is not UTF-8."""
    reporter = Reporter(str(path), ())
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: NUL byte in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _failure(reporter, f"cannot read the policy: {reason}", "") from None
    if len(data) > MAX_BYTES:
        raise _too_large(reporter)
    encoding = _declared_encoding(data, reporter)
    if encoding not in {"utf-8", "utf-8-sig", "ascii"}:
        raise _failure(reporter, f"the policy is encoded in {encoding}", "save the file as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reporter = Reporter(str(path), _lines(data.decode(errors="replace")))
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1)
        reporter.report(
            Span(line, column, line, column + 1),
            f"byte 0x{data[error.start]:02x} is not UTF-8",
            "save the file as UTF-8",
        )
        raise reporter.error() from None


def parse(text: str, filename: str) -> Source:
    """The syntax tree of `text`; PolicyError if it is not Python, too large or too deep."""
    lines = _lines(text)
    reporter = Reporter(filename, lines)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise _failure(reporter, "the text holds half of a surrogate pair", "") from None
    if size > MAX_BYTES:
        raise _too_large(reporter)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text)
    except SyntaxError as error:
        raise _syntax_error(reporter, lines, error) from None
    except (RecursionError, MemoryError):
        raise _failure(reporter, "too deeply nested for Python's parser", _SPLIT) from None
    except ValueError as error:  # NUL bytes on some versions of Python
        raise _failure(reporter, str(error), "") from None
    _check_size(tree, reporter)
    try:
        # Finds what the parser lets through (`break` outside of a loop, two parameters of one
        # name, …); the code object is dropped, never run.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            compile(tree, "policy", "exec", dont_inherit=True)
    except SyntaxError as error:
        raise _syntax_error(reporter, lines, error) from None
    except (RecursionError, MemoryError):
        raise _failure(reporter, "too deeply nested for Python's compiler", _SPLIT) from None
    return Source(filename, tree, reporter)


def _lines(text: str) -> tuple[str, ...]:
    """The lines as Python counts them: at \\n, \\r and \\r\\n only, unlike str.splitlines()."""
    return tuple(io.StringIO(text, newline=None).read().split("\n"))


def _declared_encoding(data: bytes, reporter: Reporter) -> str:
    try:
        return tokenize.detect_encoding(io.BytesIO(data).readline)[0]
    except SyntaxError as error:
        try:
            data.decode()
        except UnicodeDecodeError:
            return "utf-8"  # as far as it says; the bytes are another matter
        raise _failure(reporter, str(error.msg), "save the file as UTF-8") from None


_SPLIT = "split it into helper functions and local variables"


def _check_size(tree: ast.Module, reporter: Reporter) -> None:
    pending: list[tuple[ast.AST, ast.AST, int]] = [(tree, tree, 0)]
    nodes = 0
    while pending:
        node, place, depth = pending.pop()
        nodes += 1
        if nodes > MAX_NODES:
            reporter.report(_START, f"more than {MAX_NODES} syntax nodes", _SPLIT)
            break
        if depth > MAX_DEPTH:
            reporter.report(place, f"nested more than {MAX_DEPTH} levels deep", _SPLIT)
            break
        for child in ast.iter_child_nodes(node):
            pending.append((child, child if hasattr(child, "lineno") else place, depth + 1))
    reporter.check()


def _syntax_error(reporter: Reporter, lines: tuple[str, ...], error: SyntaxError) -> PolicyError:
    line = min(max(error.lineno or 1, 1), len(lines))
    source = lines[line - 1]
    # SyntaxError counts characters from 1, unlike the tree's bytes from 0.
    start = min(max((error.offset or 1) - 1, 0), len(source))
    end = len(source)
    if (error.end_lineno or line) == line:
        end = min(max((error.end_offset or start + 1) - 1, start), len(source))
    span = Span(line, len(source[:start].encode()), line, len(source[:end].encode()))
    reporter.report(span, f"not Python: {error.msg}")
    return reporter.error()


def _too_large(reporter: Reporter) -> PolicyError:
    return _failure(
        reporter,
        f"larger than {MAX_BYTES // 1024} KiB",
        "is this the right file? A policy is small",
    )


def _failure(reporter: Reporter, message: str, suggestion: str) -> PolicyError:
    reporter.report(_START, message, suggestion)
    return reporter.error()
