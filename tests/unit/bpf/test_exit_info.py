"""Why a scheduler ended, decoded."""

from __future__ import annotations

import struct

import pytest

from scx_vsched.bpf.exit_info import EXIT_CODES, EXIT_KINDS, ExitInfo, decode_code, decode_exit

pytestmark = pytest.mark.usefixtures("may_load")  # names come from the kernel's BTF

RESTART = EXIT_CODES["SCX_ECODE_ACT_RESTART"]
HOTPLUG = EXIT_CODES["SCX_ECODE_RSN_HOTPLUG"]


def raw(kind: str, code: int = 0, reason: bytes = b"", message: bytes = b"") -> bytes:
    return struct.pack("=iIq128s1024s", EXIT_KINDS[f"SCX_EXIT_{kind}"], 0, code, reason, message)


def decoded(*args: object, dump: bytes = b"") -> ExitInfo:
    info = decode_exit(raw(*args), dump)  # type: ignore[arg-type]
    assert info
    return info


@pytest.mark.parametrize(
    ("code", "names"),
    [
        (0, ()),
        (RESTART, ("ACT_RESTART",)),
        (RESTART | HOTPLUG, ("ACT_RESTART", "RSN_HOTPLUG")),
        (HOTPLUG | 7, ("RSN_HOTPLUG", "user 7")),
        (42, ("user 42",)),
        (0xFFFFFFFF, ("user 4294967295",)),
        (5 << 48 | 9 << 32 | 1, ("action 5", "reason 9", "user 1")),
        (-1, ("action 65535", "reason 65535", "user 4294967295")),
    ],
)
def test_codes(code: int, names: tuple[str, ...]) -> None:
    assert decode_code(code) == names


def test_codes_of_a_later_kernel() -> None:
    known = {**EXIT_CODES, "SCX_ECODE_RSN_CGROUP_OFFLINE": 2 << 32}
    assert decode_code(2 << 32, known) == ("RSN_CGROUP_OFFLINE",)


def test_scheduler_at_work() -> None:
    assert decode_exit(raw("NONE")) is None


def test_error_with_dump() -> None:
    info = decoded(
        "ERROR_STALL", 0, b"runnable task stall\0rest", b"p[1] failed\n", dump=b"x\ny\0z"
    )
    assert (info.kind, info.reason, info.message, info.dump) == (
        "ERROR_STALL",
        "runnable task stall",
        "p[1] failed",
        "x\ny",
    )
    assert info.is_error
    assert not info.is_ours
    assert not info.wants_restart
    assert info.summary() == "ERROR_STALL: runnable task stall (p[1] failed)"


def test_restart() -> None:
    info = decoded("UNREG_KERN", RESTART | HOTPLUG, b"unregistered from the main kernel")
    assert info.wants_restart
    assert "[ACT_RESTART | RSN_HOTPLUG]" in info.summary()


def test_an_error_is_not_restarted() -> None:
    assert not decoded("ERROR", RESTART).wants_restart


def test_own_detaching() -> None:
    info = decoded("UNREG")
    assert info.is_ours
    assert not info.is_error
    assert info.summary() == "UNREG"


def test_kind_of_a_later_kernel() -> None:
    info = decode_exit(struct.pack("=iIq128s1024s", 4711, 0, 0, b"brand new", b""))
    assert info
    assert info.summary() == "4711: brand new"


def test_text_that_is_no_utf8() -> None:
    assert decoded("ERROR", 0, b"\xff\xfe").reason
