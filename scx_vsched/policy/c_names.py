"""Names for generated C: none meets a keyword, a macro or a name of the template."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.policy.mechanism import MECHANISMS
from scx_vsched.policy.types import INT_TYPES
from scx_vsched.policy.views import VIEWS, field_info

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["C_WORDS", "Names", "accessor"]

# C23's keywords, GNU C's, and the macros that clang defines for BPF and for Linux hosts.
_WORDS = """
alignas alignof auto bool break case char const constexpr continue default do double else enum
extern false float for goto if inline int long nullptr register restrict return short signed
sizeof static static_assert struct switch thread_local true typedef typeof typeof_unqual union
unsigned void volatile while _Alignas _Alignof _Atomic _BitInt _Bool _Complex _Decimal128
_Decimal32 _Decimal64 _Generic _Imaginary _Noreturn _Static_assert _Thread_local _Accum _Fract
_Sat _Float16 _Float32 _Float64 _Float128 _Nonnull _Nullable _Null_unspecified asm NULL bpf i386
linux unix LP64 _LP64
"""
C_WORDS = frozenset(_WORDS.split())


def accessor(view: str, field: str) -> str:
    """The C function that reads `field` of `view`."""
    return f"{view.lower()}_{field}"


_HOOKS = tuple(hook for mechanism in MECHANISMS.values() for hook in mechanism.hooks)
_HOOK_PARAMETERS = frozenset(p.name for hook in _HOOKS for p in hook.parameters)
_FUNCTION_PREFIXES = ("fn_", "hook_", "policy_", "py_")
# What the emitted code itself says.
_USED = (
    C_WORDS
    | {accessor(view, field) for view in VIEWS for field in field_info(view)}
    | {f"hook_{hook.name}" for hook in _HOOKS}
    | INT_TYPES.keys()
    | {"tunables", "frozen_tunables", "READ_ONCE", "WRITE_ONCE"}
)


class Names:
    """Hands out identifiers that are unique in their C scope."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    @classmethod
    def of_file(cls, reserved: frozenset[str]) -> Names:
        """Names that are free at file scope."""
        return cls(_USED | reserved)

    @classmethod
    def of_function(cls, macros: frozenset[str]) -> Names:
        """Names for a function's parameters and variables, which may hide what the file defines.

        What mechanisms call the parameters of hooks is fit for C, and stays as it is.
        """
        return cls(_USED | (macros - _HOOK_PARAMETERS))

    def copy(self) -> Names:
        """The same names taken, to go on from separately."""
        return Names(self._taken)

    def pick(self, name: str) -> str:
        """`name`, or `name` with as many underscores behind it as make it unique."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def pick_variable(self, name: str) -> str:
        """The like for a variable, which must not hide a function that the code calls."""
        return self.pick(f"v_{name}" if name.startswith(_FUNCTION_PREFIXES) else name)
