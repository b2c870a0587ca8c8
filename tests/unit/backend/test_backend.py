"""Objects of two compilers: built, linked, inspected; and what is said where that cannot be."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

import pytest
from commands import command

from scx_vsched.backend import compiler, link
from scx_vsched.bpf.btf import Btf, BtfKind
from scx_vsched.bpf.elf import read_object, sections
from scx_vsched.bpf.inspect import inspect_object
from scx_vsched.bpf.libbpf import BpfError, library
from scx_vsched.bpf.loader import read_meta
from scx_vsched.errors import UserError
from scx_vsched.runtime import run
from scx_vsched.runtime.run import RunOptions
from scx_vsched.vm.verify import build_all

if TYPE_CHECKING:
    from pathlib import Path

STATEFUL = """\
from scx_vsched.policy import Policy, Sched, Task, VCpu, counter, guest, u64


class Counted(Policy):
    mechanism = guest
    seen = counter(doc="seen")

    def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        self.seen.add()
        return 1_000_000
"""


def built(policy: str | Path, out: Path) -> str:
    done = command("build", policy, "--backend", "pythonbpf", "-o", out)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.usefixtures("pythonbpf")
def test_what_is_to_be_verified_may_come_from_it(tmp_path: Path) -> None:
    policy = tmp_path / "counted.py"
    policy.write_text(STATEFUL)
    found = build_all([str(policy)], tmp_path, backend="pythonbpf")
    assert {each.policy for each in found} == {"Counted by pythonbpf"}
    for each in found:
        meta = read_meta(read_object(each.path), each.path)
        assert "queue_key" in meta.pythonbpf
        assert meta.features == each.features


@pytest.mark.usefixtures("pythonbpf")
def test_run_builds_by_the_backend_that_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "counted.py"
    policy.write_text(STATEFUL)
    monkeypatch.setattr(run, "check_machine", lambda: None)  # nothing is loaded here
    for backend, found in (("clang", False), ("pythonbpf", True)):
        with run._object_file(RunOptions(policy=str(policy), backend=backend)) as path:
            assert bool(read_meta(read_object(path), path).pythonbpf) is found


def test_an_object_already_has_its_backend(tmp_path: Path) -> None:
    done = command("run", "--object", tmp_path / "x.bpf.o", "--backend", "pythonbpf")
    assert done.returncode == 1
    assert "--object contradicts --policy, --without and --backend" in done.stderr


@pytest.mark.usefixtures("pythonbpf")
def test_hooks_of_both_compilers_are_in_one_object(tmp_path: Path) -> None:
    policy = tmp_path / "counted.py"
    policy.write_text(STATEFUL)
    notes = built(policy, tmp_path / "both.o")
    assert notes == "note: `slice_ns` is compiled by clang: it counts in `seen`, in line 9\n"
    assert command("build", policy, "-o", tmp_path / "clang.o").returncode == 0
    both, clang = (inspect_object(tmp_path / name) for name in ("both.o", "clang.o"))
    assert (both.maps, both.externs, both.operations) == (
        clang.maps,
        clang.externs,
        clang.operations,
    )
    assert both.meta and clang.meta
    assert "queue_key" in both.meta.pythonbpf
    assert "slice_ns" not in both.meta.pythonbpf
    assert clang.meta.pythonbpf == ()
    programs = {program.name: program for program in both.programs}
    data = (tmp_path / "both.o").read_bytes()
    types = Btf(sections(data, tmp_path)[".BTF"])
    for name in both.meta.pythonbpf:
        # to the verifier a static function, whose calls it looks into
        at = types.find(BtfKind.FUNC, f"pybpf_{name}")
        assert at
        assert not int.from_bytes(
            sections(data, tmp_path)[".BTF"][at.place + 4 : at.place + 6], "little"
        )
        assert "core.py:" in programs[f"pybpf_{name}"].sources[0]
    shown = command("inspect", tmp_path / "both.o").stdout
    assert "hooks by pythonbpf: " + both.meta.pythonbpf[0] in shown


@pytest.mark.usefixtures("pythonbpf")
def test_what_pythonbpf_merely_warns_of_ends_the_build() -> None:
    source = (
        "@bpf\n@section('xdp')\ndef f(ctx: c_void_p) -> c_int64:\n"
        "    x: c_int64 = unheard_of(3)\n    return 0\n"
    )
    with pytest.raises(compiler.BackendError, match="Unknown call"):
        compiler.compile_programs(source, {})


@pytest.mark.usefixtures("pythonbpf")
def test_what_pythonbpf_raises_becomes_an_error_with_its_words() -> None:
    with pytest.raises(compiler.BackendError, match="SyntaxError: Undefined variable y"):
        compiler.compile_programs("@bpf\ndef f(c: c_void_p) -> c_int64:\n    return y\n", {})


def test_a_missing_package_is_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    done = command("build", "fifo", "--backend", "pythonbpf", "-o", tmp_path / "x.o")
    assert done.returncode == 1
    assert "the backend needs the package pythonbpf" in done.stderr
    assert f"pip install pythonbpf=={compiler.PYTHONBPF}" in done.stderr


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.3.1")
    with pytest.raises(UserError, match=r"pythonbpf is 0\.3\.1, the backend knows 0\.2\.0"):
        compiler.require()


def test_a_libbpf_without_linker_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Without:
        path = "/somewhere/libbpf.so"
        calls = object()

    monkeypatch.setattr(link, "library", Without)
    with pytest.raises(UserError, match=r"/somewhere/libbpf\.so has no linker"):
        link.link((), tmp_path / "x.o")


@pytest.mark.usefixtures("pythonbpf")
def test_objects_that_cannot_be_linked_leave_nothing_behind(tmp_path: Path) -> None:
    if not hasattr(library().calls, "bpf_linker__new"):
        pytest.skip(f"{library().path} has no linker")
    once = tmp_path / "once.o"
    once.write_bytes(
        compiler.compile_programs(
            "@bpf\n@section('xdp')\ndef f(ctx: c_void_p) -> c_int64:\n    return 0\n"
            "@bpf\n@bpfglobal\ndef LICENSE() -> str:\n    return 'GPL'\n",
            {},
        )
    )
    with pytest.raises(BpfError, match="libbpf did not link"):
        link.link((once, once), tmp_path / "out.o")
    assert list(tmp_path.iterdir()) == [once]


def test_check_says_which_hooks_would_be_taken(tmp_path: Path) -> None:
    policy = tmp_path / "counted.py"
    policy.write_text(STATEFUL)
    done = command("check", "--backend", "pythonbpf", policy)
    assert done.returncode == 0
    assert "  by pythonbpf: charge_ns, " in done.stdout
    assert "  by clang: slice_ns: it counts in `seen`, in line 9\n" in done.stdout
