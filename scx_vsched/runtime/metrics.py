"""A scheduler's statistics and vCPUs as OpenMetrics, by prometheus_client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.runtime.socket import StatsClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["as_openmetrics", "read_all", "serve"]

_PREFIX = "vsched"
_MISSING = ("prometheus_client is not installed", "pip install scx_vsched[metrics]")
# Of each vCPU: (name, what it is, member of its state, factor).
_GAUGES = (
    ("capacity_ratio", "part of a full CPU that the vCPU gets", "capacity", 1 / 1024),
    ("latency_seconds", "mean time for which it is taken away", "latency_us", 1e-6),
    ("queued_tasks", "tasks that wait in its queue", "queued", 1.0),
    ("hidden", "1: ordinary tasks are kept off", "hidden", 1.0),
    ("online", "1: it is online", "online", 1.0),
)

type All = tuple[Mapping[str, Any], Mapping[str, Any], Sequence[Mapping[str, Any]]]


def read_all(path: Path) -> All:
    """What the statistics mean, their values, and the vCPUs; raises UserError without a scheduler.

    Those of other schedulers, which know no vCPUs, have none.
    """
    with StatsClient(path) as client:
        try:
            meta, values = client.request("stats_meta"), client.request("stats")
        except EOFError:
            raise UserError("the scheduler ended meanwhile") from None
        try:
            return meta, values, client.request("vcpus")
        except (UserError, EOFError):
            return meta, values, ()


class _Collector:
    """Reads anew whenever it is asked."""

    def __init__(self, read: Callable[[], All]) -> None:
        self._read = read

    def collect(self) -> Iterator[Any]:
        """The families of metrics."""
        from prometheus_client.core import (  # noqa: PLC0415 - an extra
            CounterMetricFamily,
            GaugeMetricFamily,
            InfoMetricFamily,
        )

        meta, values, vcpus = self._read()
        yield InfoMetricFamily(
            _PREFIX, "the policy at work", {"policy": str(values.get("policy", ""))}
        )
        for name, of in _fields(meta).items():
            kind, text = of.get("datum"), of.get("desc", "")
            if name not in values:
                continue
            if kind == "u64":
                yield CounterMetricFamily(f"{_PREFIX}_{name}", text, value=values[name])
            elif kind == "float":
                yield GaugeMetricFamily(f"{_PREFIX}_{name}", text, value=values[name])
        for name, text, member, factor in _GAUGES if vcpus else ():
            family = GaugeMetricFamily(f"{_PREFIX}_vcpu_{name}", text, labels=["vcpu"])
            for vcpu in vcpus:
                family.add_metric([str(vcpu["vcpu"])], vcpu[member] * factor)
            yield family
        if vcpus:
            away = CounterMetricFamily(
                f"{_PREFIX}_vcpu_gaps", "times it was gone while it was busy", labels=["vcpu"]
            )
            for vcpu in vcpus:
                away.add_metric([str(vcpu["vcpu"])], vcpu["gaps"])
            yield away


def _fields(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those of the structure that is marked as the top one, as scx_stats has it."""
    for structure in meta.values():
        if "top" in structure:
            fields: Mapping[str, Any] = structure["fields"]
            return fields
    return {}


def _registry(read: Callable[[], All]) -> Any:
    try:
        from prometheus_client import CollectorRegistry  # noqa: PLC0415 - an extra
    except ImportError:
        raise UserError(*_MISSING) from None
    registry = CollectorRegistry(auto_describe=False)
    read()  # a scheduler that is not there is told now
    registry.register(_Collector(read))
    return registry


def as_openmetrics(read: Callable[[], All]) -> str:
    """The text of the exposition format."""
    registry = _registry(read)
    from prometheus_client.openmetrics.exposition import generate_latest  # noqa: PLC0415

    text: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]
    return text.decode()


def serve(read: Callable[[], All], address: str) -> tuple[Any, Any]:
    """Serve on `address` (ADDRESS:PORT, or a port of this machine alone): the server, its thread.

    Raises UserError for an address that is none, or is taken.
    """
    host, _, port = address.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise UserError(f"not an address: {address}", "write ADDRESS:PORT, for example 9110")
    registry = _registry(read)
    from prometheus_client import start_http_server  # noqa: PLC0415

    try:
        server, thread = start_http_server(int(port), host.strip("[]") or "127.0.0.1", registry)
    except OSError as error:
        raise UserError(f"cannot listen on {address}: {error.strerror}") from None
    return server, thread
