"""Loads a built scheduler into the kernel, attaches it, reads its counters and why it ended.

The kernel holds an attached scheduler only as long as this process holds its link: nothing is
pinned, so the kernel's own scheduler is back after any end of the process, a kill -9 included.
"""

from __future__ import annotations

import errno
import re
import struct
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from scx_vsched.bpf.btf import Btf, BtfError
from scx_vsched.bpf.elf import ObjectError, meta_text, read_object
from scx_vsched.bpf.exit_info import ExitInfo, decode_exit
from scx_vsched.bpf.kernel import SCHED_EXT, attached_scheduler, ops_flags, sched_ext_state
from scx_vsched.bpf.libbpf import BpfError
from scx_vsched.bpf.model import ObjectMeta
from scx_vsched.bpf.object import Object
from scx_vsched.bpf.records import Layout
from scx_vsched.bpf.refusal import explain_refusal
from scx_vsched.errors import UserError
from scx_vsched.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scx_vsched.bpf.model import TunableMeta
    from scx_vsched.bpf.object import Link, Map, Program

__all__ = [
    "DEFAULT_EXIT_DUMP_LEN",
    "AttachError",
    "Attached",
    "LoadError",
    "ProgramStats",
    "SchedulerObject",
    "check_tunables",
    "misfit",
    "parse_verifier_stats",
    "read_meta",
]

OPS_MAP = "vsched_ops"
TUNABLES_MAP = ".data.tunables"
DEFAULT_EXIT_DUMP_LEN = 32768  # what the kernel takes for 0 (SCX_EXIT_DUMP_DFL_LEN)
MAX_EXIT_DUMP_LEN = 16 << 20
MAX_TIMEOUT_MS = 30_000  # SCX_WATCHDOG_MAX_TIMEOUT

_STATS_LEVEL = 4  # BPF_LOG_STATS
_STATS_LOG = 4096
_LOG_TAIL = 12  # lines of a log in an error
_LOG_FROM_SOURCE = 40  # lines of the verifier's log from the last source line on
_SETTLE_S = 10.0  # attaching and detaching wait for RCU grace periods, slow in an emulated guest
_POLL_S = 0.02


class LoadError(UserError):
    """The kernel refused the object; `program` names the program where one did not verify."""

    def __init__(self, message: str, hint: str, log: tuple[str, ...], program: str = "") -> None:
        super().__init__(message, hint)
        self.log = log
        self.program = program


class AttachError(UserError):
    """The scheduler was loaded but could not take over; `info` says why where the kernel did."""

    def __init__(self, message: str, hint: str = "", info: ExitInfo | None = None) -> None:
        super().__init__(message, hint)
        self.info = info


@dataclass(frozen=True, slots=True)
class ProgramStats:
    """What verifying a program cost: instructions and states processed, time in microseconds."""

    name: str
    insns: int
    states: int
    peak_states: int
    time_us: int


def parse_verifier_stats(name: str, log: str) -> ProgramStats:
    """The numbers that the verifier writes at log level 4; one that is missing is 0."""

    def number(pattern: str) -> int:
        found = re.search(pattern, log)
        return int(found[1]) if found else 0

    return ProgramStats(
        name,
        number(r"processed (\d+) insns"),
        number(r"total_states (\d+)"),
        number(r"peak_states (\d+)"),
        number(r"verification time (\d+) usec"),
    )


def read_meta(data: bytes, path: Path) -> ObjectMeta:
    """What the object in `data` says of itself; raises ObjectError, naming `path`."""
    text = meta_text(data, path)
    try:
        return ObjectMeta.from_json(text)
    except UserError as error:
        raise ObjectError(f"{path}: {error.message}", error.hint) from None


def misfit(path: Path, meta: ObjectMeta, error: Exception) -> ObjectError:
    """The error for an object whose variables or maps are not laid out as this version has them."""
    return ObjectError(
        f"{path} was built by scx_vsched {meta.version}, "
        f"which lays objects out differently from {VERSION} ({error})",
        "build it again with this version",
    )


def _format(tunable: TunableMeta) -> str:
    return "=q" if tunable.type == "s64" else "=Q"


def check_tunables(meta: ObjectMeta, values: Mapping[str, int], *, running: bool = False) -> None:
    """Raise UserError for a tunable that the policy lacks, or a value out of its bounds.

    While the scheduler is `running`, for one that is frozen too.
    """
    tunables = {tunable.name: tunable for tunable in meta.tunables}
    for name, value in values.items():
        if name not in tunables:
            known = ", ".join(tunables) or "none"
            raise UserError(f"policy {meta.policy} has no tunable {name}", f"it has: {known}")
        tunable = tunables[name]
        if running and tunable.frozen:
            raise UserError(
                f"tunable {name} is frozen: it cannot change while {meta.policy} runs",
                f"start the scheduler anew with --set {name}={value}",
            )
        if not tunable.min <= value <= tunable.max:
            unit = f" {tunable.unit}" if tunable.unit else ""
            raise UserError(
                f"tunable {name} = {value}{unit} is out of range: "
                f"{tunable.min} to {tunable.max}{unit}",
                f"{name}: {tunable.doc}",
            )


class SchedulerObject:
    """A built scheduler on its way into the kernel; closed on exit from its context."""

    def __init__(self, path: Path, data: bytes, *, debug: bool = False) -> None:
        """Take the object in `data`; `open` reads it from a file."""
        self.path = path
        self.meta = read_meta(data, path)
        self._data = data
        self._debug = debug
        self._constants: dict[int, bytes] = {}  # offset in .rodata: value
        self._tunables: dict[int, bytes] = {}  # offset in TUNABLES_MAP: value
        self._ops: dict[int, bytes] = {}  # offset in the operations table: value
        self._dump_len = DEFAULT_EXIT_DUMP_LEN
        self.programs: tuple[ProgramStats, ...] = ()
        self._object = self._open()
        try:
            self._btf = Btf(self._object.raw_btf())
            self._rodata = self._btf.section(".rodata")
            self._ops_type = self._btf[self._object.map(OPS_MAP).value_type_id]
            self.set_ops(exit_dump_len=DEFAULT_EXIT_DUMP_LEN)
        except (LookupError, StopIteration, BtfError) as error:
            self.close()
            raise misfit(path, self.meta, error) from None
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, path: Path, *, debug: bool = False) -> Self:
        """Read and check the object in `path`; raises ObjectError. `debug` keeps libbpf's chat."""
        return cls(path, read_object(path), debug=debug)

    def _open(self) -> Object:
        try:
            return Object(self._data, self.path.name.partition(".")[0], debug=self._debug)
        except BpfError as error:
            detail = f" ({error.log[-1]})" if error.log else ""
            raise ObjectError(f"{self.path}: {error.message}{detail}", "build it again") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give all of it back to the kernel; a second call does nothing."""
        self._object.close()

    @property
    def log(self) -> tuple[str, ...]:
        """What libbpf printed."""
        return self._object.log.lines

    def map(self, name: str) -> Map:
        """The map called `name`; raises BpfError without one."""
        return self._object.map(name)

    def has_map(self, name: str) -> bool:
        """Whether there is a map called `name`."""
        return name in self._object.maps

    def program(self, name: str) -> Program:
        """The program called `name`; raises BpfError without one."""
        return self._object.program(name)

    def set_tunables(self, values: Mapping[str, int]) -> None:
        """Before load: values of tunables by name; raises UserError naming bounds and unit."""
        check_tunables(self.meta, values)
        for index, tunable in enumerate(self.meta.tunables):
            if tunable.name not in values:
                continue
            raw = struct.pack(_format(tunable), values[tunable.name])
            if tunable.frozen:
                self._constants[self._rodata["frozen_tunables"].offset + 8 * index] = raw
            else:
                self._tunables[8 * index] = raw

    def tunables(self) -> dict[str, int]:
        """After load: the values in force, of frozen tunables too."""
        found = {}
        changing = self.map(TUNABLES_MAP).read(0)
        constants = self.map(self._rodata_map()).read(0)
        for index, tunable in enumerate(self.meta.tunables):
            raw, offset = changing, 8 * index
            if tunable.frozen:
                raw, offset = constants, offset + self._rodata["frozen_tunables"].offset
            (found[tunable.name],) = struct.unpack_from(_format(tunable), raw, offset)
        return found

    def tune(self, values: Mapping[str, int]) -> None:
        """After load: change tunables by name, all or none; raises UserError."""
        check_tunables(self.meta, values, running=True)
        slots = self.map(TUNABLES_MAP).shared(8 * max(len(self.meta.tunables), 1)).cast("Q")
        for index, tunable in enumerate(self.meta.tunables):
            if tunable.name in values:
                slots[index] = values[tunable.name] % (1 << 64)

    def set_constant(self, name: str, value: int) -> None:
        """Before load: the value of a `const volatile` integer; KeyError where there is none."""
        variable = self._rodata[name]
        size = self._btf.size(variable.type)
        self._constants[variable.offset] = value.to_bytes(size, sys.byteorder, signed=value < 0)

    def keep_decisions(self, number: int) -> None:
        """Before load: room to note the last decision about so many tasks; 0 notes none.

        Raises UserError for an object that notes none.
        """
        if number and "nr_decisions" not in self._rodata:
            raise UserError(f"{self.path} notes no decisions", "build it again, or run it without")
        if number:
            self.set_constant("nr_decisions", number)
            self.map("decisions").set_max_entries(number)

    def layout(self, name: str) -> Layout:
        """How to read the values of the map called `name`."""
        return Layout(self._btf, self.map(name).value_type_id)

    def number(self, name: str) -> int:
        """After load: the global integer called `name`; KeyError where there is none."""
        for section in (".bss", ".data", ".rodata"):
            member = self._btf.section(section).get(name)
            if member is not None:
                where = next(each for each in self._object.maps if each.endswith(section))
                end = member.offset + self._btf.size(member.type)
                return int.from_bytes(self.map(where).read(0)[member.offset : end], sys.byteorder)
        raise KeyError(name)

    def set_ops(self, *, timeout_ms: int | None = None, exit_dump_len: int | None = None) -> None:
        """Before load: the watchdog's time-out (None: the kernel's) and the debug dump's bytes."""
        if timeout_ms is not None:
            if not 1 <= timeout_ms <= MAX_TIMEOUT_MS:
                raise UserError(
                    f"time-out of {timeout_ms} ms is out of range: 1 to {MAX_TIMEOUT_MS} ms"
                )
            self._set_member("timeout_ms", timeout_ms)
            self.set_constant("watchdog_ms", timeout_ms)
        if exit_dump_len is not None:
            if not 0 <= exit_dump_len <= MAX_EXIT_DUMP_LEN:
                raise UserError(
                    f"exit dump of {exit_dump_len} bytes is out of range: "
                    f"0 (default) to {MAX_EXIT_DUMP_LEN} bytes"
                )
            self._dump_len = exit_dump_len or DEFAULT_EXIT_DUMP_LEN
            self._set_member("exit_dump_len", self._dump_len)
            self.set_constant("exit_dump_len", self._dump_len)

    def _set_member(self, name: str, value: int) -> None:
        member = next(m for m in self._ops_type.members if m.name == name)
        size = self._btf.size(member.type)
        self._ops[member.offset] = value.to_bytes(size, sys.byteorder)

    def _configure(self) -> None:
        """Write the settings into the open object."""
        self._set_member("flags", ops_flags(self.meta.ops_flags))
        self.map("exit_dump").set_value_size(self._dump_len)
        for name, settings in (
            (self._rodata_map(), self._constants),
            (TUNABLES_MAP, self._tunables),
            (OPS_MAP, self._ops),
        ):
            initial = self.map(name).initial_value()
            for offset, raw in settings.items():
                initial[offset : offset + len(raw)] = raw

    def _rodata_map(self) -> str:
        return next(name for name in self._object.maps if name.endswith(".rodata"))

    def load(self, *, verifier_stats: bool = False) -> None:
        """Create the maps and have the programs verified; raises LoadError.

        With `verifier_stats`, `programs` holds what each program cost the verifier.
        """
        self._configure()
        if verifier_stats:
            for program in self._object.programs.values():
                program.keep_log(_STATS_LEVEL, _STATS_LOG)
        try:
            self._object.load()
        except BpfError as error:
            if verifier_stats:
                # At this log level the verifier names no source lines: refuse once more, in words.
                self._object.close()
                self._object = self._open()
                self.load()
            raise _load_error(self.path, error) from None
        if verifier_stats:
            self.programs = tuple(
                parse_verifier_stats(name, program.log)
                for name, program in sorted(self._object.programs.items())
            )

    def attach(self) -> Attached:
        """Let the scheduler take over; raises AttachError where it does not."""
        if other := attached_scheduler():
            raise _occupied(other)
        try:
            link = self._object.attach(OPS_MAP)
        except BpfError as error:
            if error.errno == errno.EBUSY:
                raise _occupied(attached_scheduler() or "(gone meanwhile)") from None
            raise AttachError(
                f"the kernel refused {self.meta.policy}: {error.message}",
                "its log (dmesg) may say why",
            ) from None
        attached = Attached(self, link)
        try:
            attached.wait_enabled()
        except BaseException:
            attached.detach()
            raise
        return attached


class Attached:
    """A scheduler at work; it is detached on exit from its context."""

    def __init__(self, obj: SchedulerObject, link: Link) -> None:
        self._obj = obj
        self._link = link

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def wait_enabled(self) -> None:
        """Wait until it has taken over; raises AttachError where it ended instead.

        A scheduler that fails late in being enabled is reported by the kernel as attached and
        ended at once (scx_ops_enable in kernel/sched/ext.c), so the result alone says nothing.
        """
        deadline = time.monotonic() + _SETTLE_S
        while (state := sched_ext_state()) != "enabled":
            if info := self.exit_info():
                raise AttachError(
                    f"the kernel ended {self._obj.meta.policy} at once: {info.summary()}", "", info
                )
            if time.monotonic() > deadline:
                raise AttachError(
                    f"the scheduler was attached, but sched_ext is {state}",
                    f"see {SCHED_EXT} and the kernel's log (dmesg)",
                )
            time.sleep(_POLL_S)

    def stats(self) -> dict[str, int]:
        """The counters since the start, summed over all vCPUs."""
        counters = self._obj.map("stats")
        return {
            stat.name: sum(
                int.from_bytes(raw, sys.byteorder) for raw in counters.read_percpu(index)
            )
            for index, stat in enumerate(self._obj.meta.stats)
        }

    def histograms(self) -> dict[str, list[int]]:
        """The policy's histograms since the start, each its buckets summed over all vCPUs."""
        found: dict[str, list[int]] = {}
        for index, histogram in enumerate(self._obj.meta.histograms):
            each = self._obj.map("histograms").read_percpu(index)
            columns = (struct.unpack(f"={len(raw) // 8}Q", raw) for raw in each)
            found[histogram.name] = [sum(column) for column in zip(*columns, strict=True)]
        return found

    @property
    def meta(self) -> ObjectMeta:
        """What the object says of itself."""
        return self._obj.meta

    def number(self, name: str) -> int:
        """The global integer called `name`; KeyError where there is none."""
        return self._obj.number(name)

    def records(self, name: str, count: int | None = None) -> list[dict[str, int]]:
        """The structures in the array called `name`, the first `count`; none where it is not.

        Without a `count` those that were ever written, of an array in shared memory.
        """
        if not self._obj.has_map(name):
            return []
        array, layout = self._obj.map(name), self._obj.layout(name)
        if count is not None:
            wanted = range(min(count, array.max_entries))
            return [layout.read(array.read(index)) for index in wanted]
        size = array.value_size
        raw = bytes(array.shared(size * array.max_entries))
        values = (raw[at : at + size] for at in range(0, len(raw), size))
        return [layout.read(value) for value in values if any(value)]

    def task_record(self, pidfd: int) -> dict[str, int] | None:
        """What is kept of the task behind `pidfd`; None where there is nothing."""
        try:
            raw = self._obj.map("task_ctxs").read(pidfd)
        except BpfError:
            return None
        return self._obj.layout("task_ctxs").read(raw)

    def tunables(self) -> dict[str, int]:
        """The values in force, of frozen tunables too."""
        return self._obj.tunables()

    def tune(self, values: Mapping[str, int]) -> None:
        """Change tunables by name while the scheduler runs; each is in force at once.

        Raises UserError for one that the policy lacks or has frozen, or a value out of bounds; no
        tunable is changed then.
        """
        self._obj.tune(values)

    def exit_info(self) -> ExitInfo | None:
        """Why the scheduler ended, or None while it is at work."""
        raw = self._obj.map("exit_info").read(0)
        if not any(raw[:4]):
            return None
        return decode_exit(raw, self._obj.map("exit_dump").read(0))

    def detach(self) -> None:
        """Give the kernel's own scheduler back and wait until it is at work."""
        self._link.close()
        deadline = time.monotonic() + _SETTLE_S
        while sched_ext_state() == "disabling" and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def _occupied(other: str) -> AttachError:
    return AttachError(
        f"another sched_ext scheduler is attached: {other}",
        "stop it first (systemctl stop scx, or end its process)",
    )


def _load_error(path: Path, error: BpfError) -> LoadError:
    """What the user needs of libbpf's log: which program, which source line, the last words."""
    log = error.log
    text = "\n".join(log)
    if missing := re.search(r"extern \((?:func|var) ksym\) '(\w+)': (?:not found|.*failed)", text):
        return LoadError(
            f"{path}: this kernel has no {missing[1]}", "a newer kernel may have it", log
        )
    failed = re.search(r"prog '(\w+)': BPF program load failed", text)
    begin = next((i for i, line in enumerate(log) if "BEGIN PROG LOAD LOG" in line), None)
    if not failed or begin is None:
        hint = "this needs root" if error.errno in (errno.EPERM, errno.EACCES) else ""
        detail = "".join(f"\n  {line}" for line in log[-_LOG_TAIL:])
        return LoadError(f"{path}: {error.message}{detail}", hint, log)
    end = next((i for i, line in enumerate(log) if "END PROG LOAD LOG" in line), len(log))
    verdict = [line for line in log[begin + 1 : end] if not line.startswith("processed ")]
    refusal = explain_refusal(verdict)
    where = f" at {refusal.place}" if refusal.place else ""
    # From 7.3 on the verifier explains itself after the refusal, at some length.
    said = verdict[refusal.since :][:_LOG_FROM_SOURCE] if where else verdict[-_LOG_TAIL:]
    known = [f"where {refusal.known}"] if refusal.known else []
    tail = "".join(f"\n  {line}" for line in [*known, *said] if line.strip())
    return LoadError(
        f"{path}: the kernel's verifier refuses {failed[1]}{where}{tail}",
        "`run -v` prints its whole log",
        log,
        failed[1],
    )
