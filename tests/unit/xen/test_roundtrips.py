"""The slides' experiment: round trips between domains beside a busy one, on a simulated host."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import pytest

from scx_vsched.sim.roundtrips import LOADS, VARIANTS, draw, markdown, measure

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("clang")

CREDIT, SHORT, CAPPED, CREDIT2, _ = VARIANTS


def test_the_order_of_the_slides_comes_out_again() -> None:
    mean = {
        variant.name: statistics.fmean(measure(variant, "network load", 20).values_ns)
        for variant in (CREDIT, SHORT, CAPPED, CREDIT2)
    }
    assert mean[CREDIT.name] > 1.5 * mean[SHORT.name]
    assert mean[SHORT.name] > mean[CAPPED.name] > mean[CREDIT2.name]


def test_a_boost_goes_before_cpu_load_but_not_before_other_boosts() -> None:
    quiet, busy = (measure(CREDIT, load, 10).values_ns[-1] for load in ("CPU load", "network load"))
    assert busy > 10 * quiet


def test_table_and_picture_have_every_run(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = [measure(variant, load, 1) for load in list(LOADS)[1:] for variant in VARIANTS]
    assert len(markdown(found).splitlines()) == 2 + len(found)
    draw(found, tmp_path / "tails.svg")
    assert "round trip, ms" in (tmp_path / "tails.svg").read_text()
