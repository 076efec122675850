"""A real intake on a real folder, without a process of its own: for the many cases that need no subprocess."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from usagewire import formats
from usagewire.pipeline.intake import Intake
from usagewire.signals import Event, Stance
from usagewire.state.paths import Place
from usagewire.state.view import peek, totals

RESOURCE = {"service.name": "shop"}


@contextmanager
def opened(state: Path, endpoint: str, **keywords: Any) -> Iterator[Intake]:
    """An intake of the segment format that keeps its state below ``state``."""
    said = {"endpoint": endpoint, "write_key": "write-key", "delivery": "thread", **keywords}
    intake = Intake(formats.load("segment"), said, {"USAGEWIRE_STATE_DIR": str(state)}, ["program"])
    intake.configure({})
    try:
        yield intake
    finally:
        intake.close()


def events(count: int, start: int = 0, name: str = "work") -> list[Event]:
    """Numbered events, as the exporter would hand them over."""
    return [
        Event(name, time.time_ns(), secrets.token_hex(16), {"number": number}, scope="shop")
        for number in range(start, start + count)
    ]


def place(state: Path, destination: str = "segment") -> Place:
    """Where that intake, or another of the same service, keeps its things."""
    return Place(state / "shop", destination)


def account(state: Path, destination: str = "segment") -> dict[str, int]:
    """Delivered, waiting and lost events, by the state's own books."""
    at = place(state, destination)
    found = totals(at)
    return {"delivered": found.delivered, "waiting": len(peek(at, Stance(True, "0"))), **found.lost}
