"""What is made of a measurement of the probers: errors, verdict, tables, picture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scx_vsched.errors import UserError
from scx_vsched.vm.kernels import Kernel
from scx_vsched.vm.lab import accuracy
from scx_vsched.vm.lab.accounting import Away, Truth
from scx_vsched.vm.lab.accuracy import Measurement, overhead_of, samples_of, stack_probes_of
from scx_vsched.vm.lab.accuracy_patterns import probed_for_stacks, stack_profiles
from scx_vsched.vm.lab.accuracy_plot import draw
from scx_vsched.vm.lab.accuracy_records import Accuracy, Overhead, ShareSample, StackProbe, load
from scx_vsched.vm.lab.accuracy_report import (
    BEGIN,
    END,
    as_markdown,
    insert,
    reached,
    summarize,
    within_budget,
)
from scx_vsched.vm.lab.placing import place
from scx_vsched.vm.lab.profile import Mechanism, Profile, VcpuShape
from scx_vsched.vm.lab.report import as_data, as_lines
from scx_vsched.vm.lab.session import PhaseTruth

MS = 1_000_000
S = 1_000_000_000


def sample(true: float, estimate: float | None, **more: object) -> ShareSample:
    plain = ShareSample(
        phase="p",
        about="share",
        vcpu=0,
        busy=True,
        asked=true,
        true=true,
        estimate=estimate,
        true_away_ns=5.0 * MS,
        estimate_away_ns=5.0 * MS,
        exact=True,
        load=0.1,
    )
    return replace(plain, **more)  # type: ignore[arg-type]


PAIR = StackProbe("pair", True, ((0, 3),), ((0, 3),), 7, 0.2, 1.0)
NONE = StackProbe("none", True, (), (), 9, 0.3, 1.0)
IDLE = Overhead(False, 60.0, 2, 0.012, 0.03, 0.013, 0.1)
BUSY = Overhead(True, 60.0, 2, 0.004, 0.99, 0.99, 2.1)
GOOD = Accuracy(
    ("a VM",), (sample(0.5, 0.52), sample(0.2, 0.17, busy=False)), (PAIR, NONE), (IDLE, BUSY)
)


def test_errors_of_shares() -> None:
    found = summarize([sample(0.1, 0.12), sample(0.8, 0.74), sample(0.5, None)], busy=True)
    assert found.mean_error == pytest.approx(0.04)
    assert found.worst_error == pytest.approx(0.06)
    assert found.missing == 1
    assert not found.ok


def test_idle_and_busy_are_judged_apart() -> None:
    samples = [sample(0.1, 0.9), sample(0.5, 0.5, busy=False)]
    assert summarize(samples, busy=False).ok
    assert not summarize(samples, busy=True).ok


@pytest.mark.parametrize(
    ("true_ms", "estimate_ms", "judged", "within"),
    [
        (2, 2.29, 1, 1),
        (2, 2.31, 1, 0),
        (20, 17.01, 1, 1),
        (20, 16.9, 1, 0),
        (1.5, 3, 0, 0),
        (25, 3, 0, 0),
        (5, None, 0, 0),
    ],
)
def test_absences_are_judged_from_2_to_20_ms(
    true_ms: float, estimate_ms: float | None, judged: int, within: int
) -> None:
    said = None if estimate_ms is None else estimate_ms * MS
    found = summarize([sample(0.5, 0.5, true_away_ns=true_ms * MS, estimate_away_ns=said)], True)
    assert (found.aways, found.aways_within) == (judged, within)
    assert found.ok == (judged == within == 1)


def test_nothing_measured_is_not_good() -> None:
    found = summarize([], busy=True)
    assert found.mean_error is None
    assert not found.ok


def test_the_verdict_needs_everything() -> None:
    assert reached(GOOD)
    assert not reached(replace(GOOD, problems=("lost",)))
    assert not reached(replace(GOOD, samples=(sample(0.5, 0.59),)))
    assert not reached(replace(GOOD, stacks=(replace(PAIR, found=()),)))
    assert not reached(replace(GOOD, stacks=(replace(NONE, found=((1, 2),)),)))
    assert not reached(replace(GOOD, overheads=(replace(BUSY, probers=0.0051),)))


def test_on_an_idle_vcpu_all_counts_that_the_host_ran_it_more() -> None:
    assert within_budget(IDLE)
    assert not within_budget(replace(IDLE, ran=0.034))
    assert not within_budget(replace(IDLE, probers=0.021))
    assert within_budget(replace(BUSY, ran_without=0.9))


def test_a_measurement_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(GOOD.as_data()))
    assert load(path) == GOOD


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"where": 3}', "null"])
def test_files_that_are_something_else(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match="no accuracy measurement of this version"):
        load(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*No such file"):
        load(tmp_path / "none")


def test_a_later_measurement_replaces_what_it_has_too() -> None:
    later = Accuracy(
        ("a VM", "another"), (sample(0.3, 0.3),), (replace(NONE, found=((0, 1),)),), (BUSY,)
    )
    found = GOOD.joined(later)
    assert found.where == ("a VM", "another")
    assert [(each.busy, each.true) for each in found.samples] == [(False, 0.2), (True, 0.3)]
    assert [each.phase for each in found.stacks] == ["pair", "none"]
    assert found.stacks[1].found == ((0, 1),)
    assert found.overheads == (IDLE, BUSY)


def test_the_tables_say_all() -> None:
    text = as_markdown(replace(GOOD, problems=("shares: lost",)), "picture.svg")
    assert text.startswith(BEGIN)
    assert text.rstrip().endswith(END)
    for part in (
        "Measured in: a VM.",
        "| mean absences of idle vCPUs within 15% | 1 of 1 | yes |",
        "| stacks of busy vCPUs always found | 1 of 1 | yes |",
        "| no false stack of busy vCPUs | 0 in 1 probes | yes |",
        "| ≤ 0.5% of a busy dedicated vCPU, in a VM | 0.40% | yes |",
        "![Estimated against true share and absence](picture.svg)",
        "| 0 | 0.50 | 0.500 | 0.520 | +0.020 | 5.00 ms | 5.00 ms | +0% | 0.1 |",
        "mean absolute error 0.020 (to be at most 0.04), worst 0.020 (at most 0.08)",
        "1 of 1 within 15%",
        "### Idle vCPUs",
        "| {0, 3} | busy | 1 | 1 | 0 | 0 | at most 7 | 0.20 s |",
        "| none | busy | 1 | 1 | 0 | 0 | at most 9 | 0.30 s |",
        "| 2, busy, in a VM | 60 s | 0.40% | 99.00% | 99.00% | 0.5% |",
        "- Not measured: shares: lost",
    ):
        assert part in text


def test_what_probers_cost_here_stands_beside_what_they_cost_in_a_vm() -> None:
    here = Overhead(True, 60.0, 2, 0.006, None, None, 2.2)
    found = GOOD.joined(Accuracy((), overheads=(BUSY, here)))
    assert found.overheads[-2:] == (BUSY, here)
    assert found.joined(Accuracy((), overheads=(here,))).overheads[-2:] == (BUSY, here)
    assert not reached(found)
    text = as_markdown(found)
    assert "| ≤ 0.5% of a busy dedicated vCPU, this machine itself | 0.60% | **no** |" in text
    assert "| 2, busy, this machine itself | 60 s | 0.60% | - | - | 0.5% |" in text


def test_probers_are_measured_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "host_cpus", lambda: (0, 1))
    measurement = Measurement(Kernel("7.3.4", "7.3", Path("/k/bzImage"), None, True, "test"))
    measurement.overheads_here(1.5)
    idle, busy = measurement.result.overheads
    assert (idle.busy, busy.busy) == (False, True)
    for each in (idle, busy):
        assert each.seconds >= 1.5
        assert 0 < each.probers < 0.5
        assert each.ran is None


def test_a_stack_that_is_not_exact_is_missed_or_false() -> None:
    probes = (PAIR, replace(PAIR, found=()), replace(PAIR, found=((0, 3), (1, 2))))
    text = as_markdown(Accuracy(("w",), stacks=probes))
    assert "| {0, 3} | busy | 3 | 1 | 1 | 1 | at most 7 | 0.20 s |" in text


def test_the_section_replaces_what_stands_between_the_marks() -> None:
    section = as_markdown(GOOD)
    assert insert("", section) == section
    page = insert("# Title\n", section)
    assert page == f"# Title\n\n{section}"
    page += "\nMore.\n"
    other = as_markdown(Accuracy(("other",)))
    assert insert(page, other) == f"# Title\n\n{other}\nMore.\n"
    assert insert(insert(page, other), section) == page


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_picture(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scatter{suffix}"
    draw(GOOD, path)
    assert path.stat().st_size > 5000
    first = path.read_bytes()
    draw(GOOD, path)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("name", "message"), [("none/a.svg", "No such file"), ("a.pdf", "ends in .svg or .png")]
)
def test_a_picture_that_cannot_be_written(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw(GOOD, tmp_path / name)


# -- from both sides to samples -------------------------------------------------------------------


QUOTA = VcpuShape(2_000, 20_000, Mechanism.CORUNNER, pin=True)
PINNED = VcpuShape(pin=True)
PROFILE = Profile("share-0.1", "", (QUOTA, replace(QUOTA, quota_us=16_000), PINNED))


def phase(*truths: Truth) -> PhaseTruth:
    plan = place(PROFILE, (0, 1, 2))
    return PhaseTruth(plan, ((0, truths),), (), "", 0.5)


def truth(vcpu: int, share: float, offered: float | None = None) -> Truth:
    run = round(share * 10 * S)
    withheld = (Away(0, 4 * MS), Away(9, 6 * MS)) if offered else ()
    return Truth(
        vcpu, 10 * S, run, 10 * S - run, True, 3.0 * MS, offered=offered, withheld=withheld
    )


def test_a_busy_vcpu_is_judged_by_what_it_got() -> None:
    said = {"0": {"share": 0.11, "mean_away_ns": 2.0}, "1": {"share": None, "mean_away_ns": None}}
    found = phase(truth(0, 0.1, 0.3), truth(1, 0.7), truth(2, 0.9))
    # the third is not shaped
    first, second = samples_of("share", True, found, said)
    assert (first.true, first.true_away_ns) == (0.1, 3.0 * MS)
    assert (first.estimate, first.estimate_away_ns) == (0.11, 2.0)
    assert (first.asked, second.asked) == (0.1, 0.8)
    assert second.estimate is None


def test_an_idle_vcpu_is_judged_by_what_was_left_to_it() -> None:
    (found,) = samples_of("absence", False, phase(truth(0, 0.9, 0.3)), {})
    assert (found.true, found.true_away_ns) == (0.3, 5.0 * MS)
    assert found.estimate is None
    assert found.about == "absence"


def test_stacks_and_overhead() -> None:
    said = {"stacks": [[0, 2, 4]], "pair_probes": 5, "seconds": 0.1}
    (found,) = stack_probes_of(stack_profiles()[1], False, [said], 2.0)
    assert set(found.found) == set(found.true) == {(0, 2, 4)}
    cost = overhead_of(
        False,
        {"seconds": 9.9, "vcpus": 2, "overhead": 0.01},
        phase(truth(0, 0.02), truth(1, 0.04)),
        phase(truth(0, 0.01), truth(1, 0.01)),
    )
    assert (cost.ran, cost.ran_without) == pytest.approx((0.03, 0.01))
    assert cost.probers == 0.01


@pytest.mark.parametrize(
    ("host_cpus", "pair", "triple"),
    [
        (2, (0, 1, 3), (0, 1, 2, 4)),
        (3, (0, 1, 2, 3), (0, 1, 2, 3, 4)),
        (64, (0, 1, 2, 3, 4), (0, 1, 2, 3, 4)),
    ],
)
def test_beside_a_stack_no_two_vcpus_have_to_share_a_host_cpu(
    host_cpus: int, pair: tuple[int, ...], triple: tuple[int, ...]
) -> None:
    found = [probed_for_stacks(profile, host_cpus) for profile in stack_profiles()]
    assert found == [pair, triple, (0, 1, 2, 3, 4)]


def test_what_a_shaped_run_tells_people_and_programs() -> None:
    found = replace(phase(truth(0, 0.1), truth(1, 0.7)), inexact="no trace")
    lines = as_lines(found)
    assert any("2/20 ms by corunner on 0" in line and "0.100" in line for line in lines)
    assert "single absences are not known: no trace" in lines
    data = json.loads(json.dumps(as_data(found)))
    assert data["profile"] == "share-0.1"
    assert data["stages"][0]["vcpus"][1]["share"] == pytest.approx(0.7)
