"""Own reading of BTF, against what the compiler was told and on damaged data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scx_vsched.bpf.btf import Btf, BtfError, BtfKind
from scx_vsched.bpf.btf_ext import core_relocations, line_infos
from scx_vsched.bpf.compile import compile_c
from scx_vsched.bpf.elf import sections

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """\
typedef unsigned int u32;
typedef u32 const volatile hidden;
struct inner { char letters[3]; hidden number; };
union either { long number; char *text; };
struct outer {
	struct inner pair[2];
	union either choice;
	unsigned bits : 5;
	unsigned more : 7;
	enum colour { RED, GREEN = 5 } colour;
	void (*call)(int);
};
struct outer outer;
const volatile hidden shown = 3;
"""


@pytest.fixture(scope="module")
def btf(tmp_path_factory: pytest.TempPathFactory) -> Btf:
    out = tmp_path_factory.mktemp("btf") / "types.o"
    compile_c(SOURCE, out)
    return Btf(sections(out.read_bytes(), out)[".BTF"])


def test_members_and_offsets(btf: Btf) -> None:
    outer = btf.find(BtfKind.STRUCT, "outer")
    assert outer
    # A bit field counts from the byte in which it begins.
    assert [(member.name, member.offset) for member in outer.members] == [
        ("pair", 0),
        ("choice", 16),
        ("bits", 24),
        ("more", 24),
        ("colour", 28),
        ("call", 32),
    ]
    sizes = [btf.size(member.type) for member in outer.members]
    assert sizes == [16, 8, 4, 4, 4, 8]


def test_typedefs_and_qualifiers_are_looked_through(btf: Btf) -> None:
    inner = btf.find(BtfKind.STRUCT, "inner")
    assert inner
    assert btf.resolve(inner.members[1].type).name == "unsigned int"


def test_variables_of_sections(btf: Btf) -> None:
    assert set(btf.section(".rodata")) == {"shown"}
    assert btf.size(btf.section(".rodata")["shown"].type) == 4
    assert btf.section(".nothing") == {}


def test_pointers(btf: Btf) -> None:
    union = btf.find(BtfKind.UNION, "either")
    assert union
    assert btf.pointed(union.members[1].type).name == "char"


def test_lines_and_relocations(sample: Path) -> None:
    found = sections(sample.read_bytes(), sample)
    btf = Btf(found[".BTF"])
    lines = line_infos(found[".BTF.ext"], btf)
    assert {info.section for info in lines} == {".text", "syscall"}
    assert all(info.offset % 8 == 0 for info in lines)
    assert core_relocations(found[".BTF.ext"], btf) == ()


def test_damaged_lines(sample: Path) -> None:
    found = sections(sample.read_bytes(), sample)
    btf = Btf(found[".BTF"])
    for damaged in (b"", found[".BTF.ext"][:20], b"x" * 100):
        with pytest.raises(BtfError):
            line_infos(damaged, btf)


@given(st.binary(max_size=200))
def test_rubbish_is_an_error(data: bytes) -> None:
    with pytest.raises(BtfError):
        Btf(data)


def test_cut_and_changed_data_never_crashes(sample: Path) -> None:
    data = sections(sample.read_bytes(), sample)[".BTF"]
    for at in range(0, len(data), 7):
        for damaged in (data[:at], data[:at] + b"\xff" * 4 + data[at + 4 :]):
            try:
                btf = Btf(damaged)
                for kind in btf:
                    btf.resolve(kind.id)
            except (BtfError, IndexError):
                continue
