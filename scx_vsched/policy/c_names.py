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


class Names:
    """Hands out identifiers that are unique in their C scope."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    @classmethod
    def of_file(cls, reserved: frozenset[str]) -> Names:
        """Names that are free at file scope, and that locals may not hide."""
        accessors = {accessor(view, field) for view in VIEWS for field in field_info(view)}
        hooks = {f"hook_{hook.name}" for m in MECHANISMS.values() for hook in m.hooks}
        return cls(C_WORDS | reserved | accessors | hooks | INT_TYPES.keys() | {"tunables"})

    @classmethod
    def of_function(cls, file: Names) -> Names:
        """Names for one function's parameters and variables.

        What mechanisms call the parameters of hooks is fit for C, and stays as it is although
        templates use the same words.
        """
        parameters = {
            parameter.name
            for mechanism in MECHANISMS.values()
            for hook in mechanism.hooks
            for parameter in hook.parameters
        }
        return cls(file._taken - parameters)

    def pick(self, name: str) -> str:
        """`name`, or `name` with as many underscores behind it as make it unique."""
        while name in self._taken or name.startswith("py_"):
            name = f"{name}_" if name in self._taken else f"v_{name}"
        self._taken.add(name)
        return name
