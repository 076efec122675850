"""Exact moments beside the SDK's buckets, recorded through a real provider."""

from __future__ import annotations

import logging
import statistics
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

from usagewire.formats.ranges import BOUNDARIES, FILE_SIZE, TRANSFER_SIZE
from usagewire.sdk.moments import NOTHING, Moments, MomentsAggregation, merge
from usagewire.sdk.preferred import preferred_aggregation

DELTA, CUMULATIVE = AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE


class Recorder:
    """A provider whose histograms are ours, and what it collects."""

    def __init__(self, temporality: AggregationTemporality = DELTA, views: Sequence[View] = ()) -> None:
        self.reader = InMemoryMetricReader({Histogram: temporality}, dict(preferred_aggregation()))
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False, views=views)
        self.meter = self.provider.get_meter("shop")

    def points(self) -> list[Any]:
        """The points of one collection."""
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in (data.resource_metrics if data else ()) for scope in resource.scope_metrics]
        metrics = [metric for scope in scopes if scope.scope.name == "shop" for metric in scope.metrics]
        return [point for metric in metrics for point in metric.data.data_points]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """With delta temporality, as our exporters ask for."""
    made = Recorder()
    yield made
    made.provider.shutdown()


def test_variance_is_exact_where_sums_of_squares_fail(recorder: Recorder) -> None:
    """A billion, one less and one more: the variance is two thirds."""
    histogram = recorder.meter.create_histogram("usage.transfer.rate.samples")
    for value in (1e9 - 1, 1e9, 1e9 + 1):
        histogram.record(value)

    [point] = recorder.points()

    assert (3, 1e9) == (point.count, point.mean)
    assert pytest.approx(2 / 3, rel=0, abs=1e-6) == point.m2 / point.count


def test_every_window_stands_alone(recorder: Recorder) -> None:
    """With delta temporality moments start anew after each collection, as the counts do."""
    histogram = recorder.meter.create_histogram("wait")
    histogram.record(1)
    histogram.record(3)
    [first] = recorder.points()
    histogram.record(10)
    [second] = recorder.points()

    assert (2, 2.0, 2.0) == (first.count, first.mean, first.m2)
    assert (1, 10.0, 0.0) == (second.count, second.mean, second.m2)
    assert [] == recorder.points()


def test_cumulative_readers_get_the_moments_of_all_windows() -> None:
    """Another exporter's reader, which counts from the start, sees the variance of everything so far."""
    recorder = Recorder(CUMULATIVE)
    histogram = recorder.meter.create_histogram("wait")
    values = [3.5, 4.25, 1e6, 2.0, 7.0]
    for value in values:
        histogram.record(value)
        recorder.points()

    [point] = recorder.points()

    assert (5, pytest.approx(statistics.fmean(values))) == (point.count, point.mean)
    assert pytest.approx(statistics.pvariance(values)) == point.m2 / point.count
    recorder.provider.shutdown()


def test_no_value_is_lost_between_threads_and_a_collector(recorder: Recorder) -> None:
    """Four threads record while a collector spins: in every window buckets and moments describe the same values."""
    histogram = recorder.meter.create_histogram("wait", explicit_bucket_boundaries_advisory=[250, 500, 750])
    interval, each = sys.getswitchinterval(), 5_000
    sys.setswitchinterval(1e-5)
    try:
        threads = [
            threading.Thread(target=lambda: [histogram.record(number % 1_000) for number in range(each)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        windows: list[Any] = []
        while any(thread.is_alive() for thread in threads):
            windows += recorder.points()
        windows += recorder.points()
    finally:
        sys.setswitchinterval(interval)

    assert 4 * each == sum(point.count for point in windows)
    assert all(sum(point.bucket_counts) == point.count for point in windows)
    assert all(pytest.approx(point.sum / point.count) == point.mean for point in windows)
    total = NOTHING
    for point in windows:
        total = merge(total, (point.count, point.mean, point.m2))
    assert pytest.approx(statistics.pvariance(range(1_000))) == total[2] / total[0]


@pytest.mark.parametrize("name", [FILE_SIZE, TRANSFER_SIZE])
def test_byte_histograms_have_the_documented_ranges(name: str, recorder: Recorder) -> None:
    """Whatever a program advises: these two names mean these ranges, and their edges belong to the range above."""
    histogram = recorder.meter.create_histogram(name, "By", explicit_bucket_boundaries_advisory=[10, 100])
    edges = [edge + offset for edge in BOUNDARIES[name] for offset in (0, 1)]
    for size in edges:
        histogram.record(size)

    [point] = recorder.points()

    assert BOUNDARIES[name] == tuple(point.explicit_bounds)
    assert (1, *[2] * (len(BOUNDARIES[name]) - 1), 1) == tuple(point.bucket_counts)
    assert sum(edges) == point.sum


def test_other_histograms_keep_the_advice_or_the_default(recorder: Recorder) -> None:
    """Our aggregation changes no buckets but those of the two byte histograms."""
    recorder.meter.create_histogram("advised", explicit_bucket_boundaries_advisory=[1, 2]).record(1)
    recorder.meter.create_histogram("plain").record(1)

    advised, plain = recorder.points()

    assert (1, 2) == tuple(advised.explicit_bounds)
    assert (0.0, 5.0, 10.0) == tuple(plain.explicit_bounds[:3])


def test_a_view_of_the_program_has_its_way() -> None:
    """A View that names an aggregation replaces ours; its points have no moments, and nothing fails."""
    recorder = Recorder(views=[View(instrument_name="wait", aggregation=ExplicitBucketHistogramAggregation([7]))])
    recorder.meter.create_histogram("wait").record(5)

    [point] = recorder.points()

    assert ((7,), 1, None) == (tuple(point.explicit_bounds), point.count, getattr(point, "m2", None))
    recorder.provider.shutdown()


VALUES = st.lists(st.floats(-1e9, 1e9), max_size=20)


def moments(values: Sequence[float]) -> Moments:
    """By the book."""
    if not values:
        return NOTHING
    mean = statistics.fmean(values)
    return len(values), mean, sum((value - mean) ** 2 for value in values)


@given(VALUES, VALUES)
def test_merging_is_as_if_all_values_had_come_together(one: list[float], two: list[float]) -> None:
    """Chan's formula, against the definition."""
    count, mean, m2 = merge(moments(one), moments(two))
    expected = moments(one + two)

    assert expected[0] == count
    assert pytest.approx(expected[1], rel=1e-9, abs=1e-3) == mean
    assert pytest.approx(expected[2], rel=1e-6, abs=1e-3) == m2


@pytest.fixture
def untried() -> Iterator[None]:
    """As if nothing had been tried in this process yet."""
    preferred_aggregation.cache_clear()
    yield
    preferred_aggregation.cache_clear()


class Changed(MomentsAggregation):
    """What an SDK that renamed its private parts does to ours."""

    def _create_aggregation(self, *args: Any, **keywords: Any) -> Any:
        raise AttributeError("explicit_bucket_boundaries")


class Plain(MomentsAggregation):
    """What an SDK that no longer asks ours gives: points without moments."""

    _create_aggregation = ExplicitBucketHistogramAggregation._create_aggregation


@pytest.mark.usefixtures("untried")
@pytest.mark.parametrize("unfit", [Changed, Plain])
def test_unfit_sdk_costs_the_variance_and_one_line(
    unfit: type, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Histograms stay as the SDK makes them; it is said once, however many exporters there are."""
    monkeypatch.setattr("usagewire.sdk.moments.MomentsAggregation", unfit)
    caplog.set_level(logging.WARNING, "usagewire")

    assert ({}, {}) == (preferred_aggregation(), preferred_aggregation())
    [record] = caplog.records
    assert record.getMessage().startswith("usagewire: no exact variance of histograms with this version of")


@pytest.mark.usefixtures("untried")
def test_sdk_that_is_switched_off_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where OTEL_SDK_DISABLED leaves nothing to try, nothing is complained about."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")

    assert [Histogram] == list(preferred_aggregation())
    assert [] == [record for record in caplog.records if record.name == "usagewire"]
