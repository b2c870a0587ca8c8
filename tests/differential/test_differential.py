"""Random functions on random inputs: an evaluator of our own, CPython and BPF must agree.

`VSCHED_SEED` repeats a run, `VSCHED_PAIRS` asks for more pairs of function and input.
"""

from __future__ import annotations

import errno
import os
import random
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import harness_source, input_struct
from in_bpf import run_object
from programs import BOOL, SCALARS, TYPES, Evaluator, Function, Generator, Type, limits, name_of

from scx_vsched.bpf.compile import compile_c, find_clang
from scx_vsched.bpf.libbpf import BpfError, library
from scx_vsched.errors import UserError
from scx_vsched.policy.base import policy_class
from scx_vsched.policy.compiler import compile_source
from scx_vsched.policy.views import VIEWS, field_info
from scx_vsched.vm.boot import run_job
from scx_vsched.vm.job import Job, Step

if TYPE_CHECKING:
    from scx_vsched.vm.kernels import Kernel

FUNCTIONS = 40
HELPERS = 6
INPUTS = 64
PAIRS = 5000  # at least; one batch is 2,560
LARGEST = 5000  # characters of a function; with its helpers it stays within the compiler's limits
VIEW_PARAMETERS = {"task": "Task", "running": "Task", "vcpu": "VCpu", "sched": "Sched"}
FIELDS: dict[str, dict[str, Type]] = {
    view: {f.name: TYPES[f.type.name] if f.type else BOOL for f in field_info(view).values()}
    for view in VIEWS
}
INT_NAMES = sorted(TYPES.keys() - {"bool"})
TUNABLES: dict[str, Type] = {"wide": (64, False), "bias": (64, True), "trips": (64, False)}
BOUNDS = {"wide": (0, 2**64 - 1), "bias": (-(2**63), 2**63 - 1), "trips": (0, 5)}


def policy_source(functions: list[Function]) -> str:
    """A policy file that holds `functions`."""
    words = ["Policy", "guest", "tunable", *VIEWS, *INT_NAMES]
    lines = [f"from scx_vsched.policy import {', '.join(words)}", ""]
    for function in functions:
        if not function.method:
            lines += [function.source(), ""]
    lines += ["class Random(Policy):", "    mechanism = guest"]
    for name, (low, high) in BOUNDS.items():
        lines.append(f"    {name} = tunable({low}, min={low}, max={high})")
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
    return drawn | {name: draw_value(rng, t) for name, t in SCALARS.items()}


def draw_functions(rng: random.Random, count: int) -> list[Function]:
    generator = Generator(rng, FIELDS, TUNABLES)
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
            if len(function.source()) < LARGEST:
                break
        made.append(function)
        if helper:
            generator.callable.append(function)
    return made


@dataclass(frozen=True)
class Batch:
    """Random functions of one policy with the inputs that they are run on."""

    functions: list[Function]
    source: str
    tunables: dict[str, int]
    inputs: list[dict[str, Any]]

    @property
    def tested(self) -> list[Function]:
        """The functions that are compared; the others are their helpers."""
        return self.functions[HELPERS:]

    @property
    def records(self) -> list[bytes]:
        """The inputs as the programs in BPF read them."""
        layout = input_struct(VIEW_PARAMETERS, {name: name_of(t) for name, t in SCALARS.items()})
        return [pack(layout, drawn) for drawn in self.inputs]


def draw_batch(rng: random.Random) -> Batch:
    functions = draw_functions(rng, FUNCTIONS)
    tunables = {name: draw_value(rng, TUNABLES[name]) for name in TUNABLES}
    tunables["trips"] = rng.randint(*BOUNDS["trips"])
    inputs = [draw_input(rng) for _ in range(INPUTS)]
    return Batch(functions, policy_source(functions), tunables, inputs)


def build(batch: Batch, out: Path) -> None:
    """Compiles the batch to a BPF object."""
    program = compile_source(batch.source, "random_policy.py")
    values = {t.name: t.default for t in program.tunables} | batch.tunables
    scalars = {name: name_of(t) for name, t in SCALARS.items()}
    names = [f.name for f in batch.tested]
    compile_c(harness_source(program, names, VIEW_PARAMETERS, scalars, INPUTS, values), out)


def judge(batch: Batch, in_bpf: list[list[int]]) -> int:
    """Compares the three results of each pair; the number of pairs, all of which agreed."""
    policy = policy_class(compile_source(batch.source, "random_policy.py"))(**batch.tunables)
    evaluator = Evaluator({f.name: f for f in batch.functions}, batch.tunables)
    helpers = "\n".join(f.source() for f in batch.functions[:HELPERS])
    for i, function in enumerate(batch.tested):
        for k, drawn in enumerate(batch.inputs):
            views = {name: drawn[name] for name in VIEW_PARAMETERS}
            numbers = {name: drawn[name] for name in SCALARS}
            expected = evaluator.call(function, views, numbers)
            objects = [make_view(v, drawn[n]) for n, v in VIEW_PARAMETERS.items()]
            arguments = [bool(v) if SCALARS[n] == BOOL else v for n, v in numbers.items()]
            in_python = getattr(policy, function.name)(*objects, *arguments)
            results = expected, in_python, signed(in_bpf[i][k], function.returns)
            assert results == (expected,) * 3, (
                f"evaluator, CPython, BPF: {results}\n{helpers}\n{function.source()}\n"
                f"{drawn}\n{batch.tunables}"
            )
            assert isinstance(in_python, bool) == (function.returns == BOOL)
    return len(batch.tested) * len(batch.inputs)


def pack(layout: Any, drawn: dict[str, Any]) -> bytes:
    record = layout()
    for name in VIEW_PARAMETERS:
        for f, value in drawn[name].items():
            setattr(getattr(record, name), f, value)
    for name in SCALARS:
        setattr(record, name, drawn[name])
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
def test_three_ways_agree(tmp_path: Path) -> None:
    rng = seeded()
    wanted = int(os.environ.get("VSCHED_PAIRS") or PAIRS)
    pairs = 0
    while pairs < wanted:
        batch = draw_batch(rng)
        build(batch, tmp_path / "batch.o")
        data = (tmp_path / "batch.o").read_bytes()
        try:
            in_bpf = run_object(data, len(batch.tested), batch.records)
        except BpfError as error:
            if error.errno in {errno.EPERM, errno.EACCES} and not error.log:
                pytest.skip(f"this kernel lets us load no BPF ({error}); the VM test does")
            raise AssertionError(f"{error}\n" + "\n".join(error.log[-40:])) from error
        pairs += judge(batch, in_bpf)
    print(f"{pairs} pairs of function and input, no mismatch")


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
    print(f"{judge(batch, result.value)} pairs of function and input, no mismatch")
