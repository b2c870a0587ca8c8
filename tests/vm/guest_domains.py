"""Guest side of tests/vm/test_domains.py: domains with busy vCPUs under a hypervisor's policy."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guest_cli import Command

from scx_vsched.bpf.domains import Domains
from scx_vsched.cli import domain as _domain  # noqa: F401 - imported before children are forked
from scx_vsched.domains.config import DomainFile
from scx_vsched.domains.keeper import Keeper
from scx_vsched.errors import UserError
from scx_vsched.runtime.histograms import Histogram, summaries
from scx_vsched.runtime.session import fed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scx_vsched.vm.agent import Guest

CGROUPS = Path("/sys/fs/cgroup")
SPIN = ["sh", "-c", "while :; do :; done"]
SETTLE_S = 1.0


@contextlib.contextmanager
def _busy(domains: dict[str, int]) -> Iterator[None]:
    """A cgroup for each name, with so many spinning processes."""
    processes = []
    try:
        for name, count in domains.items():
            folder = CGROUPS / name
            folder.mkdir(exist_ok=True)
            for _ in range(count):
                process = subprocess.Popen(SPIN, start_new_session=True)
                processes.append(process)
                (folder / "cgroup.procs").write_text(str(process.pid))
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
        for name in domains:
            _remove(CGROUPS / name)


def _remove(folder: Path) -> None:
    """Its processes are reaped, but may not have left it yet."""
    for _ in range(200):
        with contextlib.suppress(OSError):
            folder.rmdir()
        if not folder.exists():
            return
        time.sleep(0.01)


def _used_s(name: str) -> float:
    for line in (CGROUPS / name / "cpu.stat").read_text().splitlines():
        if line.startswith("usage_usec "):
            return int(line.split()[1]) / 1e6
    return 0.0


def shares(
    guest: Guest,
    object_path: str,
    domains: dict[str, dict[str, int]],
    vcpus: dict[str, int],
    seconds: float,
    tunables: dict[str, int] | None = None,
) -> dict[str, Any]:
    """What each domain got of CPUs, in CPUs, with so many busy vCPUs in each."""
    del guest
    with (
        _busy(vcpus),
        fed(Path(object_path), tunables=tunables, timeout_ms=8000) as (obj, found),
    ):
        assert isinstance(found, Domains)
        keeper = Keeper(obj.meta, DomainFile(domains), say=print)
        with keeper.following(found), obj.attach() as running:
            time.sleep(SETTLE_S)
            before = {name: _used_s(name) for name in vcpus}
            stats_before = running.stats()
            started = time.monotonic()
            time.sleep(seconds)
            took = time.monotonic() - started
            used = {name: (_used_s(name) - before[name]) / took for name in vcpus}
            stats = {k: v - stats_before[k] for k, v in running.stats().items()}
            info = running.exit_info()
            histograms = {n: Histogram(tuple(b)) for n, b in running.histograms().items()}
        return {
            "used": used,
            "stats": stats,
            "histograms": summaries(histograms),
            "exit": info.summary() if info else None,
        }


def refused(guest: Guest, object_path: str, domains: dict[str, dict[str, int]]) -> str:
    """What is said of domains that the policy does not admit."""
    del guest
    with (
        _busy(dict.fromkeys(domains, 0)),
        fed(Path(object_path)) as (obj, found),
    ):
        assert isinstance(found, Domains)
        try:
            with Keeper(obj.meta, DomainFile(domains), say=print).following(found):
                return ""
        except UserError as error:
            return f"{error.message}\n{error.hint}"


def commands(guest: Guest, object_path: str) -> dict[str, Any]:
    """The commands beside `scx_vsched run`, and a cgroup that vanishes meanwhile."""
    file = Path("/tmp/domains.toml")
    file.write_text('[host]\nweight = 300\n\n[domain."vm*"]\nweight = 512\n\n[domain.later]\n')
    results = {}
    with _busy({"vm1": 1, "vm2": 1}):
        arguments = ["run", "--object", object_path, "--domains", str(file), "--stats-json"]
        with Command(guest, arguments) as scheduler:
            assert scheduler.wait_socket()

            def ask(name: str, *command: str) -> None:
                with Command(guest, ["domain", *command]) as running:
                    results[name] = running.result()

            ask("list", "list", "--json")
            ask("set", "set", "vm1", "cap=30")
            ask("high", "set", "vm1", "cap=100001")
            ask("unknown", "set", "nowhere", "cap=3")
            ask("setting", "set", "vm1", "colour=3")
            time.sleep(1)
            before = _used_s("vm1")
            time.sleep(3)
            results["capped"] = (_used_s("vm1") - before) / 3
            with _busy({"later": 1}):
                time.sleep(1)
                ask("later", "list", "--json")
            time.sleep(1)
            ask("gone", "list", "--json")
            ask("remove", "remove", "later")
            scheduler.signal(signal.SIGINT)
            results["run"] = scheduler.result()
    file.unlink()
    return results
