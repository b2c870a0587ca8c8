"""The tables of `sim techniques`."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from scx_vsched.cli.app import app
from scx_vsched.errors import UserError
from scx_vsched.sim.techniques import Settings, markdown


def test_throughput_is_shown_as_a_share_of_what_the_vcpus_can_do() -> None:
    options = ["--only", "RWC", "--seeds", "2", "--seconds", "1"]
    told = CliRunner().invoke(app, ["sim", "techniques", *options])
    assert told.exit_code == 0
    text = told.output
    assert text.count("### ") == 1
    compute = next(line for line in text.splitlines() if "harmful: compute" in line)
    assert "| 100% → 100% |" in compute
    barrier = next(line for line in text.splitlines() if "harmful: barrier" in line)
    gain = re.search(r"\((\d+\.\d+)x \[(\d+\.\d+), (\d+\.\d+)\]\)", barrier)
    assert gain, "with several seeds there is an interval"
    assert float(gain[1]) > 2


def test_a_table_that_there_is_not_is_named() -> None:
    with pytest.raises(UserError, match="there is no table BWC"):
        markdown(Settings(), ["BWC"])
