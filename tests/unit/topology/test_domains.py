"""Domains as sets of vCPUs: numbering, nesting, and what unmeasured vCPUs keep of their claims."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vcpu_graphs import flat, places

from scx_vsched.errors import UserError
from scx_vsched.topology.domains import (
    Domains,
    Level,
    check_nesting,
    combine,
    members,
    numbered,
    partition,
    relation,
)
from scx_vsched.topology.records import Relation

if TYPE_CHECKING:
    import random

KEYS = st.lists(st.tuples(*(st.integers(0, 3) for _ in Level)), min_size=1, max_size=24)


@given(KEYS)
def test_numbering_counts_from_zero_by_the_lowest_vcpu(keys: list[tuple[int, ...]]) -> None:
    domains = numbered(dict(enumerate(keys)))
    check_nesting(domains)
    for level in Level:
        sets = members(domains, level)
        assert list(sets) == list(range(len(sets)))
        lowest = [vcpus[0] for vcpus in sets.values()]
        assert lowest == sorted(lowest)


@given(KEYS, st.randoms(use_true_random=False))
def test_numbering_forgets_names_and_keeps_sets(
    keys: list[tuple[int, ...]], rng: random.Random
) -> None:
    names = [rng.sample(range(100), 4) for _ in Level]
    renamed = [tuple(names[level][key[level]] for level in Level) for key in keys]
    assert numbered(dict(enumerate(renamed))) == numbered(dict(enumerate(keys)))


@given(KEYS)
def test_relation_is_the_smallest_common_domain(keys: list[tuple[int, ...]]) -> None:
    domains = numbered(dict(enumerate(keys)))
    for a, own in domains.items():
        for b, other in domains.items():
            common = [
                level
                for level in Level
                if any({a, b} <= vcpus for vcpus in partition(domains, level))
            ]
            assert relation(own, other) == (min(common) if common else Relation.APART)


def test_same_core_number_in_two_sockets_is_two_cores() -> None:
    domains = places((0, 0, 0, 0, 0), (1, 0, 0, 1, 0))
    assert (domains[0].core, domains[1].core) == (0, 1)


def test_domain_in_two_larger_ones_is_named_with_its_vcpus() -> None:
    domains = {4: Domains(0, 2, 0, 0, 0), 5: Domains(1, 2, 1, 0, 0)}
    with pytest.raises(
        UserError,
        match="core 2 has two parents: last-level cache 0 by vCPU 4 and 1 by vCPU 5",
    ):
        check_nesting(domains)


@given(KEYS)
def test_measured_domains_stay_whatever_is_claimed(keys: list[tuple[int, ...]]) -> None:
    measured = numbered(dict(enumerate(keys)))
    combined = combine(measured, flat(len(keys)))
    assert combined == measured


@given(KEYS, st.data())
def test_unmeasured_vcpus_change_nothing_between_the_measured(
    keys: list[tuple[int, ...]], data: st.DataObject
) -> None:
    everyone = numbered(dict(enumerate(keys)))
    offline = data.draw(st.sets(st.sampled_from(sorted(everyone))))
    claimed = numbered(
        {v: (v, *data.draw(st.tuples(*(st.integers(0, 2) for _ in range(4))))) for v in everyone}
    )
    measured = {vcpu: own for vcpu, own in everyone.items() if vcpu not in offline}
    combined = combine(measured, claimed)
    assert combined.keys() == everyone.keys()
    check_nesting(combined)
    for level in Level:
        rest = {vcpu: own for vcpu, own in combined.items() if vcpu in measured}
        assert partition(rest, level) == partition(measured, level)
    for vcpu in offline:
        assert members(combined, Level.STACK)[combined[vcpu].stack] == (vcpu,)


def test_offline_vcpu_joins_its_claimed_sibling_where_that_was_measured() -> None:
    claimed = places(*((v, v // 2, v // 4, 0, 0) for v in range(8)))
    measured = {v: Domains(v, v // 2, v // 4, v // 4, v // 4) for v in range(8) if v not in {3, 6}}
    combined = combine(measured, claimed)
    assert relation(combined[3], combined[2]) is Relation.SMT
    assert relation(combined[6], combined[7]) is Relation.SMT
    assert relation(combined[3], combined[6]) is Relation.APART


def test_offline_vcpu_without_measured_sibling_joins_the_cache() -> None:
    claimed = places(*((v, v // 2, v // 4, 0, 0) for v in range(8)))
    measured = {v: Domains(v, v // 2, v // 4, 0, 0) for v in (0, 1, 4, 5)}
    combined = combine(measured, claimed)
    assert relation(combined[2], combined[3]) is Relation.SMT
    assert relation(combined[2], combined[0]) is Relation.LLC
    assert relation(combined[6], combined[4]) is Relation.LLC
    assert relation(combined[2], combined[6]) is Relation.SOCKET
