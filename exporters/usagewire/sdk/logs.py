"""The log exporters that OpenTelemetry's SDK calls, one per format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource

from usagewire import pipeline
from usagewire.pipeline.intake import Intake
from usagewire.sdk import from_logs
from usagewire.sdk.exporting import keep, once
from usagewire.sdk.measure import Measure
from usagewire.signals import Event


class LogExporter(LogRecordExporter):
    """Keeps the events among the log records; plain logs never pass. Base of the formats' classes."""

    format: ClassVar[str]

    def __init__(self, **keywords: Any) -> None:
        self._intake: Intake = pipeline.attach(self, self.format, keywords)
        self._measure = Measure(f"{self.format}_log_exporter", "log", "{log_record}")
        self._closed = False
        if not self._intake.format.carries_events:
            once(f"the {self.format} format carries no events; log records are dropped")

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Keep the events of ``batch``: SUCCESS means they survive kill -9. Never raises, never touches a network."""
        if self._closed:
            return LogRecordExportResult.FAILURE
        kept = keep(self._measure, lambda: from_logs.events(batch), self._intake.events)
        return LogRecordExportResult.SUCCESS if kept else LogRecordExportResult.FAILURE

    def keep(self, groups: Sequence[tuple[Resource | None, Sequence[Event]]]) -> bool:
        """`export` of what is translated already, and was taken before `shutdown`: late, it is written all the same."""
        kept = keep(self._measure, lambda: groups, self._intake.events)
        if self._closed:
            self._intake.leave(self)  # nobody else would seal it
        return kept

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


class SegmentLogExporter(LogExporter):
    """``OTEL_LOGS_EXPORTER=segment``. Keywords: the settings in lower case, and ``name``, ``service``, ``plan``."""

    format = "segment"


class JetstreamLogExporter(LogExporter):
    """``OTEL_LOGS_EXPORTER=jetstream``: there so that the name is known; JetStream's telemetry has no events."""

    format = "jetstream"


class JinaLogExporter(LogExporter):
    """``OTEL_LOGS_EXPORTER=jina``. Keywords as for `SegmentLogExporter`."""

    format = "jina"


class TtsLogExporter(LogExporter):
    """``OTEL_LOGS_EXPORTER=tts``: commands, for the command line's message. Keywords as for `SegmentLogExporter`."""

    format = "tts"


class StoneLogExporter(LogExporter):
    """``OTEL_LOGS_EXPORTER=stone``: crashes, states, devices. Keywords as for `SegmentLogExporter`."""

    format = "stone"
