"""Real programs as throughput measurements: hackbench, sysbench and a compiler.

Each is copied to memory with its libraries first, because a guest reads its root through the
emulator. A measurement is a rate, so that more is better everywhere.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["WORKLOADS", "Workload", "copy_program", "source_text", "warm_up"]

_SOURCES = 12
_FIRST_GUESS = 40_000.0  # messages a second, slower than any machine: a first run stays short
_FUNCTIONS = 8


@dataclass(frozen=True, slots=True)
class Workload:
    """A program to measure: `prepare` gets a directory in memory once, `measure` gives a rate.

    `measure` gets the directory, the number of vCPUs, about how many seconds to take, and the rate
    measured before, from which programs that take an amount of work know how much.
    """

    name: str
    unit: str
    prepare: Callable[[Path], None]
    measure: Callable[[Path, int, float, float], float]


def copy_program(program: str, into: Path) -> Path:
    """Copy `program` and the libraries that it is linked with; where it is then.

    Raises:
        UserError: the program is not installed.
    """
    found = shutil.which(program)
    if found is None:
        raise UserError(f"{program} is not installed", "run tools/setup")
    target = into / Path(found).name
    shutil.copy(found, target)
    linked = subprocess.run(["ldd", found], capture_output=True, text=True, check=False).stdout
    for library in re.findall(r"=> (/\S+)", linked):
        shutil.copy(library, into / Path(library).name)
    return target


def _environment(directory: Path) -> dict[str, str]:
    return {**os.environ, "LD_LIBRARY_PATH": str(directory)}


def _run(directory: Path, argv: list[str]) -> str:
    done = subprocess.run(
        argv,
        cwd=directory,
        env=_environment(directory),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise UserError(f"{argv[0]} failed: {done.stderr.strip()[-300:] or done.returncode}")
    return done.stdout


def _prepare_hackbench(directory: Path) -> None:
    copy_program("hackbench", directory)


def _measure_hackbench(directory: Path, cpus: int, seconds: float, expected: float) -> float:
    """Messages per second between 20 senders and 20 receivers for each two vCPUs."""
    groups = max(1, cpus // 2)
    # In each loop every sender sends a message to every receiver of its group.
    loops = max(10, int(seconds * expected / (400 * groups)))
    out = _run(directory, ["./hackbench", "-g", str(groups), "-l", str(loops)])
    found = re.search(r"Time: ([\d.]+)", out)
    if found is None:
        raise UserError("hackbench printed no time")
    return 400 * groups * loops / float(found[1])


def _prepare_sysbench(directory: Path) -> None:
    copy_program("sysbench", directory)


def _measure_sysbench(directory: Path, cpus: int, seconds: float, expected: float) -> float:
    """Events (searches for primes) per second with two threads for each vCPU."""
    del expected
    argv = ["./sysbench", "cpu", f"--time={max(1, round(seconds))}", f"--threads={2 * cpus}", "run"]
    found = re.search(r"events per second:\s*([\d.]+)", _run(directory, argv))
    if found is None:
        raise UserError("sysbench printed no rate")
    return float(found[1])


def source_text(number: int) -> str:
    """A C file without headers, the same each time, that takes the optimizer some work."""
    functions = [
        f"""static unsigned f{i}(unsigned *v, unsigned n)
{{
    unsigned s = {number * 31 + i}u;
    for (unsigned j = 0; j < n; j++) {{
        v[j] = v[j] * {2 * i + 3}u + (s >> {i % 13 + 1});
        if (v[j] % {i % 7 + 3}u == {i % 3}u)
            s ^= v[j] << {i % 5};
        else
            s += v[j] / {i + 2}u;
    }}
    return s;
}}
"""
        for i in range(_FUNCTIONS)
    ]
    calls = "".join(f"    s += f{i}(v, n + {i});\n" for i in range(_FUNCTIONS))
    body = f"unsigned work{number}(unsigned *v, unsigned n)\n{{\n    unsigned s = 0;\n{calls}"
    return "\n".join(functions) + body + "    return s;\n}\n"


def _prepare_compile(directory: Path) -> None:
    done = subprocess.run(
        ["gcc", "-print-prog-name=cc1"], capture_output=True, text=True, check=False
    )
    # The compiler proper: the driver would look for its parts where they are not in memory.
    copy_program(done.stdout.strip() or "cc1", directory)
    for number in range(_SOURCES):
        (directory / f"{number}.c").write_text(source_text(number))


def _measure_compile(directory: Path, cpus: int, seconds: float, expected: float) -> float:
    """Files compiled per second by two compilers for each vCPU, for at least `seconds`."""
    del expected
    started = time.monotonic()
    done, names = 0, 0
    running: list[subprocess.Popen[bytes]] = []
    while time.monotonic() - started < seconds or running:
        while len(running) < 2 * cpus and time.monotonic() - started < seconds:
            source = directory / f"{names % _SOURCES}.c"
            names += 1
            argv = ["./cc1", "-quiet", "-O2", str(source), "-o", "/dev/null"]
            running.append(
                subprocess.Popen(
                    argv, cwd=directory, env=_environment(directory), stdin=subprocess.DEVNULL
                )
            )
        if running.pop(0).wait() != 0:
            raise UserError("the compiler failed")
        done += 1
    return done / (time.monotonic() - started)


def warm_up(workload: Workload, directory: Path, cpus: int) -> float:
    """Two short runs, so that everything is in memory; the rate of the second."""
    first = workload.measure(directory, cpus, 0.3, _FIRST_GUESS)
    return workload.measure(directory, cpus, 0.5, first)


WORKLOADS = (
    Workload("hackbench", "messages/s", _prepare_hackbench, _measure_hackbench),
    Workload("sysbench cpu", "events/s", _prepare_sysbench, _measure_sysbench),
    Workload("compile", "files/s", _prepare_compile, _measure_compile),
)
