"""What a user sees of the statistics: lines, JSON, a live table on a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

from scx_vsched.runtime.display import JsonLines, TextLines, notice
from scx_vsched.runtime.stats import Sample

if TYPE_CHECKING:
    import pytest

SAMPLE = Sample(10.0, 2.0, {"queued": 3000, "idle": 0}, {"queued": 12_000, "idle": 0})
EXTRA = {"policy": "core", "restarts": 2, "exit": None}


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    with TextLines() as display:
        display.show(SAMPLE)
        display.summary(SAMPLE, EXTRA)
    line, head, queued, idle = capsys.readouterr().out.splitlines()
    assert line.endswith("queued=3000")
    assert head == "in 10.0 s, 2 restarts:"
    assert queued.split() == ["queued", "12,000", "1,200.0/s"]
    assert idle.split() == ["idle", "0", "0.0/s"]


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    with JsonLines() as display:
        display.show(SAMPLE)
        display.summary(SAMPLE, EXTRA)
    first, last = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["type"] == "interval"
    assert last == {**first, "type": "summary", **EXTRA}


def test_summary_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    TextLines().summary(Sample(0.0, 0.0, {}, {}), {})
    assert capsys.readouterr().out == "in 0.0 s:\n"


def test_notices_keep_off_the_statistics(capsys: pytest.CaptureFixture[str]) -> None:
    notice("attached")
    assert capsys.readouterr() == ("", "attached\n")


def test_live_table_on_a_terminal() -> None:
    code = (
        "from scx_vsched.runtime.display import LiveTable\n"
        "from scx_vsched.runtime.stats import Sample\n"
        "with LiveTable('core') as display:\n"
        "    for n in (1, 2):\n"
        "        display.show(Sample(n, 1.0, {'queued': 7}, {'queued': 7000 * n}))\n"
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while more := os.read(ours, 4096):
                shown += more
        except OSError:  # how Linux says that the other side is closed
            pass
        assert process.stderr
        assert process.stderr.read() == b""
    os.close(ours)
    text = shown.decode()
    assert "core, 1 s" in text
    assert "7,000" in text
    assert "14,000" in text
