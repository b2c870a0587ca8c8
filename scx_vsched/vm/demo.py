"""The demonstration behind `tools/demo`: the default policy against the kernel's own scheduler.

On a kernel with sched_ext it runs right here; elsewhere in a VM on the newest kernel that can be
had. Real programs alternate between both schedulers in the same boot.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.vm.agent import Guest, facts
from scx_vsched.vm.bench import LIMIT, read_throughput
from scx_vsched.vm.bench_report import rate
from scx_vsched.vm.boot import run_job
from scx_vsched.vm.fetch import fetch
from scx_vsched.vm.job import GUEST_DIR, Job, Step
from scx_vsched.vm.kernels import SERIES, find_kernels, select
from scx_vsched.vm.machine import Shape
from scx_vsched.vm.run import OBJECT_NAME, build_object

if TYPE_CHECKING:
    from collections.abc import Callable

    from scx_vsched.vm.bench import Throughput
    from scx_vsched.vm.kernels import Kernel

__all__ = ["main", "newest_kernel"]

_POLICY = "core"
_ROUNDS, _SECONDS = 3, 2.0
_TIMEOUT_S = 420.0


def newest_kernel(say: Callable[[str], None]) -> Kernel:
    """The newest series from Debian, or the newest kernel that is here where it cannot be had.

    Raises:
        UserError: there is none at all.
    """
    try:
        return fetch(SERIES[-1], say)
    except UserError as error:
        say(f"cannot fetch Linux {SERIES[-1]} ({error.message}); looking for another")
        return select(find_kernels(), "newest")


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


def _arguments(object_path: str) -> dict[str, Any]:
    return {
        "object_path": object_path,
        "seconds": _SECONDS,
        "rounds": _ROUNDS,
        "min_rounds": _ROUNDS,
        "limit": LIMIT,
    }


class _Here(Guest):
    """This machine in the guest's role: progress goes to the terminal."""

    def progress(self, text: str, **fields: Any) -> None:
        """Show what is going on."""
        super().progress(text, **fields)
        _say(text)


def _on_this_kernel(built: Path, directory: Path) -> tuple[str, dict[str, Any]]:
    from scx_vsched.vm.guest_bench import compare  # noqa: PLC0415 - the VM imports its own

    here = facts()
    where = f"Linux {here['release']} (this machine), clocksource {here['clocksource']}"
    print(f"This kernel has sched_ext: running on it.\n{where}")
    return where, compare(_Here(directory), str(built), **_arguments(str(built)))


def _in_a_vm(built: Path) -> tuple[str, dict[str, Any]]:
    print("This kernel has no sched_ext: running in a virtual machine.")
    kernel = newest_kernel(_say)
    cpus = tuple(sorted(os.sched_getaffinity(0)))[:4]
    _say(f"booting Linux {kernel.release} with {len(cpus)} vCPUs")

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "hello":
            _say(f"booted in {event['uptime_s']:.0f} s, clocksource {event['clocksource']}")
        elif "text" in event:
            _say(event["text"])

    task = "scx_vsched.vm.guest_bench:compare"
    outcome = run_job(
        kernel,
        Job((Step(task, _arguments(f"{GUEST_DIR}/{OBJECT_NAME}"), "programs"),)),
        shape=Shape(cpus=str(len(cpus)), pin=cpus),
        timeout_s=_TIMEOUT_S,
        files={OBJECT_NAME: built},
        on_event=on_event,
    )
    step = outcome.steps[0]
    if not step.ok:
        raise UserError(f"in the VM: {step.error}", f"logs are in {outcome.directory}")
    return outcome.where, step.value


def _show(where: str, throughput: tuple[Throughput, ...], stats: dict[str, int]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    # Where nobody's terminal sets the width, lines are not broken.
    console = Console(width=None if sys.stdout.isatty() else 120)
    counters = Table("decision", box=None, title="What the scheduler did")
    counters.add_column("count", justify="right")
    for name, value in stats.items():
        counters.add_row(name, f"{value:,}")
    table = Table("program", box=None, title="Real programs, side by side")
    for name in ("default", "scx_vsched", "ratio", "95 % interval", "noise floor"):
        table.add_column(name, justify="right")
    for each in throughput:
        table.add_row(
            f"{each.name} ({each.unit})",
            rate(each.default[0]),
            rate(each.ours[0]),
            f"{each.ratio.value:.2f}",
            f"{each.ratio.low:.2f} … {each.ratio.high:.2f}",
            f"{each.twin.low:.2f} … {each.twin.high:.2f}",
        )
    console.print()
    console.print(counters)
    console.print()
    console.print(table)
    console.print(
        f"\n{where}; medians of {_ROUNDS} rounds, more is better.\n"
        "The noise floor is the default scheduler against itself. Longer and surer: "
        "scx_vsched vm bench"
    )


def main() -> int:
    """Build, run, show; the exit code."""
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="scx_vsched-") as scratch:
            print(f"Building the policy {_POLICY} …", flush=True)
            built = build_object(_POLICY, Path(scratch) / OBJECT_NAME)
            print(f"  {built.stat().st_size:,} bytes in {time.monotonic() - started:.1f} s")
            native = Guest.scheduler_state() == "disabled" and os.geteuid() == 0
            where, raw = _on_this_kernel(built, Path(scratch)) if native else _in_a_vm(built)
    except UserError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    _show(where, read_throughput(raw), raw["stats"])
    print(f"Done in {time.monotonic() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
