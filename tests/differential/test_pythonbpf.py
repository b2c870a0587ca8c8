"""The second backend on random functions: CPython, our evaluator and BPF must agree there too.

Most draws change nothing, which is what the backend takes; the others keep state, and some of them
only read it. What it does not take is left out: the other test has it.
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import pytest
from minimise import minimise
from test_differential import (
    check,
    clang,
    draw_batch,
    policy_source,
    seeded,
    show,
)

from scx_vsched.backend import fits
from scx_vsched.backend.build import take
from scx_vsched.backend.compiler import require
from scx_vsched.errors import UserError
from scx_vsched.policy.compiler import compile_source

if TYPE_CHECKING:
    from pathlib import Path

    from test_differential import Batch, Mismatch

PAIRS = 2_000
SLOWER = 5  # than clang; of the pairs that `VSCHED_PAIRS` asks for, every fifth
BYTES = 192  # random functions read more than hooks do, and have the stack for themselves
MOST = 100_000  # and may take longer

__all__ = ["clang"]


@pytest.fixture
def pythonbpf() -> None:
    """Skips where the package is not installed."""
    try:
        require()
    except UserError as error:
        pytest.skip(f"{error.message} ({error.hint})")


def only_taken(batch: Batch) -> Batch:
    """The batch less the functions that the backend does not take."""
    program = compile_source(batch.source, "random_policy.py")
    taken = take(program, [f.name for f in batch.tested], prefix="fn", most=MOST).functions
    functions = [f for f in batch.functions if not f.full or f.name in taken]
    return dataclasses.replace(batch, functions=functions, source=policy_source(functions))


@pytest.mark.bpf
@pytest.mark.usefixtures("clang", "pythonbpf")
def test_three_ways_agree_with_functions_by_pythonbpf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fits, "MAX_BYTES", BYTES)
    rng = seeded()
    wanted = int(os.environ.get("VSCHED_PAIRS") or 0) // SLOWER or PAIRS
    pairs = batches = too_large = 0

    def checked(batch: Batch) -> Mismatch | None:
        return check(batch, tmp_path, by_pythonbpf=True)

    while pairs < wanted:
        batch = only_taken(draw_batch(rng, stateful=batches % 4 == 3))
        batches += 1
        if not batch.tested:
            continue
        try:
            mismatch = checked(batch)
        except AssertionError as error:
            if "oo large" not in str(error):
                raise
            too_large += 1  # for the verifier's million steps, or BPF's stack of 512 bytes
            assert too_large < 3 + batches / 4, error
            continue
        if mismatch:
            smallest = minimise(batch, checked)
            pytest.fail(show(smallest, checked(smallest) or mismatch))
        pairs += len(batch.tested) * len(batch.inputs)
    print(f"{pairs} pairs of function and input, no mismatch; {too_large} of {batches} too large")
