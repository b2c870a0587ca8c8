"""A thin typed layer over libbpf 1.4 or newer, through ctypes.

libbpf is looked for in three places: the path in `SCX_VSCHED_LIBBPF`, the system's `libbpf.so.1`,
and the static copy inside the extension module of the package pylibbpf. What libbpf prints is
kept in the log of the object at work, so that an error can show it and nothing else reaches the
terminal. Sizes are in bytes; errors are `BpfError`, with the kernel's reason and the log.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import errno
import functools
import importlib.util
import os
import threading
from ctypes import POINTER, c_bool, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "BpfError",
    "Library",
    "Log",
    "OpenOpts",
    "TestRunOpts",
    "describe_errno",
    "library",
    "logging_to",
]

MIN_VERSION = (1, 4)  # exposes a struct_ops map's initial value and its BTF type before load
ENV_PATH = "SCX_VSCHED_LIBBPF"
HINT = (
    "install libbpf 1.4 or newer (Debian: apt install libbpf1, from backports on bookworm), "
    f"or `pip install pylibbpf`, or name a libbpf.so.1 in {ENV_PATH}"
)

_LOG_LINES = 4000
_DEBUG = 2  # enum libbpf_print_level
_LIBBPF_ERRNO = 4000  # libbpf's own error numbers start here
_LIBBPF_ERRORS = {
    4000: "libelf cannot read the object",
    4001: "the object is not valid BPF",
    4003: "the object has the other byte order",
    4005: "a relocation failed",
    4006: "the kernel refused a program",
    4007: "the verifier refused a program",
    4008: "a program is too big",
    4010: "the kernel does not support this program type",
}


class BpfError(UserError):
    """libbpf or the kernel refused something; `errno` is positive, `log` what libbpf printed."""

    def __init__(self, message: str, number: int = 0, log: tuple[str, ...] = (), hint: str = ""):
        super().__init__(f"{message}: {describe_errno(number)}" if number else message, hint)
        self.errno = number
        self.log = log


def describe_errno(number: int) -> str:
    """Text for a positive errno of the kernel or of libbpf."""
    if number >= _LIBBPF_ERRNO:
        return _LIBBPF_ERRORS.get(number, f"libbpf error {number}")
    return f"{os.strerror(number)} ({errno.errorcode.get(number, number)})"


class Log:
    """The last lines that libbpf printed while its object was at work."""

    def __init__(self, *, debug: bool = False) -> None:
        self.debug = debug
        self._lines: collections.deque[str] = collections.deque(maxlen=_LOG_LINES)

    def add(self, text: str) -> None:
        """Append `text`, split into lines."""
        self._lines.extend(text.splitlines())

    @property
    def lines(self) -> tuple[str, ...]:
        """What was printed, oldest first, without the `libbpf: ` prefix."""
        return tuple(line.removeprefix("libbpf: ") for line in self._lines)


_current = threading.local()
_libc = ctypes.CDLL(None)
_PRINT_FN = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)


@contextlib.contextmanager
def logging_to(log: Log) -> Iterator[None]:
    """Collect in `log` what libbpf prints in this thread."""
    before = getattr(_current, "log", None)
    _current.log = log
    try:
        yield
    finally:
        _current.log = before


# A va_list is passed by reference on every 64-bit ABI that has BPF, so c_void_p stands for it.
def _collect(level: int, fmt: bytes, args: int) -> int:
    log: Log | None = getattr(_current, "log", None)
    if log is None or (level >= _DEBUG and not log.debug):
        return 0
    size = 4096
    # A verifier log comes as one message; a va_list can be walked only once, so no second try.
    if b"BEGIN PROG LOAD LOG" in fmt:
        size = 1 << 24
    buffer = ctypes.create_string_buffer(size)
    _libc.vsnprintf(buffer, c_size_t(size), fmt, c_void_p(args))
    log.add(buffer.value.decode(errors="replace"))
    return 0


_print = _PRINT_FN(_collect)  # kept here: libbpf calls it as long as the process lives


class TestRunOpts(ctypes.Structure):
    """struct bpf_test_run_opts of libbpf's bpf.h."""

    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


class OpenOpts(ctypes.Structure):
    """The start of struct bpf_object_open_opts; libbpf takes any length that `sz` states."""

    _fields_ = (("sz", c_size_t), ("object_name", c_char_p))


_SIGNATURES: Mapping[str, tuple[Any, tuple[Any, ...]]] = {
    "libbpf_major_version": (c_uint32, ()),
    "libbpf_minor_version": (c_uint32, ()),
    "libbpf_set_print": (c_void_p, (_PRINT_FN,)),
    "libbpf_num_possible_cpus": (c_int, ()),
    "bpf_object__open_mem": (c_void_p, (c_char_p, c_size_t, POINTER(OpenOpts))),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__btf": (c_void_p, (c_void_p,)),
    "bpf_object__next_program": (c_void_p, (c_void_p, c_void_p)),
    "bpf_object__next_map": (c_void_p, (c_void_p, c_void_p)),
    "bpf_program__name": (c_char_p, (c_void_p,)),
    "bpf_program__section_name": (c_char_p, (c_void_p,)),
    "bpf_program__insn_cnt": (c_size_t, (c_void_p,)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_program__set_autoload": (c_int, (c_void_p, c_bool)),
    "bpf_program__set_log_level": (c_int, (c_void_p, c_uint32)),
    "bpf_program__set_log_buf": (c_int, (c_void_p, c_void_p, c_size_t)),
    "bpf_program__attach": (c_void_p, (c_void_p,)),
    "bpf_prog_test_run_opts": (c_int, (c_int, POINTER(TestRunOpts))),
    "bpf_map__name": (c_char_p, (c_void_p,)),
    "bpf_map__fd": (c_int, (c_void_p,)),
    "bpf_map__type": (c_uint32, (c_void_p,)),
    "bpf_map__key_size": (c_uint32, (c_void_p,)),
    "bpf_map__value_size": (c_uint32, (c_void_p,)),
    "bpf_map__max_entries": (c_uint32, (c_void_p,)),
    "bpf_map__btf_value_type_id": (c_uint32, (c_void_p,)),
    "bpf_map__set_value_size": (c_int, (c_void_p, c_uint32)),
    "bpf_map__set_max_entries": (c_int, (c_void_p, c_uint32)),
    "bpf_map__initial_value": (c_void_p, (c_void_p, POINTER(c_size_t))),
    "bpf_map__attach_struct_ops": (c_void_p, (c_void_p,)),
    "bpf_map_lookup_elem": (c_int, (c_int, c_char_p, c_void_p)),
    "bpf_map_update_elem": (c_int, (c_int, c_char_p, c_char_p, c_uint64)),
    "bpf_map_delete_elem": (c_int, (c_int, c_char_p)),
    "bpf_map_get_next_key": (c_int, (c_int, c_char_p, c_void_p)),
    "bpf_link__destroy": (c_int, (c_void_p,)),
    "btf__raw_data": (c_void_p, (c_void_p, POINTER(c_uint32))),
    "btf__load_vmlinux_btf": (c_void_p, ()),
    "btf__free": (None, (c_void_p,)),
    "btf__find_by_name_kind": (c_int, (c_void_p, c_char_p, c_uint32)),
    "btf__type_by_id": (c_void_p, (c_void_p, c_uint32)),
    "btf__name_by_offset": (c_char_p, (c_void_p, c_uint32)),
}


@dataclass(frozen=True, slots=True)
class Library:
    """A loaded libbpf; its functions are attributes of `calls`, with their C types declared."""

    path: str
    version: tuple[int, int]
    calls: Any


def _open(path: str) -> Library:
    dll = ctypes.CDLL(path, mode=ctypes.RTLD_LOCAL, use_errno=True)
    try:
        for name in ("libbpf_major_version", "libbpf_minor_version"):
            getattr(dll, name).restype = c_uint32
        version = (int(dll.libbpf_major_version()), int(dll.libbpf_minor_version()))
        if version < MIN_VERSION:
            raise OSError(f"is libbpf {version[0]}.{version[1]}")
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(dll, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise OSError(f"is no libbpf: {error}") from None
    dll.libbpf_set_print(_print)
    return Library(path, version, dll)


def _candidates() -> Iterator[str]:
    if named := os.environ.get(ENV_PATH):
        yield named
        return
    yield "libbpf.so.1"
    # Found by its spec: importing the package would import its Python side as well.
    spec = importlib.util.find_spec("pylibbpf")
    for folder in (spec and spec.submodule_search_locations) or ():
        yield from map(str, sorted(Path(folder).glob("*.so")))


@functools.cache
def library() -> Library:
    """The libbpf to use; raises UserError that names what was found where none serves."""
    refused = []
    for path in _candidates():
        try:
            return _open(path)
        except OSError as error:
            text = str(error)
            refused.append(text if path in text else f"{path} {text}")
    raise UserError(
        f"no libbpf {'.'.join(map(str, MIN_VERSION))} or newer: " + "; ".join(refused), HINT
    )
