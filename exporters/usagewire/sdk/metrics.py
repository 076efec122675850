"""The metric exporters that OpenTelemetry's SDK calls, one per format."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import Any, ClassVar

from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter, MetricExportResult, MetricsData

from usagewire import pipeline
from usagewire.pipeline.intake import Intake
from usagewire.sdk import from_metrics
from usagewire.sdk.exporting import keep, once
from usagewire.sdk.measure import Measure
from usagewire.sdk.preferred import preferred_aggregation

DELTA = (Counter, UpDownCounter, Histogram, ObservableCounter, ObservableUpDownCounter)
"""Gauges are left cumulative: under DELTA the SDK exports a gauge once and forgets it, and day two would report 0.
Before 1.45 it forgets those that are set, not observed, in any case."""


class MetricsExporter(MetricExporter):
    """Keeps data points for the next report. Base of the formats' classes."""

    format: ClassVar[str]

    def __init__(self, **keywords: Any) -> None:
        super().__init__(
            preferred_temporality=dict.fromkeys(DELTA, AggregationTemporality.DELTA),
            preferred_aggregation=dict(preferred_aggregation()),
        )
        self._intake: Intake = pipeline.attach(self, self.format, keywords)
        self._measure = Measure(f"{self.format}_metric_exporter", "metric_data_point", "{data_point}")
        self._closed = False
        if self._intake.format.compile is None:
            once(f"the {self.format} format carries no metrics; data points are dropped")
        _metric_exporters.add(self)

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        """Keep the points: SUCCESS means they survive kill -9. Never raises, never touches a network."""
        if self._closed:
            return MetricExportResult.FAILURE
        kept = keep(self._measure, lambda: from_metrics.points(metrics_data), self._intake.points)
        return MetricExportResult.SUCCESS if kept else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Nothing waits here: `export` has written everything. Delivery is `usagewire.flush`."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Seal what was written; no network, a few milliseconds."""
        if not self._closed:
            self._closed = True
            pipeline.detach(self, self._intake)

    def discard(self) -> None:
        """Collect once and throw the result away: see `_after_fork`."""
        if self._closed:
            return
        self._closed = True
        try:
            for reader in list(getattr(MeterProvider, "_all_metric_readers", ())):
                if getattr(reader, "_exporter", None) is self:
                    reader.collect(timeout_millis=1_000)
        finally:
            self._closed = False


class SegmentMetricExporter(MetricsExporter):
    """``OTEL_METRICS_EXPORTER=segment``. Keywords as for `SegmentLogExporter`."""

    format = "segment"


class JetstreamMetricExporter(MetricsExporter):
    """``OTEL_METRICS_EXPORTER=jetstream``. Keywords as for `SegmentLogExporter`."""

    format = "jetstream"


class JinaMetricExporter(MetricsExporter):
    """``OTEL_METRICS_EXPORTER=jina``: there so that the name is known; Jina's telemetry has no metrics."""

    format = "jina"


class TtsMetricExporter(MetricsExporter):
    """``OTEL_METRICS_EXPORTER=tts``: entities, for the server's message. Keywords as for `SegmentLogExporter`."""

    format = "tts"


class StoneMetricExporter(MetricsExporter):
    """``OTEL_METRICS_EXPORTER=stone``: entities and capacity. Keywords as for `SegmentLogExporter`."""

    format = "stone"


_metric_exporters: weakref.WeakSet[MetricsExporter] = weakref.WeakSet()


def _after_fork() -> None:
    """In a forked child: what the parent counted before the fork is the parent's to report.

    The SDK carries it over and offers no way to reset, so one collection is thrown away; the readers are found
    through a private set of the SDK (where that is gone, pre-fork counts are reported twice). On a thread, because a
    lock of the SDK may have been held at the instant of the fork, and the child must not wait for it for ever.
    """
    for exporter in list(_metric_exporters):
        thread = threading.Thread(target=exporter.discard, daemon=True)
        with contextlib.suppress(RuntimeError):
            thread.start()
            thread.join(0.25)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
