"""The tables of `sim techniques`."""

from __future__ import annotations

import re

from typer.testing import CliRunner

from scx_vsched.cli.app import app


def tables(*arguments: str) -> tuple[int, str]:
    told = CliRunner().invoke(app, ["sim", "techniques", *arguments])
    return told.exit_code, told.output


def test_throughput_is_shown_as_a_share_of_what_the_vcpus_can_do() -> None:
    code, text = tables("--only", "RWC", "--seeds", "2", "--seconds", "1")
    assert code == 0
    assert text.count("### ") == 1
    compute = next(line for line in text.splitlines() if "harmful: compute" in line)
    assert "| 100% → 100% |" in compute
    barrier = next(line for line in text.splitlines() if "harmful: barrier" in line)
    gain = re.search(r"\((\d+\.\d+)x \[(\d+\.\d+), (\d+\.\d+)\]\)", barrier)
    assert gain, "with several seeds there is an interval"
    assert float(gain[1]) > 2


def test_a_table_that_there_is_not_is_named() -> None:
    code, text = tables("--only", "BWC")
    assert code == 1
    assert "there is no table BWC" in text
