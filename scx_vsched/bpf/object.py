"""An open BPF object: its programs, maps and attachments, on top of libbpf.

An object is opened from bytes, configured (map sizes, initial values, what the verifier shall log),
loaded once, and closed; nothing is pinned, so the kernel forgets all of it with the process. Sizes
are in bytes.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import sys
from ctypes import byref, c_size_t
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from scx_vsched.bpf.libbpf import BpfError, Log, OpenOpts, TestRunOpts, library, logging_to
from scx_vsched.bpf.privileges import CAP_SYS_ADMIN, without_capability

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Link", "Map", "Object", "Program", "TestRun"]


@dataclass(frozen=True, slots=True)
class TestRun:
    """What BPF_PROG_TEST_RUN returned: the program's result and its context afterwards."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    retval: int
    context: bytes
    duration_ns: int


class Link:
    """An attachment; it ends when this is closed or the process ends, however that happens."""

    def __init__(self, handle: int) -> None:
        self._handle: int | None = handle

    def close(self) -> None:
        """Detach; a second call does nothing."""
        handle, self._handle = self._handle, None
        if handle:
            library().calls.bpf_link__destroy(handle)


class Program:
    """A BPF program of an open object."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        calls = library().calls
        self.name: str = calls.bpf_program__name(handle).decode()
        self.section: str = calls.bpf_program__section_name(handle).decode()
        self._log: ctypes.Array[ctypes.c_char] | None = None

    @property
    def instructions(self) -> int:
        """Instructions, after load with the subprograms that libbpf appended."""
        return int(library().calls.bpf_program__insn_cnt(self._handle))

    @property
    def fd(self) -> int:
        """File descriptor of the loaded program; negative before load."""
        return int(library().calls.bpf_program__fd(self._handle))

    def skip(self) -> None:
        """Leave this program out of the load."""
        library().calls.bpf_program__set_autoload(self._handle, False)

    def keep_log(self, level: int, size: int) -> None:
        """Before load: let the verifier write up to `size` bytes at `level` (bits 1, 2 and 4)."""
        self._log = ctypes.create_string_buffer(size)
        calls = library().calls
        calls.bpf_program__set_log_buf(self._handle, self._log, size)
        calls.bpf_program__set_log_level(self._handle, level)

    @property
    def log(self) -> str:
        """What the verifier wrote, after load; empty unless `keep_log` asked for it."""
        return self._log.value.decode(errors="replace") if self._log else ""

    def attach(self) -> Link:
        """Attach this loaded program to what its section names; raises BpfError."""
        handle = library().calls.bpf_program__attach(self._handle)
        if not handle:
            raise BpfError(f"cannot attach {self.name} to {self.section}", ctypes.get_errno())
        return Link(handle)

    def test_run(self, context: bytes = b"") -> TestRun:
        """Run this loaded `SEC("syscall")` program once on a copy of `context`.

        The kernel does so through BPF_PROG_TEST_RUN. Raises BpfError.
        """
        buffer = ctypes.create_string_buffer(context, len(context)) if context else None
        address = ctypes.addressof(buffer) if buffer else None
        opts = TestRunOpts(sz=ctypes.sizeof(TestRunOpts), ctx_in=address, ctx_size_in=len(context))
        result = library().calls.bpf_prog_test_run_opts(self.fd, byref(opts))
        if result < 0:
            raise BpfError(f"test run of {self.name} failed", -result)
        return TestRun(opts.retval, buffer.raw if buffer else b"", opts.duration)


class Map:
    """A BPF map of an open object; keys and values are bytes of the map's sizes."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.name: str = library().calls.bpf_map__name(handle).decode()

    def _number(self, what: str) -> int:
        return int(getattr(library().calls, f"bpf_map__{what}")(self._handle))

    @property
    def fd(self) -> int:
        """File descriptor of the created map; negative before load."""
        return self._number("fd")

    @property
    def type(self) -> int:
        """enum bpf_map_type."""
        return self._number("type")

    @property
    def key_size(self) -> int:
        """Size of a key."""
        return self._number("key_size")

    @property
    def value_size(self) -> int:
        """Size of a value (of one CPU's value in a per-CPU map)."""
        return self._number("value_size")

    @property
    def max_entries(self) -> int:
        """Number of entries that the map holds."""
        return self._number("max_entries")

    @property
    def value_type_id(self) -> int:
        """Id of the value's type in the object's BTF."""
        return self._number("btf_value_type_id")

    def set_value_size(self, size: int) -> None:
        """Before load: values of `size` bytes."""
        self._check(library().calls.bpf_map__set_value_size(self._handle, size), "resize")

    def set_max_entries(self, entries: int) -> None:
        """Before load: room for `entries` entries."""
        self._check(library().calls.bpf_map__set_max_entries(self._handle, entries), "resize")

    def initial_value(self) -> memoryview:
        """Before load: the bytes that a .rodata, .data or struct_ops map starts with; writable."""
        size = c_size_t()
        address = library().calls.bpf_map__initial_value(self._handle, byref(size))
        if not address:
            raise BpfError(f"map {self.name} has no initial value")
        return memoryview((ctypes.c_char * size.value).from_address(address)).cast("B")

    def read(self, key: bytes | int) -> bytes:
        """The value of `key` (an int is a u32 index); raises BpfError with ENOENT if absent."""
        return self._lookup(key, self.value_size)

    def read_percpu(self, key: bytes | int) -> list[bytes]:
        """The value of `key` on each possible CPU, by CPU number."""
        stride = -(-self.value_size // 8) * 8
        raw = self._lookup(key, stride * library().calls.libbpf_num_possible_cpus())
        return [raw[at : at + self.value_size] for at in range(0, len(raw), stride)]

    def write(self, key: bytes | int, value: bytes) -> None:
        """Set the value of `key`, which is created where the map's type allows."""
        if len(value) != self.value_size:
            raise ValueError(f"map {self.name}: {len(value)} bytes for {self.value_size}")
        calls = library().calls
        self._check(calls.bpf_map_update_elem(self.fd, self._key(key), value, 0), "write")

    def delete(self, key: bytes | int) -> bool:
        """Take `key` out; whether it was there. Raises BpfError for anything else."""
        result = library().calls.bpf_map_delete_elem(self.fd, self._key(key))
        if result != -errno.ENOENT:
            self._check(result, "delete from")
        return bool(result == 0)

    def shared(self, size: int) -> memoryview:
        """After load: the first `size` bytes of a map with BPF_F_MMAPABLE, read and written in
        place, each item of the view at once.
        """
        return memoryview(mmap.mmap(self.fd, size))

    def keys(self) -> Iterator[bytes]:
        """All keys; those added or removed meanwhile may be missed."""
        key, following = None, ctypes.create_string_buffer(self.key_size)
        while library().calls.bpf_map_get_next_key(self.fd, key, following) == 0:
            key = following.raw
            yield key

    def attach_struct_ops(self) -> Link:
        """Attach the operations table in this map; raises BpfError."""
        handle = library().calls.bpf_map__attach_struct_ops(self._handle)
        if not handle:
            raise BpfError(f"cannot attach {self.name}", ctypes.get_errno())
        return Link(handle)

    def _key(self, key: bytes | int) -> bytes:
        raw = key.to_bytes(4, sys.byteorder) if isinstance(key, int) else key
        if len(raw) != self.key_size:
            raise ValueError(f"map {self.name}: a key has {self.key_size} bytes, not {len(raw)}")
        return raw

    def _lookup(self, key: bytes | int, size: int) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        self._check(library().calls.bpf_map_lookup_elem(self.fd, self._key(key), buffer), "read")
        return buffer.raw

    def _check(self, result: int, verb: str) -> None:
        if result < 0:
            raise BpfError(f"cannot {verb} map {self.name}", -result)


class Object:
    """A BPF object file in this process, closed on exit from its context."""

    def __init__(self, data: bytes, name: str = "object", *, debug: bool = False) -> None:
        """Open the ELF object in `data`; raises BpfError where libbpf cannot make sense of it.

        `name` is what the kernel shows. With `debug` the log holds libbpf's debug messages too.
        """
        self.log = Log(debug=debug)
        self._data = data  # libbpf reads from it until it is loaded
        self._handle: int | None = None
        calls = library().calls
        opts = OpenOpts(sz=ctypes.sizeof(OpenOpts), object_name=name.encode())
        with logging_to(self.log):
            self._handle = calls.bpf_object__open_mem(data, len(data), byref(opts))
        if not self._handle:
            raise BpfError(f"cannot open {name}", ctypes.get_errno(), self.log.lines)
        self.name = name
        self.programs = {p.name: p for p in map(Program, self._each("program"))}
        self.maps = {m.name: m for m in map(Map, self._each("map"))}

    def _each(self, what: str) -> Iterator[int]:
        following = getattr(library().calls, f"bpf_object__next_{what}")
        handle = following(self._handle, None)
        while handle:
            yield handle
            handle = following(self._handle, handle)

    def program(self, name: str) -> Program:
        """The program called `name`; raises BpfError without one."""
        if name not in self.programs:
            raise BpfError(f"{self.name} has no program {name}")
        return self.programs[name]

    def map(self, name: str) -> Map:
        """The map called `name`; raises BpfError without one."""
        if name not in self.maps:
            raise BpfError(f"{self.name} has no map {name}")
        return self.maps[name]

    def raw_btf(self) -> bytes:
        """The object's BTF, with the offsets of global variables filled in; empty without any."""
        calls = library().calls
        size = ctypes.c_uint32()
        btf = calls.bpf_object__btf(self._handle)
        data = calls.btf__raw_data(btf, byref(size)) if btf else None
        return ctypes.string_at(data, size.value) if data else b""

    def load(self) -> None:
        """Create the maps and have the kernel verify the programs; raises BpfError.

        As soon as a kfunc is missing in the kernel's own BTF, as the older names of some always
        are, libbpf reads the BTF of every loaded module, a fifth of a second in an emulated guest.
        It needs CAP_SYS_ADMIN to ask for them; CAP_BPF and CAP_PERFMON are enough for all else.
        """
        with logging_to(self.log), without_capability(CAP_SYS_ADMIN):
            result = library().calls.bpf_object__load(self._handle)
        if result < 0:
            raise BpfError(f"cannot load {self.name}", -result, self.log.lines)

    def attach(self, map_name: str) -> Link:
        """Attach the operations table in the struct_ops map `map_name`; raises BpfError."""
        with logging_to(self.log):
            return self.map(map_name).attach_struct_ops()

    def close(self) -> None:
        """Give all of it back to the kernel; a second call does nothing."""
        handle, self._handle = self._handle, None
        if handle:
            library().calls.bpf_object__close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
