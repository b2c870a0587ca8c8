"""C around compiled policy functions: SEC("syscall") programs that run them on given inputs.

Each function gets its inputs as a sequence of calls: what it keeps is as it was declared before the
first, and goes with the result of each into the outputs. State and counters are the templates' own.
"""

from __future__ import annotations

import ctypes
import dataclasses
from typing import TYPE_CHECKING, Any

import jinja2
import kept

from scx_vsched.bpf.kept import describe_kept
from scx_vsched.bpf.render import include_dir
from scx_vsched.policy.emit_c import emit_c
from scx_vsched.policy.ir import ViewType
from scx_vsched.policy.mechanism import guest
from scx_vsched.policy.types import INT_TYPES
from scx_vsched.policy.views import VIEWS, FieldInfo, field_info

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scx_vsched.policy.program import PolicyProgram

C_TYPES: dict[str, Any] = {name: getattr(ctypes, f"c_{'' if t.signed else 'u'}int{t.bits}")
                           for name, t in INT_TYPES.items()} | {"bool": ctypes.c_bool}  # fmt: skip

DRAWS = 8
"""Random numbers of each call; they begin anew when all are drawn."""

_HEADER = """\
#include "bpf.h"
#include "arith.h"
const char _license[] SEC("license") = "GPL";
#define MAX_VCPUS 4096
"""

# What the mechanism does for hooks, with time, chance and kicks from and to the test.
_WORLD = """
static u64 world_now, world_kicked;
static u32 world_draws[{draws}], world_drawn;

static __always_inline u64 policy_now_ns(void) {{ return world_now; }}
static __always_inline u32 policy_random_u32(void)
{{
	return world_draws[world_drawn++ % {draws}];
}}
static __always_inline void policy_kick(u32 vcpu) {{ world_kicked = world_kicked * 31 + vcpu + 1; }}
"""

_SNAPSHOT = """
struct snapshot {{
	u64 result, kicked, hits, buckets[64];
	struct policy_task tasks[{keys}];
	struct policy_vcpu vcpus[{keys}];
	struct policy_domain domains[{keys}];
	struct policy_sched all;
}};

struct {{
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, {outputs});
	__type(key, u32);
	__type(value, struct snapshot);
}} outputs SEC(".maps");

__noinline int begin(void)
{{
	u32 zero = 0;
	u64 *hits = bpf_map_lookup_elem(&stats, &zero);
	struct policy_histogram *sizes = bpf_map_lookup_elem(&histograms, &zero);

	if (!hits || !sizes)
		return 1;
	*hits = 0;
	for (u32 i = 0; i < 64; i++)
		sizes->buckets[i] = 0;
	for (u32 i = 0; i < {keys}; i++) {{
		policy_tasks[i] = policy_task_initial;
		policy_vcpus[i] = policy_vcpu_initial;
		policy_domains[i] = policy_domain_initial;
	}}
	policy_sched = policy_sched_initial;
	return 0;
}}

__noinline int snap(u32 slot, u64 result)
{{
	u32 zero = 0;
	struct snapshot *out = bpf_map_lookup_elem(&outputs, &slot);
	u64 *hits = bpf_map_lookup_elem(&stats, &zero);
	struct policy_histogram *sizes = bpf_map_lookup_elem(&histograms, &zero);

	if (!out || !hits || !sizes)
		return 1;
	out->result = result;
	out->kicked = world_kicked;
	out->hits = *hits;
	for (u32 i = 0; i < 64; i++)
		out->buckets[i] = sizes->buckets[i];
	for (u32 i = 0; i < {keys}; i++) {{
		out->tasks[i] = policy_tasks[i];
		out->vcpus[i] = policy_vcpus[i];
		out->domains[i] = policy_domains[i];
	}}
	out->all = policy_sched;
	return 0;
}}
"""


def known_fields(view: str) -> list[FieldInfo]:
    """The fields of a view that the mechanism `guest` knows, on which the random policies run."""
    lacking = guest.lacks.get(view, frozenset())
    return [found for found in field_info(view).values() if found.name not in lacking]


def view_declarations() -> str:
    """The views as flat structs with the accessors that generated code calls."""
    lines = []
    for view in VIEWS:
        struct = f"struct {view.lower()}_view"
        fields = known_fields(view)
        lines.append(f"{struct} {{")
        lines += [f"\t{f.type.name if f.type else 'bool'} {f.name};" for f in fields]
        if view == "Task":
            lines.append("\tstruct policy_task *policy;")
        lines.append("};")
        lines += [
            f"static __always_inline {f.type.name if f.type else 'bool'} "
            f"{view.lower()}_{f.name}(const {struct} *view) {{ return view->{f.name}; }}"
            for f in fields
        ]
    return "\n".join(lines)


def tunable_declarations(program: PolicyProgram, values: dict[str, int]) -> str:
    """The tunables as the template declares them, with other values than the defaults."""
    lines = []
    for head, name in (
        ("volatile struct {", 'tunables SEC(".data.tunables")'),
        ("const volatile struct {", "frozen_tunables"),
    ):
        lines.append(head)
        lines += [f"\t{t.type} {t.name};" for t in program.tunables]
        lines.append(f"}} {name} = {{")
        lines += [f"\t.{t.name} = ({t.type}){values[t.name] % 2**64}ULL," for t in program.tunables]
        lines.append("};")
    return "\n".join(lines)


def kept_declarations(program: PolicyProgram) -> tuple[str, str]:
    """The templates' text for what the policy keeps, before the views and after them."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(include_dir().parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    about = describe_kept(program, ("cgroups",))
    about = dataclasses.replace(about, intrinsics=frozenset())  # they are the test's own
    meta = {"features": ("cgroups",), "mechanism": "guest"}
    texts = [
        found.get_template(f"common/policy_{part}.h.j2").render(
            kept=about, counters=program.counters, meta=meta, source_name="a random policy"
        )
        for part in ("state", "calls")
    ]
    names = [f"STAT_{c.name.upper()}" for c in program.counters if c.kind == "counter"]
    stats = (
        f"enum {{ {', '.join([*names, 'NR_STATS'])} }};\n"
        "struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); "
        '__type(key, u32); __type(value, u64); } stats SEC(".maps");\n'
        f"static struct policy_task policy_tasks[{kept.KEYS}];\n"
    )
    return texts[0], stats + texts[1]


def input_struct(views: dict[str, str], scalars: dict[str, str]) -> type[ctypes.Structure]:
    """One input of all functions, laid out as C does."""
    members: list[tuple[str, Any]] = []
    for name, view in views.items():
        fields = [(f.name, C_TYPES[f.type.name if f.type else "bool"]) for f in known_fields(view)]
        if view == "Task":
            fields.append(("policy", ctypes.c_uint64))
        members.append((name, type(view, (ctypes.Structure,), {"_fields_": fields})))
    members += [(name, C_TYPES[t]) for name, t in scalars.items()]
    members += [("now", ctypes.c_uint64), ("draws", ctypes.c_uint32 * DRAWS)]
    return type("Input", (ctypes.Structure,), {"_fields_": members})


def snapshot_struct() -> type[ctypes.Structure]:
    """One output, laid out as C does."""
    names = {t: name for name, t in C_TYPES.items()}
    assert len(names) == len(C_TYPES)
    fields = [
        (name, C_TYPES[t if isinstance(t, str) else f"{'s' if t[1] else 'u'}{t[0]}"])
        for name, t in kept.FIELDS.items()
    ]
    state = type("Kept", (ctypes.Structure,), {"_fields_": fields})
    number = ctypes.c_uint64
    members: list[tuple[str, Any]] = [(name, number) for name in ("result", "kicked", "hits")]
    members.append(("buckets", number * 64))
    members += [(scope, state * kept.KEYS) for scope in ("task", "vcpu", "domain")]
    members.append(("sched", state * 1))
    return type("Snapshot", (ctypes.Structure,), {"_fields_": members})


def harness_source(
    program: PolicyProgram,
    functions: list[str],
    views: dict[str, str],
    scalars: dict[str, str],
    inputs: int,
    values: dict[str, int],
    elsewhere: Mapping[str, str] | None = None,
) -> str:
    """C with one SEC("syscall") program a function, which runs it on all inputs, one by one.

    `elsewhere` has the C of functions that another backend compiles.
    """
    before, after = kept_declarations(program)
    parts = [_HEADER, before, view_declarations(), after, _WORLD.format(draws=DRAWS)]
    parts.append(tunable_declarations(program, values))
    parts.append("struct input {")
    parts += [f"\tstruct {view.lower()}_view {name};" for name, view in views.items()]
    parts += [f"\t{t} {name};" for name, t in scalars.items()]
    parts.append(f"\tu64 now;\n\tu32 draws[{DRAWS}];\n}};")
    parts.append(
        f"struct {{ __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, {inputs}); "
        '__type(key, u32); __type(value, struct input); } inputs SEC(".maps");'
    )
    parts.append(_SNAPSHOT.format(keys=kept.KEYS, outputs=inputs * len(functions)))
    parts.append(emit_c(program, elsewhere=elsewhere))
    for i, name in enumerate(functions):
        function = program.function(name)
        arguments = ", ".join(
            f"&v_{p.name}" if isinstance(p.type, ViewType) else f"in->{p.name}"
            for p in function.parameters
        )
        prefix = "hook" if function.kind == "hook" else "fn"
        copies = "".join(
            f"\tstruct {view.lower()}_view v_{v} = in->{v};\n"
            + (f"\tv_{v}.policy = &policy_tasks[v_{v}.pid & {kept.KEYS - 1}];\n") * (view == "Task")
            for v, view in views.items()
        )
        parts.append(
            f"__noinline u64 call_{i}(const struct input *in)\n{{\n"
            "\tif (!in)\n\t\treturn 0;\n"
            "\tworld_now = in->now;\n\tworld_drawn = 0;\n\tworld_kicked = 0;\n"
            f"\tfor (u32 i = 0; i < {DRAWS}; i++)\n\t\tworld_draws[i] = in->draws[i];\n"
            f"{copies}\treturn (u64){prefix}_{name}({arguments});\n}}\n"
            f'SEC("syscall") int run_{i}(void *context)\n{{\n'
            "\tbegin();\n"
            f"\tfor (u32 i = 0; i < {inputs}; i++) {{\n"
            "\t\tu32 key = i;\n"
            "\t\tstruct input *in = bpf_map_lookup_elem(&inputs, &key);\n\n"
            "\t\tif (!in)\n\t\t\treturn 1;\n"
            f"\t\tif (snap({i * inputs} + i, call_{i}(in)))\n\t\t\treturn 2;\n"
            "\t}\n\treturn 0;\n}"
        )
    return "\n".join(parts) + "\n"
