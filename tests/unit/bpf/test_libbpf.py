"""The layer over libbpf, on the running kernel and with both places where libbpf is found."""

from __future__ import annotations

import errno
import importlib.util
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from scx_vsched.bpf import libbpf
from scx_vsched.bpf.btf import Btf
from scx_vsched.bpf.kernel import kernel_btf
from scx_vsched.bpf.libbpf import BpfError, Log, describe_errno, library
from scx_vsched.bpf.object import Object
from scx_vsched.bpf.privileges import CAP_SYS_ADMIN, without_capability

INPUT = struct.Struct("=QQQ")


def bundled() -> Path | None:
    """The extension module of pylibbpf, if the package is here."""
    spec = importlib.util.find_spec("pylibbpf")
    folders = (spec and spec.submodule_search_locations) or ()
    return next((so for folder in folders for so in Path(folder).glob("*.so")), None)


def loaded(path: Path) -> Object:
    obj = Object(path.read_bytes(), "sample")
    obj.load()
    return obj


def test_library_is_new_enough() -> None:
    assert library().version >= libbpf.MIN_VERSION


@pytest.mark.parametrize("path", ["/nonexistent/libbpf.so.1", "libc.so.6"])
def test_unusable_library_is_named(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(libbpf.ENV_PATH, path)
    with pytest.raises(libbpf.UserError, match=path) as caught:
        library.__wrapped__()
    assert "apt install" in caught.value.hint


@pytest.mark.skipif(bundled() is None, reason="pylibbpf is not installed")
def test_library_inside_pylibbpf_serves(sample: Path) -> None:
    # In a process of its own: one is kept for good once it is loaded.
    code = (
        "import sys; from pathlib import Path\n"
        "from scx_vsched.bpf.libbpf import library; from scx_vsched.bpf.object import Object\n"
        "print(library().path); print(*Object(Path(sys.argv[1]).read_bytes()).programs)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(sample)],
        env={libbpf.ENV_PATH: str(bundled())},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(bundled()), "add"]


def test_errors_have_words() -> None:
    assert describe_errno(errno.EBUSY) == "Device or resource busy (EBUSY)"
    assert describe_errno(4005) == "a relocation failed"
    assert describe_errno(4999) == "libbpf error 4999"


def test_log_is_bounded_and_plain() -> None:
    log = Log()
    for number in range(10_000):
        log.add(f"libbpf: line {number}\n")
    assert len(log.lines) < 10_000
    assert log.lines[-1] == "line 9999"


def test_open_describes_programs_and_maps(sample: Path) -> None:
    with Object(sample.read_bytes(), "sample") as obj:
        program = obj.program("add")
        assert (program.section, program.fd < 0) == ("syscall", True)
        totals = obj.map("totals")
        assert (totals.key_size, totals.value_size, totals.max_entries) == (4, 8, 4)
        assert obj.map("counters").value_size == 4
        with pytest.raises(BpfError, match="no map nothing"):
            obj.map("nothing")
        with pytest.raises(BpfError, match="no program nothing"):
            obj.program("nothing")


def test_what_libbpf_prints_stays_off_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BpfError) as caught:
        Object(b"\x7fELF" + b"\0" * 100, "rubbish")
    assert caught.value.log
    assert capfd.readouterr() == ("", "")


def test_debug_keeps_more(sample: Path) -> None:
    with Object(sample.read_bytes(), debug=True) as talkative, Object(sample.read_bytes()) as quiet:
        assert len(talkative.log.lines) > len(quiet.log.lines) + 10


@pytest.mark.bpf
@pytest.mark.usefixtures("may_load")
class TestLoaded:
    def test_runs_with_context(self, sample: Path) -> None:
        with loaded(sample) as obj:
            run = obj.program("add").test_run(INPUT.pack(10, 2, 0))
            assert run.retval == 7
            assert INPUT.unpack(run.context) == (10, 2, 10 * 3 + 2 - 1)

    def test_initial_values_count(self, sample: Path) -> None:
        with Object(sample.read_bytes(), "sample") as obj:
            rodata = next(name for name in obj.maps if name.endswith(".rodata"))
            at = Btf(obj.raw_btf()).section(".rodata")["factor"].offset
            obj.map(rodata).initial_value()[at : at + 8] = struct.pack("=Q", 5)
            obj.load()
            run = obj.program("add").test_run(INPUT.pack(10, 2, 0))
            assert INPUT.unpack(run.context)[2] == 51

    def test_maps_are_read_and_written(self, sample: Path) -> None:
        with loaded(sample) as obj:
            obj.map("totals").write(1, struct.pack("=Q", 1000))
            for _ in range(3):
                obj.program("add").test_run(INPUT.pack(1, 1, 0))
            assert struct.unpack("=Q", obj.map("totals").read(1)) == (1000 + 3 * 3,)
            counters = obj.map("counters").read_percpu(1)
            assert len(counters) == library().calls.libbpf_num_possible_cpus()
            assert {len(raw) for raw in counters} == {4}
            assert sum(int.from_bytes(raw, sys.byteorder) for raw in counters) == 3

    def test_hash_map_keys(self, sample: Path) -> None:
        with loaded(sample) as obj:
            names = obj.map("names")
            assert list(names.keys()) == []
            keys = [struct.pack("=Q", number) for number in (1, 0, 2**63)]
            for key in keys:
                names.write(key, b"abcd")
            assert sorted(names.keys()) == sorted(keys)
            with pytest.raises(BpfError, match="names") as caught:
                names.read(struct.pack("=Q", 99))
            assert caught.value.errno == errno.ENOENT

    def test_wrong_sizes_are_refused(self, sample: Path) -> None:
        with loaded(sample) as obj:
            with pytest.raises(ValueError, match="3 bytes for 8"):
                obj.map("totals").write(1, b"abc")
            with pytest.raises(ValueError, match="key has 8 bytes"):
                obj.map("names").read(1)

    def test_resized_map(self, sample: Path) -> None:
        with Object(sample.read_bytes(), "sample") as obj:
            obj.map("totals").set_max_entries(100)
            obj.load()
            assert len(list(obj.map("totals").keys())) == 100

    def test_verifier_log_on_request(self, sample: Path) -> None:
        with Object(sample.read_bytes(), "sample") as obj:
            obj.program("add").keep_log(4, 4096)
            obj.load()
            assert "processed" in obj.program("add").log

    def test_refused_program_has_its_log(self, refused: Path) -> None:
        with Object(refused.read_bytes(), "refused") as obj:
            with pytest.raises(BpfError, match="cannot load refused") as caught:
                obj.load()
            assert any("@ policy.py:42" in line for line in caught.value.log)

    def test_skipped_program_is_not_loaded(self, refused: Path) -> None:
        with Object(refused.read_bytes(), "refused") as obj:
            obj.program("add").skip()
            obj.load()
            assert obj.program("add").fd < 0

    def test_failed_run_is_an_error(self, sample: Path) -> None:
        with loaded(sample) as obj, pytest.raises(BpfError, match="test run of add"):
            obj.program("add").test_run(b"x" * 70_000)

    def test_closing_gives_everything_back(self, sample: Path) -> None:
        def descriptors() -> set[str]:
            return {path.name for path in Path("/proc/self/fd").iterdir()}

        library()
        before = descriptors()
        obj = loaded(sample)
        assert len(descriptors()) > len(before) + 3
        obj.close()
        obj.close()
        assert len(descriptors()) == len(before)


@pytest.mark.usefixtures("may_load")
class TestKernelBtf:
    def test_enum_values(self) -> None:
        values = kernel_btf().enum("bpf_map_type")
        assert (values["BPF_MAP_TYPE_HASH"], values["BPF_MAP_TYPE_ARRAY"]) == (1, 2)
        assert kernel_btf().enum("no_such_enum") == {}

    def test_signed_enum_values(self) -> None:
        assert kernel_btf().enum("perf_event_state")["PERF_EVENT_STATE_OFF"] == -1

    def test_what_exists(self) -> None:
        btf = kernel_btf()
        assert btf.has_function("bpf_task_from_pid")
        assert btf.has_struct("task_struct")
        assert not btf.has_function("scx_bpf_never_heard_of")
        assert not btf.has_struct("bpf_task_from_pid")


def effective_capabilities() -> int:
    status = Path("/proc/thread-self/status").read_text(encoding="utf-8")
    return int(status.partition("CapEff:")[2].split()[0], 16)


def test_a_capability_is_given_up_and_comes_back() -> None:
    before = effective_capabilities()
    if not before & 1 << CAP_SYS_ADMIN:
        pytest.skip("CAP_SYS_ADMIN is needed")
    with pytest.raises(ZeroDivisionError), without_capability(CAP_SYS_ADMIN):
        assert effective_capabilities() == before & ~(1 << CAP_SYS_ADMIN)
        raise ZeroDivisionError
    assert effective_capabilities() == before
