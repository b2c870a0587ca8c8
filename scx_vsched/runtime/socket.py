"""Serves statistics on a UNIX socket the way scx schedulers do, and reads them from there.

The convention is that of the crate scx_stats (sched-ext/scx, rust/scx_stats): lines of JSON on
/var/run/scx/root/stats; the request `{"req": "stats", "args": {"target": "top"}}` is answered by
`{"errno": 0, "args": {"resp": {…}}}`, `stats_meta` by a description of the fields; errors carry an
errno and a text. Generic clients (scxstats_to_openmetrics.py, scxtop) need no more than that.

The server is one thread that never waits for a client: a slow, silent or malformed one costs a
bounded buffer and is dropped, and the scheduler goes on.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from scx_vsched.errors import UserError
from scx_vsched.runtime.histograms import PERCENTILES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scx_vsched.bpf.model import HistogramMeta, StatMeta

__all__ = ["SOCKET_PATH", "STATS_NAME", "StatsClient", "StatsServer", "describe_stats"]

SOCKET_PATH = Path("/var/run/scx/root/stats")
STATS_NAME = "VschedStats"

MAX_CLIENTS = 64
MAX_REQUEST = 64 << 10  # bytes of a line; scx clients send less than a hundred
MAX_PENDING = 1 << 20  # bytes of answers that a client has not read

type Reader = Callable[[], Mapping[str, Any]]
type Command = Callable[[Mapping[str, Any]], Any]
"""Answers a request by its arguments; what raises UserError is answered by its message."""


def describe_stats(
    stats: Sequence[StatMeta], histograms: Sequence[HistogramMeta] = ()
) -> dict[str, Any]:
    """The answer to `stats_meta`: one flat structure, marked as the top one."""
    fields: dict[str, Any] = {
        "elapsed_s": {"datum": "float", "desc": "seconds since the scheduler was started"},
        "policy": {"datum": "string", "desc": "name of the policy at work"},
        "restarts": {"datum": "u64", "desc": "times that it was loaded anew since then"},
    }
    for stat in stats:
        fields[stat.name] = {"datum": "u64", "desc": f"{stat.doc} (total since the start)"}
    for histogram in histograms:
        of = f"{histogram.doc}{f' ({histogram.unit})' if histogram.unit else ''}"
        fields[f"{histogram.name}_count"] = {"datum": "u64", "desc": f"{of}: values"}
        for percent in PERCENTILES:
            desc = f"{of}: {percent} % are at most this, to a power of two"
            fields[f"{histogram.name}_p{percent}"] = {"datum": "float", "desc": desc}
    return {
        STATS_NAME: {
            "name": STATS_NAME,
            "top": "true",
            "desc": "scx_vsched statistics",
            "user": {"_om_prefix": "vsched_"},
            "fields": fields,
        }
    }


@dataclass(slots=True, eq=False)
class _Client:
    connection: socket.socket
    received: bytearray = field(default_factory=bytearray)
    pending: bytearray = field(default_factory=bytearray)


class StatsServer:
    """Answers on `path` until closed; `read` gives the current values (it runs in a thread).

    `commands` are requests besides those for statistics, by name; they run in that thread, too.
    """

    def __init__(
        self,
        read: Reader,
        meta: Mapping[str, Any],
        path: Path = SOCKET_PATH,
        commands: Mapping[str, Command] | None = None,
    ) -> None:
        """Listen; a file left behind by an instance that died is replaced. Raises UserError."""
        self._read = read
        self._commands = commands or {}
        self._meta = meta
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            path.unlink(missing_ok=True)
            self._listener.bind(str(path))
            path.chmod(0o600)
            self._inode = path.stat().st_ino
        except OSError as error:
            self._listener.close()
            raise UserError(f"cannot serve statistics on {path}: {error.strerror}") from None
        self._listener.listen()
        self._listener.setblocking(False)
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._clients = 0
        self._thread = threading.Thread(target=self._serve, name="stats", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering, drop the clients, and remove the socket's file if it is still ours.

        A second call does nothing.
        """
        if not self._thread.is_alive():
            return
        self._wake.send(b"x")
        self._thread.join()
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()

    def _serve(self) -> None:
        while True:
            for key, events in self._selector.select():
                if key.fileobj is self._woken:
                    self._close_all()
                    return
                if key.fileobj is self._listener:
                    self._accept()
                    continue
                client: _Client = key.data
                try:
                    alive = self._talk(client, events)
                except OSError:
                    alive = False
                if not alive:
                    self._drop(client)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            if self._clients >= MAX_CLIENTS:
                connection.close()
                return
            connection.setblocking(False)
            self._clients += 1
            self._selector.register(connection, selectors.EVENT_READ, _Client(connection))

    def _drop(self, client: _Client) -> None:
        self._selector.unregister(client.connection)
        client.connection.close()
        self._clients -= 1

    def _close_all(self) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        self._wake.close()

    def _talk(self, client: _Client, events: int) -> bool:
        """Move bytes both ways without waiting; False ends the conversation."""
        if events & selectors.EVENT_READ:
            data = client.connection.recv(MAX_REQUEST)
            if not data:
                return False
            client.received += data
            while b"\n" in client.received:
                line, _, rest = client.received.partition(b"\n")
                client.received = bytearray(rest)
                client.pending += self._answer(bytes(line))
                if len(client.pending) > MAX_PENDING:
                    return False
            if len(client.received) > MAX_REQUEST:
                return False
        if client.pending:
            with contextlib.suppress(BlockingIOError):
                del client.pending[: client.connection.send(client.pending)]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.pending else 0)
        self._selector.modify(client.connection, wanted, client)
        return True

    def _answer(self, line: bytes) -> bytes:
        number, response = self._respond(line)
        return json.dumps({"errno": number, "args": {"resp": response}}).encode() + b"\n"

    def _respond(self, line: bytes) -> tuple[int, Any]:
        try:
            request = json.loads(line)
            what, arguments = request["req"], request.get("args") or {}
            target = arguments.get("target", "top")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return errno.EINVAL, f"not a request: {type(error).__name__}"
        if what == "stats_meta":
            return 0, self._meta
        if command := self._commands.get(str(what)):
            try:
                return 0, command(arguments)
            except UserError as error:
                return errno.EINVAL, f"{error.message}\n{error.hint}".strip()
        if what != "stats":
            return errno.EINVAL, f"unknown command {what!r}"
        if target != "top":
            return errno.EINVAL, f"unknown target {target!r}"
        try:
            return 0, self._read()
        except UserError as error:
            return errno.EAGAIN, error.message


class StatsClient:
    """A connection to the statistics of a running scheduler."""

    def __init__(self, path: Path = SOCKET_PATH, timeout_s: float = 10.0) -> None:
        """Connect; raises UserError where nothing answers."""
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            hint = (
                "run it as root"
                if error.errno in (errno.EACCES, errno.EPERM)
                else "start one with `scx_vsched run`"
            )
            raise UserError(
                f"no running scheduler answers on {path}: {os.strerror(error.errno or 0)}", hint
            ) from None
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def request(self, what: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """The answer to the request `what`; raises UserError, EOFError where the server is gone."""
        line = json.dumps({"req": what, "args": dict(arguments or {})})
        try:
            self._socket.sendall(line.encode() + b"\n")
            reply = self._file.readline()
        except TimeoutError:
            raise UserError(f"the scheduler on {self.path} does not answer") from None
        except OSError:
            reply = b""
        if not reply:
            raise EOFError
        try:
            answer = json.loads(reply)
            number, response = answer["errno"], answer["args"]["resp"]
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{self.path} does not speak the protocol of scx_stats") from None
        if number:
            message, _, hint = str(response).partition("\n")
            raise UserError(f"the scheduler on {self.path} answers: {message}", hint)
        return response
