"""Properties over random functions: CPython agrees with an evaluator of its own, bounds hold."""

from __future__ import annotations

import random
from typing import Any

import policy_text
from harness import known_fields
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from programs import BOOL, SCALARS, TYPES, Evaluator, Function, Generator, Type, limits, name_of

from scx_vsched.policy import ir
from scx_vsched.policy.base import policy_class
from scx_vsched.policy.bounds import Interval, interval, trips
from scx_vsched.policy.compiler import compile_source
from scx_vsched.policy.views import VIEWS

VIEW_PARAMETERS = {"task": "Task", "vcpu": "VCpu", "sched": "Sched"}
FIELDS: dict[str, dict[str, Type]] = {
    view: {f.name: TYPES[f.type.name] if f.type else BOOL for f in known_fields(view)}
    for view in VIEWS
}
TUNABLES: dict[str, Type] = {"trips": (64, False), "bias": (64, True)}
seeds = st.integers(0, 2**32 - 1)
slow = settings(suppress_health_check=list(HealthCheck))


def compiled(function: Function) -> Any:
    text = "\n".join(
        [
            policy_text.IMPORT,
            "class P(Policy):",
            "    mechanism = guest",
            "    trips = tunable(3, min=0, max=5)",
            f"    bias = tunable(-9, min={-(2**63)}, max={2**63 - 1})",
            *(f"    {line}" for line in function.source().split("\n")),
        ]
    )
    return compile_source(text + "\n", "property.py")


def draw(rng: random.Random, t: Type) -> int:
    if t == BOOL:
        return rng.getrandbits(1)
    low, high = limits(t)  # type: ignore[arg-type]
    value = rng.choice([0, 1, -1, low, high, high // 2, rng.randint(low, high), rng.randint(-9, 9)])
    return min(max(value, low), high)


def run(function: Function, program: Any, rng: random.Random) -> tuple[int, int]:
    """The result by the evaluator, and in CPython."""
    views = {n: {f: draw(rng, t) for f, t in FIELDS[v].items()} for n, v in VIEW_PARAMETERS.items()}
    scalars = {name: draw(rng, t) for name, t in SCALARS.items()}
    tunables = {"trips": rng.randint(0, 5), "bias": draw(rng, (64, True))}
    expected = Evaluator({}, tunables).call(function, views, scalars)
    objects = [
        VIEWS[v](**{f: bool(x) if FIELDS[v][f] == BOOL else x for f, x in views[n].items()})
        for n, v in VIEW_PARAMETERS.items()
    ]
    values = [bool(x) if SCALARS[n] == BOOL else x for n, x in scalars.items()]
    return expected, policy_class(program)(**tunables).fn(*objects, *values)


@slow
@given(seeds)
def test_cpython_computes_what_the_language_means(seed: int) -> None:
    rng = random.Random(seed)
    function = Generator(rng, FIELDS, TUNABLES).function(
        "fn", method=True, views=VIEW_PARAMETERS, full=True
    )
    program = compiled(function)
    for _ in range(8):
        expected, found = run(function, program, rng)
        assert found == expected


@slow
@given(seeds)
def test_values_stay_within_their_interval(seed: int) -> None:
    rng = random.Random(seed)
    function = Generator(rng, FIELDS, TUNABLES).expression("fn", VIEW_PARAMETERS)
    program = compiled(function)
    (statement,) = program.function("fn").body
    tunables = {tunable.name: tunable for tunable in program.tunables}
    bounds = interval(statement.value, {}, tunables)
    assert name_of(function.returns) == statement.value.type.name
    for _ in range(8):
        _, found = run(function, program, rng)
        assert bounds.low <= found <= bounds.high, ir.text(statement)


small = st.integers(-30, 30)
steps = st.integers(-7, 7).filter(bool)


@given(small, small, small, small, steps)
def test_trips_bound_every_range(a: int, b: int, c: int, d: int, step: int) -> None:
    starts, stops = Interval(min(a, b), max(a, b)), Interval(min(c, d), max(c, d))
    found = trips(starts, stops, step)
    lengths = [len(range(start, stop, step)) for start in (a, b) for stop in (c, d)]
    assert found.low == min(lengths)
    assert found.high == max(lengths)
