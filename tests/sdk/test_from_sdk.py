"""Real SDK objects become neutral values, whatever a program left out or put in."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics import Histogram as HistogramInstrument
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.metrics.view import (
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from tests.support.otel import Capture
from usagewire import signals
from usagewire.sdk import from_logs, from_metrics
from usagewire.signals import Event, Point

# -- events ---------------------------------------------------------------------------------------------------------


def emitted(**said: Any) -> Event:
    """The event that one `emit` becomes, by way of a real provider and processor."""
    capture = Capture()
    try:
        capture.provider.get_logger("shop").emit(**said)
        ((_, (event,)),) = from_logs.events(capture.records())
    finally:
        capture.provider.shutdown()
    return event


@pytest.mark.parametrize("hooks", [True, False], ids=["by Python", "past Python's hooks"])
def test_no_two_processes_draw_the_same_ids(hooks: bool) -> None:
    """A child goes on with a seed of its own: a receiver would drop its events as repeats of the parent's."""
    fork = os.fork if hooks else ctypes.PyDLL(None).fork
    before = from_logs.draw(2)
    reading, writing = os.pipe()
    pid = fork()
    if not pid:
        os.write(writing, from_logs.draw(2).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    drawn = before + os.read(reading, 64).decode() + from_logs.draw(2)
    os.close(reading)
    os.close(writing)

    found = [drawn[at : at + 32] for at in range(0, len(drawn), 32)]
    assert 6 == len(set(found)) == len(found)
    assert [32] * 6 == [len(one) for one in found]


def test_a_record_with_a_name_is_an_event() -> None:
    """Name, time, attributes, body and scope are carried over, and an id is drawn."""
    event = emitted(event_name="sold", timestamp=5, body="text", attributes={"n": 1, "of": ("a", "b")})

    assert Event("sold", 5, event.id, {"n": 1, "of": ("a", "b")}, "text", "shop", event.observed) == event
    assert 0 < time.time_ns() - event.observed < 3_600_000_000_000
    assert dict is type(event.attributes)
    assert 16 == len(bytes.fromhex(event.id))


def test_plain_logs_are_no_events() -> None:
    """A record without a name, or with an empty one, never passes."""
    capture = Capture()
    logger = capture.provider.get_logger("shop")
    logger.emit(body="a log line", severity_number=SeverityNumber.WARN)
    logger.emit(event_name="", body="another")
    capture.provider.shutdown()

    assert 2 == len(capture.records())
    assert [] == from_logs.events(capture.records())


def test_without_a_timestamp_the_time_is_when_it_was_observed() -> None:
    """OpenTelemetry leaves the timestamp optional and the SDK notes when it saw the record; neither is 1970."""
    observed = ReadableLogRecord(LogRecord(observed_timestamp=7, event_name="sold"), Resource.get_empty())
    neither = LogRecord(event_name="sold")
    neither.observed_timestamp = None  # type: ignore[assignment]

    assert emitted(event_name="sold").time > 1_600_000_000 * 10**9
    assert [7] == [event.time for _, (event,) in from_logs.events([observed])]
    assert [0] == [event.time for _, (event,) in from_logs.events([replace(observed, log_record=neither)])]


def test_a_record_may_lack_scope_and_attributes() -> None:
    """A record made by hand has none: the event's are empty."""
    resource = Resource({"service.name": "shop"})
    record = ReadableLogRecord(LogRecord(timestamp=1, event_name="bare"), resource)

    ((found, (event,)),) = from_logs.events([record])

    assert resource is found
    assert Event("bare", 1, event.id, {}, None, "", event.observed) == event


def test_events_come_resource_by_resource() -> None:
    """One group for each stretch of records of one resource, in the order of the records."""
    one, other = Resource({"service.name": "shop"}), Resource({"service.name": "till"})
    records = [
        ReadableLogRecord(LogRecord(timestamp=time, event_name="sold"), resource)
        for time, resource in enumerate((one, one, other, one), 1)
    ]

    found = [(resource, [event.time for event in events]) for resource, events in from_logs.events(records)]

    assert [(one, [1, 2]), (other, [3]), (one, [4])] == found


@pytest.mark.parametrize(
    "body",
    [None, "", "text", 7, 2.5, True, b"bytes", [1, "a", None], {"a": {"b": [1, 2]}}],
    ids=repr,
)
def test_a_body_of_any_kind_is_carried_over(body: Any) -> None:
    """Structured bodies stay structured."""
    assert body == emitted(event_name="sold", body=body).body


def test_every_event_has_an_id_of_its_own() -> None:
    """Also where plain logs stand between them, and over two batches of the same records."""
    capture = Capture()
    logger = capture.provider.get_logger("shop")
    for number in range(20):
        logger.emit(event_name="sold" if number % 2 else "", body=number)
    capture.provider.shutdown()

    twice = [*from_logs.events(capture.records()), *from_logs.events(capture.records())]

    assert 20 == len({event.id for _, events in twice for event in events})


# -- points ---------------------------------------------------------------------------------------------------------


def collected(use: Callable[[Meter], object], views: Sequence[View] = (), **reader: Any) -> list[Point]:
    """The points of what ``use`` records, by way of a real provider and reader."""
    memory = InMemoryMetricReader(**reader)
    provider = MeterProvider(metric_readers=[memory], views=views, shutdown_on_exit=False)
    try:
        use(provider.get_meter("shop"))
        data = memory.get_metrics_data()
    finally:
        provider.shutdown()
    groups = [] if data is None else from_metrics.points(data)
    return [point._replace(time=0) for _, found in groups for point in found]


def histogram(meter: Meter, *values: float) -> None:
    """Record ``values``."""
    sizes = meter.create_histogram("size", "By", explicit_bucket_boundaries_advisory=[10, 100])
    for value in values:
        sizes.record(value)


def test_sums_and_gauges_carry_their_value() -> None:
    """Counters of both kinds are sums, gauges gauges; unit and attributes come along, a missing unit is empty."""

    def level(options: CallbackOptions) -> list[Observation]:
        return [Observation(2.5, {"tank": "a"})]

    def use(meter: Meter) -> None:
        meter.create_counter("sold", "{item}").add(3, {"kind": "book"})
        meter.create_up_down_counter("open").add(-2)
        meter.create_gauge("rate", "By/s").set(9)
        meter.create_observable_gauge("level", [level])

    assert [
        Point("sold", "sum", 0, {"kind": "book"}, 3, unit="{item}"),
        Point("open", "sum", 0, {}, -2),
        Point("rate", "gauge", 0, {}, 9, unit="By/s"),
        Point("level", "gauge", 0, {"tank": "a"}, 2.5),
    ] == collected(use)


def test_a_histogram_carries_its_numbers_and_buckets() -> None:
    """Count, sum, extremes, mean, edges and counts; no variance where the SDK's own aggregation was at work."""
    (point,) = collected(lambda meter: histogram(meter, 5, 10, 50, 500))

    assert signals.Histogram(4, 565, 5, 500, 141.25, None, (10, 100), (2, 1, 1)) == point.histogram
    assert ("size", "histogram", None, "By") == (point.name, point.kind, point.value, point.unit)


def test_an_exponential_histogram_has_no_edges() -> None:
    """Its numbers count; its buckets are of another kind and are left out."""
    (point,) = collected(
        lambda meter: histogram(meter, 5, 50),
        preferred_aggregation={HistogramInstrument: ExponentialBucketHistogramAggregation()},
    )

    assert signals.Histogram(2, 55, 5, 50, 27.5) == point.histogram


def test_extremes_that_were_not_recorded_are_unknown() -> None:
    """Where a View tells the SDK not to keep minimum and maximum it says inf and -inf: that is nobody's measurement."""
    view = View(
        instrument_name="size", aggregation=ExplicitBucketHistogramAggregation(boundaries=[10], record_min_max=False)
    )

    (point,) = collected(lambda meter: histogram(meter, 5), views=[view])

    assert signals.Histogram(1, 5, None, None, 5, None, (10,), (1, 0)) == point.histogram


def made(point: HistogramDataPoint) -> list[Point]:
    """The points of metrics data made by hand, with one histogram."""
    metric = Metric("size", None, None, Histogram([point], 1))  # type: ignore[arg-type]
    scope = ScopeMetrics(InstrumentationScope("shop"), [metric], "")
    ((_, points),) = from_metrics.points(MetricsData([ResourceMetrics(Resource({}), [scope], "")]))
    return points


EMPTY = HistogramDataPoint({}, 1, 2, 0, 0, (0,), (), inf, -inf)


def test_an_empty_histogram_says_nothing() -> None:
    """A histogram without a record has no mean and no extremes, and is left out."""
    assert [] == made(EMPTY)


def test_a_point_made_by_hand_may_lack_almost_everything() -> None:
    """No attributes, no unit, extremes that are no numbers: the rest is carried over."""
    (point,) = made(replace(EMPTY, attributes=None, count=2, sum=4, bucket_counts=(2,), min=nan, max=nan))

    spread = signals.Histogram(2, 4, None, None, 2, None, (), (2,))
    assert Point("size", "histogram", 2, {}, None, spread, start=1) == point
