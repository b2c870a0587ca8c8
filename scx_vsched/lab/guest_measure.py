"""In the guest: one workload measured once, and what the vCPUs can give."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.lab.programs import PROGRAMS
from scx_vsched.vm.workloads import warm_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scx_vsched.vm.agent import Guest

__all__ = [
    "BIN_S",
    "MARK",
    "QUANTILES",
    "Measuring",
    "executable_copy",
    "measuring",
    "read_output",
    "read_rates",
]

# The event that has the host note what the vCPUs got so far.
MARK = "mark"

# At which parts of its samples a latency is told; a CDF is drawn through them.
QUANTILES = (*(n / 40 for n in range(1, 38)), 0.95, 0.975, 0.99, 0.995, 0.999, 1.0)
_NAMED = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999, "max": 1.0}

# Of rates that are followed through a change.
BIN_S = 0.1

_MEMORY = "/dev/shm"  # noqa: S108 - memory is the point
_CALIBRATION_S = 0.35  # of the native program, before its warm-up
_PATIENCE_S = 60.0


def read_output(text: str, metrics: Sequence[str], seconds: float) -> dict[str, Any]:
    """What the native program printed: `values` by measure with units, `curves` of latencies in us.

    A line for each metric: what was counted, the number of samples, the samples in ns.
    """
    values: dict[str, tuple[float, str]] = {}
    curves: dict[str, list[float]] = {}
    for name, line in zip(metrics, text.splitlines(), strict=True):
        count, _, *samples = map(int, line.split())
        if count:
            values[name] = (count / seconds, "/s")
        if samples:
            samples.sort()
            for label, part in _NAMED.items():
                values[f"{name} {label}"] = (_quantile(samples, part) / 1000, "us")
            curves[name] = [_quantile(samples, part) / 1000 for part in QUANTILES]
    return {"values": values, "curves": curves}


def _quantile(ordered: Sequence[int], part: float) -> int:
    return ordered[min(len(ordered) - 1, max(0, math.ceil(part * len(ordered)) - 1))]


def executable_copy(program: str, copy: Path) -> str:
    """Copy `program`, as the host wrote it, to where it can be run; the path of the copy."""
    shutil.copyfile(program, copy)
    copy.chmod(0o755)
    return str(copy)


class Measuring:
    """What the measurements of one boot have in common."""

    def __init__(
        self, guest: Guest, program: str, seconds: float, warmup: float, memory: Path
    ) -> None:
        self._guest, self._memory = guest, memory
        self._seconds, self._warmup = seconds, warmup
        self._program = executable_copy(program, memory / "threads")
        self._cpus = os.cpu_count() or 1
        self._expected: dict[str, float] = {}
        self._marks = 0

    def prepare(self, names: Sequence[str]) -> None:
        """Copy the programs to memory and run them once, unshaped."""
        for name in names:
            if name in PROGRAMS:
                self._guest.progress(f"preparing {name}")
                workload = PROGRAMS[name].workload
                workload.prepare(self._memory)
                self._expected[name] = warm_up(workload, self._memory, self._cpus)

    def _mark(self) -> str:
        self._marks += 1
        label = str(self._marks)
        self._guest.emit(MARK, label=label)
        return label

    def measure(self, load: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """One measurement: `values`, `curves` and the two marks around it."""
        if load["name"] not in PROGRAMS:
            return self.threads(load, seed, self._seconds, self._warmup)
        workload = PROGRAMS[load["name"]].workload
        before = self._mark()
        expected = self._expected[load["name"]]
        rate = workload.measure(self._memory, self._cpus, self._seconds, expected)
        return {
            "values": {"rate": (rate, workload.unit)},
            "curves": {},
            "marks": (before, self._mark()),
        }

    def threads(
        self, load: Mapping[str, Any], seed: int, seconds: float, warmup: float
    ) -> dict[str, Any]:
        """The same of native threads."""
        out, marks = self.run_threads(load, seed, seconds, warmup)
        return {**read_output(out, load["metrics"], seconds), "marks": marks}

    def run_threads(
        self, load: Mapping[str, Any], seed: int, seconds: float, warmup: float
    ) -> tuple[str, tuple[str, str]]:
        """What the native program prints, and the marks around what it measured."""
        process = subprocess.Popen(
            [self._program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        process.stdin.write(f"{seed} {load['text']}")
        process.stdin.flush()
        time.sleep(_CALIBRATION_S + warmup)
        before = self._mark()
        out, err = process.communicate(timeout=seconds + _PATIENCE_S)
        after = self._mark()
        if process.returncode:
            raise RuntimeError(f"{load['name']} failed: {err.strip()[-300:]}")
        return out, (before, after)

    def spin(self, seconds: float) -> tuple[str, str]:
        """Keep every vCPU busy; the marks around that."""
        spinners = [
            subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(self._cpus)
        ]
        try:
            for vcpu, spinner in enumerate(spinners):
                os.sched_setaffinity(spinner.pid, {vcpu})
            time.sleep(0.5)
            before = self._mark()
            time.sleep(seconds)
            return before, self._mark()
        finally:
            for spinner in spinners:
                spinner.kill()
            for spinner in spinners:
                spinner.wait()


def read_rates(text: str, seconds: float) -> list[float]:
    """Pieces of work a second in each `BIN_S`, by samples that are the times of each, in ns."""
    _, _, *samples = map(int, text.split())
    counts = [0.0] * round(seconds / BIN_S)
    for sample in samples:
        number = int(sample / 1e9 / BIN_S)
        if number < len(counts):
            counts[number] += 1 / BIN_S
    return counts


@contextlib.contextmanager
def measuring(
    guest: Guest, program: str, seconds: float, warmup: float, names: Sequence[str] = ()
) -> Iterator[Measuring]:
    """All that is needed for the workloads `names`, in memory."""
    with tempfile.TemporaryDirectory(dir=_MEMORY) as scratch:
        found = Measuring(guest, program, seconds, warmup, Path(scratch))
        found.prepare(names)
        yield found
