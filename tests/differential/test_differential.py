"""Random functions on random inputs: an evaluator of our own, CPython and BPF must agree.

Inputs of a function are a sequence of calls; after each, the result, all state, the counters and
what the function did to the world are compared. `VSCHED_SEED` repeats a run, `--long` or
`VSCHED_PAIRS` ask for more pairs of function and input.
"""

from __future__ import annotations

import base64
import ctypes
import dataclasses
import errno
import functools
import itertools
import os
import random
import secrets
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kept
import pytest
from harness import DRAWS, harness_source, input_struct, known_fields, snapshot_struct
from in_bpf import run_object
from minimise import minimise
from programs import BOOL, SCALARS, TYPES, Evaluator, Function, Generator, Type, limits, name_of

from scx_vsched.backend.build import build_with, take
from scx_vsched.bpf.compile import compile_c, find_clang
from scx_vsched.bpf.libbpf import BpfError, library
from scx_vsched.errors import UserError
from scx_vsched.policy import Task, emit_c, world
from scx_vsched.policy.base import policy_class
from scx_vsched.policy.compiler import compile_source
from scx_vsched.policy.views import VIEWS
from scx_vsched.vm.boot import run_job
from scx_vsched.vm.job import Job, Step

if TYPE_CHECKING:
    from scx_vsched.vm.kernels import Kernel

FUNCTIONS, FEW = 40, 10
HELPERS = 6
INPUTS = 64
PAIRS, MANY_PAIRS = 5_000, 50_000  # at least, and with --long; one batch is 2,560
LARGEST = 5000  # characters of a function; with its helpers it stays within the compiler's limits
VIEW_PARAMETERS = {"task": "Task", "running": "Task", "vcpu": "VCpu", "sched": "Sched"}
FIELDS: dict[str, dict[str, Type]] = {
    view: {f.name: TYPES[f.type.name] if f.type else BOOL for f in known_fields(view)}
    for view in VIEWS
}
INT_NAMES = sorted(TYPES.keys() - {"bool"})
FROZEN = {"bias"}
TUNABLES: dict[str, Type] = {"wide": (64, False), "bias": (64, True), "trips": (64, False)}
BOUNDS = {"wide": (0, 2**64 - 1), "bias": (-(2**63), 2**63 - 1), "trips": (0, 5)}


def policy_source(functions: list[Function]) -> str:
    """A policy file that holds `functions`."""
    words = ["Policy", "guest", "tunable", *VIEWS, *INT_NAMES, *kept.WORDS]
    lines = [f"from scx_vsched.policy import {', '.join(words)}", ""]
    lines += kept.class_source()
    for function in functions:
        if not function.method:
            lines += [function.source(), ""]
    lines += ["class Random(Policy):", "    mechanism = guest"]
    for name, (low, high) in BOUNDS.items():
        frozen = ", frozen=True" if name in FROZEN else ""
        lines.append(f"    {name} = tunable({low}, min={low}, max={high}{frozen})")
    lines += kept.member_source()
    for function in functions:
        if function.method:
            lines += [f"    {line}" for line in function.source().split("\n")]
    return "\n".join(lines) + "\n"


def draw_value(rng: random.Random, t: Type) -> int:
    """Mostly small numbers and the ends of the range, where mistakes are."""
    if t == BOOL:
        return rng.getrandbits(1)
    assert isinstance(t, tuple)
    low, high = limits(t)
    value = rng.choice(
        [0, 1, 2, 3, -1, -2, low, high, low + 1, high - 1, high // 2, high // 2 + 1,
         rng.randint(low, high), rng.randint(low, high), rng.randint(-20, 20),
         1 << rng.randrange(64)]
    )  # fmt: skip
    return min(max(value, low), high)


def draw_input(rng: random.Random) -> dict[str, Any]:
    drawn: dict[str, Any] = {
        name: {f: draw_value(rng, t) for f, t in FIELDS[view].items()}
        for name, view in VIEW_PARAMETERS.items()
    }
    for view, key in kept.OWNERS.values():
        for name in (name for name, of in VIEW_PARAMETERS.items() if of == view):
            drawn[name][key] = rng.randrange(kept.KEYS)
    drawn |= {name: draw_value(rng, t) for name, t in SCALARS.items()}
    drawn["now"] = draw_value(rng, (64, False))
    drawn["draws"] = [draw_value(rng, (32, False)) for _ in range(DRAWS)]
    return drawn


def draw_functions(rng: random.Random, count: int, *, stateful: bool) -> list[Function]:
    generator = Generator(rng, FIELDS, TUNABLES, stateful=stateful)
    made = []
    for i in range(HELPERS + count):
        helper = i < HELPERS
        views = dict(rng.sample(sorted(VIEW_PARAMETERS.items()), 2)) if helper else VIEW_PARAMETERS
        while True:
            function = generator.function(
                f"{'helper' if helper else 'f'}{i}",
                method=not helper or i % 2 == 0,
                views=views,
                full=not helper,
            )
            if len(function.source()) < (LARGEST if stateful else LARGEST // 3):
                break
        made.append(function)
        if helper:
            generator.callable.append(function)
    return made


@dataclass(frozen=True)
class Batch:
    """Random functions of one policy with the inputs that each is called with, in order."""

    functions: list[Function]
    source: str
    tunables: dict[str, int]
    inputs: list[dict[str, Any]]

    @property
    def tested(self) -> list[Function]:
        """The functions that are compared; the others are their helpers."""
        return [function for function in self.functions if function.full]

    @property
    def records(self) -> list[bytes]:
        """The inputs as the programs in BPF read them."""
        layout = input_struct(VIEW_PARAMETERS, {name: name_of(t) for name, t in SCALARS.items()})
        return [pack(layout, drawn) for drawn in self.inputs]


def draw_batch(rng: random.Random, count: int = FUNCTIONS, *, stateful: bool = True) -> Batch:
    functions = draw_functions(rng, count, stateful=stateful)
    tunables = {name: draw_value(rng, TUNABLES[name]) for name in TUNABLES}
    tunables["trips"] = rng.randint(*BOUNDS["trips"])
    inputs = [draw_input(rng) for _ in range(INPUTS)]
    return Batch(functions, policy_source(functions), tunables, inputs)


def build(batch: Batch, out: Path, *, by_pythonbpf: bool = False) -> None:
    """Compiles the batch to a BPF object."""
    program = compile_source(batch.source, "random_policy.py")
    values = {t.name: t.default for t in program.tunables} | batch.tunables
    scalars = {name: name_of(t) for name, t in SCALARS.items()}
    names = [f.name for f in batch.tested]
    count = len(batch.inputs)
    taken = take(program, names if by_pythonbpf else (), prefix="fn", most=100_000)
    source = harness_source(program, names, VIEW_PARAMETERS, scalars, count, values, taken.c)
    if taken.c:
        build_with(taken, lambda rest: compile_c(source, rest), out)
    else:
        compile_c(source, out)


@dataclass(frozen=True)
class Mismatch:
    """The first call of a function after which the three differ, and in what."""

    function: Function
    call: int
    what: str


def judge(batch: Batch, in_bpf: bytes) -> Mismatch | None:
    """Compares the three after each call; `in_bpf` are the outputs of all functions."""
    policy = policy_class(compile_source(batch.source, "random_policy.py"))
    snapshot = snapshot_struct()
    size = ctypes.sizeof(snapshot)
    for i, function in enumerate(batch.tested):
        made = policy(**batch.tunables)
        model = kept.Model()
        evaluator = Evaluator({f.name: f for f in batch.functions}, batch.tunables, model)
        for k, drawn in enumerate(batch.inputs):
            model.begin(drawn["now"], drawn["draws"])
            views = {name: drawn[name] for name in VIEW_PARAMETERS}
            numbers = {name: drawn[name] for name in SCALARS}
            expected = evaluator.call(function, views, numbers)
            objects = [make_view(v, drawn[n]) for n, v in VIEW_PARAMETERS.items()]
            arguments = [bool(v) if SCALARS[n] == BOOL else v for n, v in numbers.items()]
            with world(now_ns=drawn["now"], random=itertools.cycle(drawn["draws"])) as seen:
                in_python = getattr(made, function.name)(*objects, *arguments)
            assert isinstance(in_python, bool) == (function.returns == BOOL)
            at = (i * len(batch.inputs) + k) * size
            found = snapshot.from_buffer_copy(in_bpf, at)
            told = from_snapshot(found, function)
            wanted = from_model(model, expected)
            kicked = functools.reduce(kept.fold, seen.kicked, 0)
            for name, seen_there in (
                ("CPython", from_policy(made, in_python, kicked)),
                ("BPF", told),
            ):
                if seen_there != wanted:
                    lines = [
                        f"{key}: {value} instead of {wanted[key]}"
                        for key, value in seen_there.items()
                        if value != wanted[key]
                    ]
                    return Mismatch(function, k, f"{name} has " + "; ".join(lines[:4]))
    return None


def from_model(model: kept.Model, result: int) -> dict[Any, Any]:
    """All that a call may change, as the evaluator has it."""
    found: dict[Any, Any] = {"result": result, "kicked": model.kicked, "hits": model.hits}
    return found | {"buckets": model.buckets} | model.kept


def from_policy(made: Any, result: int, kicked: int) -> dict[Any, Any]:
    """The like in CPython."""
    found: dict[Any, Any] = {"result": result, "kicked": kicked, "hits": made.hits.value}
    found["buckets"] = made.sizes.buckets
    for key in range(kept.KEYS):
        found["task", key] = made.mine(Task(pid=key)).__dict__
        found["vcpu", key] = made.here(key).__dict__
        found["domain", key] = made.group(Task(domain=key)).__dict__
    found["sched", 0] = made.all.__dict__
    return found


def from_snapshot(snapshot: Any, function: Function) -> dict[Any, Any]:
    """The like in BPF."""
    found: dict[Any, Any] = {"result": signed(snapshot.result, function.returns)}
    found |= {"kicked": snapshot.kicked, "hits": snapshot.hits, "buckets": snapshot.buckets[:]}
    for scope in kept.SCOPES:
        for key, state in enumerate(getattr(snapshot, scope)):
            found[scope, key] = {name: getattr(state, name) for name in kept.FIELDS}
    return found


def show(batch: Batch, mismatch: Mismatch) -> str:
    """A counter-example to read, and to keep as a test."""
    calls = batch.inputs[: mismatch.call + 1]
    return "\n".join(
        [
            f"after call {mismatch.call} of {mismatch.function.name}: {mismatch.what}",
            batch.source,
            f"tunables = {batch.tunables}",
            *(f"call {k}: {drawn}" for k, drawn in enumerate(calls)),
        ]
    )


def pack(layout: Any, drawn: dict[str, Any]) -> bytes:
    record = layout()
    for name in VIEW_PARAMETERS:
        for f, value in drawn[name].items():
            setattr(getattr(record, name), f, value)
    for name in (*SCALARS, "now"):
        setattr(record, name, drawn[name])
    record.draws[:] = drawn["draws"]
    return bytes(record)


def make_view(view: str, values: dict[str, int]) -> Any:
    typed = {n: bool(v) if FIELDS[view][n] == BOOL else v for n, v in values.items()}
    return VIEWS[view](**typed)


def signed(value: int, t: Type) -> int:
    """The u64 that BPF stored, as the function's type."""
    return value - 2**64 if isinstance(t, tuple) and t[1] and value >= 2**63 else value


def seeded() -> random.Random:
    seed = int(os.environ.get("VSCHED_SEED") or secrets.randbits(32))
    print(f"VSCHED_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def clang() -> None:
    """Skips where random functions cannot be compiled."""
    try:
        find_clang()
        library()
    except UserError as error:
        pytest.skip(f"{error.message} ({error.hint})")


@pytest.mark.bpf
@pytest.mark.usefixtures("clang")
def test_three_ways_agree(tmp_path: Path, long_run: bool) -> None:
    rng = seeded()
    wanted = int(os.environ.get("VSCHED_PAIRS") or (MANY_PAIRS if long_run else PAIRS))
    pairs = refused = 0
    while pairs < wanted:
        batch = draw_batch(rng)
        try:
            mismatch = check(batch, tmp_path)
        except TooLargeError:
            refused += 1
            assert refused <= 1 + pairs // MANY_PAIRS
            continue
        if mismatch:
            smallest = minimise(batch, lambda smaller: check(smaller, tmp_path))
            found = check(smallest, tmp_path) or mismatch
            pytest.fail(show(smallest, found))
        pairs += len(batch.tested) * len(batch.inputs)
    print(f"{pairs} pairs of function and input, no mismatch, {refused} batches too large")


class TooLargeError(AssertionError):
    """The kernel's verifier gave up on a batch: it walks a million instructions at most."""


def check(batch: Batch, directory: Path, *, by_pythonbpf: bool = False) -> Mismatch | None:
    """Builds and runs a batch on this machine's kernel, and compares."""
    build(batch, directory / "batch.o", by_pythonbpf=by_pythonbpf)
    data = (directory / "batch.o").read_bytes()
    try:
        in_bpf = run_object(data, len(batch.tested), batch.records)
    except BpfError as error:
        if error.errno in {errno.EPERM, errno.EACCES} and not error.log:
            pytest.skip(f"this kernel lets us load no BPF ({error}); the VM test does")
        if any("BPF program is too large" in line for line in error.log):
            raise TooLargeError(batch.source) from error
        raise AssertionError(f"{error}\n" + "\n".join(error.log[-40:])) from error
    return judge(batch, in_bpf)


@pytest.mark.bpf
@pytest.mark.usefixtures("clang")
def test_tunables_change_what_loaded_programs_compute(tmp_path: Path) -> None:
    """Written through shared memory, as `scx_vsched tune` does; the frozen one stays."""
    rng = random.Random(6)
    tuned = {
        name: draw_value(rng, TUNABLES[name]) for name in TUNABLES if name not in {*FROZEN, "trips"}
    }
    places = {list(BOUNDS).index(name): value for name, value in tuned.items()}
    for seed in range(4):  # not every draw has a function whose result depends on a tunable
        batch = draw_batch(random.Random(seed))
        build(batch, tmp_path / "batch.o")
        in_bpf = run_object(
            (tmp_path / "batch.o").read_bytes(), len(batch.tested), batch.records, places
        )
        assert judge(dataclasses.replace(batch, tunables=batch.tunables | tuned), in_bpf) is None
        if judge(batch, in_bpf) is not None:
            return
    pytest.fail("no draw has a function whose result depends on a tunable")


@pytest.mark.bpf
@pytest.mark.usefixtures("clang")
def test_a_wrong_compiler_is_found_and_its_counter_example_is_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emit_c, "_ATOMICS", emit_c._ATOMICS | {"-": "add"})
    rng = random.Random(7)
    for _ in range(12):
        batch = draw_batch(rng, FEW)
        if check(batch, tmp_path):
            break
    smallest = minimise(batch, lambda smaller: check(smaller, tmp_path))
    found = check(smallest, tmp_path)
    assert found is not None
    print(show(smallest, found))
    assert len(smallest.tested) == 1
    assert len(smallest.inputs) <= 2
    assert len(found.function.source().split("\n")) <= 8


@pytest.mark.vm
@pytest.mark.usefixtures("clang")
def test_three_ways_agree_in_a_vm(tmp_path: Path, vm_kernels: dict[str, Kernel]) -> None:
    """The same on the oldest supported kernel, whose verifier and JIT compiler differ."""
    batch = draw_batch(seeded())
    build(batch, tmp_path / "batch.o")
    step = Step(
        "in_bpf:run_in_guest",
        {
            "name": "batch.o",
            "functions": len(batch.tested),
            "records": [record.hex() for record in batch.records],
        },
    )
    outcome = run_job(
        vm_kernels["oldest"],
        Job((step,), path=(str(Path(__file__).parent),)),
        files={"batch.o": tmp_path / "batch.o"},
    )
    result = outcome.steps[0]
    assert result.ok, result.error
    in_bpf = zlib.decompress(base64.b64decode(result.value))
    mismatch = judge(batch, in_bpf)
    assert mismatch is None, show(batch, mismatch)
    print(f"{len(batch.tested) * len(batch.inputs)} pairs of function and input, no mismatch")
