"""The command line from outside: messages, exit codes, what is fast, what is quiet."""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from scx_vsched.bpf.kernel import sched_ext_state
from scx_vsched.policies import builtin_policies
from scx_vsched.topology.document import document_text
from scx_vsched.topology.domains import numbered
from scx_vsched.topology.graph import VCpuGraph
from scx_vsched.topology.measure import Origin, Snapshot
from scx_vsched.version import VERSION

if TYPE_CHECKING:
    from pathlib import Path

HELP_S = 0.3
COMMANDS = (
    *("run", "monitor", "tune", "domain", "numa", "new", "check", "build", "inspect", "policies"),
    *("probe", "topology", "sim", "cluster", "vm", "lab"),
)


def scx_vsched(
    *arguments: str | Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "scx_vsched", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "TERM": "dumb", "COLUMNS": "200", **(env or {})},
        timeout=60,
        check=False,
    )


def refused(*arguments: str | Path, code: int = 1) -> str:
    """What the command says when it refuses: no output, no traceback."""
    done = scx_vsched(*arguments)
    assert done.returncode == code, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def test_version() -> None:
    done = scx_vsched("--version")
    assert (done.returncode, done.stdout) == (0, f"scx_vsched {VERSION}\n")


def test_help_names_the_commands() -> None:
    done = scx_vsched("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert f" {command} " in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str) -> None:
    done = scx_vsched(command, "--help")
    assert done.returncode == 0
    assert f"Usage: scx_vsched {command}" in done.stdout


def test_help_is_fast() -> None:
    """In CPU time, which a busy machine stretches less than the clock on the wall."""

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    moments = [spent()]
    for _ in range(6):
        scx_vsched("--help")
        moments.append(spent())
    assert min(after - before for before, after in itertools.pairwise(moments)) < HELP_S


def test_run_imports_little() -> None:
    """A guest under emulation pays for each import: no compiler, no graphs, no pictures."""
    code = (
        "import sys; import scx_vsched.cli.app, scx_vsched.cli.run, scx_vsched.bpf.loader, "
        "scx_vsched.runtime.monitor, scx_vsched.runtime.run\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = {name.partition(".")[0] for name in done.stdout.split()}
    assert not modules & {"rich", "jinja2", "networkx", "elftools"}
    assert "scx_vsched.policy.compiler" not in done.stdout.split()
    assert "scx_vsched.cli.vm" not in done.stdout.split()


@pytest.mark.parametrize("arguments", [["frobnicate"], ["run", "--no-such-flag"], ["build"]])
def test_usage_errors_end_with_2(arguments: list[str]) -> None:
    assert "scx_vsched" in refused(*arguments, code=2)


@pytest.mark.parametrize(
    "arguments",
    [["--stats", "0"], ["--monitor", "-1"], ["--slice-us", "fast"], ["--duration", "0"]],
)
def test_values_out_of_range_are_usage_errors(arguments: list[str]) -> None:
    assert arguments[0] in refused("run", *arguments, code=2)


@pytest.mark.parametrize("setting", ["slice_us", "slice_us=", "slice_us=fast", "=", "slice_us=1.5"])
def test_setting_that_is_none(setting: str) -> None:
    text = refused("run", "--set", setting)
    assert f"error: --set {setting}: not NAME=INTEGER" in text
    assert "hint: for example" in text


def test_object_contradicts_policy(core_object: Path) -> None:
    for flag, value in (("--policy", "core"), ("--without", "smt")):
        assert "contradicts" in refused("run", "--object", core_object, flag, value)


def test_topology_comes_from_one_source(tmp_path: Path) -> None:
    assert "contradicts" in refused("run", "--no-probe", "--topology", tmp_path / "t.json")


def test_topology_of_another_machine(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    assert "No such file" in refused("run", "--topology", file)
    many = numbered({vcpu: (vcpu, vcpu, 0, 0, 0) for vcpu in range(5000)})
    file.write_text(document_text(VCpuGraph(many, snapshot=Snapshot(Origin.CLAIMED))))
    assert "this machine has no vCPU" in refused("run", "--topology", file)


def test_unknown_policy() -> None:
    text = refused("run", "--policy", "corr")
    assert "error: no policy called 'corr'" in text
    assert "core" in text


def test_bad_objects(tmp_path: Path, core_object: Path) -> None:
    cut = tmp_path / "cut.o"
    cut.write_bytes(core_object.read_bytes()[:-100])
    assert "is truncated" in refused("run", "--object", cut)
    assert "is truncated" in refused("inspect", cut)
    assert "not a BPF object" in refused("run", "--object", sys.executable)
    assert "No such file" in refused("inspect", tmp_path / "nothing.o")


def test_tunables_of_an_object(core_object: Path) -> None:
    text = refused("run", "--object", core_object, "--slice-us", "1")
    assert "error: tunable slice_us = 1 us is out of range: 100 to 100000 us" in text
    text = refused("run", "--object", core_object, "--set", "speed=3")
    assert "error: policy Core has no tunable speed" in text
    assert "hint: it has: slice_us" in text


def test_machine_is_judged(core_object: Path) -> None:
    if sched_ext_state() is not None:
        pytest.skip("this kernel has sched_ext")
    for arguments in (["--object", str(core_object), "--slice-us", "3000"], ["--policy", "core"]):
        text = refused("run", *arguments)
        assert "has no sched_ext" in text
        assert "CONFIG_SCHED_CLASS_EXT" in text


def test_monitor_without_scheduler() -> None:
    if sched_ext_state() == "enabled":
        pytest.skip("a scheduler is at work")
    assert "error: no running scheduler answers on /var/run/scx/root/stats" in refused(
        "run", "--monitor", "1"
    )


def test_help_stats_of_policy_and_object(core_object: Path) -> None:
    by_policy = scx_vsched("run", "--help-stats")
    by_object = scx_vsched("run", "--help-stats", "--object", core_object)
    assert by_policy.returncode == by_object.returncode == 0
    assert by_policy.stdout == by_object.stdout
    lines = by_policy.stdout.splitlines()
    assert len(lines) > 5
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines)


def test_build_writes_object_and_c(tmp_path: Path) -> None:
    out, c_file = tmp_path / "x.o", tmp_path / "x.c"
    done = scx_vsched("build", "core", "-o", out, "--c", c_file, "--without", "smt")
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size > 1000
    assert "DO NOT EDIT" in c_file.read_text()
    report = json.loads(scx_vsched("inspect", "--json", out).stdout)
    assert "smt" not in report["meta"]["features"]
    assert report["meta"]["features"]


def test_build_errors(tmp_path: Path) -> None:
    assert "error: " in refused("build", "core", "-o", tmp_path / "no" / "x.o")
    assert "error: " in refused("build", "core", "-o", tmp_path / "x.o", "--without", "nothing")
    text = refused("build", "core", "-o", tmp_path / "x.o", "--clang", sys.executable)
    assert "is not a clang" in text
    assert not (tmp_path / "x.o").exists()


def test_check_names_every_mistake(tmp_path: Path) -> None:
    good, bad = builtin_policies()["core"], tmp_path / "bad.py"
    bad.write_text("import os\n\nos.system('true')\nclass P: pass\n")
    done = scx_vsched("check", good, bad)
    assert done.returncode == 1
    assert f"{good}: policy Core" in done.stdout
    assert f"{bad}:1:" in done.stderr
    assert "Traceback" not in done.stderr
    assert scx_vsched("check", good).returncode == 0
    assert "nothing.py:1:1: cannot read" in refused("check", tmp_path / "nothing.py")


def test_policies_lists_what_can_be_tuned() -> None:
    listed = json.loads(scx_vsched("policies", "--json").stdout)
    assert [policy["name"] for policy in listed] == sorted(builtin_policies())
    core = next(policy for policy in listed if policy["name"] == "core")
    slice_us = next(tunable for tunable in core["tunables"] if tunable["name"] == "slice_us")
    assert slice_us["min"] <= slice_us["default"] <= slice_us["max"]
    text = scx_vsched("policies").stdout
    for policy in listed:
        for item in (*policy["tunables"], *policy["features"]):
            assert item["name"] in text
    of_core = text[text.index("core (mechanism") : text.index("fifo (mechanism")]
    assert "\nsmt " in of_core
    assert "\nrwc " not in of_core, "core has no hook for that"


def test_inspect_shows_what_matters(core_object: Path) -> None:
    text = scx_vsched("inspect", core_object).stdout
    for word in ("policy Core", "struct_ops/enqueue", "percpu_array", "vsched_ops", "kfunc", "GPL"):
        assert word in text


def test_closed_pipe_is_no_traceback(core_object: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "scx_vsched", "inspect", "--json", str(core_object)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


def test_interrupt_ends_with_130(tmp_path: Path) -> None:
    fifo = tmp_path / "never.o"
    os.mkfifo(fifo)
    with subprocess.Popen(
        [sys.executable, "-m", "scx_vsched", "inspect", str(fifo)], stderr=subprocess.PIPE
    ) as process:
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert b"Traceback" not in errors


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell: str) -> None:
    done = scx_vsched(env={"_SCX_VSCHED_COMPLETE": f"source_{shell}"})
    assert done.returncode == 0
    assert "_SCX_VSCHED_COMPLETE" in done.stdout


def test_completion_knows_commands_and_policies() -> None:
    def completed(words: str) -> list[str]:
        environment = {
            "_SCX_VSCHED_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }
        return scx_vsched(env=environment).stdout.split()

    assert set(completed("scx_vsched ")) == set(COMMANDS)
    assert completed("scx_vsched run --policy co") == ["core"]
    assert completed("scx_vsched run --slice") == ["--slice-us"]
