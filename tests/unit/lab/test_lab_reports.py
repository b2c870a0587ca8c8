"""What the lab makes of its results: figures, bounds, Markdown, one HTML page, comparisons."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from commands import command
from results import GAINS, PICTURE, change, document, measurements, profile

from scx_vsched.errors import UserError
from scx_vsched.lab.bounds import verdicts
from scx_vsched.lab.compare import as_markdown as compared
from scx_vsched.lab.compare import compare
from scx_vsched.lab.document import Measurement, load, save
from scx_vsched.lab.figures import capacity, cells, curve, limit, recoveries, share_of_capacity
from scx_vsched.lab.page import as_html
from scx_vsched.lab.report import as_markdown

if TYPE_CHECKING:
    from pathlib import Path


def test_gains_say_how_many_times_better_whichever_way_is_better() -> None:
    by = {(c.workload, c.measure, c.scheduler): c for c in cells(profile())}
    faster, sooner = by["compute-2", "done", "all"], by["requests", "latency p95", "all"]
    assert faster.gain is not None
    assert sooner.gain is not None
    assert faster.gain.value == pytest.approx(2)
    assert sooner.gain.value == pytest.approx(2)
    assert faster.median == pytest.approx(2040)
    assert by["compute-2", "done", "default"].gain is None


def test_a_failed_round_pairs_with_nothing() -> None:
    found = measurements()
    bad = [
        replace(each, values={}, error="lost")
        if (each.round, each.scheduler, each.workload) == (0, "all", "compute-2")
        else each
        for each in found
    ]
    (cell,) = [
        c for c in cells(profile(measurements=tuple(bad)))
        if (c.workload, c.scheduler) == ("compute-2", "all")
    ]  # fmt: skip
    assert cell.gain is not None
    assert cell.gain.rounds == 4
    assert "round 1, all, compute-2: lost" in as_markdown(
        document(profile(measurements=tuple(bad)))
    )


def test_a_stack_counts_once() -> None:
    stacked = profile(asked=(0.8, 0.8, 0.3), stacks=((0, 1),), capacity=())
    assert limit(stacked) == pytest.approx(1.3)
    assert capacity(stacked) == pytest.approx(1.3)
    assert capacity(profile()) == pytest.approx(0.98), "the host's account goes first"
    starved = profile(capacity=(0.1, 0.1))
    assert capacity(starved) == pytest.approx(0.75), "what was used could be had"


def test_use_is_a_share_of_what_the_host_gave() -> None:
    assert share_of_capacity(profile(), "compute-2", "all") == pytest.approx(0.75 / 0.98)
    assert share_of_capacity(profile(), "requests", "all") is None


def test_curves_are_the_median_of_the_rounds() -> None:
    ours = curve(profile(), "requests", "latency", "all")
    assert ours == tuple(value / 2 for value in curve(profile(), "requests", "latency", "default"))
    assert curve(profile(), "compute-2", "latency", "all") == ()


def test_recovery_is_the_first_second_that_lasts() -> None:
    moved = profile("moved-few", measurements=(change(True), change(False, "default")))
    default, ours = recoveries(moved)
    assert (default.scheduler, default.seconds) == ("default", None)
    assert ours.seconds == 4
    assert ours.best == 1000
    assert ours.shares[:4] == (0.5, 0.5, 0.5, 0.95)


def test_bounds_are_judged() -> None:
    moved = profile("moved-few", measurements=(change(True),))
    found = {v.bound: v.reached for v in verdicts(document(profile(), moved))}
    assert found["IVH: at least +82 % at its best point"]
    assert found["migration in the middle: 90 % of the best within 5 s"]
    slow = profile(measurements=tuple(measurements({**GAINS, "all": 1.1})))
    assert not {v.bound: v.reached for v in verdicts(document(slow))}[
        "IVH: thread sweep at least +30 % in the median"
    ]


def test_markdown_has_medians_intervals_and_what_was_left_out() -> None:
    scaled = profile(note="every share is multiplied by 0.35")
    text = as_markdown(document(scaled))
    assert re.search(r"\| compute-2: done, /s \| 1,020 \| .* \| 2,040 \(2\.000 \[", text)
    assert "Scaled to this host: every share is multiplied by 0.35" in text
    assert "pbzip2 was skipped" in text
    assert "`apt-get install pbzip2`" in text
    assert (
        "0.98 host CPUs (with a spinner on each 0.48, 0.50); 1.00 host CPUs were asked for" in text
    )


def test_an_incomplete_profile_is_marked() -> None:
    text = as_markdown(document(profile(error="the VM went away", measurements=())))
    assert "**Not complete: the VM went away.**" in text


def test_one_page_holds_everything() -> None:
    moved = profile("moved-few", measurements=(change(True), change(False, "default")))
    page = as_html(document(profile(pictures=(PICTURE,)), moved))
    assert page.count("<svg") == 5
    assert not re.search(r'(?:src|href)="(?!#|data:)', page), "no other file"
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(svg)
    assert "task 8: vCPU 0 to 1" in page


def test_pictures_become_files_of_their_own(tmp_path: Path) -> None:
    result, folder = tmp_path / "lab.json", tmp_path / "pictures"
    save(document(profile(pictures=(PICTURE,))), result)
    done = command("lab", "report", result, "--plots", folder)
    assert done.returncode == 1
    assert "is no directory" in done.stderr
    folder.mkdir()
    assert command("lab", "report", result, "--plots", folder).returncode == 0
    names = {path.name for path in folder.iterdir()}
    assert {"lab-throughput.svg", f"lab-half-few-timeline-{PICTURE.scheduler}.svg"} <= names
    for path in folder.iterdir():
        ET.fromstring(path.read_text())


def test_text_of_a_result_cannot_break_the_page() -> None:
    page = as_html(document(profile(description="<script>alert(1)</script>")))
    assert "<script>" not in page


def test_a_document_survives_its_file(tmp_path: Path) -> None:
    first = document(profile(pictures=(PICTURE,)))
    save(first, tmp_path / "lab.json")
    assert load(tmp_path / "lab.json") == first


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not JSON"),
        ("[]", "not a result"),
        ('{"format": 99}', "another version"),
        ('{"format": 1, "profiles": [{}], "missing": []}', "not a result"),
        ('{"format": 1, "profiles": 3}', "not a result"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "lab.json"
    path.write_text(text)
    with pytest.raises(UserError, match=what):
        load(path)


def test_comparison_tells_clear_differences_from_noise() -> None:
    better = document(profile(measurements=tuple(measurements({**GAINS, "all": 3.0}))))
    found = compare(document(), better)
    clear = {(each.first.workload, each.first.scheduler) for each in found if each.clear}
    assert clear == {("compute-2", "all"), ("requests", "all")}
    assert all(each.times == pytest.approx(1.5) for each in found if each.clear)
    text = compared(found)
    assert "1.50 times" in text
    assert "do not differ clearly" in text
    assert "not clear" in compared(found, every=True)


def test_runs_without_anything_in_common_are_refused() -> None:
    other = profile("rcvm", measurements=(Measurement(0, "core", "x", {"rate": (1.0, "/s")}),))
    with pytest.raises(UserError, match="no measure in common"):
        compare(document(), document(other))
