"""Telemetry about telemetry, and how there is none."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from opentelemetry.context import attach, detach, set_value


@contextmanager
def quiet() -> Generator[None, None, None]:
    """OpenTelemetry's instrumentations look away, or every delivery would make new telemetry."""
    token = attach(set_value("suppress_instrumentation", True))
    try:
        yield
    finally:
        detach(token)
