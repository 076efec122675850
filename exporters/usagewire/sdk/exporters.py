"""The exporter classes that OpenTelemetry's SDK calls. One log and one metric class per format.

A constructor takes only optional keywords and never raises: an exception there would silently switch off all
telemetry of the host program. What is wrong is logged once, all of it, and the exporter drops and counts.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.resources import Resource

from usagewire import pipeline
from usagewire.pipeline.intake import Intake
from usagewire.sdk import translate
from usagewire.sdk.measure import Measure
from usagewire.sdk.preferred import preferred_aggregation
from usagewire.signals import Event, Point

_log = logging.getLogger("usagewire")
_said: set[str] = set()
_Signal = TypeVar("_Signal", Event, Point)

DELTA = (Counter, UpDownCounter, Histogram, ObservableCounter, ObservableUpDownCounter)
"""Gauges are left cumulative: under DELTA the SDK exports a gauge once and forgets it, and day two would report 0.
Before 1.45 it forgets those that are set, not observed, in any case."""


def _keep(
    measure: Measure,
    translated: Callable[[], Sequence[tuple[Resource | None, Sequence[_Signal]]]],
    take: Callable[[Sequence[_Signal], Mapping[str, Any]], bool],
) -> bool:
    """Hand what an export is about to the intake, resource by resource; whether all of it was kept."""
    try:
        groups = [group for group in translated() if group[1]]
    except Exception:
        # Records that are not what the SDK makes: the host must not hear of them.
        _log.info("usagewire: an export that cannot be read is dropped", exc_info=True)
        return False
    count = sum(len(signals) for _, signals in groups)
    began, kept = measure.begin(count), True
    for resource, signals in groups:
        kept &= take(signals, resource.attributes if resource is not None else {})
    measure.end(count, began, "" if kept else "not_kept")
    return kept


class LogExporter(LogRecordExporter):
    """Keeps the events among the log records; plain logs never pass. Base of the formats' classes."""

    format: ClassVar[str]

    def __init__(self, **keywords: Any) -> None:
        self._intake: Intake = pipeline.attach(self, self.format, keywords)
        self._measure = Measure(f"{self.format}_log_exporter", "log", "{log_record}")
        self._closed = False
        if not self._intake.format.carries_events:
            _once(f"the {self.format} format carries no events; log records are dropped")

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Keep the events of ``batch``: SUCCESS means they survive kill -9. Never raises, never touches a network."""
        if self._closed:
            return LogRecordExportResult.FAILURE
        kept = _keep(self._measure, lambda: translate.events(batch), self._intake.events)
        return LogRecordExportResult.SUCCESS if kept else LogRecordExportResult.FAILURE

    def keep(self, groups: Sequence[tuple[Resource | None, Sequence[Event]]]) -> bool:
        """`export` of what is translated already."""
        return not self._closed and _keep(self._measure, lambda: groups, self._intake.events)

    def lose(self, reason: str) -> None:
        """Count an event that was given up on the way here."""
        self._intake.lose(reason)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits here: `export` has written everything. Delivery is `usagewire.flush`."""
        return True

    def shutdown(self) -> None:
        """Seal what was written; no network, a few milliseconds."""
        if not self._closed:
            self._closed = True
            pipeline.detach(self, self._intake)


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
            _once(f"the {self.format} format carries no metrics; data points are dropped")
        _metric_exporters.add(self)

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        """Keep the points: SUCCESS means they survive kill -9. Never raises, never touches a network."""
        if self._closed:
            return MetricExportResult.FAILURE
        kept = _keep(self._measure, lambda: translate.points(metrics_data), self._intake.points)
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


def _once(message: str) -> None:
    if message not in _said:
        _said.add(message)
        _log.warning("usagewire: %s", message)
