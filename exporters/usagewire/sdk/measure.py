"""Our exporters' own metrics, under OpenTelemetry's names, when the SDK's own are switched on."""

from __future__ import annotations

import os
import time
from itertools import count

from opentelemetry.metrics import get_meter

_numbers = count()


class Measure:
    """What one exporter did: records taken over, and how long that took. Kept on disk is exported, as for the SDK: how
    delivery goes is in ``usagewire status``.

    Off unless ``OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED`` is true, as for the SDK's own. Document: OpenTelemetry
    semantic conventions, SDK metrics (``otel.sdk.exporter.*``).
    """

    def __init__(self, component: str, signal: str, unit: str) -> None:
        self._on = os.environ.get("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "").strip().lower() == "true"
        if not self._on:
            return
        self._attributes = {"otel.component.type": component, "otel.component.name": f"{component}/{next(_numbers)}"}
        meter = get_meter("opentelemetry-sdk")  # the scope that every exporter knows to leave out
        self._inflight = meter.create_up_down_counter(f"otel.sdk.exporter.{signal}.inflight", unit)
        self._exported = meter.create_counter(f"otel.sdk.exporter.{signal}.exported", unit)
        self._duration = meter.create_histogram("otel.sdk.exporter.operation.duration", "s")

    def begin(self, number: int) -> float:
        """An export of ``number`` records begins; the result is for `end`."""
        if self._on and number:
            self._inflight.add(number, self._attributes)
        return time.perf_counter()

    def end(self, number: int, began: float, error: str) -> None:
        """It is over; ``error`` says why it failed, if it did."""
        if self._on and number:
            outcome = {**self._attributes, "error.type": error} if error else self._attributes
            self._inflight.add(-number, self._attributes)
            self._exported.add(number, outcome)
            self._duration.record(time.perf_counter() - began, outcome)
