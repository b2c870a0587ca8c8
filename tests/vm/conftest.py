"""Which VMs run beside each other where pytest has several workers (`-n 2 --dist loadfile`).

Most tests only wait for their guest, which keeps one CPU of the host busy. Those that judge by time
are marked `alone`: they come last and have the machine to themselves.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Those that are alone come last, so that nobody has to wait for them."""
    if not config.getoption("--long"):
        held = [item for item in items if item.get_closest_marker("unproven")]
        config.hook.pytest_deselected(items=held)
        items[:] = [item for item in items if not item.get_closest_marker("unproven")]
    items.sort(key=lambda item: item.get_closest_marker("alone") is not None)


@pytest.fixture(scope="module", autouse=True)
def turn(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Holds a lock for as long as the module's tests take, shared or exclusive."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    alone = request.node.get_closest_marker("alone") is not None
    with (shared / "vm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
