"""What works beside a scheduler: a host's keeper of domains, a guest's balancer of nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.domains.config import DomainFile, read_domains
from scx_vsched.domains.keeper import Keeper
from scx_vsched.errors import UserError
from scx_vsched.runtime.display import notice

if TYPE_CHECKING:
    from collections.abc import Callable

    from scx_vsched.bpf.model import ObjectMeta
    from scx_vsched.numa.running import Balancing
    from scx_vsched.runtime.run import RunOptions
    from scx_vsched.topology import Topology

__all__ = ["balancing", "keeper"]


def balancing(
    meta: ObjectMeta, options: RunOptions, topology: Callable[[], Topology | None]
) -> Balancing | None:
    """What balances the nodes, if that is wanted; raises UserError where it cannot.

    `topology` says what is known of the vCPUs, None as long as nothing is.
    """
    if options.numa is None:
        return None
    if meta.mechanism == "host":
        raise UserError(
            f"policy {meta.policy} schedules a host, and --numa balances the nodes of a guest",
            "leave one of the two out",
        )
    # In a slow guest only those who ask for it wait for this.
    from scx_vsched.numa.running import Balancing  # noqa: PLC0415

    return Balancing(options.numa, topology, notice)


def keeper(meta: ObjectMeta, options: RunOptions) -> Keeper:
    """What keeps the domains; a scheduler of a guest has none."""
    if options.domains_path is None:
        return Keeper(meta, DomainFile())
    if meta.mechanism != "host":
        raise UserError(
            f"policy {meta.policy} has no domains: it schedules a guest",
            "take one of a host, for example --policy credit2",
        )
    return Keeper(meta, read_domains(options.domains_path, meta))
