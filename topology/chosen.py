"""A machine of which only some vCPUs are probed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from scx_vsched.topology.records import Availability, Demand, Machine, PairSample

__all__ = ["ChosenVCpus"]


class ChosenVCpus:
    """`machine`, with no other vCPUs than the chosen ones."""

    def __init__(self, machine: Machine, chosen: Collection[int]) -> None:
        """Raises UserError for a vCPU that the machine does not have."""
        known = {*machine.vcpus(), *machine.unavailable()}
        if unknown := sorted(set(chosen) - known):
            raise UserError(
                f"this machine has no vCPU {unknown[0]}",
                f"its vCPUs are numbered from {min(known)} to {max(known)}",
            )
        self._machine = machine
        self._chosen = frozenset(chosen)

    def vcpus(self) -> tuple[int, ...]:
        """Those chosen that may be probed now."""
        return tuple(vcpu for vcpu in self._machine.vcpus() if vcpu in self._chosen)

    def unavailable(self) -> dict[int, str]:
        """Those chosen that may not be probed."""
        found = self._machine.unavailable()
        return {vcpu: why for vcpu, why in found.items() if vcpu in self._chosen}

    def now_ns(self) -> int:
        """As the machine has it."""
        return self._machine.now_ns()

    def sleep_ns(self, duration_ns: int) -> None:
        """As the machine does."""
        self._machine.sleep_ns(duration_ns)

    def pair_probes(
        self, pairs: Sequence[tuple[int, int]], budget_ns: int, samples: int
    ) -> dict[tuple[int, int], PairSample]:
        """As the machine does."""
        return self._machine.pair_probes(pairs, budget_ns, samples)

    def watch(
        self, vcpus: Collection[int], duration_ns: int, demand: Demand
    ) -> dict[int, Availability]:
        """As the machine does."""
        return self._machine.watch(vcpus, duration_ns, demand)

    def steal_ns(self) -> dict[int, int] | None:
        """As the machine has it."""
        return self._machine.steal_ns()

    def busy_ns(self) -> dict[int, int]:
        """As the machine has it."""
        return self._machine.busy_ns()
