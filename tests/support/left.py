"""State folders as programs leave them: made by the real writer, for tests that need no program."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from usagewire import formats
from usagewire.config import resolve
from usagewire.pipeline.destination import Destination, recall
from usagewire.signals import Event, Point
from usagewire.state import identity, lines, origin
from usagewire.state.consumer import Consumer
from usagewire.state.paths import Place, prepare
from usagewire.state.segments import Writer

NOWHERE = "http://127.0.0.1:9"
"""An endpoint where nobody listens."""


@dataclass(frozen=True)
class Left:
    """A destination's folder, and the destination as the program remembered it."""

    root: Path
    destination: Destination

    @property
    def place(self) -> Place:
        """Its folders."""
        return self.destination.place

    def writer(self) -> Writer:
        """Another process of the program."""
        stance = self.destination.consent({}).stance
        return Writer(self.place, stance, queue_bytes=self.destination.settings["queue_bytes"])

    def put(self, *events: Event, writer: Writer | None = None) -> Writer:
        """Keep events; without a ``writer``, as a process that then ends."""
        encode = self.destination.format.encode
        assert encode is not None
        items = [encode(event, self.destination.origin, self.destination.settings) for event in events]
        used = writer or self.writer()
        assert "kept" == used.put("events", [lines.item(item) for item in items if item is not None])
        if writer is None:
            used.close()
        return used

    def keep(self, *signals: Event | Point, writer: Writer | None = None) -> None:
        """Keep signals as the program does, each in its channel's folder; without a ``writer``, as a process that then
        ends."""
        used, encode = writer or self.writer(), self.destination.format.encode
        for signal in signals:
            channel = self.destination.channel_of[signal.name]
            if isinstance(signal, Point):
                assert "kept" == used.put(f"{channel}.signals", [lines.point(signal)])
                continue
            item = encode(signal, self.destination.origin, self.destination.settings) if encode else None
            folder, line = (channel, lines.item(item)) if item else (f"{channel}.signals", lines.event(signal))
            assert "kept" == used.put(folder, [line])
        if writer is None:
            used.close()

    def consume(self, ticks: int = 1, *, report: bool = False) -> None:
        """What a courier does with the queue but for sending; ``report``: the period ends now."""
        current = recall(self.place, {})
        consumer = Consumer(self.place, current.consent({}).stance, current.limits())
        assert consumer.acquire()
        for _ in range(ticks):
            consumer.refresh()
        compile = current.format.compile
        if report and compile is not None:
            settings = current.settings
            made = consumer.compile_due(
                current.origin, lambda period, origin, now: compile(period, origin, settings, now), force=True
            )
            assert made
        consumer.release()

    def measure(self, *points: Point) -> None:
        """Keep data points of a process that then ends."""
        writer = self.writer()
        assert "kept" == writer.put("metrics.signals", [lines.point(point) for point in points])
        writer.close()

    def lose(self, **losses: int) -> None:
        """Count losses of a process that then ends."""
        writer = self.writer()
        for reason, count in losses.items():
            writer.lose(reason, count)
        writer.close()


def leave(
    root: Path,
    events: int = 0,
    *,
    service: str = "shop",
    name: str = "segment",
    settings: Mapping[str, str] | None = None,
) -> Left:
    """The folder of a program that ended with ``events`` events waiting; ``settings`` were its keyword settings.
    ``name`` is that of the destination, which begins with its format's."""
    fmt = formats.load(name.partition("-")[0])
    place = prepare(Place(root / service, name), {})
    needed = {"write_key": "s3cret-key"} if fmt.name == "segment" else {}
    resolved = resolve(fmt, {"endpoint": NOWHERE, **needed, **(settings or {})}, {})
    assert () == resolved.faults
    facts = origin.gather(service, {}, identity.load(place.service_dir), "session", time.time_ns(), environ={})
    left = Left(root, Destination(place, fmt, resolved, facts))
    left.destination.remember()
    if events:
        left.put(*make_events(events))
    return left


def make_events(count: int) -> Sequence[Event]:
    """``count`` events with ids of their own."""
    now = time.time_ns()
    return [Event(f"event_{number}", now, f"{now + number:032x}", {"number": number}) for number in range(count)]
