"""R14: whatever a program hands over to the real exporters: nothing is raised, nothing beside it lost, all counted."""

from __future__ import annotations

import math
import os
import resource
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as SdkMetric
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from tests.support.state import in_memory
from tests.support.values import SCALARS, TEXT, attributes
from usagewire import sdk
from usagewire.policy.consent import write
from usagewire.signals import Stance
from usagewire.state.paths import Place
from usagewire.state.view import peek, totals

pytestmark = pytest.mark.slow

EXAMPLES = 1_000 if os.environ.get("USAGEWIRE_FAULTS") == "long" else 10
RESOURCE, SCOPE = Resource({"service.name": "shop"}), InstrumentationScope("shop")
LOGS = {
    "segment": sdk.SegmentLogExporter,
    "jina": sdk.JinaLogExporter,
    "tts": sdk.TtsLogExporter,
    "stone": sdk.StoneLogExporter,
    "jetstream": sdk.JetstreamLogExporter,
}
METRICS = {
    "segment": sdk.SegmentMetricExporter,
    "tts": sdk.TtsMetricExporter,
    "stone": sdk.StoneMetricExporter,
    "jetstream": sdk.JetstreamMetricExporter,
}
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, math.nan, math.inf, None, "1", b"1"])
NAMES = st.sampled_from(["usage.crash", "usage.state", "usage.device", "usage.component.stop", "usage.command"]) | TEXT


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder in memory, for thousands of exports."""
    with in_memory() as folder:
        monkeypatch.setenv("USAGEWIRE_STATE_DIR", str(folder))
        yield folder


def made(kind: Any, fmt: str, state: Path) -> Any:
    """An exporter that delivers nowhere, with consent."""
    write(state / "shop", True, "a test", license="sharing-1-0", epoch="0")
    key = {"write_key": "write-key"} if fmt == "segment" else {}
    return kind(endpoint="http://127.0.0.1:9", delivery="manual", **key)


def record(name: str, attributes: Any = None, body: Any = None) -> ReadableLogRecord:
    """As it is handed over, past what the SDK's own emit would have cleaned."""
    return ReadableLogRecord(LogRecord(timestamp=1, event_name=name, body=body, attributes=attributes), RESOURCE, SCOPE)


def accounted(state: Path, fmt: str) -> tuple[int, int]:
    """How many items wait, and how many were lost."""
    place = Place(state / "shop", fmt)
    return len(peek(place, Stance(True, "0"))), totals(place).lost.total()


@pytest.mark.parametrize("fmt", LOGS)
def test_no_event_raises_or_costs_its_batch(state: Path, fmt: str) -> None:
    """Any name, body and attributes between two ordinary events: all three are taken, each is kept or counted."""
    exporter, tried = made(LOGS[fmt], fmt, state), 0

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), deadline=None)
    @given(NAMES, attributes(), SCALARS | attributes())
    def hand_over(name: str, given: Mapping[Any, Any], body: Any) -> None:
        nonlocal tried
        tried += 3
        batch = [record("before"), record(name or "unnamed", given, body), record("after")]
        assert exporter.export(batch) is LogRecordExportResult.SUCCESS

    hand_over()
    exporter.shutdown()

    if fmt in ("segment", "jina"):  # what the others make of it are reports
        waiting, lost = accounted(state, fmt)
        assert tried == waiting + lost
        assert waiting >= tried * 2 // 3


@pytest.mark.parametrize("fmt", METRICS)
def test_no_point_raises_or_costs_its_batch(state: Path, fmt: str) -> None:
    """Any name, attributes and number beside an ordinary point: the batch is taken."""
    exporter = made(METRICS[fmt], fmt, state)

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), deadline=None)
    @given(TEXT, attributes(), NUMBERS)
    def hand_over(name: str, given: Mapping[Any, Any], number: Any) -> None:
        points = [NumberDataPoint(given, 0, 1, number), NumberDataPoint({"a": 1}, 0, 1, 1)]
        total = Sum(points, AggregationTemporality.DELTA, is_monotonic=True)
        found = [SdkMetric(each, "", "1", total) for each in (f"usage.{name}", "usage.entity.count")]
        data = MetricsData([ResourceMetrics(RESOURCE, [ScopeMetrics(SCOPE, found, "")], "")])
        assert exporter.export(data) is MetricExportResult.SUCCESS

    hand_over()
    exporter.shutdown()


def deep(levels: int) -> list[Any]:
    """Lists in lists."""
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize(
    "make",
    [
        lambda: {f"key {number}": number for number in range(1_000_000)},
        lambda: {"text": "x" * (32 << 20)},
        lambda: {"bytes": b"\xff" * (32 << 20)},
        lambda: {"list": list(range(1_000_000))},
        lambda: {"deep": deep(100_000)},
        lambda: {"number": 10**1_000_000},
        lambda: {"k" * (8 << 20): 1},
    ],
    ids=["attributes", "text", "bytes", "list", "depth", "digits", "key"],
)
def test_size_is_bounded(state: Path, make: Any) -> None:
    """A million attributes, 32 MiB of text: a moment, a few times its own size, and the event beside it is kept."""
    exporter, huge = made(LOGS["segment"], "segment", state), make()
    exporter.export([record("first")])
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()

    assert exporter.export([record("huge", huge, huge), record("beside")]) is LogRecordExportResult.SUCCESS

    assert time.process_time() - began < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 << 10
    exporter.shutdown()
    waiting, lost = accounted(state, "segment")
    assert (3, True) == (waiting + lost, waiting >= 2)
