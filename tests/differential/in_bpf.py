"""Runs the harness's programs through BPF_PROG_TEST_RUN, on this kernel or in a VM's."""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING

from scx_vsched.bpf.object import Object

if TYPE_CHECKING:
    from scx_vsched.vm.agent import Guest


def run_object(
    data: bytes, functions: int, inputs: list[bytes], tuned: dict[int, int] | None = None
) -> bytes:
    """The outputs of all functions for all inputs, one after the other; BpfError if refused.

    `tuned` are tunables by place, changed once the programs are loaded.
    """
    with Object(data) as obj:
        obj.load()
        for i, record in enumerate(inputs):
            obj.map("inputs").write(i, record)
        for place, value in (tuned or {}).items():
            obj.map(".data.tunables").shared(8 * (place + 1)).cast("Q")[place] = value % 2**64
        for i in range(functions):
            status = obj.program(f"run_{i}").test_run().retval
            if status:
                raise AssertionError(f"run_{i} ended with {status}")
        outputs = obj.map("outputs")
        return bytes(outputs.shared(outputs.value_size * functions * len(inputs)))


def run_in_guest(guest: Guest, name: str, functions: int, records: list[str]) -> str:
    """A VM's step: the like for the object file `name`; `records` are inputs in hexadecimal."""
    guest.progress(f"running {functions} functions on {len(records)} inputs")
    data = (guest.directory / name).read_bytes()
    found = run_object(data, functions, [bytes.fromhex(record) for record in records])
    return base64.b64encode(zlib.compress(found)).decode()
