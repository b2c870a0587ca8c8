"""The second backend on random functions: CPython, our evaluator and BPF must agree there too.

Most draws change nothing, which is what the backend takes; the others keep state, and show that
functions of both backends work side by side.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from minimise import minimise
from test_differential import build, check, clang, draw_batch, seeded, show

from scx_vsched.backend.compiler import require
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from test_differential import Batch, Mismatch

PAIRS = 10_000

__all__ = ["clang"]


@pytest.fixture
def pythonbpf() -> None:
    """Skips where the package is not installed."""
    try:
        require()
    except UserError as error:
        pytest.skip(f"{error.message} ({error.hint})")


@pytest.mark.bpf
@pytest.mark.usefixtures("clang", "pythonbpf")
def test_three_ways_agree_with_functions_by_pythonbpf(tmp_path: Path) -> None:
    rng = seeded()
    wanted = int(os.environ.get("VSCHED_PAIRS") or PAIRS)
    pairs = batches = by_clang = 0

    def checked(batch: Batch) -> Mismatch | None:
        return check(batch, tmp_path, by_pythonbpf=True)

    while pairs < wanted:
        stateful = batches % 4 == 3
        batch = draw_batch(rng, stateful=stateful)
        taken = build(batch, tmp_path / "batch.o", by_pythonbpf=True)
        mismatch = checked(batch)
        if mismatch:
            smallest = minimise(batch, checked)
            pytest.fail(show(smallest, checked(smallest) or mismatch))
        pairs += len(taken.functions) * len(batch.inputs)
        by_clang += len(taken.left)
        if not stateful:
            assert len(taken.functions) > len(taken.left), taken.left
        batches += 1
    print(f"{pairs} pairs of function and input, no mismatch; {by_clang} functions left to clang")
