"""OpenTelemetry SDK objects → neutral values. The only place that knows what the SDK's objects look like."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogramDataPoint,
    Gauge,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
)
from opentelemetry.sdk.resources import Resource

from usagewire.signals import Event, Histogram, Point


def events(batch: Sequence[ReadableLogRecord]) -> list[tuple[Resource | None, list[Event]]]:
    """The records that are events (have an ``event_name``), resource by resource. Plain logs never pass."""
    ids = os.urandom(16 * len(batch)).hex()  # one system call for the whole batch
    groups: list[tuple[Resource | None, list[Event]]] = []
    group: list[Event] = []
    for number, readable in enumerate(batch):
        record = readable.log_record
        name = record.event_name
        if not name:
            continue
        resource, scope = readable.resource, readable.instrumentation_scope
        if not groups or groups[-1][0] is not resource:
            group = []
            groups.append((resource, group))
        group.append(
            Event(
                name,
                record.timestamp or record.observed_timestamp or 0,
                ids[32 * number : 32 * number + 32],
                plain(record.attributes),
                record.body,
                scope.name if scope is not None else "",
                record.observed_timestamp or 0,
            )
        )
    return groups


def plain(attributes: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """A record's attributes as a dictionary of one's own."""
    if isinstance(attributes, BoundedAttributes):
        return attributes.copy()  # a plain dict, at a tenth of the price of iterating it from outside
    return dict(attributes) if attributes else {}


def points(data: MetricsData) -> list[tuple[Resource | None, list[Point]]]:
    """Every data point, resource by resource."""
    return [
        (
            found.resource,
            [point for scope in found.scope_metrics for metric in scope.metrics for point in _metric(metric)],
        )
        for found in data.resource_metrics
    ]


def _metric(metric: Metric) -> Iterable[Point]:
    kind: Literal["gauge", "sum"] = "gauge" if isinstance(metric.data, Gauge) else "sum"
    delta = getattr(metric.data, "aggregation_temporality", None) == AggregationTemporality.DELTA
    for point in metric.data.data_points:
        attributes: Mapping[str, Any] = dict(point.attributes or {})
        start = (point.start_time_unix_nano or 0) if delta else 0
        if isinstance(point, NumberDataPoint):
            yield Point(
                metric.name,
                kind,
                point.time_unix_nano,
                attributes=attributes,
                value=point.value,
                unit=metric.unit or "",
                start=start,
            )
        elif point.count:
            yield Point(
                metric.name,
                "histogram",
                point.time_unix_nano,
                attributes=attributes,
                histogram=_histogram(point),
                unit=metric.unit or "",
                start=start,
            )


def _histogram(point: HistogramDataPoint | ExponentialHistogramDataPoint) -> Histogram:
    known = point.min <= point.max  # inf and -inf where the SDK was told not to record them
    mean: float | None = getattr(point, "mean", None)
    return Histogram(
        count=point.count,
        sum=point.sum,
        min=point.min if known else None,
        max=point.max if known else None,
        mean=point.sum / point.count if mean is None else mean,
        m2=getattr(point, "m2", None),  # absent where a View replaced the aggregation
        bounds=tuple(point.explicit_bounds) if isinstance(point, HistogramDataPoint) else (),
        buckets=tuple(point.bucket_counts) if isinstance(point, HistogramDataPoint) else (),
    )
