"""Real programs as workloads, from Debian's packages. Runs in the guest: standard library only."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.vm.workloads import WORKLOADS, Workload, copy_program, source_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["PROGRAMS", "Program", "read_ab", "read_memcaslap"]

_PORT = 18_211
_READY_S = 20.0
_TEXT_BYTES = 6_000_000


@dataclass(frozen=True, slots=True)
class Program:
    """A workload and the programs that it `needs`: (program, Debian package)."""

    workload: Workload
    needs: tuple[tuple[str, str], ...]


def _environment(directory: Path) -> dict[str, str]:
    return {**os.environ, "LD_LIBRARY_PATH": str(directory)}


def _run(directory: Path, argv: Sequence[str], seconds: float) -> str:
    done = subprocess.run(
        list(argv),
        cwd=directory,
        env=_environment(directory),
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise UserError(f"{argv[0]} failed: {done.stderr.strip()[-300:] or done.returncode}")
    return done.stdout + done.stderr


# ---- pbzip2 ----


def _prepare_pbzip2(directory: Path) -> None:
    copy_program("pbzip2", directory)
    text, number = "", 0
    while len(text) < _TEXT_BYTES:
        text += source_text(number)
        number += 1
    (directory / "text").write_text(text[:_TEXT_BYTES])


def _measure_pbzip2(directory: Path, cpus: int, seconds: float, expected: float) -> float:
    """Megabytes a second, in blocks of 100 kB, over and over for at least `seconds`."""
    del expected
    argv = ["./pbzip2", "-k", "-c", "-1", f"-p{cpus}", "text"]
    started, done = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        with (directory / "text.bz2").open("wb") as out:
            finished = subprocess.run(
                argv,
                cwd=directory,
                env=_environment(directory),
                stdout=out,
                stderr=subprocess.PIPE,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        if finished.returncode:
            raise UserError(f"pbzip2 failed: {finished.stderr.decode(errors='replace')[-300:]}")
        done += _TEXT_BYTES
    return done / 1e6 / (time.monotonic() - started)


# ---- Servers ----


@contextlib.contextmanager
def _serving(directory: Path, argv: Sequence[str]) -> Iterator[None]:
    """`argv` at work on the port for the length of the block."""
    server = subprocess.Popen(
        list(argv),
        cwd=directory,
        env=_environment(directory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + _READY_S
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", _PORT), 1).close()
                break
            if server.poll() is not None or time.monotonic() > deadline:
                server.kill()
                said = server.communicate()[1].decode(errors="replace").strip()
                raise UserError(f"{argv[0]} does not serve: {said[-300:]}")
            time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.communicate()


def _loopback_up() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], capture_output=True, check=False)


def _prepare_memcached(directory: Path) -> None:
    _loopback_up()
    copy_program("memcached", directory)
    copy_program("memcaslap", directory)


def read_memcaslap(text: str) -> float:
    """Operations a second by what memcaslap prints; UserError where it prints none."""
    found = re.findall(r"TPS:\s*(\d+)", text)
    if not found:
        raise UserError("memcaslap printed no rate")
    return float(found[-1])


def _measure_memcached(directory: Path, cpus: int, seconds: float, expected: float) -> float:
    """Gets and sets (9 to 1) a second of four connections for each vCPU."""
    del expected
    server = ["./memcached", "-u", "root", "-l", "127.0.0.1", "-p", str(_PORT), "-t", str(cpus)]
    threads = max(1, cpus // 2)
    client = [
        *("./memcaslap", "-s", f"127.0.0.1:{_PORT}", "-t", f"{max(1, round(seconds))}s"),
        *("-T", str(threads), "-c", str(4 * threads), "-w", "1k"),
    ]
    with _serving(directory, server):
        return read_memcaslap(_run(directory, client, seconds))


_NGINX = """
daemon off;
worker_processes {workers};
error_log stderr;
pid {directory}/nginx.pid;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{ listen 127.0.0.1:{port}; root {directory}; }}
}}
"""


def _prepare_nginx(directory: Path) -> None:
    _loopback_up()
    copy_program("nginx", directory)
    copy_program("ab", directory)
    (directory / "page.html").write_text("x" * 4096)


def read_ab(text: str) -> float:
    """Requests a second by what ab prints; UserError where it prints none or requests failed."""
    failed = re.search(r"Failed requests:\s*(\d+)", text)
    found = re.search(r"Requests per second:\s*([\d.]+)", text)
    if found is None:
        raise UserError("ab printed no rate")
    if failed is not None and int(failed[1]):
        raise UserError(f"{failed[1]} requests to nginx failed")
    return float(found[1])


def _measure_nginx(directory: Path, cpus: int, seconds: float, expected: float) -> float:
    """Requests for a page of 4 kB a second, from four connections for each vCPU."""
    del expected
    text = _NGINX.format(workers=cpus, directory=directory, port=_PORT)
    (directory / "nginx.conf").write_text(text)
    server = ["./nginx", "-p", str(directory), "-c", str(directory / "nginx.conf")]
    client = [
        *("./ab", "-q", "-k", "-t", str(max(1, round(seconds))), "-n", "10000000"),
        *("-c", str(4 * cpus), f"http://127.0.0.1:{_PORT}/page.html"),
    ]
    with _serving(directory, server):
        return read_ab(_run(directory, client, seconds))


_DEBIAN = {
    "hackbench": (("hackbench", "rt-tests"),),
    "sysbench": (("sysbench", "sysbench"),),
    "compile": (("gcc", "gcc"),),
}
# `vm bench` calls it by what it computes.
_NAMES = {"sysbench cpu": "sysbench"}

PROGRAMS = {
    name: Program(workload, _DEBIAN[name])
    for workload in WORKLOADS
    for name in (_NAMES.get(workload.name, workload.name),)
} | {
    "pbzip2": Program(
        Workload("pbzip2", "MB/s", _prepare_pbzip2, _measure_pbzip2), (("pbzip2", "pbzip2"),)
    ),
    "memcached": Program(
        Workload("memcached", "requests/s", _prepare_memcached, _measure_memcached),
        (("memcached", "memcached"), ("memcaslap", "libmemcached-tools")),
    ),
    "nginx": Program(
        Workload("nginx", "requests/s", _prepare_nginx, _measure_nginx),
        (("nginx", "nginx-light"), ("ab", "apache2-utils")),
    ),
}
"""By name."""
