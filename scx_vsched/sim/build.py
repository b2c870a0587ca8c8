"""Compiles a policy's rendered C for this machine, together with the engine that simulates.

Both are cached under ~/.cache/scx_vsched/sim by what they are made of, so that a second run of the
same policy compiles nothing.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.bpf.compile import CompileError, find_clang
from scx_vsched.bpf.render import include_dir, render
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scx_vsched.policy.program import PolicyProgram

__all__ = ["DEFAULT_KERNEL", "KERNELS", "build_library", "cache_dir", "digest", "simulated_source"]

# What SIM_KERNEL stands for: which kfuncs exist, and under which names.
KERNELS = {"6.12": 612, "7.1.13": 710, "7.x": 700}
DEFAULT_KERNEL = "7.x"

_ENGINE = Path(__file__).parent / "engine"
OPTIMISE = "-O2"
_FLAGS = (
    "-std=gnu11",
    "-g1",
    "-fPIC",
    "-fwrapv",  # as in BPF: the policy language wraps
    "-fno-strict-aliasing",
    "-Wall",
    "-Werror",
    "-Wno-unused-function",
    "-Wno-unused-const-variable",
    "-Wno-unknown-warning-option",
)
# The test build: anything undefined ends the run where it happens.
_SANITIZE = (
    "-fsanitize=undefined",
    "-fsanitize-trap=undefined",
    # BPF maps are as aligned as BPF has them, and bpf_loop() takes callbacks of any context
    "-fno-sanitize=alignment,function",
)
# Counters of the mechanism that must be 0 once no task is left.
_COUNTERS = (("vcpus", "queued"), ("llc_states", "queued"), ("groups", "active"))
_MAP = re.compile(r"\nstruct \{([^}]*)\} (\w+) SEC\(\"\.maps\"\);")


def cache_dir() -> Path:
    """Where compiled simulators are kept; $XDG_CACHE_HOME is honoured."""
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "scx_vsched" / "sim"


def simulated_source(rendered: str) -> str:
    """The rendered text as it is, followed by a list of its maps for the engine."""
    entries = []
    maps = _MAP.findall(rendered)
    for body, name in maps:
        kind = "SIM_MAP"
        if "BPF_MAP_TYPE_TASK_STORAGE" in body:
            kind = "SIM_MAP_STORAGE"
        elif "__type(value" not in body:
            kind = "SIM_MAP_QUEUE"
        entries.append(f"\t{kind}({name}),\n")
    known = {name for _, name in maps}
    counters = [f"\tSIM_COUNTER({m}, {member}),\n" for m, member in _COUNTERS if m in known]
    return (
        f"{rendered}\n/* The maps, for the simulator. */\n"
        f"const struct sim_map sim_maps[] = {{\n{''.join(entries)}}};\n"
        f"const u32 sim_nr_maps = {len(entries)};\n"
        f"const struct sim_counter sim_counters[] = {{\n{''.join(counters)}}};\n"
        f"const u32 sim_nr_counters = {len(counters)};\n"
    )


def _run(command: Sequence[str], source: str | None = None) -> None:
    try:
        done = subprocess.run(
            command,
            input=source,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CompileError("clang did not finish within five minutes") from error
    if done.returncode:
        raise CompileError(
            f"clang refused the simulated scheduler:\n{done.stderr.strip()}",
            "the stand-in headers in templates/sim may lack what the templates now use",
        )


def digest(parts: Iterable[str]) -> str:
    """A name for what is made of `parts`."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


@functools.cache
def _engine_sources() -> tuple[Path, ...]:
    return tuple(sorted(_ENGINE.glob("*.c")))


@functools.cache
def _headers() -> str:
    shared = include_dir()
    headers = [*_ENGINE.glob("*.h"), *(shared.parent / "sim").glob("*.h"), *shared.glob("*.h")]
    return "\0".join(path.read_text(encoding="utf-8") for path in sorted(headers))


def _compile(text: str, out: Path, command: Sequence[str], flags: Sequence[str]) -> Path:
    """Compiles `text` to `out` unless that is there already."""
    if not out.exists():
        partial = out.with_name(f".{out.name}.{os.getpid()}")
        _run([*command, *flags, "-x", "c", "-c", "-", "-o", str(partial)], text)
        partial.replace(out)
    return out


def build_library(
    program: PolicyProgram | None,
    without: tuple[str, ...] = (),
    kernel: str = DEFAULT_KERNEL,
    *,
    sanitize: bool = False,
    source: str | None = None,
) -> Path:
    """The shared library that simulates `program`, or the default scheduler where it is None.

    `kernel` is one of KERNELS; `source` replaces the rendered C (for faults that tests put in).
    Raises UserError where clang is missing, CompileError where it refuses the code.
    """
    if kernel not in KERNELS:
        raise UserError(f"no simulated kernel {kernel!r}", f"there are {', '.join(KERNELS)}")
    if program is not None and any(f.name == "on_timer" for f in program.functions):
        raise UserError(
            f"{program.name} has a timer (on_timer), and simulated kernels have none",
            "try it in a VM: `scx_vsched vm run`",
        )
    clang = find_clang()
    include = include_dir()
    flags = [
        OPTIMISE,
        *_FLAGS,
        *(_SANITIZE if sanitize else ()),
        f"-DSIM_KERNEL={KERNELS[kernel]}",
        f"-I{include.parent / 'sim'}",
        f"-I{include}",
        f"-I{_ENGINE}",
    ]
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        key = [_headers(), str(clang.version), *flags]
        objects = []
        for path in _engine_sources():
            text = path.read_text(encoding="utf-8")
            name = f"{path.stem}-{digest([*key, text])}.o"
            objects.append(_compile(text, folder / name, [clang.path], flags))
        if program is not None or source is not None:
            text = simulated_source(source or render(program, without))  # type: ignore[arg-type]
            name = f"policy-{digest([*key, text])}.o"
            objects.append(_compile(text, folder / name, [clang.path], flags))
        library = folder / f"sim-{digest(str(path) for path in objects)}.so"
        if not library.exists():
            partial = library.with_name(f".{library.name}.{os.getpid()}")
            link = [clang.path, "-shared", "-Wl,-Bsymbolic", "-o", str(partial)]
            _run([*link, *map(str, objects)])
            partial.replace(library)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}") from error
    return library
