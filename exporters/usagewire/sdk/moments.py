"""Histograms with an exact variance: mean and sum of squared deviations beside the buckets.

A variance made from buckets is off by its own size, and one made from a sum of squares by far more for values like
1e9 ± 1; Welford's update and Chan's merge are exact to rounding. The SDK lets an exporter bring an aggregation
(``preferred_aggregation``) but not write one: its storage tells aggregations apart by private classes, so ours is one
of those. The names this leans on are the same in every SDK from 1.30 to 1.45; `usagewire.sdk.preferred` tries it out.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from threading import Lock
from typing import Any

from opentelemetry.sdk.metrics._internal.aggregation import (
    _ExplicitBucketHistogramAggregation as Buckets,  # pyright: ignore[reportPrivateUsage]
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, HistogramDataPoint
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation

from usagewire.formats.ranges import BOUNDARIES

Moments = tuple[int, float, float]
"""Count, mean, and sum of squared deviations from the mean."""
NOTHING: Moments = (0, 0.0, 0.0)


@dataclass(frozen=True)
class MomentsPoint(HistogramDataPoint):
    """A histogram's data point that knows its exact moments: the population's variance is ``m2 / count``."""

    mean: float = 0.0
    m2: float = 0.0


def merge(one: Moments, two: Moments) -> Moments:
    """The moments of both sets of values together (Chan)."""
    (count, mean, m2), (added, other, more) = one, two
    total = count + added
    if not total:
        return NOTHING
    delta = other - mean
    return total, mean + delta * added / total, m2 + more + delta * delta * count * added / total


class MomentsAggregation(ExplicitBucketHistogramAggregation):
    """For ``preferred_aggregation``, under the key `Histogram`.

    Boundaries: the documented ones for the two byte histograms, whatever the program advises; else the program's
    advice, else the SDK's.
    """

    def _create_aggregation(
        self, instrument: Any, attributes: Any, reservoir_factory: Any, start_time_unix_nano: int
    ) -> Any:
        advice = getattr(instrument, "_advisory", None)
        advised = advice.explicit_bucket_boundaries if advice is not None else None
        return _MomentsBuckets(
            attributes,
            instrument_aggregation_temporality=AggregationTemporality.DELTA,  # of synchronous instruments
            start_time_unix_nano=start_time_unix_nano,
            reservoir_builder=reservoir_factory(_MomentsBuckets),
            boundaries=BOUNDARIES.get(instrument.name, advised),
        )


class _MomentsBuckets(Buckets):
    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._outer = Lock()  # buckets and moments always describe the same values
        self._count, self._mean, self._m2 = NOTHING
        self._all = NOTHING

    def aggregate(self, measurement: Any, should_sample_exemplar: bool = True) -> None:
        value = measurement.value
        with self._outer:
            super().aggregate(measurement, should_sample_exemplar)
            self._count += 1
            delta = value - self._mean
            self._mean += delta / self._count
            self._m2 += delta * (value - self._mean)

    def collect(self, collection_aggregation_temporality: Any, collection_start_nano: int) -> Any:
        with self._outer:
            point = super().collect(collection_aggregation_temporality, collection_start_nano)
            found = self._count, self._mean, self._m2
            self._count, self._mean, self._m2 = NOTHING
            if collection_aggregation_temporality is not AggregationTemporality.DELTA:
                found = self._all = merge(self._all, found)
        if point is None:
            return None
        known = {field.name: getattr(point, field.name) for field in fields(HistogramDataPoint)}
        return MomentsPoint(**known, mean=found[1], m2=found[2])
