"""The systemd unit, as far as it can be judged without running under systemd."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[3] / "tools" / "scx_vsched.service"


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser


def test_flags_come_from_the_defaults_file() -> None:
    service = unit()["Service"]
    assert service["EnvironmentFile"] == "-/etc/default/scx_vsched"
    assert service["ExecStart"].endswith("scx_vsched run $SCX_VSCHED_FLAGS")


def test_bpf_can_still_be_loaded() -> None:
    service = unit()["Service"]
    assert {"CAP_BPF", "CAP_SYS_ADMIN", "CAP_PERFMON"} <= set(
        service["CapabilityBoundingSet"].split()
    )
    assert "CAP_SYS_NICE" in service["CapabilityBoundingSet"].split()
    assert "RestrictRealtime" not in service, "probers look at real-time priority"
    assert service["Restart"] == "on-failure"
    assert service["RuntimeDirectory"] == "scx/root"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_accepts_it(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/local/bin/scx_vsched", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
