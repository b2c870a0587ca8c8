"""Runs the harness's programs through BPF_PROG_TEST_RUN, on this kernel or in a VM's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.bpf.object import Object

if TYPE_CHECKING:
    from scx_vsched.vm.agent import Guest


def run_object(data: bytes, functions: int, inputs: list[bytes]) -> list[list[int]]:
    """Each function's results on each input, as unsigned 64-bit numbers; BpfError if refused."""
    with Object(data) as obj:
        obj.load()
        for i, record in enumerate(inputs):
            obj.map("inputs").write(i, record)
        found = []
        for i in range(functions):
            obj.program(f"run_{i}").test_run()
            results = (obj.map("outputs").read(i * len(inputs) + k) for k in range(len(inputs)))
            found.append([int.from_bytes(result, "little") for result in results])
        return found


def run_in_guest(guest: Guest, name: str, functions: int, records: list[str]) -> list[list[int]]:
    """A VM's step: the like for the object file `name`; `records` are inputs in hexadecimal."""
    guest.progress(f"running {functions} functions on {len(records)} inputs")
    data = (guest.directory / name).read_bytes()
    return run_object(data, functions, [bytes.fromhex(record) for record in records])
