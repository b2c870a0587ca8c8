"""Every policy with every combination of features through the quick set of kernels."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scx_vsched.policies import builtin_policies, xen_policies
from scx_vsched.vm.baseline import compare, load_baseline
from scx_vsched.vm.verify import build_all, instructions, verify_kernel

if TYPE_CHECKING:
    from scx_vsched.vm.kernels import Kernel
    from scx_vsched.vm.verify import Built, KernelReport

pytestmark = pytest.mark.vm

BASELINE = Path(__file__).parent / "baseline.json"


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Built]:
    return build_all([*builtin_policies(), *xen_policies()], tmp_path_factory.mktemp("objects"))


@pytest.fixture(scope="module")
def reports(vm_kernels: dict[str, Kernel], objects: list[Built]) -> dict[str, KernelReport]:
    """Of each kernel; the kernels share the machine, as each loads one object after the other."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda kernel: verify_kernel(kernel, objects), vm_kernels.values())
        return dict(zip(vm_kernels, found, strict=True))


@pytest.fixture(params=["oldest", "long-term", "newest"])
def report(request: pytest.FixtureRequest, reports: dict[str, KernelReport]) -> KernelReport:
    return reports[request.param]


def test_every_object_loads_and_the_full_ones_work(
    report: KernelReport, objects: list[Built]
) -> None:
    assert report.error == ""
    assert {
        f"{each.policy} {each.features}": each.error for each in report.objects if each.error
    } == {}
    full = sum(built.full for built in objects)
    assert full == len(builtin_policies()) + len(xen_policies())
    assert len(report.objects) == len(objects) + full


def test_no_program_grew_beyond_the_record(report: KernelReport) -> None:
    recorded = load_baseline(BASELINE)
    assert any(key[0] == report.series for key in recorded) or report.series == "6.16"
    assert compare(recorded, instructions([report])).regressions == ()
