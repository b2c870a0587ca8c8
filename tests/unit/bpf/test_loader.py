"""Objects on their way to the kernel, as far as a kernel without sched_ext goes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from scx_vsched.bpf import loader
from scx_vsched.bpf.build import build
from scx_vsched.bpf.elf import ObjectError
from scx_vsched.bpf.kernel import ops_flags, sched_ext_state
from scx_vsched.bpf.libbpf import BpfError
from scx_vsched.bpf.loader import (
    DEFAULT_EXIT_DUMP_LEN,
    LoadError,
    SchedulerObject,
    check_tunables,
    parse_verifier_stats,
)
from scx_vsched.bpf.object import Object
from scx_vsched.errors import UserError
from scx_vsched.policies import builtin_policies

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def core(core_object: Path) -> Iterator[SchedulerObject]:
    with SchedulerObject.open(core_object) as obj:
        yield obj


def rodata(obj: SchedulerObject) -> memoryview:
    """The constants as they would be loaded."""
    obj._configure()
    return obj.map(obj._rodata_map()).initial_value()


def member(obj: SchedulerObject, name: str) -> int:
    """A member of the operations table as it would be loaded."""
    obj._configure()
    found = next(m for m in obj._ops_type.members if m.name == name)
    size = obj._btf.size(found.type)
    raw = obj.map(loader.OPS_MAP).initial_value()[found.offset : found.offset + size]
    return int.from_bytes(raw, "little")


def test_tunables_land_in_their_slots(core: SchedulerObject) -> None:
    names = [tunable.name for tunable in core.meta.tunables]
    values = {tunable.name: tunable.max for tunable in core.meta.tunables[1:]}
    core.set_tunables(values)
    core._configure()
    found = struct.unpack(
        f"={len(names)}Q", bytes(core.map(loader.TUNABLES_MAP).initial_value())[: 8 * len(names)]
    )
    assert dict(zip(names, found, strict=True)) == {
        **values,
        names[0]: core.meta.tunables[0].default,
    }


def test_unknown_tunable_is_refused(core: SchedulerObject) -> None:
    with pytest.raises(UserError, match="policy Core has no tunable slice_ms") as caught:
        core.set_tunables({"slice_ms": 1})
    assert "slice_us" in caught.value.hint


@pytest.mark.parametrize("by", [-1, 1])
def test_tunables_out_of_bounds_are_refused(core: SchedulerObject, by: int) -> None:
    for tunable in core.meta.tunables:
        value = (tunable.max if by > 0 else tunable.min) + by
        with pytest.raises(UserError) as caught:
            check_tunables(core.meta, {tunable.name: value})
        for word in (tunable.name, str(value), str(tunable.min), str(tunable.max), tunable.unit):
            assert word in caught.value.message
        check_tunables(core.meta, {tunable.name: value - by})


def test_constants(core: SchedulerObject) -> None:
    core.set_constant("nr_vcpu_ids", 77)
    at = core._rodata["nr_vcpu_ids"].offset
    assert struct.unpack_from("=I", rodata(core), at) == (77,)
    with pytest.raises(KeyError):
        core.set_constant("no_such_constant", 1)


def test_operations_table(core: SchedulerObject) -> None:
    default = member(core, "timeout_ms")
    core.set_ops()
    assert member(core, "timeout_ms") == default > 0
    core.set_ops(timeout_ms=1234, exit_dump_len=0)
    assert member(core, "timeout_ms") == 1234
    assert member(core, "exit_dump_len") == DEFAULT_EXIT_DUMP_LEN
    core.set_ops(exit_dump_len=65536)
    assert member(core, "exit_dump_len") == 65536
    assert member(core, "timeout_ms") == 1234
    assert core.map("exit_dump").value_size == 65536
    at = core._rodata["exit_dump_len"].offset
    assert struct.unpack_from("=I", rodata(core), at) == (65536,)


def test_flags_in_the_operations_table(core: SchedulerObject) -> None:
    assert core.meta.ops_flags == ("SCX_OPS_ENQ_EXITING",)
    assert member(core, "flags") == 1 << 2


def test_flags_unknown_to_the_kernel_stay_off() -> None:
    assert ops_flags(["SCX_OPS_ENQ_LAST", "SCX_OPS_NEVER_HEARD_OF"]) == 1 << 1


@pytest.mark.parametrize(
    "setting",
    [{"timeout_ms": 0}, {"timeout_ms": 30_001}, {"exit_dump_len": -1}, {"exit_dump_len": 1 << 30}],
)
def test_ops_out_of_bounds_are_refused(core: SchedulerObject, setting: dict[str, int]) -> None:
    with pytest.raises(UserError, match=r"out of range: \d+ .*to \d+"):
        core.set_ops(**setting)


def test_object_of_another_layout(core_object: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.o"
    path.write_bytes(core_object.read_bytes().replace(b"\0exit_dump_len\0", b"\0exit_dump_xyz\0"))
    with pytest.raises(ObjectError, match="lays objects out differently") as caught:
        SchedulerObject.open(path)
    assert "again" in caught.value.hint


@pytest.mark.bpf
@pytest.mark.usefixtures("may_load")
@pytest.mark.parametrize("stats", [False, True])
def test_kernel_without_sched_ext_says_what_it_lacks(core: SchedulerObject, stats: bool) -> None:
    if sched_ext_state() is not None:
        pytest.skip("this kernel has sched_ext")
    with pytest.raises(LoadError, match=r"this kernel has no \w*scx_\w+") as caught:
        core.load(verifier_stats=stats)
    assert caught.value.log


@pytest.mark.bpf
@pytest.mark.usefixtures("may_load")
def test_verifier_error_names_program_and_line(refused: Path) -> None:
    with Object(refused.read_bytes(), "refused") as obj:
        with pytest.raises(BpfError) as caught:
            obj.load()
        error = loader._load_error(refused, caught.value)
    assert error.program == "add"
    first, *rest = error.message.splitlines()
    assert first == f"{refused}: the kernel's verifier refuses add at policy.py:42"
    assert any("invalid mem access 'scalar'" in line for line in rest)
    assert len(rest) <= 40


def test_missing_kernel_function_is_named(core_object: Path) -> None:
    log = ("extern (func ksym) 'scx_bpf_new_thing': not found in kernel or module BTFs",)
    error = loader._load_error(core_object, BpfError("cannot load core", 3, log))
    assert "this kernel has no scx_bpf_new_thing" in error.message


def test_missing_privilege_is_hinted_at(core_object: Path) -> None:
    error = loader._load_error(core_object, BpfError("cannot load core", 1, ("line",)))
    assert error.hint == "this needs root"


def test_verifier_statistics() -> None:
    log = (
        "verification time 902 usec\nstack depth 8+16\nprocessed 2715 insns (limit 1000000) "
        "max_states_per_insn 4 total_states 171 peak_states 98 mark_read 12\n"
    )
    stats = parse_verifier_stats("enqueue", log)
    assert (stats.insns, stats.states, stats.peak_states, stats.time_us) == (2715, 171, 98, 902)
    assert parse_verifier_stats("enqueue", "").insns == 0


def test_a_tunable_that_is_frozen_at_build_takes_no_other_value(tmp_path: Path) -> None:
    out = tmp_path / "frozen.bpf.o"
    meta = build(builtin_policies()["core"], out, freeze={"slice_us": 2000, "steal_node_min": None})
    found = {t.name: t for t in meta.tunables if t.frozen}
    assert {name: (t.min, t.default, t.max) for name, t in found.items()} == {
        "slice_us": (2000, 2000, 2000),
        "steal_node_min": (2, 2, 2),
    }
    with SchedulerObject.open(out) as obj:
        obj.set_tunables({"slice_min_us": 300, "slice_us": 2000})
        with pytest.raises(UserError, match="2000 to 2000"):
            obj.set_tunables({"slice_us": 3000})
        with pytest.raises(UserError, match="is frozen"):
            check_tunables(obj.meta, {"slice_us": 2000}, running=True)
        place = [t.name for t in meta.tunables].index("slice_us")
        offset = obj._rodata["frozen_tunables"].offset + 8 * place
        obj._configure()
        assert struct.unpack_from("=Q", rodata(obj), offset) == (2000,)
    with pytest.raises(UserError, match="no tunable slice"):
        build(builtin_policies()["core"], out, freeze={"slice": None})
