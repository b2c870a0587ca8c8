"""What `inspect` reports, against sources whose contents are known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from scx_vsched.bpf.elf import ObjectError
from scx_vsched.bpf.inspect import _MAP_TYPES, Extern, MapInfo, inspect_object
from scx_vsched.bpf.kernel import kernel_btf

if TYPE_CHECKING:
    from pathlib import Path


def test_small_object(sample: Path) -> None:
    report = inspect_object(sample)
    assert report.size == sample.stat().st_size
    assert report.license == "GPL"
    assert report.meta is None
    assert [(p.name, p.section) for p in report.programs] == [
        ("scale", ".text"),
        ("add", "syscall"),
    ]
    assert all(p.instructions > 1 for p in report.programs)
    assert report.maps == (
        MapInfo("totals", "array", 4, 8, 4, 0),
        MapInfo("counters", "percpu_array", 4, 4, 2, 0),
        MapInfo("names", "hash", 8, 4, 8, 0),
    )
    assert report.externs == (Extern("scx_bpf_error_bstr", "kfunc", weak=True),)
    assert report.operations == ()


def test_default_policy(core_object: Path) -> None:
    report = inspect_object(core_object)
    assert report.meta
    assert report.meta.policy == "Core"
    operations = {o.member: o.program for o in report.operations}
    assert {"enqueue", "dispatch", "init", "exit"} <= operations.keys()
    assert set(operations.values()) == {
        p.name for p in report.programs if p.section.startswith("struct_ops")
    }
    assert {"stats", "exit_info", "exit_dump", "vcpus"} <= {m.name for m in report.maps}
    enqueue = next(p for p in report.programs if p.name == operations["enqueue"])
    assert any("core.py:" in source for source in enqueue.sources)
    weak = {extern.name: extern.weak for extern in report.externs}
    # Renamed in 6.13: each name is there on some kernels only.
    assert all(weak[name] for name in weak if "dsq_insert" in name or "dispatch" in name)
    # Debian's 7.1.13 shows their hidden argument, so that libbpf takes them for other functions.
    shown = {"scx_bpf_kick_cpu", "scx_bpf_get_idle_smtmask", "bpf_iter_scx_dsq_new"}
    assert shown <= {name for name in weak if weak[name]}
    assert not weak["scx_bpf_create_dsq"]
    assert sum(sum(r.core.values()) for r in report.relocations) > 10
    assert sum(r.symbols for r in report.relocations) > 10


def test_report_is_plain_data(core_object: Path) -> None:
    report = inspect_object(core_object)
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["meta"]["policy"] == "Core"
    assert len(plain["programs"]) == len(report.programs)


@pytest.mark.usefixtures("may_load")
def test_map_types_are_the_kernels() -> None:
    kernel: dict[int, set[str]] = {}
    for name, number in kernel_btf().enum("bpf_map_type").items():
        kernel.setdefault(number, set()).add(name.removeprefix("BPF_MAP_TYPE_").lower())
    for number, name in enumerate(_MAP_TYPES):
        if "__max_bpf_map_type" in kernel[number]:
            break  # the rest is of later kernels
        assert name in kernel[number], number


def test_object_without_type_information(sample: Path, tmp_path: Path) -> None:
    path = tmp_path / "bare.o"
    path.write_bytes(sample.read_bytes().replace(b".BTF\0", b".XYZ\0"))
    with pytest.raises(ObjectError, match="no usable type information") as caught:
        inspect_object(path)
    assert "-g" in caught.value.hint


def test_damaged_objects_never_crash(sample: Path, tmp_path: Path) -> None:
    data = sample.read_bytes()
    path = tmp_path / "damaged.o"
    for at in range(64, len(data), 61):
        path.write_bytes(data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :])
        try:
            inspect_object(path)
        except ObjectError as error:
            assert str(path) in error.message
