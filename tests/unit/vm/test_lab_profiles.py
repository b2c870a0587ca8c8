"""Profiles of vCPUs: what is accepted, and how mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from scx_vsched.errors import UserError
from scx_vsched.vm.lab.placing import place
from scx_vsched.vm.lab.profile import (
    Mechanism,
    Profile,
    VcpuShape,
    builtin_profiles,
    load_profile,
    parse_profile,
)

FILE = Path("some/where.toml")


def parse(text: str, vcpus: int = 4) -> Profile:
    return parse_profile(f"version = 1\nvcpus = {vcpus}\n{text}", FILE)


def row(text: str) -> str:
    return "\n[[vcpu]]\n" + text


@pytest.mark.parametrize("name", sorted(builtin_profiles()))
def test_every_builtin_profile_fits_a_host_that_is_large_enough(name: str) -> None:
    profile = load_profile(name)
    assert profile.description
    plan = place(profile, range(64))
    assert plan.factor == 1.0
    assert plan.note == ""
    assert all(shape.cpus for stage in plan.stages for shape in stage.shapes)


def test_vcpus_without_a_row_are_the_guests_alone() -> None:
    profile = parse(row("ids = 1\nquota_ms = 2.5\nperiod_ms = 10"))
    assert profile.shapes == (VcpuShape(), VcpuShape(2500, 10_000), VcpuShape(), VcpuShape())
    assert [shape.share for shape in profile.shapes] == [1, 0.25, 1, 1]
    assert profile.smp == "4"
    assert profile.name == "where"


@pytest.mark.parametrize("ids", ['"0-2"', "[2, 0, 1]", '" 0, 1-2 "'])
def test_vcpus_are_named_by_number_list_or_range(ids: str) -> None:
    profile = parse(row(f"ids = {ids}\npin = true"))
    assert [shape.pin for shape in profile.shapes] == [True, True, True, False]


def test_everything_of_a_row_arrives() -> None:
    profile = parse(
        row('ids = 0\nquota_ms = 4\nperiod_ms = 8\nby = "freezer"\nphase_ms = 0.5\ncpus = "0-1"')
        + row('ids = [2, 3]\nstack = "pair"')
    )
    assert profile.shapes[0] == VcpuShape(4000, 8000, Mechanism.FREEZER, (0, 1), False, "", 500)
    assert [shape.stack for shape in profile.shapes] == ["", "", "pair", "pair"]


def test_changes_come_in_the_order_of_time_and_add_up() -> None:
    profile = parse(
        "[[change]]\nat_s = 20\nids = 1\n"
        "[[change]]\nat_s = 10\nids = 0\nquota_ms = 1\nperiod_ms = 2\n"
        "[[change]]\nat_s = 10\nids = 1\nquota_ms = 1\nperiod_ms = 4",
        vcpus=2,
    )
    whole, half, quarter = VcpuShape(), VcpuShape(1000, 2000), VcpuShape(1000, 4000)
    assert profile.stages() == (
        (0.0, (whole, whole)),
        (10.0, (half, quarter)),
        (20.0, (half, whole)),
    )


def test_no_such_profile_names_the_ones_there_are() -> None:
    with pytest.raises(UserError, match="no profile /none/such: No such file") as caught:
        load_profile("/none/such")
    assert "rcvm" in caught.value.hint


def test_a_profile_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="it is not text"):
        load_profile(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vcpus = [", "not valid TOML"),
        ("vcpus = 2", "version: must be a whole number"),
        ("version = 2\nvcpus = 2", "version is 2, and this scx_vsched reads version 1"),
        ("version = true\nvcpus = 2", "version: must be a whole number"),
        ("version = 1", "vcpus: must be a whole number from 1 to 1024"),
        ("version = 1\nvcpus = 0", "vcpus: must be a whole number from 1 to 1024"),
        ("version = 1\nvcpus = 1025", "vcpus: must be a whole number from 1 to 1024"),
        ("version = 1\nvcpus = 2\nvcpu = 3", r"vcpu: must be written as \[\[vcpu\]\]"),
        ("version = 1\nvcpus = 2\nvpcu = 3", "vpcu: there is no such key; known: .*vcpus"),
        ('version = 1\nvcpus = 2\nsmp = "4"', "smp: must begin with the number of vCPUs, 2"),
        ("version = 1\nvcpus = 2\nfit = 1", "fit: must be true or false"),
        ("version = 1\nvcpus = 2\nnuma = 3", "numa: must be a list of strings"),
        ("version = 1\nvcpus = 2\nmemory = 3", "memory: must be a string"),
    ],
)
def test_mistakes_at_the_top_are_named_with_file_and_key(text: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^{FILE}: {message}"):
        parse_profile(text, FILE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quota_ms = 1\nperiod_ms = 2", "ids: names no vCPU"),
        ("ids = []", "ids: names no vCPU"),
        ("ids = 4", "ids: there is no vCPU 4: the profile has 0 to 3"),
        ("ids = -1", "ids: must be a number, a list"),
        ("ids = [1, 1]", "ids: names a number twice"),
        ('ids = "3-1"', 'ids: "3-1" is not a range'),
        ('ids = "0-99999999999"', 'ids: "0-99999999999" is not a range'),
        ('ids = "1;2"', 'ids: "1;2" is no list'),
        ("ids = 1.5", "ids: must be a number"),
        ("ids = 1\nquota_ms = 3", "period_ms: quota_ms and period_ms go together"),
        ("ids = 1\nperiod_ms = 3", "quota_ms: quota_ms and period_ms go together"),
        ("ids = 1\nquota_ms = 3\nperiod_ms = 2", "quota_ms: more than period_ms"),
        ("ids = 1\nquota_ms = 0.9\nperiod_ms = 2", "quota_ms: by quota .* at least 1 ms"),
        ('ids = 1\nby = "freezer"\nquota_ms = 0.1\nperiod_ms = 2', "quota_ms: .* at least 0.2 ms"),
        ("ids = 1\nquota_ms = 3\nperiod_ms = 1001", "period_ms: at most 1000 ms"),
        ("ids = 1\nquota_ms = nan\nperiod_ms = 10", "quota_ms: nan is not from 0"),
        ("ids = 1\nquota_ms = -1\nperiod_ms = 10", "quota_ms: -1 is not from 0"),
        ('ids = 1\nquota_ms = "1"\nperiod_ms = 10', "quota_ms: must be a number"),
        ('ids = 1\nby = "freezer"', "by: needs quota_ms and period_ms"),
        ('ids = 1\nby = "magic"', "by: must be one of quota, freezer, corunner"),
        ("ids = 1\npin = true\ncpus = 1", "pin: cpus already says"),
        ('ids = [1, 2]\npin = true\nstack = "a"', "stack: a stack has one host CPU"),
        ('ids = [1, 2]\ncpus = [0, 1]\nstack = "a"', "stack: a stack has one host CPU"),
        ("ids = 1\nqouta_ms = 1", "qouta_ms: there is no such key; known: .*quota_ms"),
    ],
)
def test_mistakes_in_a_row_are_named_with_its_number(text: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"^{FILE}: \[\[vcpu\]\] 2, {message}"):
        parse(row("ids = 0") + row(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (row("ids = 1") + row('ids = "0-1"'), "vCPU 1 is described twice"),
        (row('ids = 1\nstack = "a"'), 'stack: "a" has one member; a stack has at least two'),
        (
            row('ids = 1\nstack = "a"\ncpus = 0') + row('ids = 2\nstack = "a"\ncpus = 1'),
            'members of "a" name different host CPUs',
        ),
        ("[[change]]\nids = 0", "at_s: must be a number"),
        ("[[change]]\nat_s = 0\nids = 0", "at_s: 0 is not from 0.001"),
        (
            "[[change]]\nat_s = 1\nids = 0\n[[change]]\nat_s = 1\nids = 0",
            "vCPU 0 changes twice at 1 s",
        ),
        (
            row('ids = [0, 1]\nstack = "a"') + "\n[[change]]\nat_s = 5\nids = 1",
            'stack: "a" has one member at 5 s',
        ),
    ],
)
def test_rows_that_contradict_each_other(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(text)
