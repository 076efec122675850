"""A courier on a real queue in a folder, with a function for a network and a clock that the test turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from tests.support.state import ORIGIN, SECOND, Desk
from usagewire.config import Resolved
from usagewire.delivery.courier import Courier
from usagewire.formats import Format
from usagewire.signals import (
    Delivered,
    Item,
    Origin,
    Period,
    Point,
    Rejected,
    Request,
    Response,
    Retry,
    Settings,
    Verdict,
)
from usagewire.state import lines
from usagewire.state.consumer import Consumer
from usagewire.state.totals import Totals
from usagewire.state.view import peek, totals

Answer = Callable[[list[Any]], Response]
"""What the network says to the items of a request."""

OK, DOWN = Response(200), Response(None, error="nobody there")
LIMIT = 5
"""Items that one request holds."""


def pack(items: Sequence[bytes], settings: Settings, now: int, attempt: int) -> tuple[Request, int]:
    """At most `LIMIT` items, as one JSON array; chokes on the item ``"choke"``."""
    taken = items[:LIMIT]
    assert all(item != b'"choke"' for item in taken)
    return Request("https://endpoint", b"[" + b",".join(taken) + b"]"), len(taken)


def pack_known(items: Sequence[bytes], settings: Settings, now: int, attempt: int) -> tuple[Request, int]:
    """The same for a receiver that knows repeats."""
    request, taken = pack(items, settings, now, attempt)
    return request._replace(idempotent=True), taken


def judge(request: Request, response: Response, uncertain: bool) -> Verdict:
    """2xx took all, or as many as the body says; 400 isolates, 401 does not; 299 makes no sense at all."""
    if response.status == 299:
        raise ValueError("no such answer")
    if response.status is not None and response.status < 300:
        return Delivered(int(response.body) if response.body else None)
    if response.status in (400, 401):
        return Rejected(f"HTTP {response.status}", isolates=response.status == 400)
    return Retry(response.error or f"HTTP {response.status}", float(response.headers.get("retry-after", 0)) or None)


def compiled(period: Period, origin: Origin, settings: Settings, now: int) -> tuple[Item, ...]:
    """One item that says which period it is, and the sum of all."""
    return (Item(orjson.dumps({"period": period.number, "sum": sum(point.value or 0 for point in period.points)})),)


FORMAT = Format(
    name="plain",
    title="Arrays of whatever it is",
    settings=(),
    pack=pack,
    judge=judge,
    encode=lambda event, origin, settings: orjson.dumps(event.attributes["value"]),
    compile=compiled,
    interval=3_600_000,
)


class Network:
    """A transport that answers at once. ``answers`` are given in turn, then every request is taken."""

    def __init__(self, clock: Callable[[], int] = lambda: 0, otherwise: Answer | None = None) -> None:
        self._clock = clock
        self.answers: list[Response | Answer] = []
        self.otherwise = otherwise or (lambda items: OK)
        self.requests: list[list[Any]] = []
        """Items of every request."""
        self.times: list[int] = []
        self.arrived: list[Any] = []
        """Items of the requests that were answered with a 2xx."""

    def send(self, request: Request) -> Response:
        items = orjson.loads(request.body)
        self.requests.append(items)
        self.times.append(self._clock())
        given = self.answers.pop(0) if self.answers else self.otherwise
        answer = given if isinstance(given, Response) else given(items)
        if answer.status is not None and answer.status < 299:
            self.arrived += items[: int(answer.body) if answer.body else None]
        return answer

    def pack(self, request: Request) -> Request:
        return request

    wire = pack

    def close(self) -> None:
        """Nothing is open."""


class Office(Desk):
    """A place, its clock and consent, one network; couriers and writers come and go."""

    def __init__(self, base: Path, settings: Mapping[str, Any] | None = None, **limits: Any) -> None:
        """Beside the limits, ``fmt`` may be another format."""
        self.format: Format = limits.pop("fmt", FORMAT)
        super().__init__(base, **{"event_lane": self.format.event_lane, **limits})
        self.settings = Resolved({"delivery": "auto", **(settings or {})})
        self.network = Network(self.clock)
        self.asked = ""

    def courier(self, **options: Any) -> Courier:
        """One that is not holding anything yet."""
        given: dict[str, Any] = {"clock": self.clock, **options}
        return Courier(
            given.pop("fmt", self.format),
            self.settings,
            lambda: ORIGIN,
            given.pop("queue", None) or Consumer(self.place, lambda: self.stance, self.limits, self.clock),
            lambda: self.stance,
            lambda: self.network,
            **given,
        )

    def put(self, *values: Any) -> None:
        """Items of a program that wrote them and ended."""
        writer = self.writer()
        assert "kept" == writer.put("events", [lines.item(orjson.dumps(value)) for value in values])
        writer.close()

    def point(self, value: float) -> None:
        """A data point of a program that wrote it and ended."""
        writer = self.writer()
        assert "kept" == writer.put("metrics.signals", [lines.point(Point("usage.a", "sum", self.now, value=value))])
        writer.close()

    def ask(self) -> str:
        """What somebody asked for since the last look."""
        asked, self.asked = self.asked, ""
        return asked

    def later(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)

    def waiting(self) -> list[Any]:
        """Items on disk that nobody has settled, oldest first."""
        return [orjson.loads(entry.data) for entry in peek(self.place, self.stance)]

    def totals(self) -> Totals:
        return totals(self.place)
