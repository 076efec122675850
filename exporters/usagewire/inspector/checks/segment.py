"""Segment: the HTTP Tracking API."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from usagewire.inspector.received import Answer, Check, Checked, Received, json_object, json_type, mapping

KIB = 1 << 10
MOST_EVENTS, MOST_BYTES, MOST_EVENT_BYTES, LONGEST_ID = 2_500, 500 * KIB, 32 * KIB, 100
"""Events and uncompressed bytes of a batch, bytes of an event, characters of a messageId."""


def _batch(received: Received) -> Checked:
    """``POST /v1/batch``. Like the real one it answers 200 to nearly everything: what is wrong is in the complaints."""
    whole, complaints = _segment(received)
    if whole is None:
        return Checked((), tuple(complaints), Answer(400, b'{"success":false,"message":"invalid JSON"}'))
    if not isinstance(whole.get("batch"), list):
        return Checked((), (*complaints, "batch: missing, or not a list"))
    events: list[Any] = whole["batch"]
    if len(received.body) > MOST_BYTES:
        complaints.append(f"batch: {len(received.body)} bytes, more than {MOST_BYTES}")
    if not 1 <= len(events) <= MOST_EVENTS:
        complaints.append(f"batch: {len(events)} events, not 1 to {MOST_EVENTS}")
    complaints += _time("sentAt", whole.get("sentAt"))
    for index, event in enumerate(events):
        found = _track(event, required=("type", "event", "timestamp", "messageId"))
        complaints += [f"batch[{index}]: {fault}" for fault in found]
    ids = [str(said["messageId"]) for said in map(mapping, events) if said and "messageId" in said]
    if len(set(ids)) < len(ids):
        complaints.append("batch: a messageId comes twice")
    return Checked(tuple(events), tuple(complaints))


def _one(received: Received) -> Checked:
    """``POST /v1/track``: one event, which may leave timestamp and messageId to the server."""
    event, complaints = _segment(received)
    if event is None:
        return Checked((), tuple(complaints), Answer(400, b'{"success":false,"message":"invalid JSON"}'))
    return Checked((event,), (*complaints, *_track(event, required=("event",))))


def _segment(received: Received) -> tuple[dict[str, Any] | None, list[str]]:
    complaints = [*json_type(received), *_authorization(received.headers.get("authorization", ""))]
    whole, faults = json_object(received.body)
    return whole, [*complaints, *faults]


def _authorization(value: str) -> Sequence[str]:
    scheme, _, credentials = value.partition(" ")
    try:
        key, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        key = colon = password = ""
    if scheme.lower() != "basic" or not key or not colon or password:
        return ["Authorization: not `Basic base64(writeKey + ':')`"]
    return []


def _track(value: Any, required: Sequence[str]) -> list[str]:
    event = mapping(value)
    if event is None:
        return ["not an object"]
    faults = [f"{name}: missing" for name in required if name not in event]
    if event.get("type", "track") != "track":
        faults.append(f"type: {event['type']!r}, not 'track'")
    # Segment's own clients send null for the id that they do not have
    event = {name: said for name, said in event.items() if said is not None or name not in ("anonymousId", "userId")}
    if "anonymousId" not in event and "userId" not in event:
        faults.append("anonymousId: missing, and no userId either")
    faults += [
        f"{name}: {event[name]!r}, not a non-empty string"
        for name in ("event", "anonymousId", "userId", "messageId")
        if name in event and not (isinstance(event[name], str) and event[name])
    ]
    if len(str(event.get("messageId", ""))) > LONGEST_ID:
        faults.append(f"messageId: {len(str(event['messageId']))} characters, more than {LONGEST_ID}")
    if mapping(event.get("properties", {})) is None:
        faults.append("properties: not an object")
    if "timestamp" in event:
        faults += _time("timestamp", event["timestamp"])
    size = len(json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass"))
    if size > MOST_EVENT_BYTES:
        faults.append(f"{size} bytes, more than {MOST_EVENT_BYTES}")
    return faults


def _time(name: str, value: Any) -> Sequence[str]:
    if value is None:
        return [f"{name}: missing"]
    try:
        # Python 3.10 knows neither the Z nor fractions of other than three or six digits
        zoned = datetime.fromisoformat(value.replace("Z", "+00:00")).tzinfo is not None
    except (AttributeError, ValueError):
        return [f"{name}: {value!r}, not an ISO 8601 time"]
    return [] if zoned else [f"{name}: {value!r}, without a time zone"]


ROUTES: Mapping[tuple[str, str], Check] = {
    ("POST", "/v1/batch"): _batch,
    ("POST", "/v1/track"): _one,
}
