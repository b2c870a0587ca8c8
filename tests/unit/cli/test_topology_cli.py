"""`scx_vsched topology` from outside: output, exit codes, messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import networkx
import pytest
from commands import Done, command
from vcpu_graphs import flat, hpvm, rcvm, watches

from scx_vsched.topology.document import document_text, parse_document
from scx_vsched.topology.graph import VCpuGraph
from scx_vsched.topology.measure import Origin, Snapshot

if TYPE_CHECKING:
    from pathlib import Path


def topology(*arguments: str | Path) -> Done:
    """The command in this process."""
    return command("topology", *arguments)


def refused(*arguments: str | Path, code: int = 1) -> str:
    """What the command says when it refuses, without any output."""
    done = topology(*arguments)
    assert done.returncode == code, done
    assert done.stdout == ""
    return done.stderr


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """The paper's small VM with activity."""
    path = tmp_path / "rcvm.json"
    path.write_text(document_text(rcvm(), watches(rcvm())))
    return path


def changed(path: Path, **capacities: int) -> Path:
    """A copy of a document with other capacities."""
    data: dict[str, Any] = json.loads(path.read_text())
    for item in data["vcpus"]:
        item["capacity"] = capacities.get(f"v{item['vcpu']}", item["capacity"])
    copy = path.with_name("changed.json")
    copy.write_text(json.dumps(data))
    return copy


def test_show_has_a_row_for_each_vcpu_and_words_for_what_matters(measured: Path) -> None:
    done = topology("show", measured)
    assert done.returncode == 0
    assert done.stdout.count("STRAGGLER") == 2
    assert "STACKED with 11" in done.stdout
    assert "\x1b" not in done.stdout


def test_show_without_file_is_of_this_machine() -> None:
    done = topology("show")
    assert done.returncode == 0
    assert f"{os.sysconf('SC_NPROCESSORS_CONF')} vCPUs, claimed" in done.stdout


def test_show_json_is_the_document(measured: Path) -> None:
    done = topology("show", measured, "--json")
    assert parse_document(done.stdout).graph == rcvm()
    assert json.loads(topology("show", "--json").stdout)["snapshot"]["origin"] == "claimed"


def test_plot_draws_what_was_asked_for(measured: Path, tmp_path: Path) -> None:
    done = topology("plot", measured, "-o", tmp_path / "out.png", "--what", "tree")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/out.png\n")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_plot_all_writes_a_file_for_each_picture(measured: Path, tmp_path: Path) -> None:
    done = topology("plot", measured, "-o", tmp_path / "out.svg", "--what", "all")
    names = [f"out-{what}.svg" for what in ("matrix", "tree", "activity")]
    assert done.stdout.splitlines() == [f"{tmp_path}/{name}" for name in names]
    assert all((tmp_path / name).read_text().startswith("<?xml") for name in names)


def test_diff_of_equal_graphs_is_silent(measured: Path) -> None:
    done = topology("diff", measured, measured)
    assert (done.returncode, done.stdout) == (0, "")
    assert topology("diff", measured, measured, "--json").stdout == "[]\n"


def test_diff_says_what_changed_and_ends_with_one(measured: Path) -> None:
    done = topology("diff", measured, changed(measured, v4=300))
    assert done.returncode == 1
    assert done.stdout == "vCPU 4: capacity was 683, is 300 (-37% of a full vCPU)\n"


def test_diff_ignores_what_its_thresholds_allow(measured: Path) -> None:
    copy = changed(measured, v4=650)
    assert topology("diff", measured, copy).returncode == 0
    assert topology("diff", measured, copy, "--capacity-step", "20").returncode == 1
    data = json.loads(measured.read_text())
    pair = next(pair for pair in data["pairs"] if "latency_ns" in pair)
    pair["latency_ns"] *= 1.8
    copy.write_text(json.dumps(data))
    assert "latency was" in topology("diff", measured, copy).stdout
    assert topology("diff", measured, copy, "--latency-factor", "2").returncode == 0


def test_diff_with_claims_takes_those_in_the_document(measured: Path) -> None:
    done = topology("diff", measured, "--claimed", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found[0]["level"] == "stack"
    assert found[0]["after"] == [[10, 11]]
    said = topology("diff", measured, "--claimed").stdout
    assert said.startswith("vCPUs 10-11 are stacked on one hardware thread, though told apart\n")


def test_diff_with_claims_takes_this_machines_where_there_are_none(tmp_path: Path) -> None:
    path = tmp_path / "many.json"
    path.write_text(document_text(VCpuGraph(flat(600), snapshot=Snapshot(Origin.MEASURED))))
    done = topology("diff", path, "--claimed")
    assert done.returncode == 1
    assert "-599 only in the second" in done.stdout


def test_export_graphml_is_read_by_networkx(measured: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.graphml"
    assert topology("export", measured, "--format", "graphml", "-o", out).returncode == 0
    assert len(networkx.read_graphml(out)) == 12
    assert topology("export", measured).stdout == out.read_text()


def test_export_json_puts_a_document_in_order(measured: Path) -> None:
    loose = measured.with_name("loose.json")
    loose.write_text(json.dumps(json.loads(measured.read_text())))
    done = topology("export", loose, "--format", "json")
    assert done.stdout == measured.read_text()


@pytest.mark.parametrize(
    "command",
    [
        ("show",),
        ("plot", "-o", "out.svg"),
        ("export",),
    ],
)
def test_bad_documents_are_refused_by_every_command(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "bad.json"
    assert "absent.json: No such file" in refused(*command, tmp_path / "absent.json")
    path.write_text(document_text(hpvm())[:500])
    assert "bad.json:" in refused(*command, path)
    path.write_text(document_text(hpvm()).replace('"version": 1', '"version": 7'))
    message = refused(*command, path)
    assert "has version 7 of the format, this program reads 1" in message
    assert "hint: " in message


def test_diff_in_trouble_ends_with_two(measured: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text("{}")
    assert "no topology" in refused("diff", measured, path, code=2)
    assert "no topology" in refused("diff", path, "--claimed", code=2)
    assert "compares A with B" in refused("diff", measured, code=2)
    assert "compares A with B" in refused("diff", measured, measured, "--claimed", code=2)


def test_plot_refuses_what_it_cannot_draw(measured: Path, tmp_path: Path) -> None:
    assert "ends in .svg or .png" in refused("plot", measured, "-o", tmp_path / "out.gif")
    absent = tmp_path / "absent/out.svg"
    assert "absent/out.svg: No such file" in refused("plot", measured, "-o", absent)
    measured.write_text(document_text(rcvm()))
    said = refused("plot", measured, "-o", tmp_path / "out.svg", "--what", "activity")
    assert "no activity to draw" in said
    assert "No such file" in refused("export", measured, "-o", tmp_path / "absent/out.json")


def test_the_command_ends_its_process_alike(measured: Path) -> None:
    command = [sys.executable, "-m", "scx_vsched", "topology", "diff", measured]
    done = subprocess.run(
        [*command, measured.with_name("absent.json")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_help_of_each_command_imports_nothing_heavy() -> None:
    code = (
        "import sys; from scx_vsched.cli.app import app\n"
        "try: app(['topology', 'show', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'networkx', 'numpy', 'matplotlib', 'jsonschema'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True)
