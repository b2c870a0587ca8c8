"""What makes up the contract between a mechanism and its policies: hooks, features, statistics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Feature", "Hook", "Mechanism", "Parameter", "Stat"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A hook's parameter; `type` is the name of a view (`Task`), of an integer type, or `bool`.

    A task seen `from_afar` runs on another vCPU: its state is as it was when it started to run.
    """

    name: str
    type: str
    from_afar: bool = False


@dataclass(frozen=True, slots=True)
class Hook:
    """A decision that a mechanism leaves to the policy, or an event that it tells it of.

    `returns` is an integer type, `bool` or `None`. An `optional` hook that a policy leaves out is
    not asked, and costs nothing. The hooks of a `feature` belong together: a policy that defines
    none of them is built without it, the core policy among them.
    """

    name: str
    parameters: tuple[Parameter, ...]
    returns: str
    doc: str
    feature: str = ""
    optional: bool = False

    @property
    def needed(self) -> bool:
        """Whether every policy has it, from the core policy where it does not define it."""
        return not (self.feature or self.optional)


@dataclass(frozen=True, slots=True)
class Feature:
    """A part of a mechanism that a build can leave out (`build --without NAME`).

    `ops_flags` are those of the kernel's scx_ops_flags that it needs; with `keeps_usage` the
    mechanism keeps account of how vCPUs and tasks have been used of late.
    """

    name: str
    doc: str
    ops_flags: tuple[str, ...] = ()
    keeps_usage: bool = False


@dataclass(frozen=True, slots=True)
class Stat:
    """A counter kept by the mechanism, per vCPU, summed when it is shown."""

    name: str
    doc: str
    feature: str = ""  # without it there is nothing to count


@dataclass(frozen=True, slots=True)
class Mechanism:
    """A template and its contract; `template` is the file's name in the templates package.

    `defaults` says whether the core policy supplies the hooks that a policy leaves out, `lacks`
    lists by view the fields that this mechanism does not know. `settings`: the user sets fields of
    domains' state.
    """

    name: str
    template: str
    doc: str
    hooks: tuple[Hook, ...]
    features: tuple[Feature, ...]
    stats: tuple[Stat, ...]
    ops_flags: tuple[str, ...]  # enumerators of the kernel's scx_ops_flags
    defaults: bool = True
    settings: bool = False
    lacks: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def feature_hooks(self, feature: str) -> tuple[str, ...]:
        """The names of the hooks that belong to `feature`."""
        return tuple(hook.name for hook in self.hooks if hook.feature == feature)

    def hook(self, name: str) -> Hook | None:
        """The hook called `name`, or None."""
        return next((hook for hook in self.hooks if hook.name == name), None)
