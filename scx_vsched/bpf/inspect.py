"""Shows what is in a BPF object without loading it: any object, not only those of this project."""

from __future__ import annotations

import collections
import io
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from scx_vsched.bpf.btf import Btf, BtfError, BtfKind
from scx_vsched.bpf.btf_ext import core_relocations, line_infos
from scx_vsched.bpf.elf import ObjectError, read_object, sections
from scx_vsched.bpf.loader import read_meta
from scx_vsched.bpf.model import META_SECTION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scx_vsched.bpf.model import ObjectMeta

__all__ = [
    "Extern",
    "MapInfo",
    "Operation",
    "ProgramInfo",
    "Relocations",
    "Report",
    "inspect_object",
]

INSTRUCTION_SIZE = 8

# enum bpf_map_type of include/uapi/linux/bpf.h, in its order.
_MAP_TYPES = (
    "unspec",
    "hash",
    "array",
    "prog_array",
    "perf_event_array",
    "percpu_hash",
    "percpu_array",
    "stack_trace",
    "cgroup_array",
    "lru_hash",
    "lru_percpu_hash",
    "lpm_trie",
    "array_of_maps",
    "hash_of_maps",
    "devmap",
    "sockmap",
    "cpumap",
    "xskmap",
    "sockhash",
    "cgroup_storage",
    "reuseport_sockarray",
    "percpu_cgroup_storage",
    "queue",
    "stack",
    "sk_storage",
    "devmap_hash",
    "struct_ops",
    "ringbuf",
    "inode_storage",
    "task_storage",
    "bloom_filter",
    "user_ringbuf",
    "cgrp_storage",
    "arena",
    "insn_array",
)


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """A program, or a subprogram (in `.text`); `sources` are `file:first-last`."""

    name: str
    section: str
    instructions: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MapInfo:
    """A map as the object defines it; sizes in bytes, 0 where the loader decides."""

    name: str
    type: str
    key_size: int
    value_size: int
    max_entries: int
    flags: int


@dataclass(frozen=True, slots=True)
class Operation:
    """A member of an operations table that the object sets, and the program behind it."""

    table: str
    member: str
    program: str


@dataclass(frozen=True, slots=True)
class Extern:
    """Something that the object wants of the kernel; a weak one may be absent."""

    name: str
    kind: str  # "kfunc" or "variable"
    weak: bool


@dataclass(frozen=True, slots=True)
class Relocations:
    """How many places of a section are filled in at load: by symbols, and by CO-RE kind."""

    section: str
    symbols: int
    core: dict[str, int]


@dataclass(frozen=True, slots=True)
class Report:
    """All of it; `size` is the file's, in bytes."""

    path: str
    size: int
    license: str
    programs: tuple[ProgramInfo, ...]
    maps: tuple[MapInfo, ...]
    operations: tuple[Operation, ...]
    externs: tuple[Extern, ...]
    relocations: tuple[Relocations, ...]
    meta: ObjectMeta | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def inspect_object(path: Path) -> Report:
    """What the object in `path` holds; raises ObjectError for a file that is no BPF object."""
    data = read_object(path)
    found = sections(data, path)
    try:
        btf = Btf(found.get(".BTF", b""))
        elf = ELFFile(io.BytesIO(data))
        symbols = tuple(_symbols(elf))
        return Report(
            str(path),
            len(data),
            found.get("license", b"").split(b"\0", 1)[0].decode(errors="replace"),
            _programs(elf, symbols, found, btf),
            tuple(_maps(btf)),
            tuple(_operations(elf, symbols, btf)),
            tuple(_externs(symbols, btf)),
            _relocations(elf, found, btf),
            read_meta(data, path) if META_SECTION in found else None,
        )
    except BtfError as error:
        hint = "compile it with -g" if ".BTF" not in found else ""
        raise ObjectError(f"{path} has no usable type information: {error}", hint) from None
    except (
        ELFError,
        ConstructError,
        AssertionError,
        AttributeError,
        IndexError,
        KeyError,
        ValueError,
    ) as error:
        # pyelftools trusts the numbers in a file; a damaged one ends in any of these.
        raise ObjectError(f"{path} is damaged: {error!r}") from None


@dataclass(frozen=True, slots=True)
class _Symbol:
    name: str
    section: str  # empty for an undefined one
    value: int
    size: int
    is_function: bool
    weak: bool


def _symbols(elf: ELFFile) -> Iterator[_Symbol]:
    """The named symbols, in the table's order."""
    table = elf.get_section_by_name(".symtab")
    for symbol in table.iter_symbols() if isinstance(table, SymbolTableSection) else ():
        index = symbol["st_shndx"]
        if symbol["st_info"]["type"] == "STT_SECTION" or not symbol.name:
            continue
        yield _Symbol(
            symbol.name,
            elf.get_section(index).name if isinstance(index, int) else "",
            symbol["st_value"],
            symbol["st_size"],
            symbol["st_info"]["type"] == "STT_FUNC",
            symbol["st_info"]["bind"] == "STB_WEAK",
        )


def _programs(
    elf: ELFFile, symbols: tuple[_Symbol, ...], found: dict[str, bytes], btf: Btf
) -> tuple[ProgramInfo, ...]:
    ext = found.get(".BTF.ext", b"")
    lines = collections.defaultdict(list)
    for info in line_infos(ext, btf) if ext else ():
        lines[info.section].append(info)
    programs = []
    for symbol in symbols:
        if not symbol.is_function or not symbol.section:
            continue
        spans: dict[str, tuple[int, int]] = {}
        for info in lines[symbol.section]:
            # Line 0 stands for instructions that no line of the source asked for.
            if info.line and symbol.value <= info.offset < symbol.value + symbol.size:
                first, last = spans.get(info.file, (info.line, info.line))
                spans[info.file] = (min(first, info.line), max(last, info.line))
        programs.append(
            ProgramInfo(
                symbol.name,
                symbol.section,
                symbol.size // INSTRUCTION_SIZE,
                tuple(f"{file}:{first}-{last}" for file, (first, last) in sorted(spans.items())),
            )
        )
    return tuple(sorted(programs, key=lambda program: (program.section, program.name)))


def _maps(btf: Btf) -> Iterator[MapInfo]:
    """Maps are variables whose type encodes the attributes (libbpf's __uint and __type)."""
    for variable in btf.section(".maps").values():
        numbers: dict[str, int] = {}
        for member in btf.resolve(variable.type).members:
            target = btf.pointed(member.type)
            if member.name in ("key", "value"):
                numbers[f"{member.name}_size"] = btf.size(target.id)
            elif target.kind is BtfKind.ARRAY:
                numbers[member.name] = target.array[1]
        kind = numbers.get("type", 0)
        yield MapInfo(
            variable.name,
            _MAP_TYPES[kind] if kind < len(_MAP_TYPES) else str(kind),
            numbers.get("key_size", 0),
            numbers.get("value_size", 0),
            numbers.get("max_entries", 0),
            numbers.get("map_flags", 0),
        )


def _operations(elf: ELFFile, symbols: tuple[_Symbol, ...], btf: Btf) -> Iterator[Operation]:
    """Members of operations tables: each is a relocation against the program's symbol."""
    for name in (".struct_ops", ".struct_ops.link"):
        relocations = elf.get_section_by_name(f".rel{name}")
        if not isinstance(relocations, RelocationSection):
            continue
        table = elf.get_section(relocations["sh_link"])
        assert isinstance(table, SymbolTableSection)  # noqa: S101 - as the format has it
        variables = btf.section(name)
        for relocation in relocations.iter_relocations():
            program = table.get_symbol(relocation["r_info_sym"]).name
            at = relocation["r_offset"]
            for owner in symbols:
                if owner.section != name or not owner.value <= at < owner.value + owner.size:
                    continue
                members = btf.resolve(variables[owner.name].type).members
                member = next(m.name for m in members if m.offset == at - owner.value)
                yield Operation(owner.name, member, program)


def _externs(symbols: tuple[_Symbol, ...], btf: Btf) -> Iterator[Extern]:
    weak = {symbol.name: symbol.weak for symbol in symbols if not symbol.section}
    for name, member in sorted(btf.section(".ksyms").items()):
        kind = "kfunc" if btf[member.type].kind is BtfKind.FUNC else "variable"
        yield Extern(name, kind, weak.get(name, False))


def _relocations(elf: ELFFile, found: dict[str, bytes], btf: Btf) -> tuple[Relocations, ...]:
    core: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    if ext := found.get(".BTF.ext"):
        for relocation in core_relocations(ext, btf):
            core[relocation.section][relocation.kind.name.lower()] += 1
    counts = {
        section.name.removeprefix(".rel"): section.num_relocations()
        for section in elf.iter_sections("SHT_REL")
        if isinstance(section, RelocationSection)
        and not section.name.startswith((".rel.debug", ".rel.BTF"))
    }
    return tuple(
        Relocations(name, counts.get(name, 0), dict(sorted(core[name].items())))
        for name in sorted(counts.keys() | core.keys())
    )
