"""Runs a command of the package in this process."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING
from unittest.mock import patch

from scx_vsched.cli import main

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def command(name: str, *arguments: str | Path) -> Done:
    """What escapes the command, as a traceback would, fails the test."""
    out, errors = io.StringIO(), io.StringIO()
    argv = ["scx_vsched", name, *map(str, arguments)]
    with redirect_stdout(out), redirect_stderr(errors), patch.object(sys, "argv", argv):
        try:
            main()
        except SystemExit as end:
            assert end.code is None or isinstance(end.code, int)
            return Done(end.code or 0, out.getvalue(), errors.getvalue())
    raise AssertionError("the command did not end the process")
