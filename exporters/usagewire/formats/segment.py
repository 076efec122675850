"""Segment: track calls of the HTTP Tracking API, as ReadySet sends them.

Documents: ReadySet's "Telemetry" reference (payload schema, event names, switches) and Segment's public
specification of the API (batches, limits, retries). The reader's page is ``docs/formats/segment.md``.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import lru_cache
from hashlib import sha256
from typing import Any

import orjson

from usagewire.errors import Unsendable
from usagewire.formats import Format
from usagewire.formats.answers import retry_after
from usagewire.formats.plain import TooLarge, dumps, text
from usagewire.formats.rendering import component, flat, renamed
from usagewire.signals import (
    Delivered,
    Event,
    Histogram,
    Item,
    Origin,
    Period,
    Point,
    Rejected,
    Request,
    Response,
    Retry,
    Setting,
    Settings,
    Switch,
    Verdict,
)

EVENT_BYTES = 32 << 10
"""Longest event. One that comes so close to it that ``userId`` has no room travels without."""
BATCH_BYTES, BATCH_EVENTS = 475_000, 2_500
"""Segment's limit is 500 KB of uncompressed JSON; we stay well below it."""

SETTINGS = (
    Setting(
        "write_key",
        "Write key of the Segment source that receives the events.",
        secret=True,
        required=True,
        variables=("RS_SEGMENT_WRITE_KEY",),
    ),
    Setting(
        "endpoint",
        "Base URL that receives the data; in the EU `https://events.eu1.segmentapis.com`.",
        kind="url",
        choices=("https", "http"),
        default="https://api.segment.io",
    ),
    Setting(
        "user_id",
        "Sent as `userId` with every event; unset: events carry the anonymous session id only.",
        secret=True,
        variables=("RS_API_KEY",),
    ),
)

# -- events -------------------------------------------------------------------------------------------------------


def render(event: Event) -> Event:
    """``usage.component.start`` of ``server`` → ``server_start``, its version → ``server_version``; a mapping body
    joins the attributes, which win. Everything else keeps its name."""
    event = flat(event)
    found = component(event)
    if found is None:
        return event
    name, happening = found
    return renamed(event, f"{name}_{happening}", {"usage.component.version": f"{name}_version"})


def encode(event: Event, origin: Origin, settings: Settings) -> bytes:
    """One rendered event as one track call. Raises `Unsendable` when it is over 32 KB."""
    if settings["dialect"] == "upstream":
        return _as_readyset_sends(event, origin)
    return _track(event.name, event.attributes, event.time, event.id, origin)


def _track(name: str, attributes: Mapping[str, Any], time: int, message_id: str, origin: Origin) -> bytes:
    template = _template(name, origin.session, origin.library_version)
    at = _millisecond(time // 1_000_000)
    return _fitting(name, template % (_properties(name, attributes), at, message_id.encode()))


@lru_cache(maxsize=256)  # half of an event is the same every time, and names recur
def _template(name: str, session: str, version: str) -> bytes:
    about = {"type": "track", "event": text(name), "anonymousId": session}
    context = {"library": {"name": "usagewire", "version": version}}
    head, tail = orjson.dumps(about)[:-1].replace(b"%", b"%%"), orjson.dumps(context).replace(b"%", b"%%")
    return head + b',"properties":%b,"timestamp":"%b","messageId":"%b","context":' + tail + b"}"


_REPORTER_FILLS = ("commit_id", "deployment_env", "deployment_id")
_UPSTREAM_START = b'{"anonymousId":'


def _as_readyset_sends(event: Event, origin: Origin) -> bytes:
    properties = {name: value for name, value in event.attributes.items() if name not in _REPORTER_FILLS}
    properties.update((name, event.attributes.get(name, "")) for name in _REPORTER_FILLS)
    return _fitting(
        event.name,
        orjson.dumps(
            {
                "anonymousId": origin.session,
                "event": text(event.name),
                "properties": orjson.Fragment(_properties(event.name, properties)),
            }
        ),
    )


def _properties(name: str, attributes: Mapping[str, Any]) -> bytes:
    try:
        return dumps(attributes, EVENT_BYTES)
    except TooLarge:
        raise _oversize(name, f"more than {EVENT_BYTES}") from None


def _fitting(name: str, data: bytes) -> bytes:
    if len(data) > EVENT_BYTES:
        raise _oversize(name, str(len(data)))
    return data


def _oversize(name: str, size: str) -> Unsendable:
    return Unsendable("oversize", f"event {name[:80]!r} takes {size} bytes as JSON, Segment takes {EVENT_BYTES}")


@lru_cache(maxsize=256)  # printing a date costs more than the rest of the event, and a batch shares few of them
def _millisecond(millis: int) -> bytes:
    """``2026-10-05T07:30:00.123Z``; times outside the years 1970 to 9999 move to their edge."""
    millis = min(max(millis, 0), 253_402_300_799_999)
    return f"{datetime.fromtimestamp(millis // 1000, tz=timezone.utc).isoformat()[:19]}.{millis % 1000:03}Z".encode()


# -- metrics ------------------------------------------------------------------------------------------------------


def compile(period: Period, origin: Origin, settings: Settings, now: int) -> tuple[Item, ...]:
    """One track call per metric and attribute set, stamped with the period's end, in either dialect (ReadySet's
    own client sends no metrics). Ids derive from the period, so compiling again gives the same bytes."""
    return tuple(
        _metric(point, period.end, sha256(f"{period.nonce}-{index}".encode()).hexdigest()[:32], origin)
        for index, point in enumerate(period.points)
    )


def _metric(point: Point, end: int, message_id: str, origin: Origin) -> Item:
    numbers = {"value": point.value} if point.histogram is None else _distribution(point.histogram)
    try:
        return Item(_track(point.name, {**point.attributes, **numbers}, end, message_id, origin))
    except Unsendable:
        # The measured numbers are worth more than what makes them too long; the mark says that it is gone.
        numbers.pop("buckets", None)
        return Item(_track(point.name[:255], {"oversize": True, **numbers}, end, message_id, origin))


def _distribution(found: Histogram) -> dict[str, Any]:
    mean = found.mean if found.mean is not None or not found.count else found.sum / found.count
    variance = found.m2 / found.count if found.m2 is not None and found.count else None
    numbers: dict[str, Any] = {"count": found.count, "sum": found.sum, "min": found.min, "max": found.max}
    numbers |= {"mean": mean, "variance": variance}
    if found.buckets:
        numbers["buckets"] = {"bounds": found.bounds, "counts": found.buckets}
    return {name: number for name, number in numbers.items() if number is not None}


# -- the wire -----------------------------------------------------------------------------------------------------


def pack(items: Sequence[bytes], settings: Settings, now: int, attempt: int) -> tuple[Request, int]:
    """A batch of as many items as the limits allow; an item of the upstream dialect travels alone.

    The item decides, not the setting: what was queued under another dialect still leaves in its own way.
    """
    user = _user(settings)
    key = b64encode(f"{settings['write_key']}:".encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {key}"}
    if items[0].startswith(_UPSTREAM_START):
        headers["User-Agent"] = "readyset-telemetry-reporter/0.1.0"
        return Request(f"{settings['endpoint']}/v1/track", _identified(items[0], user), headers), 1
    if attempt > 1:
        headers["X-Retry-Count"] = str(attempt - 1)
    tail = b'],"sentAt":"%b"}' % _millisecond(now // 1_000_000)
    room = BATCH_BYTES - len(b'{"batch":[') - len(tail)
    taken: list[bytes] = []
    for item in items[:BATCH_EVENTS]:
        data = _identified(item, user) if user else item
        room -= len(data) + 1
        if taken and (room < 0 or item.startswith(_UPSTREAM_START)):
            break
        taken.append(data)
    body = b'{"batch":[' + b",".join(taken) + tail
    return Request(f"{settings['endpoint']}/v1/batch", body, headers, idempotent=True), len(taken)


def _user(settings: Settings) -> bytes:
    """The id as it stands in a request, comma included. It is a secret, so it joins an event only there."""
    user = settings["user_id"]
    return b'"userId":' + orjson.dumps(user) + b"," if user else b""


def _identified(item: bytes, user: bytes) -> bytes:
    """The item with its ``userId``, where that fits."""
    if len(item) + len(user) > EVENT_BYTES:
        return item
    return b"{" + user + item[1:]


_TRY_AGAIN = frozenset({408, 410, 429, 460, *range(500, 600)}) - {501, 505}
_REMEDIES = {
    400: "the event is malformed in Segment's eyes",
    401: "check the write key",
    403: "check the write key and the endpoint's region",
    404: "check the endpoint",
    413: "something on the way takes smaller requests only",
}


def judge(request: Request, response: Response, uncertain: bool) -> Verdict:
    """Segment's own table. A repeat is harmless whatever became of the first try: ``messageId`` deduplicates."""
    status = response.status
    if status is None:
        return Retry(response.error or "no answer")
    if 200 <= status < 300:
        return Delivered()
    if status in _TRY_AGAIN:
        return Retry(f"HTTP {status}", retry_after(response))
    remedy = "check the endpoint, it points elsewhere" if 300 <= status < 400 else _REMEDIES.get(status, "")
    return Rejected(f"HTTP {status}: {remedy}" if remedy else f"HTTP {status}", isolates=status in (400, 413))


FORMAT = Format(
    name="segment",
    title="Segment HTTP Tracking API, track calls (ReadySet)",
    settings=SETTINGS,
    render=render,
    encode=encode,
    compile=compile,
    pack=pack,
    judge=judge,
    interval=86_400_000,
    volatile=frozenset({"sentAt"}),
    switches=(Switch("--disable-telemetry", "flag"),),
    known_by=lambda origin, settings: {"userId": settings["user_id"]} if settings["user_id"] else {},
)
