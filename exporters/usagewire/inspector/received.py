"""A request as the receiver sees it, what its check finds, and what every check needs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast


@dataclass(frozen=True)
class Answer:
    """What the receiver answers; over gRPC, where ``grpc-status`` is among the headers, with that status."""

    status: int = 200
    body: bytes = b'{"success":true}'
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    delay: float = 0.0
    """Seconds to wait first."""
    raw: Callable[[BinaryIO, threading.Event], None] | None = None
    """Writes the whole answer itself, misbehaving as it likes, until the event says stop. ``status`` still tells
    whether the events count as accepted."""


@dataclass(frozen=True)
class Received:
    """One request as it came in."""

    time: int
    """Nanoseconds since 1970."""
    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    raw: bytes
    """The body as it was sent."""
    body: bytes
    """The body decompressed."""
    connection: int
    """Which connection it came over, counted from 1."""
    events: tuple[Any, ...] = ()
    """What it holds: events or messages as parsed JSON."""
    complaints: tuple[str, ...] = ()
    """What is wrong with it, by the format's document."""
    answer: Answer = Answer()

    @property
    def accepted(self) -> bool:
        """Whether it was answered as taken."""
        return 200 <= self.answer.status < 300 and self.answer.headers.get("grpc-status", "0") == "0"


@dataclass(frozen=True)
class Checked:
    """What a route finds."""

    events: tuple[Any, ...]
    complaints: tuple[str, ...]
    answer: Answer = Answer()


Check = Callable[[Received], Checked]
"""What a route does with a request."""


def mapping(value: Any) -> dict[str, Any] | None:
    """``value`` if it is a JSON object."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def media_type(received: Received) -> str:
    """The Content-Type without its parameters."""
    return received.headers.get("content-type", "").partition(";")[0].strip().lower()


def json_type(received: Received) -> Sequence[str]:
    """A complaint where the Content-Type is not JSON's."""
    kind = received.headers.get("content-type", "")
    return [] if media_type(received) == "application/json" else [f"Content-Type: {kind!r}, not 'application/json'"]


def json_object(body: bytes) -> tuple[dict[str, Any] | None, Sequence[str]]:
    """The body as a JSON object, or what is wrong with it."""
    try:
        whole = mapping(json.loads(body, parse_constant=_refuse))
    except (ValueError, RecursionError) as fault:
        return None, [f"body: not JSON: {fault}"]
    return whole, [] if whole is not None else ["body: not a JSON object"]


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
