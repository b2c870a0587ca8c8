"""Classes of latency, from numbers whose classes are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scx_vsched.topology.classes import find_classes, name_classes, sample_latency
from scx_vsched.topology.records import PairSample, Relation

TRUE = [
    [45.0],
    [5.8, 45.0],
    [45.0, 75.0],
    [5.8, 45.0, 75.0],
    [5.8, 45.0, 75.0, 120.0],
    [5.8, 45.0, 75.0, 120.0, 200.0],
    [140.0, 600.0],  # an emulated machine
]


def latencies(
    centres: list[float], members: int, rng: np.random.Generator, spread: float = 0.04
) -> list[float]:
    noise = np.clip(rng.standard_normal((len(centres), members)), -2.5, 2.5) * spread
    return [float(value) for value in (np.array(centres)[:, None] * np.exp(noise)).ravel()]


def sample(values: list[float], both_ns: int = 10**6) -> PairSample:
    return PairSample(0, 1, tuple(values), (both_ns, both_ns), both_ns, 2 * both_ns)


@pytest.mark.parametrize("members", [6, 20, 300])
@pytest.mark.parametrize("centres", TRUE, ids=str)
def test_true_classes_are_found(centres: list[float], members: int) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = find_classes(latencies(centres, members, rng)).classes
        assert [one.latency_ns for one in found] == pytest.approx(centres, rel=0.06)


@pytest.mark.parametrize("members", [2, 3, 5, 10, 50, 1000])
def test_one_class_is_never_taken_for_two(members: int) -> None:
    forms = {
        "normal": lambda rng: np.exp(0.1 * rng.standard_normal(members)),
        "uniform": lambda rng: rng.uniform(0.85, 1.15, members),
    }
    for name, draw in forms.items():
        numbers = [
            len(find_classes(50 * draw(np.random.default_rng(seed))).classes) for seed in range(100)
        ]
        assert numbers.count(1) >= 97, name


def test_a_few_disturbed_probes_make_no_class() -> None:
    rng = np.random.default_rng(1)
    values = latencies([6.0, 45.0, 110.0], 100, rng)
    found = find_classes([*values, *rng.uniform(150, 3000, 6)]).classes
    assert len(found) == 3


def test_a_small_class_counts_when_seen_again() -> None:
    values = latencies([6.0, 45.0], 200, np.random.default_rng(1))
    assert len(find_classes([*values, 120.0]).classes) == 2
    assert len(find_classes(values, firm_ns=[120.0, 122.0]).classes) == 3


def test_a_latency_between_classes_is_of_none() -> None:
    classes = find_classes(latencies([6.0, 45.0, 110.0], 50, np.random.default_rng(1)))
    assert [classes.of(value) for value in (6.2, 15.0, 44.0, 112.0, 4000.0)] == [
        0,
        None,
        1,
        2,
        None,
    ]


def test_nothing_has_no_class() -> None:
    assert find_classes([]).classes == ()
    assert find_classes([]).of(40.0) is None


def test_joined_classes_take_in_both() -> None:
    classes = find_classes(latencies([6.0, 45.0, 60.0], 50, np.random.default_rng(1)))
    joined = classes.joined_at(52.0)
    assert len(joined.classes) == 2
    assert joined.of(44.0) == joined.of(61.0) == 1
    assert classes.joined_at(1.0) == classes


def test_disturbed_transfers_do_not_move_the_latency() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        values = 45 * np.exp(0.1 * rng.standard_normal(48))
        values += np.where(rng.random(48) < 0.3, rng.uniform(1e3, 1e6, 48), 0)
        latency = sample_latency(sample(list(values)))
        assert latency is not None
        assert abs(math.log(latency / 45)) < 0.12


def test_too_few_transfers_are_no_latency() -> None:
    assert sample_latency(sample([45.0] * 7)) is None
    assert sample_latency(sample([45.0] * 8)) == 45.0


def test_a_line_that_passes_when_the_host_changes_over_is_no_latency() -> None:
    assert sample_latency(sample([3e6] * 20, both_ns=0)) is None


def test_names_go_from_inside_out() -> None:
    assert name_classes(0, smt=False) == ()
    assert name_classes(1, smt=True) == (Relation.SMT,)
    assert name_classes(1, smt=False) == (Relation.LLC,)
    assert name_classes(3, smt=True) == (Relation.SMT, Relation.LLC, Relation.APART)
    assert name_classes(3, smt=False) == (Relation.LLC, Relation.SOCKET, Relation.APART)
    assert name_classes(5, smt=True)[1:] == tuple(Relation)[2:]
    assert name_classes(6, smt=False)[3:] == (Relation.APART,) * 3


def test_claims_name_classes_only_where_they_fit_all() -> None:
    llc, node = frozenset({Relation.LLC}), frozenset({Relation.NODE})
    assert name_classes(2, False, {0: llc, 1: node}) == (Relation.LLC, Relation.NODE)
    assert name_classes(2, False, {0: llc, 1: llc}) == (Relation.LLC, Relation.APART)
    assert name_classes(2, False, {0: llc | node, 1: node}) == (Relation.LLC, Relation.APART)
    assert name_classes(2, False, {0: node, 1: llc}) == (Relation.LLC, Relation.APART)
