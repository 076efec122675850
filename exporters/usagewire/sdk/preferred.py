"""Which aggregation our exporters ask the SDK for: ours where it fits, the SDK's own where it does not."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

from opentelemetry.metrics import NoOpMeter
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import Aggregation
from opentelemetry.sdk.resources import Resource

from usagewire.formats.ranges import BOUNDARIES, FILE_SIZE

_log = logging.getLogger("usagewire")


@cache
def preferred_aggregation() -> Mapping[type, Aggregation]:
    """For an exporter's ``preferred_aggregation``: exact moments for histograms, nothing where they do not fit.

    The first call of a process tries it out, in about a millisecond. Without it histograms still have count, sum,
    minimum, maximum and mean; formats that need a variance leave out what depends on it.
    """
    try:
        from usagewire.sdk.moments import MomentsAggregation

        ours = MomentsAggregation()
        found = _tried(ours)
        if found in (_EXPECTED, None):
            return {Histogram: ours}
        why = f"it gives {found}"
    except Exception as fault:  # private names of the SDK may have changed in any way
        why = f"{type(fault).__name__}: {fault}"
    _log.warning("usagewire: no exact variance of histograms with this version of opentelemetry-sdk: %s", why)
    return {}


_EXPECTED = (3, 9, 3.0, 14.0, BOUNDARIES[FILE_SIZE])


def _tried(aggregation: Aggregation) -> tuple[Any, ...] | None:
    """What becomes of 1, 2 and 6 in a provider of our own; ``None`` where the SDK is switched off."""
    reader = InMemoryMetricReader({Histogram: AggregationTemporality.DELTA}, {Histogram: aggregation})
    provider = MeterProvider([reader], Resource({}), exemplar_filter=AlwaysOffExemplarFilter(), shutdown_on_exit=False)
    try:
        meter = provider.get_meter("usagewire")
        if isinstance(meter, NoOpMeter):
            return None
        histogram = meter.create_histogram(FILE_SIZE)
        for value in (1, 2, 6):
            histogram.record(value)
        data = reader.get_metrics_data()
    finally:
        provider.shutdown()
    metrics = [
        metric
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]
    [point] = [point for metric in metrics if metric.name == FILE_SIZE for point in metric.data.data_points]
    names = ("count", "sum", "mean", "m2", "explicit_bounds")
    return tuple(getattr(point, name, None) for name in names)
