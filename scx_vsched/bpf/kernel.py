"""What the running kernel says about itself: its BTF and the state of sched_ext.

Features are found by asking here, never by version numbers.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.bpf.btf import BtfKind
from scx_vsched.bpf.libbpf import Log, library, logging_to
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "OPS_FLAGS",
    "SCHED_EXT",
    "VMLINUX_BTF",
    "KernelBtf",
    "attached_scheduler",
    "kernel_btf",
    "ops_flags",
    "sched_ext_state",
]

SCHED_EXT = Path("/sys/kernel/sched_ext")
VMLINUX_BTF = Path("/sys/kernel/btf/vmlinux")
OPS_FLAGS = {"SCX_OPS_ENQ_LAST": 1 << 1, "SCX_OPS_ENQ_EXITING": 1 << 2}
"""Those of enum scx_ops_flags that every kernel with sched_ext has.

Their values are compiled into the table of operations of most schedulers, where nothing relocates
them, so they stay.
"""

_HEADER = struct.Struct("=III")  # struct btf_type: name_off, info, size or type
_MEMBER = struct.Struct("=III")  # struct btf_member: name_off, type, offset in bits


def _line(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def sched_ext_state(root: Path = SCHED_EXT) -> str | None:
    """`enabling`, `enabled`, `disabling` or `disabled`; None on a kernel without sched_ext."""
    return _line(root / "state")


def attached_scheduler(root: Path = SCHED_EXT) -> str | None:
    """Name of the sched_ext scheduler at work, or None."""
    if sched_ext_state(root) in (None, "disabled"):
        return None
    return _line(root / "root" / "ops") or "(unnamed)"


class KernelBtf:
    """The running kernel's BTF, searched by libbpf: its 150,000 types are too many for Python."""

    def __init__(self) -> None:
        """Load it; raises UserError on a kernel without BTF."""
        log = Log()
        with logging_to(log):
            self._handle = library().calls.btf__load_vmlinux_btf()
        if not self._handle:
            raise UserError(
                f"this kernel has no BTF ({VMLINUX_BTF}): " + " ".join(log.lines[-1:]),
                "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y, as distributions do",
            )

    def _find(self, name: str, *kinds: BtfKind) -> int | None:
        """Address of the type of that name and one of the kinds."""
        calls = library().calls
        for kind in kinds:
            found = calls.btf__find_by_name_kind(self._handle, name.encode(), kind)
            if found > 0:
                return int(calls.btf__type_by_id(self._handle, found))
        return None

    @functools.cache  # noqa: B019 - one instance lives as long as the process
    def enum(self, name: str) -> dict[str, int]:
        """The values of `enum name` by name; empty where the kernel has no such enum."""
        address = self._find(name, BtfKind.ENUM, BtfKind.ENUM64)
        if address is None:
            return {}
        _, info, _ = _HEADER.unpack(ctypes.string_at(address, _HEADER.size))
        wide = (info >> 24) & 0x1F == BtfKind.ENUM64
        entry = struct.Struct("=IQ" if wide else ("=Ii" if info >> 31 else "=II"))
        raw = ctypes.string_at(address + _HEADER.size, entry.size * (info & 0xFFFF))
        text = library().calls.btf__name_by_offset
        return {text(self._handle, at).decode(): value for at, value in entry.iter_unpack(raw)}

    def offsets(self, name: str) -> dict[str, int]:
        """Where `struct name` has its named members, in bytes; empty without such a struct."""
        address = self._find(name, BtfKind.STRUCT)
        if address is None:
            return {}
        _, info, _ = _HEADER.unpack(ctypes.string_at(address, _HEADER.size))
        raw = ctypes.string_at(address + _HEADER.size, _MEMBER.size * (info & 0xFFFF))
        text = library().calls.btf__name_by_offset
        # the upper byte is a bit field's width, if there is any in the struct
        return {
            text(self._handle, at).decode(): (offset & 0xFFFFFF) // 8
            for at, _, offset in _MEMBER.iter_unpack(raw)
        }

    def has_function(self, name: str) -> bool:
        """Whether the kernel has a function (a kfunc among them) of that name."""
        return self._find(name, BtfKind.FUNC) is not None

    def has_struct(self, name: str) -> bool:
        """Whether the kernel has `struct name`."""
        return self._find(name, BtfKind.STRUCT) is not None


@functools.cache
def kernel_btf() -> KernelBtf:
    """The running kernel's BTF, loaded once; raises UserError without one."""
    return KernelBtf()


def ops_flags(names: Iterable[str]) -> int:
    """The value of these flags of enum scx_ops_flags; one that the kernel does not know is 0.

    The kernel's BTF, slow to load, is asked about those only that not every kernel has.
    """
    value = 0
    for name in names:
        known = OPS_FLAGS.get(name)
        value |= kernel_btf().enum("scx_ops_flags").get(name, 0) if known is None else known
    return value
