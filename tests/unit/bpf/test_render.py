"""Rendered schedulers: stable text, nothing of a feature that is left out, C that clang takes."""

from __future__ import annotations

import difflib
import itertools
import os
import re
from pathlib import Path

import pytest

import scx_vsched.policies
from scx_vsched.bpf.build import build
from scx_vsched.bpf.compile import CompileError, compile_c, find_clang
from scx_vsched.bpf.elf import meta_text
from scx_vsched.bpf.model import ObjectMeta
from scx_vsched.bpf.render import describe, render
from scx_vsched.errors import UserError
from scx_vsched.policies import builtin_policies
from scx_vsched.policy.compiler import compile_file, compile_source

GOLDEN = Path(__file__).parents[2] / "golden" / "fifo.bpf.c"
GOLDEN_TECHNIQUES = GOLDEN.with_name("techniques.diff")
FEATURES = ("cgroups", "preemption", "smt")
HOSTILE = '''"""Text that tries */ to end a comment; "quotes", \\\\ and ??/ trigraphs, Größe."""
from scx_vsched.policy import Policy, guest, tunable, Task, VCpu, u64


class Hostile(Policy):
    """Ends a comment */ #include <x> /* and "a string" \\\\ %s."""

    mechanism = guest
    stats = tunable(3, unit='"*/', min=0, max=9, doc='%d "quoted" \\\\" */ é')

    def charge_ns(self, task: Task, vcpu: VCpu) -> u64:
        """*/ int x; /*"""
        return task.ran_ns * self.stats
'''


def test_golden_scheduler() -> None:
    """`UPDATE_GOLDEN=1` writes the file anew; review the difference."""
    found = render(compile_file(builtin_policies()["fifo"]))
    # `#line` names a built-in policy where it is installed, so that clang finds its text
    found = found.replace(f"{Path(scx_vsched.policies.__file__).parents[2]}/", "")
    found = re.sub(r"scx_vsched \d+\.\d+\.\d+", "scx_vsched X", found)
    found = re.sub(r'\\"version\\":\\"[\d.]+', r"\"version\":\"X", found)
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(found, encoding="utf-8")
    assert found == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("policy", sorted(builtin_policies()))
def test_rendering_is_deterministic(policy: str) -> None:
    program = compile_file(builtin_policies()[policy])
    assert render(program) == render(program)


def test_absent_features_leave_no_trace() -> None:
    program = compile_file(builtin_policies()["core"])
    marks = {"cgroups": "group_share", "preemption": "hook_preempts(", "smt": "get_idle_smtmask()"}
    for count in range(len(FEATURES) + 1):
        for without in itertools.combinations(FEATURES, count):
            text = render(program, without).partition('"arith.h"')[2]
            # the policy still defines its hook; the mechanism must not call it
            mechanism = text.partition("bool follow_waker(")[2]
            for feature, mark in marks.items():
                where = text if feature != "preemption" else mechanism
                assert (mark in where) == (feature not in without), (without, feature)


TECHNIQUES = {
    "bvs": ("hook_wait_ns", "place_biased", "STAT_BIASED_IDLE"),
    "ivh": ("hook_harvest_in_ns", "bpf_timer_init", "STAT_HARVESTS", "ENQ_LAST"),
    "rwc": ("hook_is_harmful", "claim_hidden(", "STAT_DIVERTED"),
}


def test_absent_techniques_leave_no_trace() -> None:
    program = compile_file(builtin_policies()["vsched"])
    for count in range(len(TECHNIQUES) + 1):
        for without in itertools.combinations(TECHNIQUES, count):
            text = render(program, without).partition('"arith.h"')[2]
            for technique, marks in TECHNIQUES.items():
                absent = technique in without
                for mark in marks:
                    # rwc needs the flag, too
                    if mark != "ENQ_LAST" or "rwc" in without:
                        assert (mark not in text) == absent, (without, mark)
            assert ("struct usage {" in text) == (set(without) != set(TECHNIQUES))


HOMES = ("hook_crosses", "struct home", "group_leader", "STAT_NUMA", "vsched_rehome", "exit_task")


def test_homes_leave_no_trace_where_they_are_left_out() -> None:
    program = compile_file(builtin_policies()["numa"])
    whole = render(program)
    assert all(mark in whole for mark in HOMES)
    assert "usage" not in whole, "what is known of nodes is no account of how vCPUs were used"
    without = render(program, ["numa"]).partition('"arith.h"')[2]
    assert not any(mark in without for mark in HOMES)
    assert describe(program, ["numa"]).ops_flags == ("SCX_OPS_ENQ_EXITING",)


def test_a_policy_without_their_hooks_has_no_techniques() -> None:
    program = compile_file(builtin_policies()["core"])
    text = render(program)
    assert not any(mark in text for marks in TECHNIQUES.values() for mark in marks)
    assert not any(mark in text for mark in HOMES)
    assert "usage" not in text
    assert describe(program).ops_flags == ("SCX_OPS_ENQ_EXITING",)
    flags = describe(compile_file(builtin_policies()["vsched"])).ops_flags
    assert flags == ("SCX_OPS_ENQ_EXITING", "SCX_OPS_ENQ_LAST")


def test_golden_techniques() -> None:
    """What the techniques add to the mechanism, line by line; `UPDATE_GOLDEN=1` writes it anew."""
    plain = _mechanism(render(compile_file(builtin_policies()["vsched"]), tuple(TECHNIQUES)))
    full = _mechanism(render(compile_file(builtin_policies()["vsched"])))
    found = "".join(
        line
        for line in difflib.unified_diff(plain, full, "without", "with", n=0)
        if not line.startswith("@@")
    )
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN_TECHNIQUES.write_text(found, encoding="utf-8")
    assert found == GOLDEN_TECHNIQUES.read_text(encoding="utf-8")


def _mechanism(text: str) -> list[str]:
    """The lines that come from templates: neither hooks nor line numbers nor the description."""
    before, _, rest = text.partition("/* ---- The policy's hooks")
    after = rest.partition("/* ---- A task's virtual time ---- */")[2]
    lines = [*before.partition('"arith.h"')[2].splitlines(True), *after.splitlines(True)]
    return [line for line in lines if not line.startswith(("#line", '\t"'))]


def test_unknown_feature_is_named() -> None:
    with pytest.raises(UserError, match="no feature 'turbo'") as caught:
        describe(compile_file(builtin_policies()["core"]), ["turbo"])
    assert "cgroups" in caught.value.hint


def test_description_survives_the_object(tmp_path: Path) -> None:
    out = tmp_path / "core.o"
    meta = build(builtin_policies()["core"], out, without=["smt"])
    assert meta.features == ("cgroups", "preemption")
    assert ObjectMeta.from_json(meta_text(out.read_bytes(), out)) == meta


def test_text_cannot_break_out(tmp_path: Path) -> None:
    policy, out = tmp_path / "hostile.py", tmp_path / "hostile.o"
    policy.write_text(HOSTILE, encoding="utf-8")
    meta = build(policy, out, keep_c=tmp_path / "hostile.c")
    assert ObjectMeta.from_json(meta_text(out.read_bytes(), out)) == meta
    assert next(t for t in meta.tunables if t.name == "stats").doc == '%d "quoted" \\" */ é'


def test_objects_do_not_depend_on_where_they_are_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        build(builtin_policies()["fifo"], Path("out.o"))
        objects.append(Path("out.o").read_bytes())
    assert objects[0] == objects[1]


def test_lines_after_the_hooks_are_the_templates_again(tmp_path: Path) -> None:
    text = render(compile_source(HOSTILE, "hostile.py"))
    with pytest.raises(CompileError, match=r"vsched_hostile\.bpf\.c:\d+") as caught:
        compile_c(text + "int broken = ;\n", tmp_path / "x.o")
    line = int(caught.value.message.split("vsched_hostile.bpf.c:")[1].split(":")[0])
    # clang counts from the first `#line`, which is a line of its own
    assert line == len(text.splitlines())


def test_a_refused_build_leaves_the_old_object(tmp_path: Path) -> None:
    out = tmp_path / "x.o"
    out.write_text("old")
    with pytest.raises(CompileError):
        compile_c("int broken = ;", out)
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_unwritable_output_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a directory"):
        compile_c("int x;", tmp_path / "nowhere" / "x.o")


def test_what_is_not_clang_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a clang"):
        find_clang("/bin/true")
    old = tmp_path / "clang"
    old.write_text("#!/bin/sh\necho Debian clang version 14.0.6\n")
    old.chmod(0o755)
    with pytest.raises(UserError, match="clang 14, too old"):
        find_clang(str(old))


def test_clang_missing_altogether(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    find_clang.cache_clear()
    monkeypatch.delenv("CLANG", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    try:
        with pytest.raises(UserError, match="clang is not installed") as caught:
            find_clang()
        assert "apt-get install clang" in caught.value.hint
    finally:
        find_clang.cache_clear()
