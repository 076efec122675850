"""The report: a header, and of each channel what was recorded."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from math import isfinite
from typing import Any

import orjson

from usagewire.formats.stone import crashes
from usagewire.formats.stone.schema import ABSENT, Fields, LeftOut, admit, paths, sections
from usagewire.formats.stone.times import iso
from usagewire.signals import Event, Item, Origin, Period, Point, Settings

LICENSE = "sharing-1-0"
CHANNELS = ("basic", "crash", "device", "ident")
"""In the order of the report."""
AVAILABLE = ("basic", "ident", "crash", "device")
"""The same in the order in which the report names what there is."""
IDENT = ("description", "contact", "organization")
HEADER = (
    "leaderboard", "report_version", "report_timestamp", "report_id", "channels", "channels_available", "license",
)  # fmt: skip
STATE, ENTITIES, CAPACITY = "usage.state", "usage.entity.count", "usage.capacity"

ENTITY_FIELDS: Mapping[tuple[str, str], tuple[tuple[str, str], ...]] = {
    ("monitor", ""): (("mon", "count"),),
    ("manager", ""): (("services", "mgr"),),
    ("osd", ""): (("osd", "count"),),
    ("mds", ""): (("fs", "total_num_mds"), ("services", "mds")),
    ("object_gateway", ""): (("rgw", "count"), ("services", "rgw")),
    ("pool", ""): (("usage", "pools"),),
    ("host", ""): (("hosts", "num"),),
    ("host", "monitor"): (("hosts", "num_with_mon"),),
    ("host", "mds"): (("hosts", "num_with_mds"),),
    ("host", "osd"): (("hosts", "num_with_osd"),),
    ("host", "manager"): (("hosts", "num_with_mgr"),),
}
"""Type and role of what ``usage.entity.count`` counts → the fields that hold it. Others have no place here."""
CAPACITY_FIELDS = {"total": "total_bytes", "used": "total_used_bytes", "available": "total_avail_bytes"}


def active(settings: Settings) -> tuple[str, ...]:
    """The channels that may leave, in the order of the report."""
    return tuple(channel for channel in CHANNELS if channel in settings["channels"])


def compile(period: Period, origin: Origin, settings: Settings, now: int) -> tuple[Item, ...]:
    """One report, or none where nothing was recorded that it has a place for. The same period gives the same bytes."""
    left_out, channels = LeftOut(), active(settings)
    content: dict[str, Any] = {}
    if "basic" in channels:
        content |= _basic(period, settings, left_out)
    if "crash" in channels:
        content |= _crashes(period, origin, settings["product"], left_out)
    if not content:
        return ()
    return (Item(orjson.dumps({**_header(origin, settings, period.end), **content}), left_out),)


def blank(origin: Origin, settings: Settings, now: int) -> bytes:
    """The header, and for every section of the channels that are on: that it is not recorded."""
    names: list[str] = list(sections(settings["product"])) if "basic" in active(settings) else []
    names += ["crashes"] if "crash" in active(settings) else []
    return orjson.dumps({**_header(origin, settings, now), **dict.fromkeys(names, "not recorded while off")})


def _header(origin: Origin, settings: Settings, end: int) -> dict[str, Any]:
    channels = active(settings)
    ident = {name: settings[name] for name in IDENT} if "ident" in channels else {}
    return {
        "leaderboard": settings["leaderboard"] == "true",
        "report_version": 1,
        "report_timestamp": iso(end),
        "report_id": origin.installation,
        "channels": channels,
        "channels_available": AVAILABLE,
        "license": LICENSE,
        **ident,
    }


def without(data: bytes, channels: Collection[str]) -> bytes | None:
    """A compiled report without the fields of ``channels``; ``None`` where nothing that was recorded is left."""
    content: dict[str, Any] = orjson.loads(data)
    left = {name: value for name, value in content.items() if _channel(name) not in channels}
    left["channels"] = [channel for channel in content["channels"] if channel not in channels]
    recorded = any(_channel(name) in ("basic", "crash") for name in left)
    return orjson.dumps(left) if recorded else None


def fields(settings: Settings) -> dict[str, str]:
    """Every field that a report may hold, and its channel."""
    listed = [path for name, shape in sections(settings["product"]).items() for path in paths(name, shape)]
    told = [f"crashes[].{name}" for name in crashes.fields(settings["product"])]
    return {path: _channel(re.split(r"[.\[]", path)[0]) for path in (*HEADER, *IDENT, *listed, *told)}


def _channel(field: str) -> str:
    """The channel of a report's field; empty for those that are always there."""
    if field in IDENT:
        return "ident"
    return "" if field in HEADER else "crash" if field == "crashes" else "basic"


def _basic(period: Period, settings: Settings, left_out: LeftOut) -> dict[str, Any]:
    found: dict[str, Any] = {}
    states, counts = _newest(period.events), _counted(period.points, left_out)
    for section, shape in sections(settings["product"]).items():
        event = states.pop(section, None)
        value: Any = ABSENT if event is None else admit(shape, event.body, section, left_out)
        counted = counts.get(section)
        if counted:
            # what was counted just now is nearer to the truth than what was said of it
            value = counted if value is ABSENT else {**value, **counted}
            if isinstance(shape, Fields):
                value = {name: value[name] for name in shape.of if name in value}
        if value is not ABSENT:
            found[section] = value
    for section in states:
        left_out.add(section[:40], "not known")
    if settings["dialect"] == "upstream" and "services" in found:
        found["services"] = dict.fromkeys(found["services"], 1)
    return found


def _newest(events: Iterable[Event]) -> dict[str, Event]:
    """The newest ``usage.state`` event of each section."""
    found: dict[str, Event] = {}
    for event in sorted((event for event in events if event.name == STATE), key=lambda event: event.time):
        found[section_of(event)] = event
    return found


def section_of(event: Event) -> str:
    """The section that a ``usage.state`` event is about."""
    return str(event.attributes.get("usage.state.section", ""))


def _counted(points: Iterable[Point], left_out: LeftOut) -> dict[str, dict[str, int]]:
    """Section → field → number, of the gauges that a report has a place for."""
    found: dict[str, dict[str, int]] = {}
    for point in points:
        value, found_places = point.value, places(point)
        if found_places and (value is None or not isfinite(value) or not 0 <= value < 1 << 63):
            left_out.add(point.name, "not a whole number")
            continue
        for section, field in found_places:
            found.setdefault(section, {})[field] = round(value or 0)
    return found


def places(point: Point) -> tuple[tuple[str, str], ...]:
    """Section and field of every place in the report that holds what ``point`` counts."""
    said = {name.rpartition(".")[2]: value for name, value in point.attributes.items()}
    if point.name == ENTITIES:
        facets = said.keys() - {"type", "role"}
        return () if facets else ENTITY_FIELDS.get((str(said.get("type")), str(said.get("role", ""))), ())
    field = CAPACITY_FIELDS.get(str(said.get("state"))) if point.name == CAPACITY else None
    return (("usage", field),) if field else ()


def _crashes(period: Period, origin: Origin, product: str, left_out: LeftOut) -> dict[str, Any]:
    events, _ = crashes.newest(event for event in period.events if event.name == crashes.CRASH)
    found: list[dict[str, Any]] = []
    for event in crashes.listed(events, period.end):
        made = crashes.record(event, origin, product)
        if made is None:
            left_out.add("crashes[]", "without a backtrace")
        else:
            found.append(made)
    return {"crashes": found} if found else {}
