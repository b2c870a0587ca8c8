"""One life of a scheduler: opened, tuned, fed with the topology, loaded; ready to be attached."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from scx_vsched.bpf.domains import Domains
from scx_vsched.bpf.feed import Feed, feed_constants
from scx_vsched.bpf.loader import SchedulerObject, misfit
from scx_vsched.errors import UserError
from scx_vsched.topology import claimed_topology

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from scx_vsched.topology.model import Topology

__all__ = ["document_topology", "fed", "loaded"]


@contextlib.contextmanager
def loaded(
    path: Path,
    *,
    tunables: Mapping[str, int] | None = None,
    verifier_stats: bool = False,
) -> Iterator[SchedulerObject]:
    """The object in `path`, verified and fed with this machine's topology as it claims to be.

    Raises UserError for settings out of bounds and for whatever the kernel refuses.
    """
    with fed(path, tunables=tunables, verifier_stats=verifier_stats) as (obj, _):
        yield obj


@contextlib.contextmanager
def fed(
    path: Path,
    *,
    topology: Topology | None = None,
    tunables: Mapping[str, int] | None = None,
    timeout_ms: int | None = None,
    exit_dump_len: int | None = None,
    decisions: int = 0,
    verifier_stats: bool = False,
    debug: bool = False,
) -> Iterator[tuple[SchedulerObject, Feed | Domains]]:
    """The same with any `topology` (None: the claimed one), and what changes it from then on.

    A scheduler of a host has no use for a topology: what changes are its domains. `decisions` is
    how many tasks' last decisions are noted.
    """
    claimed = claimed_topology()
    with SchedulerObject.open(path, debug=debug) as obj:
        obj.set_tunables(tunables or {})
        obj.set_ops(timeout_ms=timeout_ms, exit_dump_len=exit_dump_len)
        with _fitting(obj):
            feed_constants(obj, len(claimed.vcpus))
            obj.keep_decisions(decisions)
        obj.load(verifier_stats=verifier_stats)
        with _fitting(obj):
            feed = (
                Domains(obj, obj.meta)
                if obj.meta.mechanism == "host"
                else Feed(obj, topology or claimed, claimed)
            )
        yield obj, feed


@contextlib.contextmanager
def _fitting(obj: SchedulerObject) -> Iterator[None]:
    """Say so where the object's variables and maps are not what this version hands over."""
    try:
        yield
    except (KeyError, ValueError) as error:
        raise misfit(obj.path, obj.meta, error) from None


def document_topology(path: Path) -> Topology:
    """The topology in a document of `scx_vsched probe`, for this machine.

    Raises:
        UserError: it cannot be read, is none, or is another machine's.
    """
    # The graph needs networkx, which takes long to import; only those who ask for it pay.
    from scx_vsched.topology.convert import graph_topology  # noqa: PLC0415
    from scx_vsched.topology.document import read_document  # noqa: PLC0415
    from scx_vsched.topology.sysfs import read_claims  # noqa: PLC0415

    claims = read_claims().domains
    graph = read_document(path).graph
    if strangers := sorted(set(graph.vcpus) - set(claims)):
        raise UserError(
            f"{path}: this machine has no vCPU {strangers[0]}", "the topology is another machine's"
        )
    return graph_topology(graph, claims)
