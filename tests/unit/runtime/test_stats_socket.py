"""The statistics socket, with clients that behave and clients that do not."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import stat
import time
from typing import TYPE_CHECKING, Any

import pytest

from scx_vsched.bpf.model import StatMeta
from scx_vsched.errors import UserError
from scx_vsched.runtime import socket as stats_socket
from scx_vsched.runtime.monitor import monitor
from scx_vsched.runtime.socket import STATS_NAME, StatsClient, StatsServer, describe_stats

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

META = describe_stats((StatMeta("queued", "tasks queued"), StatMeta("stolen", "tasks stolen")))


class Source:
    """Counters that grow with each reading, or fail."""

    def __init__(self) -> None:
        self.reads = 0
        self.error: UserError | None = None

    def __call__(self) -> dict[str, Any]:
        if self.error:
            raise self.error
        self.reads += 1
        answer = {"elapsed_s": 1.5, "policy": "core", "restarts": 0}
        return {**answer, "queued": 10 * self.reads, "stolen": 0}


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def server(source: Source, tmp_path: Path) -> Iterator[StatsServer]:
    with StatsServer(source, META, tmp_path / "scx" / "root" / "stats") as running:
        yield running


@contextlib.contextmanager
def connected(server: StatsServer) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(server.path))
        yield client


def ask(client: socket.socket, data: bytes) -> dict[str, Any]:
    client.sendall(data)
    received = b""
    while not received.endswith(b"\n"):
        more = client.recv(65536)
        assert more, "the server hung up"
        received += more
    answer: dict[str, Any] = json.loads(received)
    assert answer.keys() == {"errno", "args"}
    return answer


def dropped(client: socket.socket) -> bool:
    """Whether the server hangs up."""
    try:
        while client.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def works(server: StatsServer) -> bool:
    with connected(server) as client:
        return ask(client, b'{"req":"stats"}\n')["errno"] == 0


def test_requests_as_scx_clients_send_them(server: StatsServer) -> None:
    with connected(server) as client:
        first = ask(client, b'{"req":"stats","args":{"target":"top"}}\n')
        assert first["errno"] == 0
        assert first["args"]["resp"]["queued"] == 10
        assert ask(client, b'{"req":"stats"}\n')["args"]["resp"]["queued"] == 20
        assert ask(client, b'{"req":"stats_meta","args":{}}\n')["args"]["resp"] == META


def test_description_is_as_generic_clients_want_it(server: StatsServer) -> None:
    with StatsClient(server.path) as client:
        meta, stats = client.request("stats_meta"), client.request("stats")
    assert list(meta) == [STATS_NAME]
    assert meta[STATS_NAME]["name"] == STATS_NAME
    assert meta[STATS_NAME]["top"] == "true"
    fields = meta[STATS_NAME]["fields"]
    assert fields.keys() == stats.keys()
    kinds = {"u64": int, "float": float, "string": str}
    for name, field in fields.items():
        assert isinstance(stats[name], kinds[field["datum"]])
        assert field["desc"]


@pytest.mark.parametrize(
    "line",
    [
        b"not JSON",
        b"",
        b"[]",
        b"null",
        b"42",
        b'"stats"',
        b"{}",
        b'{"req":17}',
        b'{"req":"nothing"}',
        b'{"req":"stats","args":[]}',
        b'{"req":"stats","args":"top"}',
        b'{"req":"stats","args":{"target":"layer"}}',
        b"\xff\xfe\x00",
        b"[" * 20_000,
    ],
)
def test_malformed_request_is_answered_and_survived(server: StatsServer, line: bytes) -> None:
    with connected(server) as client:
        answer = ask(client, line + b"\n")
        if line != b'{"req":"stats","args":[]}':  # an empty list is as good as no arguments
            assert answer["errno"] == errno.EINVAL
            assert isinstance(answer["args"]["resp"], str)
        assert ask(client, b'{"req":"stats"}\n')["errno"] == 0


def test_requests_in_pieces_and_in_one(server: StatsServer) -> None:
    with connected(server) as client:
        for byte in b'{"req":"sta':
            client.sendall(bytes([byte]))
        assert ask(client, b'ts"}\n')["errno"] == 0
        client.sendall(b'{"req":"stats"}\n' * 3)
        lines = client.makefile("r")
        assert [json.loads(lines.readline())["errno"] for _ in range(3)] == [0, 0, 0]


def test_endless_line_is_dropped(server: StatsServer) -> None:
    with connected(server) as client:
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                client.sendall(b"x" * 4096)
        assert dropped(client)
    assert works(server)


def test_client_that_never_reads_does_not_hold_up_others(server: StatsServer) -> None:
    with connected(server) as greedy:
        greedy.setblocking(False)
        request = b'{"req":"stats_meta"}\n' * 1000
        deadline = time.monotonic() + 10
        hung_up = False
        while not hung_up and time.monotonic() < deadline:
            try:
                greedy.send(request)
            except BlockingIOError:
                time.sleep(0.01)
            except ConnectionError:
                hung_up = True
            assert works(server)
        assert hung_up, "its answers would be kept without bound"


def test_silent_clients_are_bounded(server: StatsServer) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in range(stats_socket.MAX_CLIENTS)]
        assert ask(clients[0], b'{"req":"stats"}\n')["errno"] == 0
        assert dropped(stack.enter_context(connected(server)))
        clients.pop().close()
        time.sleep(0.1)
        assert works(server)


def test_client_that_leaves_in_the_middle(server: StatsServer) -> None:
    for _ in range(20):
        with connected(server) as client:
            client.sendall(b'{"req":"stats_meta"}\n' * 50)
    assert works(server)


def test_failing_reading_is_an_answer(server: StatsServer, source: Source) -> None:
    source.error = UserError("the scheduler is being restarted")
    with connected(server) as client:
        answer = ask(client, b'{"req":"stats"}\n')
        assert answer["errno"] == errno.EAGAIN
        assert answer["args"]["resp"] == "the scheduler is being restarted"
    source.error = None
    assert works(server)


def test_file_is_roots_own_and_goes_away(source: Source, tmp_path: Path) -> None:
    path = tmp_path / "scx" / "root" / "stats"
    with StatsServer(source, META, path):
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o022 == 0
    assert not path.exists()


def test_stale_file_is_replaced(source: Source, tmp_path: Path) -> None:
    path = tmp_path / "stats"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with StatsServer(source, META, path) as server:
        assert works(server)


def test_file_of_a_successor_is_left_alone(source: Source, tmp_path: Path) -> None:
    path = tmp_path / "stats"
    old = StatsServer(source, META, path)
    with StatsServer(source, META, path) as new:
        old.close()
        assert works(new)


def test_unusable_place_is_said(source: Source, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot serve statistics on"):
        StatsServer(source, META, tmp_path / "file" / "stats")


def test_client_without_server(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no running scheduler answers on") as caught:
        StatsClient(tmp_path / "stats")
    assert "scx_vsched run" in caught.value.hint


@pytest.mark.parametrize("answer", [b"hello\n", b"{}\n", b'{"errno":0}\n', b"[1]\n"])
def test_server_of_another_kind(answer: bytes, tmp_path: Path) -> None:
    path = tmp_path / "stats"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with StatsClient(path) as client:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(answer)
                with pytest.raises(UserError, match="does not speak"):
                    client.request("stats")


def test_server_that_does_not_answer(tmp_path: Path) -> None:
    path = tmp_path / "stats"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with (
            StatsClient(path, timeout_s=0.1) as client,
            pytest.raises(UserError, match="not answer"),
        ):
            client.request("stats")


def test_monitor_shows_until_the_server_goes(
    server: StatsServer, source: Source, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop_after(reads: int) -> None:
        if source.reads >= reads:
            server.close()

    sleep = time.sleep
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", lambda seconds: (stop_after(4), sleep(seconds)))
        monitor(0.01, as_json=True, path=server.path)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["stats"]["queued"] for line in lines] == [10, 10, 10]
    assert lines[-1]["totals"] == {"restarts": 0, "queued": 40, "stolen": 0}
