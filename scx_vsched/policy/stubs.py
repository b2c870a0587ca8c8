"""Writes `hooks.py`: the mechanisms' hooks as typed methods, for editors and type checkers.

`python -m scx_vsched.policy.stubs` writes it anew after a hook was added.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.policy.mechanism import MECHANISMS
from scx_vsched.policy.types import INT_TYPES
from scx_vsched.policy.views import VIEWS

if TYPE_CHECKING:
    from scx_vsched.policy.mechanism import Hook

__all__ = ["HOOKS_FILE", "stub_text"]

HOOKS_FILE = Path(__file__).parent / "hooks.py"

_HEAD = '''\
"""The hooks of the mechanisms as editors see them. DO NOT EDIT.

Written by `python -m scx_vsched.policy.stubs` from scx_vsched/policy/mechanism.py. At run time a
policy has the hooks that its file was compiled to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scx_vsched.policy.types import TYPES
    from scx_vsched.policy.views import VIEWS

__all__ = ["Hooks"]


class Hooks:
    """What a policy may define."""
'''


def stub_text() -> str:
    """The text of `hooks.py`."""
    hooks = {hook.name: hook for mechanism in MECHANISMS.values() for hook in mechanism.hooks}
    named = {p.type for hook in hooks.values() for p in hook.parameters}
    named |= {hook.returns for hook in hooks.values()}
    head = _HEAD.replace("TYPES", ", ".join(sorted(named & INT_TYPES.keys())))
    head = head.replace("VIEWS", ", ".join(sorted(named & VIEWS.keys())))
    return head + "".join(_method(hook) for hook in hooks.values())


def _method(hook: Hook) -> str:
    parameters = ", ".join(["self", *(f"{p.name}: {p.type}" for p in hook.parameters)])
    head = f"    def {hook.name}({parameters}) -> {hook.returns}:"
    if len(head) > 100:
        head = f"    def {hook.name}(\n        {parameters}\n    ) -> {hook.returns}:"
    doc = textwrap.fill(hook.doc, 90, initial_indent=" " * 8, subsequent_indent=" " * 8).strip()
    quotes = f'"""{doc}"""' if "\n" not in doc else f'"""{doc}\n        """'
    return f"\n{head}\n        {quotes}\n        raise NotImplementedError\n"


if __name__ == "__main__":
    HOOKS_FILE.write_text(stub_text(), encoding="utf-8")
