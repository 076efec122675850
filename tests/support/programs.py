"""Real programs in real processes: what users run, as they run it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

INSTRUMENT = str(Path(sys.executable).with_name("opentelemetry-instrument"))

needs_yaml = pytest.mark.skipif(
    find_spec("opentelemetry.configuration") is None,
    reason="OTEL_CONFIG_FILE is read from OpenTelemetry 1.44 on, with opentelemetry-configuration installed",
)

EMIT = """
    from opentelemetry._logs import get_logger
    logger = get_logger("shop")
"""
"""What a program needs to emit events with the plain OpenTelemetry API."""


@dataclass
class Program:
    """A script in a folder, with the environment it is run in."""

    folder: Path
    endpoint: str
    service: str = "shop"
    settings: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def state(self) -> Path:
        """The state folder, which exists only when something was written."""
        return self.folder / "state"

    def environ(self, **more: str | None) -> dict[str, str]:
        """The environment; ``None`` takes a variable away."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "USAGEWIRE_"))}
        said: dict[str, str | None] = {
            **kept,
            "OTEL_SERVICE_NAME": self.service,
            "OTEL_LOGS_EXPORTER": "segment",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_EXPORTER_SEGMENT_ENDPOINT": self.endpoint,
            "OTEL_EXPORTER_SEGMENT_WRITE_KEY": "write-key",
            "OTEL_BLRP_SCHEDULE_DELAY": "100",
            "USAGEWIRE_STATE_DIR": str(self.state),
            **self.settings,
            **more,
        }
        return {name: value for name, value in said.items() if value is not None}

    def start(
        self, source: str, *argv: str, instrument: bool = True, environ: Mapping[str, str] | None = None, **more: Any
    ) -> subprocess.Popen[str]:
        """Run ``source``, under ``opentelemetry-instrument`` unless told otherwise."""
        script = self.folder / "program.py"
        script.write_text(textwrap.dedent(source))
        command = [*([INSTRUMENT] if instrument else []), sys.executable, str(script), *argv]
        return subprocess.Popen(
            command,
            env=dict(environ or self.environ()),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )

    def run(
        self, source: str, *argv: str, instrument: bool = True, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``source`` to its end."""
        with self.start(source, *argv, instrument=instrument, environ=environ) as process:
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def usagewire(self, *argv: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command line, from another shell."""
        return subprocess.run(
            [sys.executable, "-m", "usagewire", *argv],
            env=dict(environ or shell(self.state)),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def copies(self, count: int) -> list[bytes]:
        """What left, once the outcome of ``count`` requests is known: a process that outlives the program sends."""
        deadline = time.monotonic() + 30
        while True:
            found = [content for path, content in contents(self.state).items() if path.parent.name == "sent"]
            if sum(b'"verdict"' in content for content in found) >= count:
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.02)


def contents(folder: Path) -> dict[Path, bytes]:
    """What its files hold, at one instant: read anew where another process renames or unlinks one meanwhile."""
    while True:
        with suppress(FileNotFoundError):
            return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def shell(state: Path) -> dict[str, str]:
    """The environment of another shell: only the state folder is known."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "USAGEWIRE_"))}
    return {**kept, "USAGEWIRE_STATE_DIR": str(state)}


def names(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """The events' names, in order."""
    return [event["event"] for event in events]
