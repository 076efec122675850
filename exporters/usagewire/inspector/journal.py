"""What arrived, as the page remembers it: the newest requests, as many as fit, and figures of all of them."""

from __future__ import annotations

import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast

from usagewire.inspector.figures import Figures
from usagewire.inspector.received import Received, mapping
from usagewire.inspector.routes import format_of

MOST_BYTES = 256 << 20
"""Of what is remembered, bodies and an allowance for the rest of each request together."""
ALLOWANCE = 2_048
NAMES = 8
"""Different events of one request that are named."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request, without its parsed events: they are many times its size, and `usagewire.inspector.routes.check`
    makes them anew."""

    number: int
    received: Received
    format: str
    """Empty where no format uses the path."""
    events: Counter[str]
    """Name → how many."""
    channels: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many events it holds."""
        return sum(self.events.values())

    @property
    def cost(self) -> int:
        """Bytes it takes, about."""
        received = self.received
        return ALLOWANCE + len(received.raw) + (0 if received.raw is received.body else len(received.body))


class Journal:
    """Fill it as the ``watch`` of receivers; any thread may."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._arrivals: deque[Arrival] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self.total = 0
        """Requests so far, those included that are no longer remembered."""
        self.events = 0
        """Events so far that were answered as taken."""
        self.complaints = 0
        self.figures = Figures()

    def take(self, received: Received) -> None:
        """Remember a request."""
        format = format_of(received)
        names = Counter(sys.intern(name_of(event)) for event in received.events)
        with self._lock:
            self.total += 1
            arrival = Arrival(self.total, replace(received, events=()), format, names, channels(received))
            self._arrivals.append(arrival)
            self._bytes += arrival.cost
            self.complaints += len(received.complaints)
            if received.accepted:
                self.events += arrival.count
                self.figures.add(received, format, names)
            while self._bytes > self._most and len(self._arrivals) > 1:
                self._bytes -= self._arrivals.popleft().cost

    def clear(self) -> None:
        """Forget everything; numbers begin anew."""
        with self._lock:
            self._arrivals.clear()
            self._bytes = self.total = self.events = self.complaints = 0
            self.figures = Figures()

    def arrivals(self) -> Sequence[Arrival]:
        """What is remembered, newest first."""
        with self._lock:
            return list(reversed(self._arrivals))

    def find(self, number: int) -> Arrival | None:
        """The arrival with this number, if it is still remembered."""
        with self._lock:
            first = self._arrivals[0].number if self._arrivals else 0
            return self._arrivals[number - first] if 0 <= number - first < len(self._arrivals) else None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which arrivals are wanted; what is empty lets everything pass."""

    format: str = ""
    event: str = ""
    channel: str = ""
    wrong: bool = False
    """Only those with complaints."""

    def select(self, arrivals: Sequence[Arrival]) -> Iterator[Arrival]:
        """Those that are wanted."""
        wanted = self.event.casefold()
        return (
            one
            for one in arrivals
            if (not self.format or one.format == self.format)
            and (not self.wrong or one.received.complaints)
            and (not self.channel or self.channel in one.channels)
            and (not wanted or any(wanted in name.casefold() for name in one.events))
        )


def page(found: Iterator[Arrival], number: int, size: int) -> tuple[list[Arrival], bool]:
    """One page of ``found``, counted from 1, and whether more follow."""
    first = (number - 1) * size
    shown = list(islice(found, first, first + size + 1))
    return shown[:size], len(shown) > size


def name_of(event: Any) -> str:
    """What an event is called: by itself, or by what kind of message it is."""
    said = mapping(event) or {}
    if isinstance(said.get("event"), str):
        return str(said["event"])[:200]
    if "report_version" in said or "report_id" in said:
        return "report"
    if "device" in said:
        return "device sample"
    return "command line" if mapping(said.get("cli")) is not None else "message"


def channels(received: Received) -> tuple[str, ...]:
    """The channels that a request is about, where its format has them."""
    if received.path.partition("?")[0] == "/device":
        return ("device",)
    said = mapping(received.events[0]) if received.events else None
    listed = (said or {}).get("channels")
    found = cast("list[Any]", listed) if isinstance(listed, (list, tuple)) else []
    return tuple(str(name)[:40] for name in found[:8])
