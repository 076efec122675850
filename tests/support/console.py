"""Programs under opentelemetry-instrument, with the console exporters that come with OpenTelemetry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

INSTRUMENT = Path(sys.executable).with_name("opentelemetry-instrument")


def clean() -> dict[str, str]:
    """This environment without any telemetry settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "USAGEWIRE_"))}


def instrumented(*command: str | Path, **variables: str) -> tuple[int, list[dict[str, Any]], str]:
    """Run the Python program ``command``, logs on the console: exit status, what was exported, stderr."""
    exporters = {"OTEL_LOGS_EXPORTER": "console", "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}
    done = subprocess.run(
        [INSTRUMENT, sys.executable, *command],
        env={**clean(), **exporters, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, decode(done.stdout), done.stderr


def decode(output: str) -> list[dict[str, Any]]:
    """The console exporters' JSON objects, one after the other, between whatever else was printed."""
    decoder, found, at = json.JSONDecoder(), list[dict[str, Any]](), output.find("{")
    while at >= 0:
        record, end = decoder.raw_decode(output, at)
        found.append(record)
        at = output.find("{", end)
    return found


def names(records: list[dict[str, Any]]) -> list[str]:
    """Names of the events among them, in order."""
    return [record["event_name"] for record in records if "event_name" in record]
