"""The guest's side of `numa bench`: balancers in turn under one load, on nodes that hosts take.

Best-effort workers compute in memory of their own, and a latency-critical server answers requests
on the last node. Each measurement is told to the host as soon as it is made.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.lab.guest_measure import executable_copy, read_output
from scx_vsched.vm.guest_workers import Nursery, done
from scx_vsched.vm.lab.guest import phase

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scx_vsched.lab.guest_sides import Knowledge
    from scx_vsched.numa.running import Balancing
    from scx_vsched.vm.agent import Guest

__all__ = ["RESULT", "alternate"]

RESULT = "result"
_SERVER_NODE = {6, 7}
_LEAD_S = 2.0  # before anything counts: the server calibrates itself, pages come in
_PATIENCE_S = 90.0
_LEARN_MOST_S = 40.0


def alternate(
    guest: Guest,
    *,
    arms: Sequence[Mapping[str, Any]],
    rounds: int,
    seconds: float,
    memory_mib: Sequence[tuple[int, bool]],
    server: str,
    program: str,
) -> dict[str, Any]:
    """Each arm in each round: `name`, `object` ("" for the kernel's own), `policy`, `workers`.

    `memory_mib` are the best-effort processes of arms with `workers`: (memory, whether busy).
    `server` is what the native `program` reads, without its first word.
    """
    nursery = Nursery()  # before anything else has threads
    memory = Path(tempfile.mkdtemp(prefix="scx_vsched-"))  # gone with the guest
    program = executable_copy(program, memory / "server")
    from scx_vsched.lab.guest_sides import Knowledge  # noqa: PLC0415

    knowledge = Knowledge()
    with knowledge.feeding:
        guest.progress("measuring the vCPUs")
        deadline = time.monotonic() + _LEARN_MOST_S
        while knowledge.feeding.topology is None and time.monotonic() < deadline:
            time.sleep(0.1)
        for number in range(rounds):
            first = number % len(arms)
            for arm in [*arms[first:], *arms[:first]]:
                name = f"{arm['name']}-{number}"
                found: dict[str, Any] = {"error": ""}
                try:
                    with _at_work(guest, arm, knowledge) as balancing:
                        sizes = memory_mib if arm["workers"] else ()
                        with nursery.workers(sizes) as files:
                            lc = [program, f"{number + 1} {server}"]
                            found |= _measure(
                                guest,
                                name,
                                files=files,
                                server=lc,
                                seconds=seconds,
                                balancing=balancing,
                            )
                except Exception as error:  # told with the measurement; the others go on
                    found["error"] = f"{type(error).__name__}: {error}"
                guest.emit(RESULT, arm=arm["name"], round=number, **found)
                guest.progress(f"round {number + 1}, {arm['name']}: {_brief(found)}")
    nursery.close()
    return {"rounds": rounds}


def _brief(found: Mapping[str, Any]) -> str:
    if found["error"]:
        return f"failed: {found['error']}"
    return f"{found['rate']:,.0f} chunks/s, server p99 {found['latency'].get('p99', 0):,.0f} us"


@contextlib.contextmanager
def _at_work(
    guest: Guest, arm: Mapping[str, Any], knowledge: Knowledge
) -> Iterator[Balancing | None]:
    """The arm's scheduler and balancer."""
    from scx_vsched.bpf.feed import Feed  # noqa: PLC0415 - imported by the probers already
    from scx_vsched.numa.running import Balancing  # noqa: PLC0415
    from scx_vsched.numa.settings import Settings, balancer_policy  # noqa: PLC0415
    from scx_vsched.runtime.session import fed  # noqa: PLC0415

    with contextlib.ExitStack() as stack:
        obj = None
        if arm["object"]:
            path = Path(arm["object"])
            obj, feed = stack.enter_context(fed(path, topology=knowledge.feeding.topology))
            stack.enter_context(obj.attach())
            assert isinstance(feed, Feed)  # noqa: S101 - it is a guest's scheduler
            stack.enter_context(knowledge.feeding.following(feed))
        elif not arm["policy"]:
            stack.enter_context(knowledge.resting())
        if not arm["policy"]:
            yield None
            return
        settings = Settings(policy=balancer_policy(arm["policy"]))
        balancing = Balancing(settings, lambda: knowledge.feeding.topology, guest.progress)
        stack.enter_context(balancing)
        stack.enter_context(balancing.following(obj))
        yield balancing


def _measure(
    guest: Guest,
    name: str,
    *,
    files: Sequence[Path],
    server: Sequence[str],
    seconds: float,
    balancing: Balancing | None,
) -> dict[str, Any]:
    """One measurement: work a second, the server's latencies, what the balancer did."""
    process = subprocess.Popen(
        ["nice", "-n", "-5", server[0]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.sched_setaffinity(process.pid, _SERVER_NODE)
    try:
        with phase(guest, name):
            began, began_boot = time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)
            assert process.stdin is not None  # noqa: S101 - it is a pipe
            process.stdin.write(server[1])
            process.stdin.flush()
            time.sleep(_LEAD_S)
            before, since = [done(file) for file in files], time.monotonic()
            time.sleep(max(0.0, began + seconds - since))
            after, until = [done(file) for file in files], time.monotonic()
            out, err = process.communicate(timeout=_PATIENCE_S)
            status = balancing.commands()["numa"]({}) if balancing else None
    finally:
        process.kill()
    if process.returncode:
        raise RuntimeError(f"the server failed: {err.strip()[-300:]}")
    latency = read_output(out, ["latency"], seconds)["values"]
    moves = status["moves"] if status else []
    return {
        "rate": sum(b - a for a, b in zip(before, after, strict=True)) / (until - since),
        "latency": {
            label.partition(" ")[2]: value
            for label, (value, unit) in latency.items()
            if unit == "us"
        },
        "totals": status["totals"] if status else {},
        "moves": [
            {**move, "at_s": move["at_s"] - began_boot}
            for move in moves
            if move["at_s"] >= began_boot
        ],
        "skipped": status["skipped"] if status else {},
    }
