"""Shared by all tests: kernels, VMs, and the rule for what may be skipped."""

from __future__ import annotations

import os
import platform
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from scx_vsched.bpf.compile import find_clang
from scx_vsched.errors import UserError
from scx_vsched.vm.accelerator import choose
from scx_vsched.vm.boot import Outcome, run_job
from scx_vsched.vm.fetch import fetch
from scx_vsched.vm.job import Job, Step
from scx_vsched.vm.kernels import Kernel, find_kernels, select
from scx_vsched.vm.qemu import find_qemu, require
from scx_vsched.vm.run import build_object

if TYPE_CHECKING:
    from scx_vsched.bpf.compile import Clang
    from scx_vsched.vm.machine import Shape

GUEST_JOBS = Path(__file__).parent / "vm"
# The oldest series comes as an image beside the source tree or from tools/build-kernel; where it
# is absent, the oldest that Debian packages stands in.
OLDEST, OLDEST_PACKAGED, LONG_TERM, NEWEST = "6.12", "6.16", "6.18", "7.3"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long",
        action="store_true",
        help="stress schedulers for 60 s each instead of a few; many more random examples",
    )


def pytest_configure(config: pytest.Config) -> None:
    """How many examples a property is tried on, however slow the machine is; that SIGINT works."""
    examples = 1000 if config.getoption("--long") else 30
    settings.register_profile("tests", max_examples=examples, deadline=None)
    settings.load_profile("tests")
    # Tests interrupt themselves and what they start; a shell's background jobs ignore that, and so
    # would all of their children.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def long_run(request: pytest.FixtureRequest) -> bool:
    """Whether the time is there to run stressors in full (`--long`)."""
    return bool(request.config.getoption("--long"))


def missing(reason: str) -> None:
    """Skip for `reason`; in CI fail instead, unless this machine cannot boot VMs at all."""
    if os.environ.get("CI") and platform.machine() == "x86_64":
        pytest.fail(f"in CI nothing may be missing: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def clang() -> Clang:
    """The compiler, for those who `usefixtures` it; without any the test is skipped."""
    try:
        return find_clang()
    except UserError as error:
        pytest.skip(error.message)


@pytest.fixture(scope="session")
def vm_kernels() -> dict[str, Kernel]:
    """The quick set by role: "oldest", "long-term", "newest"; fetched where they can be."""
    try:
        found = {
            "oldest": _kernel(OLDEST, OLDEST_PACKAGED),
            "long-term": _kernel(LONG_TERM),
            "newest": _kernel(NEWEST),
        }
        qemu = find_qemu()
        require(qemu, choose(qemu, found["newest"].image).name)
    except UserError as error:
        missing(f"VMs cannot be booted: {error.message} ({error.hint})")
    return found


def _kernel(series: str, otherwise: str = "") -> Kernel:
    try:
        return select(find_kernels(), series)
    except UserError:
        return fetch(otherwise or series, print)


class Guests:
    """Runs jobs of the functions in tests/vm/guest_jobs.py in VMs."""

    def __init__(self, kernels: dict[str, Kernel]) -> None:
        self.kernels = kernels

    def run(
        self,
        role: str,
        steps: list[Step],
        *,
        files: dict[str, Path] | None = None,
        shape: Shape | None = None,
        timeout_s: float = 400,
    ) -> Outcome:
        """Run `steps` in one VM on the kernel of that role."""
        return run_job(
            self.kernels[role],
            Job(tuple(steps), path=(str(GUEST_JOBS),)),
            shape=shape,
            files=files,
            timeout_s=timeout_s,
        )


@pytest.fixture(scope="session")
def guests(vm_kernels: dict[str, Kernel]) -> Guests:
    """A way to run jobs in VMs."""
    return Guests(vm_kernels)


@pytest.fixture(scope="session")
def core_object(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default policy, built."""
    return build_object("core", tmp_path_factory.mktemp("core") / "core.bpf.o")
