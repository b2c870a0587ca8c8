"""Where the harness keeps things between runs, and where the source tree is."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["PACKAGE_ROOT", "cache_dir", "kernel_cache", "shared_kernels"]

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
"""The directory that holds the package `scx_vsched`: the source tree in an editable install."""


def cache_dir() -> Path:
    """The user's cache of this project, `$XDG_CACHE_HOME/scx_vsched`; not created."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "scx_vsched"


def kernel_cache() -> Path:
    """Fetched and built kernels, one directory per release."""
    return cache_dir() / "kernels"


def shared_kernels() -> Path:
    """Kernel images that lie beside the source tree for several checkouts, if there are any."""
    return PACKAGE_ROOT.parent / "shared" / "kernels"
