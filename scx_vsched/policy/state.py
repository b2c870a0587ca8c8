"""What a policy keeps from one hook to the next, as policy files declare it and CPython holds it.

A policy declares classes of state with typed fields and defaults, and says in its class what has
one each: tasks, vCPUs, domains (cgroups) or the scheduler. In BPF the mechanism makes, initialises
and frees them; here a policy object does, so that a test of a hook sees what it left behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol, dataclass_transform, overload

from scx_vsched.policy.types import INT_TYPES, IntType, u64

if TYPE_CHECKING:
    from collections.abc import Callable

    from scx_vsched.policy.program import Counter, PolicyProgram, StateClass
    from scx_vsched.policy.program import State as Declared
    from scx_vsched.policy.views import Task, VCpu

__all__ = [
    "HISTOGRAM_BUCKETS",
    "MAX_DOMAINS",
    "MAX_VCPUS",
    "CounterValue",
    "HistogramValue",
    "State",
    "bucket_of",
    "counter",
    "histogram",
    "keep",
    "per_domain",
    "per_scheduler",
    "per_task",
    "per_vcpu",
    "setting",
    "state_class",
]

MAX_VCPUS = 4096
"""vCPUs with state of their own; a number beyond is taken modulo this, as in BPF."""

MAX_DOMAINS = 16384
"""The like for domains."""

HISTOGRAM_BUCKETS = 64
"""Bucket 0 counts zeros, bucket n values of n bits, the last one all that are larger."""


@dataclass_transform(kw_only_default=True)
class State:
    """Base of a policy's classes of state: typed fields with defaults, nothing else.

    class Account(State):
        credit_ns: s64 = 10_000_000
        boosted: bool = False
    """

    _fields: ClassVar[dict[str, IntType | None]] = {}
    _defaults: ClassVar[dict[str, int]] = {}

    def __init_subclass__(cls) -> None:
        """Note the fields; the compiler has checked them or will."""
        cls._fields = {
            name: None if "bool" in (found, getattr(found, "__name__", "")) else _int_type(found)
            for name, found in cls.__annotations__.items()
        }
        cls._defaults = {name: cls.__dict__.get(name, 0) for name in cls._fields}

    def __init__(self, **values: int) -> None:
        for name, value in (self._defaults | values).items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: int) -> None:
        owner = type(self).__name__
        if name not in self._fields:
            raise AttributeError(f"{owner} has no field {name!r}; it has {', '.join(self._fields)}")
        kind = self._fields[name]
        if kind is None:
            if not isinstance(value, bool):
                raise TypeError(f"{owner}.{name} = {value!r} is not a bool")
        elif not isinstance(value, int):
            raise TypeError(f"{owner}.{name} = {value!r} is not an integer")
        elif not kind.holds(value):
            raise ValueError(f"{owner}.{name} = {value} does not fit {kind}")
        self.__dict__[name] = value

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment] # it changes

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self._fields)
        return f"{type(self).__name__}({shown})"


def _int_type(annotation: object) -> IntType | None:
    if isinstance(annotation, IntType):
        return annotation
    return INT_TYPES.get(str(annotation))


class _PerTask[S](Protocol):
    def __call__(self, task: Task) -> S: ...


class _PerVCpu[S](Protocol):
    @overload
    def __call__(self, vcpu: VCpu) -> S: ...
    @overload
    def __call__(self, vcpu: int) -> S: ...


class _PerDomain[S](Protocol):
    @overload
    def __call__(self, task: Task) -> S: ...
    @overload
    def __call__(self, task: int) -> S: ...


def per_task[S: State](state: type[S]) -> _PerTask[S]:
    """Each task has a `state` of its own: `self.name(task).field` in hooks."""
    found: _PerTask[S] = _declared(state)
    return found


def per_vcpu[S: State](state: type[S]) -> _PerVCpu[S]:
    """Each vCPU has a `state` of its own: `self.name(vcpu).field`, or by the vCPU's number."""
    found: _PerVCpu[S] = _declared(state)
    return found


def per_domain[S: State](state: type[S]) -> _PerDomain[S]:
    """Each domain, that is cgroup, has a `state` of its own: `self.name(task).field` in hooks.

    Or by the domain's number, that is `task.domain`.
    """
    found: _PerDomain[S] = _declared(state)
    return found


def per_scheduler[S: State](state: type[S]) -> S:
    """There is one `state` for all: `self.name.field` in hooks."""
    found: S = _declared(state)
    return found


def setting(default: int, *, min: int, max: int, doc: str, unit: str = "") -> int:  # noqa: A002
    """Declares a field of domains' state that the user sets: `weight: u32 = setting(256, …)`.

    Hooks read it. `scx_vsched domain set` changes it while the scheduler runs.
    """
    del min, max, doc, unit  # the compiler reads them from the syntax tree
    return default


def _declared(state: type[State]) -> Any:
    """The declaration as it stands in the class; an object of the policy has the state itself."""
    return state


class CounterValue:
    """A counter of a policy object in CPython; `value` is what was added so far."""

    def __init__(self) -> None:
        self.value = 0

    def add(self, number: int = 1) -> None:
        """Count `number` more."""
        self.value = u64(self.value + u64(number))


class HistogramValue:
    """A histogram of a policy object in CPython; `buckets` counts values by their bits."""

    def __init__(self) -> None:
        self.buckets = [0] * HISTOGRAM_BUCKETS

    def add(self, value: int) -> None:
        """Count `value` in its bucket."""
        self.buckets[bucket_of(u64(value))] += 1


def bucket_of(value: int) -> int:
    """The bucket of a histogram that the u64 `value` falls into."""
    return min(value.bit_length(), HISTOGRAM_BUCKETS - 1)


def counter(*, doc: str, unit: str = "") -> CounterValue:
    """Declares a counter that appears in the statistics; hooks call `self.name.add()`."""
    del doc, unit  # the compiler reads them from the syntax tree
    return CounterValue()


def histogram(*, doc: str, unit: str = "") -> HistogramValue:
    """Declares a histogram by powers of two; hooks call `self.name.add(value)`."""
    del doc, unit
    return HistogramValue()


def state_class(declared: StateClass) -> type[State]:
    """The class that running the policy's file would give."""
    annotations = {field.name: field.type.name for field in declared.fields}
    defaults: dict[str, Any] = {
        field.name: bool(field.default) if field.type.name == "bool" else field.default
        for field in declared.fields
    }
    members = {"__annotations__": annotations, "__doc__": declared.doc or None} | defaults
    return type(declared.name, (State,), members)


class _Keeper:
    """The state of all tasks, say, made when it is first asked for."""

    def __init__(self, cls: type[State], key: Callable[[Any], int]) -> None:
        self._cls = cls
        self._key = key
        self._kept: dict[int, State] = {}

    def __call__(self, owner: Any) -> State:
        key = self._key(owner)
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = self._cls()
        return found


def _vcpu_key(owner: Any) -> int:
    return int(getattr(owner, "id", owner)) % MAX_VCPUS


_KEYS: dict[str, Callable[[Any], int]] = {
    "task": lambda task: task.pid,
    "domain": lambda owner: int(getattr(owner, "domain", owner)) % MAX_DOMAINS,
    "vcpu": _vcpu_key,
}


def keep(program: PolicyProgram, declared: type) -> dict[str, Any]:
    """Fresh state, counters and histograms for an object of a policy, by name.

    `declared` is the policy's class, whose attributes are the classes of state.
    """
    kept: dict[str, Any] = {state.name: _kept(state, declared) for state in program.states}
    for made in program.counters:
        kept[made.name] = _counted(made)
    return kept


def _kept(state: Declared, declared: type) -> State | _Keeper:
    cls = getattr(declared, state.name)
    return cls() if state.scope == "sched" else _Keeper(cls, _KEYS[state.scope])


def _counted(made: Counter) -> CounterValue | HistogramValue:
    return CounterValue() if made.kind == "counter" else HistogramValue()
