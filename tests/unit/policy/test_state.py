"""What a policy keeps: declared, read and changed in hooks, counted; the same in CPython."""

from __future__ import annotations

import re
from typing import Any

import policy_text
import pytest

from scx_vsched.bpf.kept import describe_kept
from scx_vsched.bpf.render import render
from scx_vsched.errors import UserError
from scx_vsched.policy import Sched, Task, VCpu, bit_count, lowest_bit, vcpus_of, world
from scx_vsched.policy.base import policy_class
from scx_vsched.policy.compiler import compile_source
from scx_vsched.policy.emit_c import emit_c
from scx_vsched.policy.state import HISTOGRAM_BUCKETS, bucket_of

HEAD = """\
from scx_vsched.policy import Policy, Sched, State, Task, VCpu, counter, guest, histogram, kick
from scx_vsched.policy import now_ns, per_domain, per_scheduler, per_task, per_vcpu, random_u32
from scx_vsched.policy import s8, s64, tunable, u8, u32, u64


class Account(State):
    \"\"\"What a task has left.\"\"\"

    credit: s64 = 1000
    tries: u8 = 254
    boosted: bool = True


class Load(State):
    total: u64 = 0
    runs: u32 = 3


class Example(Policy):
    mechanism = guest
    account = per_task(Account)
    load = per_vcpu(Load)
    share = per_domain(Load)
    all = per_scheduler(Load)
    boosts = counter(doc="boosted tasks")
    waits = histogram(doc="how long tasks waited", unit="ns")
    hard = tunable(3, min=0, max=9, frozen=True)
    soft = tunable(5, min=-9, max=9)

"""
FIRST_LINE = HEAD.count("\n") + 2


def text(body: str, returns: str = "s64", name: str = "fn") -> str:
    """A policy with a method of this body."""
    head = f"    def {name}(self, task: Task, other: Task, vcpu: VCpu, n: u64) -> {returns}:\n"
    return HEAD + head + "".join(f"        {line}\n" for line in body.split("\n"))


def policy(body: str, returns: str = "s64") -> Any:
    return policy_class(compile_source(text(body, returns), "example.py"))()


def call(made: Any, **given: Any) -> Any:
    arguments = {"task": Task(pid=1), "other": Task(pid=2), "vcpu": VCpu(id=1), "n": 0} | given
    return made.fn(*arguments.values())


def test_state_begins_with_its_defaults_and_is_kept_for_each_task() -> None:
    made = policy("self.account(task).credit -= s64(n)\nreturn self.account(task).credit")
    assert [call(made, n=300) for _ in range(2)] == [700, 400]
    assert made.account(Task(pid=1)).credit == 400
    assert made.account(Task(pid=2)).credit == 1000
    assert made.account(Task(pid=2)).boosted is True
    fresh = type(made)()
    assert fresh.account(Task(pid=1)).credit == 1000


def test_state_wraps_like_its_type() -> None:
    made = policy(
        "account = self.account(task)\naccount.tries += 3\naccount.credit *= -(1 << 62)\n"
        "return account.credit + s64(account.tries)"
    )
    assert call(made) == 1 - 0  # 254 + 3 in a u8, and a multiple of 2**64
    assert made.account(Task(pid=1)).tries == 1


def test_vcpus_domains_and_the_scheduler_have_state_of_their_own() -> None:
    made = policy(
        "self.load(vcpu).total += n\nthere = self.load(vcpu.id + 1)\nthere.runs = 7\n"
        "self.share(task).runs |= 4\nself.all.total = n\n"
        "return s64(self.load(2).runs)"
    )
    assert call(made, n=9, task=Task(domain=5)) == 7
    assert made.load(VCpu(id=1)).total == 9
    assert (made.load(0).runs, made.load(2).runs) == (3, 7)
    assert (made.share(Task(domain=5)).runs, made.share(Task()).runs) == (7, 3)
    assert made.all.total == 9


def test_domains_are_walked_by_their_numbers() -> None:
    made = policy(
        "total: u64 = 0\nfor number in range(min(vcpu.id, 8)):\n"
        "    total += self.share(number).total\n"
        "self.share(vcpu.id).runs = 9\nreturn s64(total)"
    )
    for number in range(5):
        made.share(number).total = 10**number
    assert call(made, vcpu=VCpu(id=3)) == 111
    assert made.share(Task(domain=3)).runs == 9


def test_tests_may_set_state_within_its_type() -> None:
    made = policy("return self.account(task).credit")
    made.account(Task(pid=1)).credit = -5
    assert call(made) == -5
    with pytest.raises(ValueError, match=r"Account.tries = 256 does not fit u8"):
        made.account(Task(pid=1)).tries = 256
    with pytest.raises(TypeError, match=r"Account.boosted = 1 is not a bool"):
        made.account(Task(pid=1)).boosted = 1
    with pytest.raises(AttributeError, match="no field 'credits'"):
        made.account(Task(pid=1)).credits = 1


def test_a_policy_that_is_imported_keeps_state_too(tmp_path: Any, monkeypatch: Any) -> None:
    source = text("self.account(task).credit += 1\nreturn self.account(task).credit")
    (tmp_path / "kept_example.py").write_text("from __future__ import annotations\n" + source)
    monkeypatch.syspath_prepend(tmp_path)
    import kept_example  # noqa: PLC0415

    made = kept_example.Example()
    assert [call(made), call(made)] == [1001, 1002]
    assert isinstance(made.account(Task()), kept_example.Account)
    assert kept_example.Account().credit == 1000


def test_counters_and_histograms() -> None:
    made = policy("self.boosts.add()\nself.boosts.add(n)\nself.waits.add(n)\nreturn 0")
    call(made, n=5)
    call(made, n=0)
    assert made.boosts.value == 7
    assert (made.waits.buckets[0], made.waits.buckets[3]) == (1, 1)
    assert [bucket_of(v) for v in (0, 1, 2, 3, 4, 2**62, 2**64 - 1)] == [0, 1, 2, 2, 3, 63, 63]
    assert len(made.waits.buckets) == HISTOGRAM_BUCKETS


def test_time_chance_and_kicks_come_from_the_world() -> None:
    made = policy("drawn = random_u32()\nkick(vcpu.id + 1)\nreturn s64(now_ns()) + drawn")
    with world(now_ns=100, random=[7, 8]) as seen:
        assert [call(made), call(made)] == [107, 108]
    assert seen.kicked == [2, 2]
    assert call(made) > 0


def test_helpers_that_return_nothing() -> None:
    source = text("self.burn(task, 5)\nreturn self.account(task).credit")
    source += "\n    def burn(self, task: Task, ns: s64) -> None:\n"
    source += "        if ns == 0:\n            return\n        self.account(task).credit -= ns\n"
    made = policy_class(compile_source(source, "example.py"))()
    assert call(made) == 995
    assert made.burn(Task(pid=1), 0) is None


def test_tunables_change_while_the_policy_runs_unless_they_are_frozen() -> None:
    made = policy("return s64(self.hard) + self.soft")
    assert call(made) == 8
    made.tune(soft=-9)
    assert call(made) == -6
    with pytest.raises(UserError, match="hard is frozen"):
        made.tune(hard=4)
    with pytest.raises(UserError, match="from -9 to 9"):
        made.tune(soft=10)


def test_c_changes_shared_state_at_once_and_a_tasks_own_plainly() -> None:
    c = emit_c(
        compile_source(
            text(
                "self.account(task).credit -= 5\nself.all.total += n\nself.load(vcpu).runs ^= 3\n"
                "self.all.total *= 2\nself.boosts.add()\nreturn 0"
            ),
            "example.py",
        )
    )
    assert "policy_of_task(task)->account.credit -= 5;" in c
    assert "__sync_fetch_and_add(&policy_sched.all.total, n);" in c
    assert "__sync_fetch_and_xor(&policy_of_vcpu(vcpu)->load.runs, 3);" in c
    assert "WRITE_ONCE(policy_sched.all.total, READ_ONCE(policy_sched.all.total) * 2);" in c
    assert "policy_record_boosts(1);" in c


def test_the_mechanism_makes_what_is_declared_and_nothing_else() -> None:
    full = render(compile_source(text("return 0"), "example.py"))
    assert "struct policy_task policy;" in full
    assert ".account = {.credit = 1000LL, .tries = 254, .boosted = true}," in full
    assert "STAT_BOOSTS, /* boosted tasks */" in full
    plain = render(
        compile_source(
            "from scx_vsched.policy import Policy, guest\n"
            "class Plain(Policy):\n    mechanism = guest\n",
            "plain.py",
        )
    )
    assert "policy_" not in re.sub(r'"(?:\\.|[^"])*"', "", plain)


def test_the_state_of_running_tasks_is_kept_only_where_a_hook_looks() -> None:
    looks = (
        "    def preempts(self, task: Task, running: Task, vcpu: VCpu) -> bool:\n"
        "        return self.richer(task, running)\n"
        "    def richer(self, one: Task, two: Task) -> bool:\n"
        "        return self.account(one).credit > self.account(two).credit\n"
    )
    program = compile_source(HEAD + looks, "example.py")
    assert describe_kept(program, ("preemption",)).afar
    assert not describe_kept(program, ()).afar
    assert "note_policy_running(tctx, tctx->group, place->id);" in render(program)
    assert not describe_kept(compile_source(text("return 0"), "e.py"), ("preemption",)).afar


def test_masks_and_loops_over_them() -> None:
    made = policy_class(
        compile_source(
            text(
                "found: u64 = 0\nfor number in vcpus_of(n):\n"
                "    if number == 9:\n        continue\n    if number > 60:\n        break\n"
                "    found = found * 100 + number\n"
                "return s64(found)"
            ).replace("random_u32\n", "random_u32, bit_count, lowest_bit, vcpus_of\n", 1),
            "e.py",
        )
    )()
    assert call(made, n=1 << 3 | 1 << 9 | 1 << 41 | 1 << 63) == 341
    assert call(made, n=0) == 0
    assert [lowest_bit(m) for m in (0, 1, 12, 1 << 63)] == [64, 0, 2, 63]
    assert [bit_count(m) for m in (0, 7, 2**64 - 1)] == [0, 3, 64]
    assert list(vcpus_of(0b1011)) == [0, 1, 3]


@pytest.mark.parametrize(
    ("mask", "trips"),
    [("n", 64), ("n & 0xff", 8), ("n & 0x8000000000000001", 2), ("u64(u8(n))", 8), ("6", 2)],
)
def test_a_loop_over_a_mask_has_as_many_trips_as_the_mask_can_have_bits(
    mask: str, trips: int
) -> None:
    source = text(f"x: u64 = 0\nfor number in vcpus_of({mask}):\n    x += number\nreturn s64(x)")
    source = source.replace("random_u32\n", "random_u32, vcpus_of\n", 1)
    assert f"number_trip < {trips} && number_left" in emit_c(compile_source(source, "e.py"))


# What is wrong with a body: its text, what is marked, and what is said.
REFUSED = [
    ("return self.account.credit", "self.account", "not a value"),
    ("return self.account(vcpu).credit", "vcpu", "a VCpu where a Task is expected"),
    ("return self.account(3).credit", "3", "a parameter of the hook"),
    ("return self.account(task).credits", "self.account(task).credits", "no field `credits`"),
    ("return self.account(task)", "self.account(task)", "not a value"),
    ("return self.all(task).total", "self.all(task)", "there is one `all` for all"),
    ("self.load(s64(n)).runs = 1\nreturn 0", "s64(n)", "may not fit a u32"),
    ("self.account(task).credit = n\nreturn 0", "n", "may not fit"),
    ("self.account(task).boosted = 1\nreturn 0", "1", "bool is expected"),
    ("a = self.account(task)\nreturn a", "a", "stands for state"),
    ("a = self.account(task)\na = 5\nreturn 0", "a", "stands for state already"),
    ("a = self.account(task)\na = self.account(other)\nreturn 0", "a", "other state already"),
    ("if n:\n    a = self.account(task)\nreturn a.credit", "a", "may stand for nothing"),
    ("return s64(self.boosts)", "self.boosts", "counted, not read"),
    ("self.boosts.reset()\nreturn 0", "self.boosts.reset", "no `reset`"),
    ("self.waits.add()\nreturn 0", "self.waits.add()", "takes one number"),
    ("x = self.boosts.add()\nreturn 0", "self.boosts.add()", "gives no value"),
    ("return random_u32() % 5", "random_u32()", "part of more"),
    ("random_u32()\nreturn 0", "random_u32()", "a value that nothing uses"),
    ("kick(task.pid)\nreturn 0", "task.pid", "may not fit"),
    ("return kick(1)", "kick(1)", "gives no value"),
    ("for v in vcpus_of(n):\n    pass\nreturn 0", "vcpus_of", "is not imported"),
    ("return vcpus_of(n)", "vcpus_of", "not in the policy language"),
    ("self.soft += 1\nreturn 0", "self.soft", "cannot change the policy"),
]


@pytest.mark.parametrize(("body", "marked", "message"), REFUSED)
def test_refused(body: str, marked: str, message: str) -> None:
    found = policy_text.refusals(text(body))
    assert message in found[0].message, found[0]
    start = found[0].column - 1
    assert found[0].source[start : start + found[0].width] == marked


CHANGING = "\n    def take(self, task: Task) -> s64:\n        self.account(task).credit -= 1\n"
CHANGING += "        return self.account(task).credit\n"
CHANGING += "    def grab(self, task: Task) -> u64:\n        self.account(task).tries += 1\n"
CHANGING += "        return 1\n"


@pytest.mark.parametrize(
    "body",
    [
        "return self.take(task) + 1",
        "x = n != 0 and self.take(task) > 0\nreturn 0",
        "if self.take(task) > 0:\n    return 1\nreturn 0",
        "self.account(task).credit += self.take(task)\nreturn 0",
        "return min(self.take(task), 5)",
        "self.load(vcpu.id + 1).total = self.grab(task)\nreturn 0",
        "for i in range(min(self.take(task), 3)):\n    pass\nreturn 0",
    ],
)
def test_a_call_that_changes_state_stands_alone(body: str) -> None:
    found = policy_text.refusals(text(body) + CHANGING)
    assert "changes state, and is part of more" in found[0].message
    called = found[0].source[found[0].column - 1 :]
    assert called.startswith(("self.take(task)", "self.grab(task)"))
    compile_source(text("x = self.take(task)\nself.take(task)\nreturn x") + CHANGING, "e.py")


def test_a_call_for_nothing_is_refused() -> None:
    more = "\n    def idle(self, task: Task) -> s64:\n        return 1\n"
    found = policy_text.refusals(text("self.idle(task)\nreturn 0") + more)
    assert "changes nothing" in found[0].message


def test_the_state_of_a_task_on_another_vcpu_is_not_changed() -> None:
    hook = (
        "    def preempts(self, task: Task, running: Task, vcpu: VCpu) -> bool:\n"
        "        self.account(task).credit += 1\n"
        "        self.account(running).credit -= 1\n"
        "        return False\n"
    )
    found = policy_text.refusals(HEAD + hook)
    assert len(found) == 1
    assert found[0].message.startswith("`running` runs on another vCPU")
    assert found[0].line == HEAD.count("\n") + 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("credit: u64", "has no default"),
        ("Credit: u64 = 0", "cannot be called"),
        ("linux: u64 = 0", "cannot be called"),
        ("credit: int = 0", "not a type"),
        ("credit: u8 = 256", "does not fit"),
        ("credit = 0", "holds fields only"),
        ("credit: u64 = 0; credit: u64 = 1", "a second field"),
        ("pass", "has no fields"),
        ("; ".join(f"c{i}: u64 = 0; d{i}: u8 = 0" for i in range(17)), "272 bytes"),
    ],
)
def test_wrong_classes_of_state(line: str, message: str) -> None:
    source = (
        "from scx_vsched.policy import Policy, State, guest, per_task, u8, u64\n"
        f"class Account(State):\n    {line}\n"
        "class P(Policy):\n    mechanism = guest\n    account = per_task(Account)\n"
    )
    assert message in policy_text.refusals(source)[0].message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x = per_task(Nothing)", "no class of state above"),
        ("x = per_task(5)", "takes a class of state"),
        ("X = per_task(Account)", "cannot be called"),
        ("hits = counter()", "has no `doc`"),
        ('hits = counter("x")', "by name"),
        ('kept = counter(doc="x")', "counts `kept` already"),
        ('hits = counter(doc="x", unit=5)', "takes the texts"),
        ("y = tunable(1, min=0, max=5, frozen=1)", "not True or False"),
    ],
)
def test_wrong_declarations(line: str, message: str) -> None:
    assert message in policy_text.refusals(f"{HEAD}    {line}\n")[0].message


def test_hooks_that_are_events_are_optional() -> None:
    hooks = (
        "    def on_tick(self, task: Task, vcpu: VCpu, sched: Sched) -> bool:\n"
        "        return self.account(task).credit < 0\n"
        "    def on_start(self, task: Task, vcpu: VCpu, sched: Sched) -> None:\n"
        "        self.account(task).boosted = False\n"
    )
    program = compile_source(HEAD + hooks, "example.py")
    made = policy_class(program)()
    assert made.on_tick(Task(), VCpu(), Sched()) is False
    made.on_start(Task(), VCpu(), Sched())
    assert made.account(Task()).boosted is False
    c = render(program)
    assert "tell_tick((void *)ctx[0]);" in c
    assert "tell_stop(" not in c
