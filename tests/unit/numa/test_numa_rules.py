"""Rule files: what they mean, and what is wrong with bad ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scx_vsched.errors import UserError
from scx_vsched.numa.processes import Process
from scx_vsched.numa.rules import Rules, Verdict, read_rules

if TYPE_CHECKING:
    from pathlib import Path


def process(**other: object) -> Process:
    fields = {
        "pid": 7, "start": 1, "comm": "worker", "uid": 1000, "nice": 0, "real_time": False,
        "cgroup": "user.slice/a", "threads": 1, "load": 0.0, "by_cpu": {}, "active": True,
    }  # fmt: skip
    return Process(**fields | other)  # type: ignore[arg-type]


def rules(path: Path, text: str) -> Rules:
    file = path / "rules.toml"
    file.write_text(text)
    return read_rules(file)


def test_the_first_rule_that_fits_decides(tmp_path: Path) -> None:
    found = rules(
        tmp_path,
        """
[[rule]]
comm = "mem*"
uid = 1000
then = "fixed"
[[rule]]
cgroup = "user.slice/*"
nice = [0, 19]
then = "moves"
[[rule]]
cgroup = "user.slice"
then = "ignore"
""",
    )
    assert found.judge(process(comm="memcached"))[0] is Verdict.FIXED
    assert found.judge(process(comm="memcached", uid=0))[0] is Verdict.MOVES
    assert found.judge(process(nice=-1))[0] is Verdict.IGNORE
    assert found.judge(process(cgroup="user.slice/a/b", nice=5))[0] is Verdict.MOVES
    assert found.judge(process(cgroup="other", nice=-1)) == (Verdict.FIXED, "nice -1")


def test_without_rules_nice_and_class_decide() -> None:
    assert Rules().judge(process())[0] is Verdict.MOVES
    assert Rules().judge(process(nice=-1))[0] is Verdict.FIXED
    assert Rules().judge(process(real_time=True)) == (Verdict.FIXED, "real-time class")
    assert Rules(fixed_below_nice=-5).judge(process(nice=-5))[0] is Verdict.MOVES


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rule = 3", "list of tables"),
        ("[rule]\ncomm='a'", "list of tables"),
        ("wrong = 1", "unknown key 'wrong'"),
        ("[[rule]]\ncomm='a'", "says nothing"),
        ("[[rule]]\nthen='fixed'", "fits everything"),
        ("[[rule]]\ncomm='a'\nthen='flies'", "then = 'flies'"),
        ("[[rule]]\ncom='a'\nthen='fixed'", "unknown key 'com'"),
        ("[[rule]]\ncomm=3\nthen='fixed'", "comm = 3 is no text"),
        ("[[rule]]\nuid='root'\nthen='fixed'", "no number of a user"),
        ("[[rule]]\nnice=30\nthen='fixed'", "no nice value"),
        ("[[rule]]\nnice=[1,2,3]\nthen='fixed'", "nice = \\[1, 2, 3\\]"),
        ("[[rule]]\nnice=[3,1]\nthen='fixed'", "is empty"),
        ("fixed_below_nice = 'x'", "no nice value"),
        ("[[rule]\n", "not valid TOML"),
    ],
)
def test_bad_files_are_told_with_their_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as told:
        rules(tmp_path, text)
    assert "rules.toml" in told.value.message


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        read_rules(tmp_path / "none.toml")
