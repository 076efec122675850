"""The only room that imports OpenTelemetry's SDK: exporter classes for code, environment and YAML alike.

from usagewire.sdk import SegmentLogExporter
exporter = SegmentLogExporter(endpoint="https://events.example.com", write_key="…")
"""

from __future__ import annotations

from usagewire.sdk.exporters import LogExporter, MetricsExporter
from usagewire.sdk.lean import LeanLogRecordProcessor

__all__ = [
    "JetstreamLogExporter",
    "JetstreamMetricExporter",
    "JinaLogExporter",
    "JinaMetricExporter",
    "LeanLogRecordProcessor",
    "SegmentLogExporter",
    "SegmentMetricExporter",
    "StoneLogExporter",
    "StoneMetricExporter",
    "TtsLogExporter",
    "TtsMetricExporter",
]


class SegmentLogExporter(LogExporter):
    """``OTEL_LOGS_EXPORTER=segment``. Keywords: the settings in lower case, and ``name``, ``service``, ``plan``."""

    format = "segment"


class SegmentMetricExporter(MetricsExporter):
    """``OTEL_METRICS_EXPORTER=segment``. Keywords as for `SegmentLogExporter`."""

    format = "segment"


class JetstreamLogExporter(LogExporter):
    """``OTEL_LOGS_EXPORTER=jetstream``: there so that the name is known; JetStream's telemetry has no events."""

    format = "jetstream"


class JetstreamMetricExporter(MetricsExporter):
    """``OTEL_METRICS_EXPORTER=jetstream``. Keywords as for `SegmentLogExporter`."""

    format = "jetstream"


class JinaLogExporter(LogExporter):
    """``OTEL_LOGS_EXPORTER=jina``. Keywords as for `SegmentLogExporter`."""

    format = "jina"


class JinaMetricExporter(MetricsExporter):
    """``OTEL_METRICS_EXPORTER=jina``: there so that the name is known; Jina's telemetry has no metrics."""

    format = "jina"


class TtsLogExporter(LogExporter):
    """``OTEL_LOGS_EXPORTER=tts``: commands, for the command line's message. Keywords as for `SegmentLogExporter`."""

    format = "tts"


class TtsMetricExporter(MetricsExporter):
    """``OTEL_METRICS_EXPORTER=tts``: entities, for the server's message. Keywords as for `SegmentLogExporter`."""

    format = "tts"


class StoneLogExporter(LogExporter):
    """``OTEL_LOGS_EXPORTER=stone``: crashes, states, devices. Keywords as for `SegmentLogExporter`."""

    format = "stone"


class StoneMetricExporter(MetricsExporter):
    """``OTEL_METRICS_EXPORTER=stone``: entities and capacity. Keywords as for `SegmentLogExporter`."""

    format = "stone"
