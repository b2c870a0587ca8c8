"""Files that are not what a policy should be: one message each, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from policy_text import IMPORT

from scx_vsched.errors import UserError
from scx_vsched.policies import builtin_policies, resolve_policy
from scx_vsched.policy.compiler import compile_file, compile_source
from scx_vsched.policy.diagnostics import PolicyError

POLICY = f"{IMPORT}\nclass P(Policy):\n    mechanism = guest\n"


@pytest.mark.parametrize(
    ("data", "line", "column", "message"),
    [
        (b"\xff\xfe", 1, 1, "byte 0xff is not UTF-8"),
        (b"x = 1\ny = '\xe9'\n", 2, 6, "byte 0xe9 is not UTF-8"),
        (b"# -*- coding: latin-1 -*-\n", 1, 1, "encoded in iso-8859-1"),
        (b"# -*- coding: nonsense -*-\n", 1, 1, "unknown encoding"),
        (b"x = 1\0", 1, 1, "null byte"),
        (b"#" * 300_000, 1, 1, "larger than 256 KiB"),
        (b"def f(:\n", 1, 7, "not Python: invalid syntax"),
        (b"if x:\npass\n", 2, 1, "not Python: expected an indented block"),
        (b"x = (1,\n", 1, 5, "not Python: '(' was never closed"),
        (b"'''", 1, 1, "not Python: unterminated"),
        (b"break\n", 1, 1, "not Python: 'break' outside loop"),
        (b"def f(a, a): pass\n", 1, 10, "not Python: duplicate"),
        (b"(" * 300, 1, 201, "not Python: too many nested parentheses"),
        (b"x = " + b"-" * 300 + b"1", 1, 1, "nested"),
        (b"x = " + b"1+" * 30_000 + b"1", 1, 1, "nested"),
        (b"x = 0\n" * 20_000, 1, 1, "more than 50000 syntax nodes"),
    ],
)
def test_bad_files(tmp_path: Path, data: bytes, line: int, column: int, message: str) -> None:
    path = tmp_path / "bad.py"
    path.write_bytes(data)
    with pytest.raises(PolicyError) as caught:
        compile_file(path)
    found = caught.value.diagnostics[0]
    assert message in found.message
    assert found.filename == str(path)
    if message != "nested":
        assert (found.line, found.column) == (line, column)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in [
        (tmp_path / "missing.py", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "missing.py" / "x", "No such file"),
        (Path("nul\0.py"), "null"),
    ]:
        with pytest.raises(PolicyError, match=reason):
            compile_file(path)


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + POLICY.encode(),
        b"# coding: utf-8\n" + POLICY.encode(),
        POLICY.replace("\n", "\r\n").encode(),
        POLICY.replace("\n", "\r").encode(),
        POLICY.rstrip().encode(),
        b"\x0c\n" + POLICY.encode(),
    ],
)
def test_files_that_are_fine(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "fine.py"
    path.write_bytes(data)
    assert compile_file(path).name == "P"


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_lines_are_counted_as_python_counts_them(end: str) -> None:
    """Form feeds and Unicode's line separators end no line."""
    text = f"{IMPORT}\n# \x0c \x1c \u2028 \x85\nX = 1 / 2\n".replace("\n", end)
    with pytest.raises(PolicyError) as caught:
        compile_source(text, "example.py")
    found = caught.value.diagnostics[-1]
    assert (found.line, found.source) == (3, "X = 1 / 2")


def test_the_builtin_policies_compile() -> None:
    found = builtin_policies()
    assert {"core", "fifo"} <= found.keys()
    assert list(found) == sorted(found)
    for name, path in found.items():
        assert compile_file(path).name.lower() == name
        assert resolve_policy(name) == path


def test_policies_by_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(POLICY, encoding="utf-8")
    assert resolve_policy(str(path)) == path


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("fiffo", "no policy called 'fiffo'", "did you mean fifo? built-in policies: core, fifo"),
        ("missing.py", "no policy file 'missing.py'", "built-in policies: core"),
        ("some/where", "no policy file 'some/where'", "built-in"),
        ("", "no policy called ''", "built-in"),
        ("x\0", "no policy called", "built-in"),
        ("y" * 5000, "no policy called", "built-in"),
    ],
)
def test_unknown_policies(name: str, message: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve_policy(name)
    assert caught.value.message.startswith(message)
    assert hint in caught.value.hint
