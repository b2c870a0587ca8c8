"""Which UNIX sockets are connected to which, asked of the kernel over netlink as `ss -x` does.

Source: include/uapi/linux/{netlink,inet_diag,sock_diag,unix_diag}.h of the kernel.
"""

from __future__ import annotations

import contextlib
import socket
import struct

__all__ = ["parse_answers", "unix_peers"]

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_UDIAG_SHOW_PEER = 0x4
_UNIX_DIAG_PEER = 2
_ALL_STATES = 0xFFFFFFFF

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_REQUEST = struct.Struct("=BBHIIIII")  # struct unix_diag_req
_ANSWER = struct.Struct("=BBBBIII")  # struct unix_diag_msg
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
_RECEIVE = 1 << 16
_PATIENCE_S = 1.0


def unix_peers() -> dict[str, str]:
    """The inode of each connected UNIX socket's peer, by its own inode, of this network namespace.

    Empty where the kernel does not tell (no unix_diag).
    """
    with contextlib.suppress(OSError):
        return _ask()
    return {}


def _ask() -> dict[str, str]:
    request = _REQUEST.pack(socket.AF_UNIX, 0, 0, _ALL_STATES, 0, _UDIAG_SHOW_PEER, 0, 0)
    header = _HEADER.pack(
        _HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0
    )
    found: dict[str, str] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as asked:
        asked.settimeout(_PATIENCE_S)
        asked.send(header + request)
        while True:
            peers, over = parse_answers(asked.recv(_RECEIVE))
            found |= peers
            if over:
                return found


def parse_answers(data: bytes) -> tuple[dict[str, str], bool]:
    """The peers in one datagram of answers, and whether it is the last one."""
    found: dict[str, str] = {}
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if kind in {_NLMSG_DONE, _NLMSG_ERROR} or length < _HEADER.size:
            return found, True
        if at + _HEADER.size + _ANSWER.size <= len(data):
            own = _ANSWER.unpack_from(data, at + _HEADER.size)[4]
            peer = _peer(data[at + _HEADER.size + _ANSWER.size : at + length])
            if peer:
                found[str(own)] = str(peer)
        at += _aligned(length)
    return found, not data


def _peer(attributes: bytes) -> int:
    at = 0
    while at + _ATTRIBUTE.size <= len(attributes):
        length, kind = _ATTRIBUTE.unpack_from(attributes, at)
        if length < _ATTRIBUTE.size:
            break
        if kind == _UNIX_DIAG_PEER and length >= _ATTRIBUTE.size + 4:
            return int(struct.unpack_from("=I", attributes, at + _ATTRIBUTE.size)[0])
        at += _aligned(length)
    return 0


def _aligned(length: int) -> int:
    return (length + 3) & ~3
