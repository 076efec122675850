"""A real OpenTelemetry log pipeline that keeps what it exports."""

from __future__ import annotations

import time
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    InMemoryLogRecordExporter,
    SimpleLogRecordProcessor,
)


class Capture:
    """A provider with one in-memory exporter: behind a batch processor when a delay is given, else at once."""

    def __init__(self, batch_delay_millis: float | None = None) -> None:
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self.provider.add_log_record_processor(
            SimpleLogRecordProcessor(self.exporter)
            if batch_delay_millis is None
            else BatchLogRecordProcessor(self.exporter, schedule_delay_millis=batch_delay_millis)
        )

    def records(self) -> list[ReadableLogRecord]:
        """Everything exported so far."""
        return list(self.exporter.get_finished_logs())

    def names(self) -> list[str | None]:
        """Event names in order."""
        return [record.log_record.event_name for record in self.records()]

    def attributes(self) -> list[dict[str, Any]]:
        """Attributes in order."""
        return [dict(record.log_record.attributes or {}) for record in self.records()]

    def wait_for(self, count: int, seconds: float = 20) -> None:
        """Wait until ``count`` records were exported."""
        deadline = time.monotonic() + seconds
        while len(self.records()) < count:
            assert time.monotonic() < deadline, f"{len(self.records())} of {count} records after {seconds} s"
            time.sleep(0.01)
