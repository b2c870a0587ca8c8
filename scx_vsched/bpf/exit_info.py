"""Why a scheduler ended: the kernel's scx_exit_info, decoded.

Kinds and codes are those of `enum scx_exit_kind` and `enum scx_exit_code`; their names are taken
from the running kernel's BTF, so that a kind added later is named as well.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.bpf.kernel import kernel_btf

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EXIT_CODES", "EXIT_KINDS", "ExitInfo", "decode_code", "decode_exit"]

# As Linux 6.12 has them; `enum scx_exit_code` gets into BTF only where the compiler keeps it.
EXIT_KINDS: Mapping[str, int] = {
    "SCX_EXIT_NONE": 0,
    "SCX_EXIT_DONE": 1,
    "SCX_EXIT_UNREG": 64,
    "SCX_EXIT_UNREG_BPF": 65,
    "SCX_EXIT_UNREG_KERN": 66,
    "SCX_EXIT_SYSRQ": 67,
    "SCX_EXIT_ERROR": 1024,
    "SCX_EXIT_ERROR_BPF": 1025,
    "SCX_EXIT_ERROR_STALL": 1026,
}
EXIT_CODES: Mapping[str, int] = {
    "SCX_ECODE_RSN_HOTPLUG": 1 << 32,
    "SCX_ECODE_ACT_RESTART": 1 << 48,
}

_RAW = struct.Struct("=iIq128s1024s")  # struct exit_info of the templates
_USER_BITS = (1 << 32) - 1
_REASON_SHIFT, _ACTION_SHIFT = 32, 48


@dataclass(frozen=True, slots=True)
class ExitInfo:
    """How a scheduler ended; `kind` and `codes` are the kernel's names without their prefixes."""

    kind: str
    exit_code: int
    codes: tuple[str, ...]
    reason: str
    message: str
    dump: str = ""

    @property
    def is_error(self) -> bool:
        """Whether the kernel ended the scheduler for a fault of its own (or a stalled task)."""
        return self.kind.startswith("ERROR")

    @property
    def is_ours(self) -> bool:
        """Whether this process asked for it, by detaching."""
        return self.kind == "UNREG"

    @property
    def wants_restart(self) -> bool:
        """Whether the scheduler is to be loaded again, as after a hotplug that it cannot follow."""
        return not self.is_error and "ACT_RESTART" in self.codes

    def summary(self) -> str:
        """One line: kind, reason, message and codes."""
        text = f"{self.kind}: {self.reason}" if self.reason else self.kind
        if self.message:
            text += f" ({self.message})"
        if self.codes:
            text += f" [{' | '.join(self.codes)}]"
        return text


def decode_code(code: int, known: Mapping[str, int] = EXIT_CODES) -> tuple[str, ...]:
    """Names of an exit code's parts: system action, system reason, user's part.

    The layout is that of `enum scx_exit_code`: bits 48-63 action, 32-47 reason, 0-31 user.
    """
    code &= (1 << 64) - 1
    names = {value: name.removeprefix("SCX_ECODE_") for name, value in known.items()}
    parts = []
    for shift, label in ((_ACTION_SHIFT, "action"), (_REASON_SHIFT, "reason")):
        if part := code & (0xFFFF << shift):
            parts.append(names.get(part, f"{label} {part >> shift}"))
    if user := code & _USER_BITS:
        parts.append(f"user {user}")
    return tuple(parts)


def decode_exit(raw: bytes, dump: bytes = b"") -> ExitInfo | None:
    """What the maps `exit_info` and `exit_dump` hold; None while the scheduler is at work."""
    kind, _, code, reason, message = _RAW.unpack(raw[: _RAW.size])
    if kind == 0:
        return None
    btf = kernel_btf()
    kinds = {value: name for name, value in {**EXIT_KINDS, **btf.enum("scx_exit_kind")}.items()}
    return ExitInfo(
        kinds.get(kind, str(kind)).removeprefix("SCX_EXIT_"),
        code,
        decode_code(code, {**EXIT_CODES, **btf.enum("scx_exit_code")}),
        _text(reason),
        _text(message).strip(),
        _text(dump),
    )


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode(errors="replace")
