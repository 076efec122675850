"""Who is compared: each emits ``count`` events with five properties as fast as it can, and returns when the server has
them all. The first result is how long each call kept the emitting thread, in nanoseconds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

Contender = Callable[[int, str], list[int]]
"""``(count, url)`` → nanoseconds of every call. The URL is that of the gRPC server for who is in `OVER_GRPC`."""

EVENT = "deployment_started"
WHO = "9f3b6c1e-0000-4000-8000-000000000000"
KEY = "bench3n6y1k8s5d2w7q4r9t0v3x6z1b8"
"""As long as they are: whatever leaves is looked through for it."""
TIMEOUT_MILLIS = 120_000
FULL = 1_341
"""Events that fill a request as Segment takes it."""


def properties(number: int) -> dict[str, Any]:
    """Of one event."""
    return {"db_backend": "mysql", "server_version": "1.30.0", "commit_id": "9f3b6c1e", "number": number, "ok": True}


def timed(count: int, call: Callable[[int], object]) -> list[int]:
    """Call it ``count`` times."""
    clock, taken = time.perf_counter_ns, [0] * count
    for number in range(count):
        began = clock()
        call(number)
        taken[number] = clock() - began
    return taken


def through(processor: Any, count: int, finish: Callable[[], bool] = lambda: True) -> list[int]:
    """By way of OpenTelemetry's SDK and ``processor``."""
    from opentelemetry.sdk._logs import LoggerProvider

    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    logger = provider.get_logger("bench")
    taken = timed(count, lambda number: logger.emit(event_name=EVENT, attributes=properties(number)))
    provider.force_flush(TIMEOUT_MILLIS)
    assert finish()
    provider.shutdown()
    return taken


def batched(exporter: Any, count: int, finish: Callable[[], bool] = lambda: True) -> list[int]:
    """By way of the SDK's own batch processor, with room for all of them."""
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    return through(BatchLogRecordProcessor(exporter, max_queue_size=count + 512), count, finish)


def no_op(count: int, url: str) -> list[int]:
    """The floor: the SDK with an exporter that does nothing."""
    from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult

    class Nothing(LogRecordExporter):
        def export(self, batch: Any) -> LogRecordExportResult:
            return LogRecordExportResult.SUCCESS

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return True

        def shutdown(self) -> None:
            return

    return batched(Nothing(), count)


def bare(count: int, url: str) -> list[int]:
    """As little as an exporter to Segment can do: JSON, gzip, POST. No disk, no redaction, no second try, no count."""
    import orjson
    import requests
    from isal import igzip
    from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult

    session, context = requests.Session(), {"library": {"name": "bare", "version": "0.1.0"}}
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    class Bare(LogRecordExporter):
        def __init__(self) -> None:
            self._kept: list[bytes] = []

        def export(self, batch: Any) -> LogRecordExportResult:
            for readable in batch:
                record = readable.log_record
                call = {"type": "track", "event": record.event_name, "anonymousId": WHO, "context": context}
                moment = {"timestamp": "2026-10-05T07:30:00.123Z", "messageId": os.urandom(16).hex()}
                self._kept.append(orjson.dumps({**call, **moment, "properties": dict(record.attributes)}))
                if len(self._kept) == FULL:
                    self.force_flush()
            return LogRecordExportResult.SUCCESS

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            body, self._kept = b'{"batch":[%b]}' % b",".join(self._kept), []
            session.post(f"{url}/v1/batch", igzip.compress(body, 1), headers=headers)
            return True

        def shutdown(self) -> None:
            return

    exporter = Bare()
    return batched(exporter, count, exporter.force_flush)


def usagewire(count: int, url: str) -> list[int]:
    """Ours, as `opentelemetry-instrument` sets it up: queue on disk, every batch synced."""
    from usagewire import pipeline
    from usagewire.sdk import SegmentLogExporter

    exporter = SegmentLogExporter(endpoint=url, write_key=KEY, delivery="thread")
    return batched(exporter, count, lambda: pipeline.flush(TIMEOUT_MILLIS))


def usagewire_lean(count: int, url: str) -> list[int]:
    """Ours, with the lean processor."""
    from usagewire import pipeline
    from usagewire.sdk import LeanLogRecordProcessor, SegmentLogExporter

    exporter = SegmentLogExporter(endpoint=url, write_key=KEY, delivery="thread")
    processor = LeanLogRecordProcessor(exporter, max_queue_size=count + 512)
    return through(processor, count, lambda: pipeline.flush(TIMEOUT_MILLIS))


def tracked(module: str) -> Contender:
    """Segment's own client, or RudderStack's, which is a copy of it; gzip on."""

    def run(count: int, url: str) -> list[int]:
        client = import_module(module).Client(KEY, host=url, max_queue_size=count + 1, gzip=True)
        taken = timed(count, lambda number: client.track(anonymous_id=WHO, event=EVENT, properties=properties(number)))
        client.flush()
        client.join()
        return taken

    return run


def posthog(count: int, url: str) -> list[int]:
    """PostHog's client, gzip on."""
    from posthog import Posthog

    client = Posthog(f"phc_{KEY}", host=url, max_queue_size=count + 1, gzip=True, disable_geoip=True)
    taken = timed(count, lambda number: client.capture(EVENT, distinct_id=WHO, properties=properties(number)))
    client.flush()
    client.shutdown()
    return taken


def otlp_http(count: int, url: str) -> list[int]:
    """OpenTelemetry's own exporter over HTTP, gzip on."""
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    return batched(OTLPLogExporter(endpoint=f"{url}/v1/logs", compression=Compression.Gzip), count)


def otlp_grpc(count: int, url: str) -> list[int]:
    """OpenTelemetry's own exporter over gRPC, gzip on."""
    from grpc import Compression
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

    return batched(OTLPLogExporter(endpoint=url, compression=Compression.Gzip), count)


CONTENDERS: dict[str, Contender] = {
    "no-op exporter": no_op,
    "JSON and POST": bare,
    "usagewire": usagewire,
    "usagewire, lean": usagewire_lean,
    "segment": tracked("segment.analytics.client"),
    "posthog": posthog,
    "rudderstack": tracked("rudderstack.analytics.client"),
    "OTLP/HTTP": otlp_http,
    "OTLP/gRPC": otlp_grpc,
}
FLOOR, PEER = "no-op exporter", "segment"
OVER_GRPC = frozenset({"OTLP/gRPC"})
PACKAGES = {
    "usagewire": "usagewire",
    "segment": "segment-analytics-python",
    "posthog": "posthog",
    "rudderstack": "rudder-sdk-python",
    "OTLP/HTTP": "opentelemetry-exporter-otlp-proto-http",
    "OTLP/gRPC": "opentelemetry-exporter-otlp-proto-grpc",
}
"""Distributions, for the versions in the heading."""
