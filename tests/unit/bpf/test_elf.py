"""Files that are no objects of ours: each has one clear message."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from scx_vsched.bpf.elf import ObjectError, meta_text, read_object, sections
from scx_vsched.bpf.loader import SchedulerObject, read_meta
from scx_vsched.bpf.model import META_FORMAT

PATH = Path("policy.bpf.o")


def test_description_is_found(core_object: Path) -> None:
    meta = read_meta(read_object(core_object), core_object)
    assert meta.policy == "Core"
    assert meta.tunables
    assert meta.stats


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ObjectError, match=r"nothing\.o: No such file"):
        read_object(tmp_path / "nothing.o")
    with pytest.raises(ObjectError, match="Is a directory"):
        read_object(tmp_path)


@pytest.mark.parametrize("data", [b"", b"\x7fEL", b"#!/bin/sh\n", b"\0" * 4096])
def test_no_elf(data: bytes) -> None:
    with pytest.raises(ObjectError, match=r"policy\.bpf\.o is not a BPF object \(no ELF file\)"):
        meta_text(data, PATH)


def test_program_of_another_machine() -> None:
    data = Path(sys.executable).read_bytes()
    with pytest.raises(ObjectError, match=r"is a program for \S+, not a BPF object"):
        meta_text(data, PATH)


def test_other_byte_order(core_object: Path) -> None:
    data = bytearray(core_object.read_bytes())
    data[5] = 3 - data[5]
    with pytest.raises(ObjectError, match="other byte order"):
        meta_text(bytes(data), PATH)


def test_not_ours(sample: Path) -> None:
    with pytest.raises(ObjectError, match="was not built by scx_vsched") as caught:
        meta_text(sample.read_bytes(), PATH)
    assert "scx_vsched build" in caught.value.hint


def test_truncated_anywhere(core_object: Path, tmp_path: Path) -> None:
    data = core_object.read_bytes()
    cuts = [*range(4, 80), *range(80, len(data), 997), len(data) - 1]
    for cut in cuts:
        path = tmp_path / "cut.o"
        path.write_bytes(data[:cut])
        with pytest.raises(ObjectError, match="truncated"):
            SchedulerObject.open(path)


def test_newer_description(core_object: Path) -> None:
    data = core_object.read_bytes()
    old = f'"format":{META_FORMAT},'.encode()
    assert data.count(old) == 1
    newer = data.replace(old, f'"format":{META_FORMAT + 1},'.encode())
    with pytest.raises(ObjectError, match=f"format {META_FORMAT + 1}") as caught:
        read_meta(newer, PATH)
    assert "again" in caught.value.hint


@pytest.mark.parametrize("change", [b"{]", b"\xff\xfe", b"[]\0", b"{}\0", b'{"format":2}\0'])
def test_damaged_description(core_object: Path, change: bytes) -> None:
    data = core_object.read_bytes()
    at = data.index(meta_text(data, PATH).encode())
    with pytest.raises(ObjectError, match=r"policy\.bpf\.o.*damaged"):
        read_meta(data[:at] + change + data[at + len(change) :], PATH)


def test_damaged_headers_never_crash(core_object: Path) -> None:
    data = core_object.read_bytes()
    for at in range(4, 64):
        for value in (0, 1, 0x7F, 0xFF):
            damaged = bytearray(data)
            damaged[at] = value
            try:
                sections(bytes(damaged), PATH)
            except ObjectError as error:
                assert "policy.bpf.o" in error.message
    table = struct.unpack_from("=Q", data, 40)[0]
    for at in range(table, len(data), 8):
        damaged = bytearray(data)
        damaged[at : at + 8] = b"\xff" * 8
        try:
            meta_text(bytes(damaged), PATH)
        except ObjectError as error:
            assert "policy.bpf.o" in error.message
