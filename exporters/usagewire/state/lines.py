"""The lines of segments: ``crc32 SP json LF``, the crc in eight hex digits, over the JSON alone.

| payload | holds |
|---|---|
| `{"item":…}` | one encoded item, as the format made it |
| `{"event":…}` | an event for a report |
| `{"point":…}` | a data point for a report |
| `{"lost":{reason:n}}` | losses to be added to the totals |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from math import isfinite
from typing import Any, NamedTuple, Union

import orjson

from usagewire.errors import Unsendable
from usagewire.formats import plain
from usagewire.signals import Event, Histogram, Point

try:
    # a sixth of zlib's time
    from isal.isal_zlib import crc32  # pyright: ignore[reportUnknownVariableType]
except ImportError:
    from zlib import crc32

MOST = 1 << 20
"""Longest JSON of one event or point."""
_ITEM = b'{"item":'
LOST = b'{"lost":'
"""How the payload of losses begins."""
_HEAD = (b"0123456789abcdef",) * 8 + (b" ", b"{")
_BEGIN = re.compile(rb"[0-9a-f]{8} \{")

Losses = dict[str, int]
Signal = Union[Event, Point, Losses]


# -- payloads -------------------------------------------------------------------------------------------------------


def item(data: bytes) -> bytes:
    """The payload for one encoded item; ``data`` is one line of JSON."""
    return b'{"item":%b}' % data


def event(event: Event) -> bytes:
    """The payload for an event. Raises `Unsendable` past `MOST` bytes."""
    return _dumps({"event": event_to_json(event)}, event.name)


def point(point: Point) -> bytes:
    """The payload for a data point. Raises `Unsendable` past `MOST` bytes, and for a value that is no finite number."""
    value = point.value if point.histogram is None else point.histogram.sum
    if value is None or not isfinite(value):
        raise Unsendable("rejected", f"{point.name}: {value} is not a finite number")
    return _dumps({"point": point_to_json(point)}, point.name)


def lost(losses: Mapping[str, int]) -> bytes:
    """The payload for losses by reason."""
    return orjson.dumps({"lost": dict(losses)})


def losses(payload: bytes) -> Losses:
    """The losses in a payload; none when it holds something else."""
    with suppress(ValueError):
        found = signal(payload) if payload.startswith(LOST) else None
        return found if isinstance(found, dict) else {}
    return {}


def is_item(payload: bytes) -> bool:
    """Whether `item` made it."""
    return payload.startswith(_ITEM)


def item_data(payload: bytes) -> bytes:
    """The encoded item in a payload, byte for byte. Raises `ValueError` when it holds something else."""
    if not is_item(payload):
        raise ValueError("not an item")
    return payload[len(_ITEM) : -1]


def signal(payload: bytes) -> Signal:
    """The event, point or losses in a payload. Raises `ValueError` when it holds something else."""
    content = orjson.loads(payload)
    try:
        if "event" in content:
            return event_from_json(content["event"])
        if "point" in content:
            return point_from_json(content["point"])
        return {str(reason): int(count) for reason, count in content["lost"].items()}
    except (KeyError, TypeError, AttributeError) as why:
        raise ValueError(f"not a signal: {why!r}") from why


# -- framing --------------------------------------------------------------------------------------------------------


def frame(payload: bytes) -> bytes:
    """A payload as a whole line."""
    return b"%08x %b\n" % (crc32(payload), payload)


def frames(payloads: Sequence[bytes]) -> bytes:
    """`frame` of many at once, in one piece."""
    return b"".join([b"%08x %b\n" % (crc32(payload), payload) for payload in payloads])


def items(lines: Sequence[bytes]) -> list[bytes]:
    """`item_data` of many lines at once, without their LF. Raises `ValueError` where one is damaged or holds something
    else."""
    crcs = tuple([crc32(line[9:]) for line in lines])
    head = b"%08x " + _ITEM
    size = 9 + len(_ITEM)
    if head * len(lines) % crcs != b"".join([line[:size] for line in lines]):
        raise ValueError("not all are items")
    return [line[size:-1] for line in lines]


def parse(line: bytes) -> bytes:
    """The payload of one line without its LF. Raises `ValueError` when it is damaged."""
    payload = line[9:]
    if line[8:9] != b" " or line[:8] != b"%08x" % crc32(payload):
        raise ValueError("damaged line")
    return payload


class Line(NamedTuple):
    """One stretch of a segment file, ``start`` to ``end`` in bytes."""

    start: int
    end: int
    payload: bytes | None
    """``None``: damaged."""
    records: int = 1
    """How many records a damaged stretch seems to have held."""


def scan(content: bytes, start: int = 0, *, torn: bool = False) -> list[Line]:
    """Every line of ``content`` from byte ``start`` on. Damage never hides an undamaged line next to it.

    ``torn``: the last line may have no LF, for its writer died; it was never acknowledged and is passed over.
    """
    found: list[Line] = []
    raws = content[start:].split(b"\n")
    last = len(raws) - 1  # what stands behind the last LF, mostly nothing
    for number, raw in enumerate(raws):
        whole = number < last
        end = start + len(raw) + whole
        if raw or whole:
            try:
                found.append(Line(start, end, parse(raw)))
            except ValueError:
                if whole or not torn:
                    _salvage(content, start, end, found)
        start = end
    return found


def _salvage(content: bytes, start: int, end: int, found: list[Line]) -> None:
    """Add a damaged line. It may be a record whose LF is gone and the undamaged one after it; and the pieces of one
    record that got an LF too many are one loss."""
    good: list[Line] = []
    for begin in _BEGIN.finditer(content, start + 1, end):
        with suppress(ValueError):
            good.append(Line(begin.start(), end, parse(content[begin.start() : end].rstrip(b"\n"))))
            end = begin.start()
            break
    if found and found[-1].payload is None:
        start = found.pop().start
    found.append(Line(start, end, None, max(1, sum(map(_heads, content[start:end].split(b"\n"))))))
    found += good


def _heads(piece: bytes) -> int:
    """How many records begin in a damaged piece of a file; the damaged byte may be one of the first record's head."""
    fits = sum(byte in allowed for byte, allowed in zip(piece, _HEAD, strict=False))
    return len(_BEGIN.findall(piece)) + (fits == len(_HEAD) - 1)


# -- JSON of events and points --------------------------------------------------------------------------------------


def event_to_json(event: Event) -> dict[str, Any]:
    """As JSON values; only what is set."""
    content: dict[str, Any] = {"name": event.name, "time": event.time, "id": event.id}
    if event.attributes:
        content["attributes"] = dict(event.attributes)
    if event.body is not None:
        content["body"] = event.body
    if event.scope:
        content["scope"] = event.scope
    return content


def event_from_json(content: Mapping[str, Any]) -> Event:
    """From `event_to_json`. Raises `ValueError`."""
    try:
        return Event(
            name=content["name"],
            time=int(content["time"]),
            id=content["id"],
            attributes=content.get("attributes", {}),
            body=content.get("body"),
            scope=content.get("scope", ""),
        )
    except (KeyError, TypeError) as why:
        raise ValueError(f"not an event: {why!r}") from why


def point_to_json(point: Point) -> dict[str, Any]:
    """As JSON values; only what is set."""
    content: dict[str, Any] = {"name": point.name, "kind": point.kind, "time": point.time}
    if point.attributes:
        content["attributes"] = dict(point.attributes)
    if point.unit:
        content["unit"] = point.unit
    if point.histogram is not None:
        parts = asdict(point.histogram).items()
        content["histogram"] = {name: _number(value) for name, value in parts if value is not None}
    else:
        content["value"] = _number(point.value)
    return content


def point_from_json(content: Mapping[str, Any]) -> Point:
    """From `point_to_json`. Raises `ValueError`, also for a point that has no number."""
    try:
        histogram: Histogram | None = None
        if content["kind"] == "histogram":
            parts: dict[str, Any] = dict(content["histogram"])
            parts["bounds"] = tuple(parts["bounds"])
            parts["buckets"] = tuple(int(count) for count in parts["buckets"])
            parts["count"], parts["sum"] = int(parts["count"]), parts["sum"] + 0
            histogram = Histogram(**parts)
        elif content["kind"] not in ("sum", "gauge") or not isinstance(content.get("value"), (int, float)):
            raise TypeError("no kind or value")
        get = content.get
        attributes, unit = get("attributes", {}), get("unit", "")
        return Point(content["name"], content["kind"], int(content["time"]), attributes, get("value"), histogram, unit)
    except (KeyError, TypeError, AttributeError) as why:
        raise ValueError(f"not a point: {why!r}") from why


def _number(value: Any) -> Any:
    """Integers past 64 bits have no JSON form here; the nearest float keeps their size."""
    return float(value) if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63 else value


def _dumps(content: dict[str, Any], name: str) -> bytes:
    try:
        try:
            payload = orjson.dumps(content)
        except TypeError:  # a value that JSON lacks: rare, and ten times slower
            payload = plain.dumps(content, MOST)
    except plain.TooLarge:
        payload = b""
    if not payload or len(payload) > MOST:
        raise Unsendable("oversize", f"{name}: longer than {MOST} bytes of JSON")
    return payload
