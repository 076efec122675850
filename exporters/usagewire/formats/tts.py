"""The Things Stack: one telemetry message per interval, the Identity Server's or the command line's.

Documents: The Things Stack's "Identity Server Telemetry" and "CLI Telemetry" pages (message, UID, opt-out); the
upstream dialect is what the released product sends. The reader's page is ``docs/formats/tts.md``.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha512
from math import isfinite
from typing import Any
from urllib.parse import urlsplit

import orjson

from usagewire.errors import Unsendable
from usagewire.formats import Format
from usagewire.formats.answers import judge
from usagewire.formats.plain import text
from usagewire.signals import Event, Item, Origin, Period, Point, Request, Setting, Settings, Switch

ENTITIES, COMMAND, PATH = "usage.entity.count", "usage.command", "usage.command.path"

SETTINGS = (
    Setting(
        "endpoint",
        "URL that receives the messages, whole; in the upstream dialect one without a path gets `/collect`.",
        kind="url",
        choices=("https", "http"),
        required=True,
    ),
    Setting("uid_elements", "Texts that a server's `uid` is the hash of, instead of the base URLs.", kind="list"),
    Setting(
        "base_urls",
        "Base URLs of the Identity, Gateway, Network, Application and Join Server, in this order: a server's `uid` is "
        "their hash.",
        kind="list",
    ),
    Setting("golang_version", "Sent as `golang_version`; unset: `python` and its version."),
)

# -- what a period takes ------------------------------------------------------------------------------------------


def render(event: Event) -> Event:
    """A command, by its path alone; other events have no place in a message."""
    if event.name != COMMAND:
        raise Unsendable("format", f"event {event.name[:80]!r} has no place in a message")
    path = event.attributes.get(PATH)
    return event._replace(attributes={} if path is None else {PATH: path}, body=None)


def admit(point: Point, settings: Settings) -> Point | None:
    """The gauge of entities."""
    return point if point.name == ENTITIES and point.kind == "gauge" else None


# -- reports ------------------------------------------------------------------------------------------------------


def compile(period: Period, origin: Origin, settings: Settings, now: int) -> tuple[Item, ...]:
    """The server's message if entities were counted, the command line's if commands were run."""
    messages: list[Item] = []
    if period.points:
        messages.append(_message(_uid(origin, settings), origin, settings, None, _entities(period.points)))
    if period.events:
        messages.append(_message(origin.installation, origin, settings, _commands(period.events), None))
    return tuple(messages)


_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i386": "386", "i486": "386", "i586": "386", "i686": "386"}
_OPENING = b'{"message":'


def _message(
    uid: str,
    origin: Origin,
    settings: Settings,
    commands: Mapping[str, Any] | None,
    entities: Mapping[str, Any] | None,
) -> Item:
    machine = origin.architecture.lower()
    message = {
        "uid": uid,
        "os": {
            "operating_system": origin.os_type,
            "arch": "arm" if machine.startswith("armv") else _ARCHITECTURES.get(machine, machine),
            "binary_version": origin.service_version,
            "golang_version": settings["golang_version"] or f"python{origin.python_version}",
        },
        "cli": commands,
        "entities_count": entities,
    }
    if settings["dialect"] == "upstream":
        return Item(_as_go_writes(orjson.dumps(message)))
    return Item(_OPENING + orjson.dumps(message) + b"}")


def _uid(origin: Origin, settings: Settings) -> str:
    """SHA-512 over each element and a colon; a random UUID, kept, where there are none."""
    elements: Sequence[str] = settings["uid_elements"] or settings["base_urls"]
    if not elements:
        return origin.installation
    return b64encode(sha512("".join(f"{element}:" for element in elements).encode()).digest()).decode()


def _as_go_writes(data: bytes) -> bytes:
    """Go's encoder escapes what would matter inside HTML and JavaScript."""
    for character in "<>&\u2028\u2029":
        data = data.replace(character.encode(), f"\\u{ord(character):04x}".encode())
    return data


PLAN, ROLE, ACTIVITY = "usage.entity.frequency_plan_id", "usage.entity.role", "usage.entity.activity"


MOST = 1 << 53
"""What every JSON reader takes for a whole number; far beyond any count."""


def _entities(points: Iterable[Point]) -> dict[str, Any]:
    """Every number of the document, 0 where nobody counted it. Facets are never summed: a gateway counts under each of
    its frequency plans."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for point in points:
        kind = str(point.attributes.get("usage.entity.type"))
        facet = next((name for name in (PLAN, ROLE, ACTIVITY) if name in point.attributes), "")
        cell = kind, facet, text(str(point.attributes.get(facet, "")))
        counted[cell] = min(counted[cell] + _whole(point.value), MOST)
    plans = sorted(value for kind, facet, value in counted if (kind, facet) == ("gateway", PLAN))

    def number(kind: str, facet: str = "", value: str = "") -> int:
        return counted[kind, facet, value]

    return {
        "gateways": {
            "total": number("gateway"),
            "gateways_by_frequency_plan_id": {plan: number("gateway", PLAN, plan) for plan in plans},
        },
        "end_devices": {
            "total": number("end_device"),
            "activate_end_devices": {
                "total": number("end_device", ACTIVITY, "any"),
                "last_day": number("end_device", ACTIVITY, "last_day"),
                "last_week": number("end_device", ACTIVITY, "last_week"),
                "last_month": number("end_device", ACTIVITY, "last_month"),
            },
        },
        "applications": {"total": number("application")},
        "accounts": {
            "users": {"standard": number("user", ROLE, "standard"), "admin": number("user", ROLE, "admin")},
            "organizations": {"total": number("organization")},
        },
    }


def _whole(value: float | None) -> int:
    return int(min(max(value, 0), MOST)) if value is not None and isfinite(value) else 0


def _commands(events: Iterable[Event]) -> dict[str, Any]:
    """How often each command ran, as far as the tracking plan lets their paths through; empty without it."""
    ran: Counter[str] = Counter()
    for event in events:
        path: Any = event.attributes.get(PATH)
        if isinstance(path, str):
            ran[text(path)] += 1
    return {"commands": {path: ran[path] for path in sorted(ran)}} if ran else {}


# -- the wire -----------------------------------------------------------------------------------------------------


def pack(items: Sequence[bytes], settings: Settings, now: int, attempt: int) -> tuple[Request, int]:
    """One message per request. The item decides on the dialect, not the setting: what waits from before still leaves
    in its own way."""
    data = items[0]
    url: str = settings["endpoint"]
    if not data.startswith(_OPENING) and not urlsplit(url).path:
        url += "/collect"
    return Request(url, data, {"Content-Type": "application/json"}), 1


FORMAT = Format(
    name="tts",
    title="The Things Stack telemetry messages",
    settings=SETTINGS,
    render=render,
    admit=admit,
    compile=compile,
    pack=pack,
    judge=judge,
    interval=86_400_000,
    planned=frozenset({PATH}),
    switches=(Switch("TTN_LW_TELEMETRY_ENABLE", "false"),),
    known_by=lambda origin, settings: {"uid": _uid(origin, settings)},
)
