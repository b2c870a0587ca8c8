"""Compiles a policy's rendered C for this machine, together with the engine that simulates.

Both are cached under ~/.cache/scx_vsched/sim by what they are made of, so that a second run of the
same policy compiles nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.bpf.compile import CompileError, find_clang, run_compiler
from scx_vsched.bpf.render import include_dir, render
from scx_vsched.errors import UserError
from scx_vsched.sim.hooks import redirected
from scx_vsched.sim.sanitize import SANITIZE, find_gcc, require_loaded, without_runtime

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from scx_vsched.policy.program import PolicyProgram

__all__ = [
    "DEFAULT_KERNEL",
    "KERNELS",
    "build_library",
    "cache_dir",
    "digest",
    "make",
    "simulated_source",
]

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
    "-Wno-unknown-pragmas",  # clang's own, where gcc compiles
)
_CLANG_FLAGS = ("-Wno-unknown-warning-option",)
_KFUNCS = '#include "scx.h"'
# Counters of the mechanism that must be 0 once no task is left.
_COUNTERS = (
    ("vcpus", "queued"),
    ("vcpus", "llc.queued"),
    ("groups", "active"),
    ("pcpus", "queued"),
)
_PLACES = "vcpus"  # of the mechanism `guest` alone, whose groups count
# Says of a vCPU that tasks may wait beside it although it is idle.
_HIDDEN = ("usages", "hidden")
# Of schedulers that keep tasks on NUMA nodes.
_NODES = """\
const struct sim_array sim_nodes = {
	nodes, MAX_HOME_NODES, sizeof(*nodes), __builtin_offsetof(struct node, queued),
};
bool sim_kept_from(u32 vcpu, u64 dsq)
{
	return resident_of(vcpu)->kept && dsq != VCPU_DSQ(vcpu);
}
u32 sim_queue_vcpu(u64 dsq)
{
	struct place place;

	if (dsq >> 16 == VCPU_DSQ(0) >> 16)
		return dsq & 0xffff;
	for (u32 vcpu = 0; dsq >> 16 == LLC_DSQ(0) >> 16 && vcpu < nr_vcpu_ids; vcpu++) {
		if (place_of(vcpu, current_copy(), &place) && place.spot->llc == (dsq & 0xffff))
			return vcpu;
	}
	return ~0U;
}
"""
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
    of_guest = _PLACES in known
    counters = [
        f"\tSIM_COUNTER({m}, {member}),\n"
        for m, member in _COUNTERS
        if m in known and (of_guest or m == "pcpus")
    ]
    return (
        f"{rendered}\n/* The maps, for the simulator. */\n"
        f"const struct sim_map sim_maps[] = {{\n{''.join(entries)}}};\n"
        f"const u32 sim_nr_maps = {len(entries)};\n"
        f"const struct sim_counter sim_counters[] = {{\n{''.join(counters)}}};\n"
        f"const u32 sim_nr_counters = {len(counters)};\n"
        + ("const u64 sim_parked = PARKED_DSQ;\n" if "#define PARKED_DSQ" in rendered else "")
        + (_NODES if "homes" in known else "")
        + (
            f"const struct sim_counter sim_hidden = SIM_COUNTER({', '.join(_HIDDEN)});\n"
            if _HIDDEN[0] in known
            else ""
        )
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


@contextlib.contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """Keeps other processes from making the same file meanwhile; they find it made then."""
    claim = out.with_suffix(".lock")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        file = claim.open("w")
    except OSError as error:
        raise UserError(f"cannot write {out.parent}: {error.strerror}") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            claim.unlink(missing_ok=True)


def make(out: Path, command: Sequence[str], source: str | None = None) -> Path:
    """`out`, made by `command` with `-o FILE` added, unless it is there; `source` is its input.

    Raises CompileError with what the compiler printed, UserError where nothing can be written.
    """
    if out.exists():
        return out
    with _claimed(out):
        if out.exists():
            return out
        refusal = run_compiler(command, out, source, minutes=5, env=without_runtime())
    if refusal:
        raise CompileError(
            f"{Path(command[0]).name} refused what the simulator is made of:\n{refusal}",
            "the stand-in headers in templates/sim may lack what the templates now use",
        )
    return out


@dataclass(frozen=True, slots=True)
class _Compiler:
    """What compiles, with the flags that it needs beside those of all."""

    path: str
    version: str
    flags: tuple[str, ...]


def _compiler(sanitize: bool) -> _Compiler:
    """clang, or gcc for sanitizers: it comes with their run-time library, clang without it."""
    if sanitize:
        return _Compiler(*find_gcc(), SANITIZE)
    clang = find_clang()
    return _Compiler(clang.path, str(clang.version), _CLANG_FLAGS)


def build_library(
    program: PolicyProgram | None,
    without: tuple[str, ...] = (),
    kernel: str = DEFAULT_KERNEL,
    *,
    sanitize: bool = False,
    source: str | None = None,
    cpython: bool = False,
) -> Path:
    """The shared library that simulates `program`, or the default scheduler where it is None.

    `kernel` is one of KERNELS; `source` replaces the rendered C (for faults that tests put in);
    with `cpython` the mechanism asks CPython instead of compiled hooks (scx_vsched.sim.hooks).
    What is built with `sanitize` runs only as scx_vsched.sim.sanitize says. Raises UserError where
    a compiler is missing, CompileError where it refuses the code.
    """
    if sanitize:
        require_loaded()
    if kernel not in KERNELS:
        raise UserError(f"no simulated kernel {kernel!r}", f"there are {', '.join(KERNELS)}")
    compiler = _compiler(sanitize)
    include = include_dir()
    flags = [
        OPTIMISE,
        *_FLAGS,
        *compiler.flags,
        f"-I{include.parent / 'sim'}",
        f"-I{include}",
        f"-I{_ENGINE}",
    ]
    folder = cache_dir()
    key = [_headers(), compiler.path, compiler.version, *flags]
    sources = [(path.stem, path.read_text(encoding="utf-8")) for path in _engine_sources()]
    if program is not None or source is not None:
        rendered = source or render(program, without)  # type: ignore[arg-type]
        if cpython and program is not None:
            rendered = redirected(rendered, program)
        sources.append(("policy", simulated_source(rendered)))

    def compiled(source: tuple[str, str]) -> Path:
        name, text = source
        # the rest of the engine is the same for every kernel
        own = [f"-DSIM_KERNEL={KERNELS[kernel]}"] if _KFUNCS in text or name == "policy" else []
        out = folder / f"{name}-{digest([*key, *own, text])}.o"
        return make(out, [compiler.path, *flags, *own, "-x", "c", "-c", "-"], text)

    sources.reverse()  # the policy takes longest
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        objects = list(pool.map(compiled, sources))[::-1]
    library = folder / f"sim-{digest(str(path) for path in objects)}.so"
    runtime = SANITIZE if sanitize else ()
    link = [compiler.path, *runtime, "-shared", "-Wl,-Bsymbolic", *map(str, objects)]
    return make(library, link)
