"""Stone: the cluster report in channels, and the device reports (Stone, and Ceph, whose module it is).

Document: Stone's "Telemetry Module" page (channels, their content, commands); the wire is that of Ceph's released
telemetry module. The reader's pages are ``docs/formats/stone.md`` and ``docs/channels.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from usagewire.errors import Unsendable
from usagewire.formats import Format, License, answers
from usagewire.formats.stone import crashes, devices, report
from usagewire.signals import (
    Delivered,
    Event,
    Origin,
    Point,
    Request,
    Response,
    Retry,
    Setting,
    Settings,
    Verdict,
)

DAY = 86_400_000
"""In milliseconds."""
SETTINGS = (
    Setting(
        "endpoint",
        "Base URL of the receiver; reports go to `/report` below it.",
        kind="url",
        choices=("https", "http"),
        required=True,
    ),
    Setting(
        "device_endpoint",
        "Base URL of the receiver of device reports, which go to `/device` below it; unset: the endpoint's.",
        kind="url",
        choices=("https", "http"),
    ),
    Setting(
        "channels",
        "Channels that may leave, separated by commas.",
        kind="list",
        choices=report.CHANNELS,
        default=("basic", "crash", "device"),
    ),
    Setting(
        "license",
        "Licence that the data is shared under; there is one, the Community Data License Agreement – Sharing – "
        "Version 1.0.",
        kind="choice",
        choices=(report.LICENSE,),
        default=report.LICENSE,
    ),
    Setting("contact", "Whom to contact, for the channel `ident`."),
    Setting("description", "What this installation is, for the channel `ident`."),
    Setting("organization", "Whose it is, for the channel `ident`."),
    Setting(
        "leaderboard",
        "Whether the installation may appear on a public leaderboard.",
        kind="choice",
        choices=("false", "true"),
        default="false",
    ),
    Setting(
        "product",
        "Names the version fields: `stone_version`, `ceph_version`.",
        kind="choice",
        choices=("stone", "ceph"),
        default="stone",
    ),
    Setting(
        "interval",
        "Length of a report period; `usagewire config set interval` takes hours, 8 at least.",
        kind="millis",
        default=DAY,
        hours=8,
    ),
    Setting(
        "compression",
        "How bodies are compressed; the document's receiver takes uncompressed ones only.",
        kind="choice",
        choices=("none", "gzip"),
        default="none",
    ),
)
EVENTS = {report.STATE: "basic", crashes.CRASH: "crash", devices.DEVICE: "device"}
"""Event → the channel that it belongs to."""


def render(event: Event) -> Event:
    """Events keep their names; the vendor's own have no place here."""
    if event.name not in EVENTS:
        raise Unsendable("format", f"event {event.name[:80]!r} has no place in a report")
    return event


def admit(point: Point, settings: Settings) -> Point | None:
    """The gauges that a report has a place for."""
    if "basic" not in settings["channels"]:
        raise Unsendable("consent", f"{point.name}: channel basic is off")
    return point if report.places(point) else None


def encode(event: Event, origin: Origin, settings: Settings) -> bytes | None:
    """A device's sample as an item of its own; ``None`` for what goes into the report.

    Raises `Unsendable` where the event's channel is off, so that it is not even kept.
    """
    channel = EVENTS[event.name]
    if channel not in settings["channels"]:
        raise Unsendable("consent", f"{event.name}: channel {channel} is off")
    return devices.sample(event, origin) if event.name == devices.DEVICE else None


def keep(events: Sequence[Event], ended: int | None) -> tuple[Sequence[Event], int]:
    """The newest crashes, which are listed again and again; while the period runs, of each section the newest state."""
    kept, lost = crashes.newest(event for event in events if event.name == crashes.CRASH)
    if ended is not None:
        return crashes.listed(kept, ended), lost
    states = {report.section_of(event): event for event in events if event.name == report.STATE}
    return [*kept, *states.values()], lost


def pack(items: Sequence[bytes], settings: Settings, now: int, attempt: int) -> tuple[Request, int]:
    """One report; or the samples of one host."""
    headers = {"Content-Type": "application/json"}
    if devices.is_sample(items[0]):
        body, taken = devices.together(items)
        endpoint = settings["device_endpoint"] or settings["endpoint"]
        return Request(f"{endpoint}/device", body, headers, method="PUT"), taken
    return Request(f"{settings['endpoint']}/report", items[0], headers, method="PUT"), 1


def judge(request: Request, response: Response, uncertain: bool) -> Verdict:
    """Stored only where the receiver says so: it answers 200 and ``null`` to what it did not store. It answers 500 to
    a report that it has already, which is how a try that nobody saw the end of turns out to have arrived."""
    status = response.status
    if status == 200 and _stored(response.body):
        return Delivered()
    if status == 500 and uncertain and request.url.endswith("/report"):
        return Delivered(repeat=True)
    if status is not None and 200 <= status < 300:
        return Retry(f"HTTP {status}, but the answer does not say that it was stored")
    return answers.judge(request, response, uncertain)


def _stored(body: bytes) -> bool:
    try:
        return bool(orjson.loads(body) == {"status": True})
    except ValueError:
        return False


FORMAT = Format(
    name="stone",
    title="Stone's telemetry module: cluster, crash and device reports (also Ceph)",
    settings=SETTINGS,
    render=render,
    encode=encode,
    admit=admit,
    compile=report.compile,
    blank=report.blank,
    keep=keep,
    channels={**EVENTS, report.ENTITIES: "basic", report.CAPACITY: "basic"},
    fields=report.fields,
    without=report.without,
    event_lane="device",
    pack=pack,
    judge=judge,
    interval=DAY,
    sends_early=True,
    spelling="mgr mgr/telemetry/",
    hashed=frozenset({"usage.crash.entity", "usage.device.id", "usage.device.host"}),
    default_on=False,
    license=License(
        report.LICENSE,
        "Telemetry data is licensed under the Community Data License Agreement - Sharing - Version 1.0 "
        "(https://cdla.io/sharing-1-0/).",
    ),
    known_by=lambda origin, settings: {"report_id": origin.installation},
)
