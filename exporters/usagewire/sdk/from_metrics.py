"""The SDK's metrics → data points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

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

from usagewire.signals import Histogram, Point


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
