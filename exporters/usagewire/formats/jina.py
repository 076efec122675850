"""Jina: one JSON object per event, eighteen documented keys, one request each.

Document: Jina's "Telemetry" page (keys, sample payloads, opt-out); the upstream dialect is what its released client
sends. The reader's page is ``docs/formats/jina.md``.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from usagewire.errors import Unsendable
from usagewire.formats import Format
from usagewire.formats.answers import judge
from usagewire.formats.plain import TooLarge, dumps, text
from usagewire.formats.rendering import component, flat, renamed
from usagewire.signals import Event, Origin, Request, Setting, Settings, Switch

EVENT_BYTES = 32 << 10
"""Longest event; the document names no limit, this one is ours."""

SETTINGS = (
    Setting(
        "endpoint",
        "URL that receives the events, whole: nothing is added to it.",
        kind="url",
        choices=("https", "http"),
        required=True,
    ),
)

# -- events -------------------------------------------------------------------------------------------------------

_SHORTER = {"usage.component.duration": "duration", "usage.component.version": "version"}


def render(event: Event) -> Event:
    """``usage.component.start`` of ``Flow`` → ``Flow.start``, its duration → ``duration``, its version → ``version``;
    a mapping body joins the attributes, which win. Everything else keeps its name."""
    event = flat(event)
    found = component(event)
    return event if found is None else renamed(event, ".".join(found), _SHORTER)


UNKNOWN = "not-available"
_EPOCH = datetime(1970, 1, 1)
PACKAGES = ("jina", "docarray", "jina-proto", "protobuf", "grpcio", "pyyaml")
DOCUMENTED = (
    "architecture", "ci-vendor", "docarray", "event", "grpcio", "jina", "jina-proto", "platform", "platform-release",
    "platform-version", "processor", "proto-backend", "protobuf", "python", "pyyaml", "session-id", "uid", "uptime",
)  # fmt: skip
"""The keys in the order of the document's samples."""
UPSTREAM = (
    "jina", "docarray", "jina-proto", "protobuf", "proto-backend", "grpcio", "pyyaml", "python", "platform",
    "platform-release", "platform-version", "architecture", "processor", "uid", "session-id", "uptime", "ci-vendor",
    "event",
)  # fmt: skip
"""The same keys in the order of the released client."""


def encode(event: Event, origin: Origin, settings: Settings) -> bytes:
    """One rendered event. Raises `Unsendable` when it is over 32 KB."""
    try:
        own: dict[str, Any] = orjson.loads(dumps(event.attributes, EVENT_BYTES))
    except TooLarge:
        raise _oversize(event.name) from None
    facts = {**_facts(origin, own), "event": text(event.name)}
    named_by_the_plan = {name: version or UNKNOWN for name, version in origin.packages.items()}
    upstream = settings["dialect"] == "upstream"
    payload = {key: facts[key] for key in (UPSTREAM if upstream else DOCUMENTED)}
    payload.update((name, value) for name, value in {**named_by_the_plan, **own}.items() if name not in facts)
    data = json.dumps(payload).encode() if upstream else orjson.dumps(payload)
    if len(data) > EVENT_BYTES:
        raise _oversize(event.name)
    return data


def _facts(origin: Origin, own: Mapping[str, Any]) -> dict[str, Any]:
    """The documented keys but for ``event``. What the program itself says of a version goes before what is installed:
    that of a protocol is not a package's."""
    installed = {name: origin.packages.get(name) or UNKNOWN for name in PACKAGES}
    return {
        **installed,
        **{name: version for name in PACKAGES if isinstance(version := own.get(name), str)},
        "proto-backend": origin.proto_backend or UNKNOWN,
        "python": origin.python_version,
        "platform": origin.platform,
        "platform-release": origin.os_release,
        "platform-version": origin.platform_version,
        "architecture": origin.architecture,
        "processor": origin.processor,
        "uid": origin.number,
        "session-id": origin.session,
        "uptime": (_EPOCH + timedelta(microseconds=origin.started // 1000)).isoformat(timespec="microseconds"),
        "ci-vendor": origin.ci_vendor or "(unset)",
    }


def _oversize(name: str) -> Unsendable:
    return Unsendable("oversize", f"event {name[:80]!r} takes more than {EVENT_BYTES} bytes as JSON")


# -- the wire -----------------------------------------------------------------------------------------------------

_UPSTREAM_START = b'{"jina": '


def pack(items: Sequence[bytes], settings: Settings, now: int, attempt: int) -> tuple[Request, int]:
    """One event per request. The item decides on the dialect, not the setting: what was queued under another one
    still leaves in its own way."""
    data = items[0]
    if data.startswith(_UPSTREAM_START):
        headers = {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "Mozilla/5.0"}
        return Request(settings["endpoint"], urlsafe_b64encode(data), headers, readable=data), 1
    return Request(settings["endpoint"], data, {"Content-Type": "application/json"}), 1


FORMAT = Format(
    name="jina",
    title="Jina's telemetry events",
    settings=SETTINGS,
    render=render,
    encode=encode,
    pack=pack,
    judge=judge,
    packages=PACKAGES,
    switches=(Switch("JINA_OPTOUT_TELEMETRY", "present"),),
    known_by=lambda origin, settings: {"uid": origin.number},
)
