"""What tests of the second backend share."""

from __future__ import annotations

import pytest

from scx_vsched.backend.compiler import require
from scx_vsched.bpf.compile import find_clang
from scx_vsched.errors import UserError


@pytest.fixture
def pythonbpf() -> None:
    """Skips where the backend's packages, or clang, are not installed."""
    try:
        require()
        find_clang()
    except UserError as error:
        pytest.skip(f"{error.message} ({error.hint})")
