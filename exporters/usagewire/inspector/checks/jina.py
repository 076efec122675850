"""Jina: one JSON object per event."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Mapping
from datetime import datetime

from usagewire.inspector.received import Answer, Check, Checked, Received, json_object, json_type, media_type

TEXTS = (
    "architecture", "ci-vendor", "docarray", "event", "grpcio", "jina", "jina-proto", "platform", "platform-release",
    "platform-version", "processor", "proto-backend", "protobuf", "python", "pyyaml",
)  # fmt: skip


UPSTREAM = "application/x-www-form-urlencoded"
"""How the released client calls its Base64."""


def decoded(body: bytes) -> bytes | None:
    """What that says; ``None`` where it is none."""
    try:
        return base64.b64decode(body, altchars=b"-_", validate=True)
    except binascii.Error:
        return None


def _jina(received: Received) -> Checked:
    """``POST /jina``: JSON, or that as url-safe Base64 the way the released client sends it."""
    body, complaints = received.body, list[str]()
    if media_type(received) == UPSTREAM:
        unpacked = decoded(body)
        if unpacked is None:
            complaints.append("body: not url-safe Base64")
        body = unpacked or body
    else:
        complaints += json_type(received)
    event, faults = json_object(body)
    if event is None:
        return Checked((), (*complaints, *faults), Answer(400, b"invalid JSON"))
    complaints += [f"{name}: {event.get(name)!r}, not a text" for name in TEXTS if not isinstance(event.get(name), str)]
    if not isinstance(event.get("uid"), int) or not 0 <= event["uid"] < 1 << 48:
        complaints.append(f"uid: {event.get('uid')!r}, not a whole number below 2**48")
    try:
        uuid.UUID(str(event.get("session-id")))
    except ValueError:
        complaints.append(f"session-id: {event.get('session-id')!r}, not a UUID")
    try:
        datetime.strptime(str(event.get("uptime")), "%Y-%m-%dT%H:%M:%S.%f")
    except ValueError:
        complaints.append(f"uptime: {event.get('uptime')!r}, not a time with microseconds and without a zone")
    return Checked((event,), tuple(complaints))


ROUTES: Mapping[tuple[str, str], Check] = {("POST", "/jina"): _jina}
