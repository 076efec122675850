"""The only room that imports OpenTelemetry's SDK: exporter classes for code, environment and YAML alike.

from usagewire.sdk import SegmentLogExporter
exporter = SegmentLogExporter(endpoint="https://events.example.com", write_key="…")

Each name loads at first use: a program without metrics does not pay for the SDK's half that makes them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from usagewire.sdk.lean import LeanLogRecordProcessor
    from usagewire.sdk.logs import (
        JetstreamLogExporter,
        JinaLogExporter,
        LogExporter,
        SegmentLogExporter,
        StoneLogExporter,
        TtsLogExporter,
    )
    from usagewire.sdk.metrics import (
        JetstreamMetricExporter,
        JinaMetricExporter,
        MetricsExporter,
        SegmentMetricExporter,
        StoneMetricExporter,
        TtsMetricExporter,
    )

__all__ = [
    "JetstreamLogExporter",
    "JetstreamMetricExporter",
    "JinaLogExporter",
    "JinaMetricExporter",
    "LeanLogRecordProcessor",
    "LogExporter",
    "MetricsExporter",
    "SegmentLogExporter",
    "SegmentMetricExporter",
    "StoneLogExporter",
    "StoneMetricExporter",
    "TtsLogExporter",
    "TtsMetricExporter",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = "lean" if name.startswith("Lean") else "logs" if name.endswith("LogExporter") else "metrics"
    return getattr(import_module(f"{__name__}.{room}"), name)
