"""The numbers of a process as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from prometheus_client import core, exposition
from prometheus_client.registry import Collector

from altiplano.engine.histogram import Histogram
from altiplano.engine.metrics import Kind, Metric

S = TypeVar("S")


def exposed(rows: Iterable[Metric[S]], source: S, accept: str) -> tuple[bytes, str]:
    """All numbers as text in the form that is accepted, and its content type."""
    encode, content_type = exposition.choose_encoder(accept)
    return encode(_Collected(list(_families(rows, source)))), content_type


class _Collected(Collector):
    """What was read, in the form in which the library wants to fetch it."""

    def __init__(self, families: list[core.Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[core.Metric]:
        return self._families


def _families(rows: Iterable[Metric[S]], source: S) -> Iterator[core.Metric]:
    for row in rows:
        reading = row.read(source)
        if isinstance(reading, Histogram):
            times = core.HistogramMetricFamily(row.name, row.help)
            times.add_metric((), buckets=reading.buckets(), sum_value=reading.sum_s)
            yield times
            continue
        family: core.CounterMetricFamily | core.GaugeMetricFamily
        if row.kind is Kind.COUNTER:
            family = core.CounterMetricFamily(row.name, row.help, labels=row.labels)
        else:
            family = core.GaugeMetricFamily(row.name, row.help, labels=row.labels)
        for labels, value in (reading if isinstance(reading, Mapping) else {(): reading}).items():
            family.add_metric(labels, value)
        yield family
