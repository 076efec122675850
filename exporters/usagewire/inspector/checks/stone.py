"""What Stone's receiver knows: the report and the device report, held to the format's allow-list."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast
from uuid import UUID

from usagewire.inspector.received import Answer, Check, Checked, Received, json_object, json_type, mapping

STORED, NOT_STORED = Answer(200, b'{"status":true}'), Answer(200, b"null")
"""The real one, too, answers 200 to what it did not store."""
CHANNELS, AVAILABLE = ["basic", "crash", "device", "ident"], ["basic", "ident", "crash", "device"]
IDENT = ("description", "contact", "organization")
PRODUCTS = ("stone", "ceph")
CRASH_TEXTS = (
    "crash_id", "timestamp", "process_name", "entity_name", "utsname_sysname", "utsname_release", "utsname_version",
    "utsname_machine", "os_name", "os_id", "os_version_id", "os_version", "stack_sig",
)  # fmt: skip
CRASH_MAY = frozenset({"assert_condition", "assert_func", "assert_file", "assert_line", "assert_thread_name"})
CRASH_FORMS = {
    "crash_id": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}Z_[0-9a-f-]{36}",
    "timestamp": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}Z",
    "entity_name": r"[a-z_-]+\.[0-9a-f]{40}",
    "stack_sig": r"[0-9a-f]{64}",
}
TIMESTAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}"
GONE = frozenset({"wwn", "logical_unit_id", "eui64", "nguid"})


def _report(received: Received) -> Checked:
    """``PUT /report``."""
    from usagewire.formats.stone.schema import sections

    content, complaints = _object(received)
    if content is None:
        return Checked((), tuple(complaints), NOT_STORED)
    complaints += _header(content)
    channels = _list(content.get("channels"))
    allowed = {"basic": sections(_product(content)), "crash": ("crashes",), "ident": IDENT}
    places = {name: channel for channel, names in allowed.items() for name in names}
    for name in content.keys() - HEADER.keys():
        channel = places.get(name)
        if channel is None:
            complaints.append(f"{name}: not known")
        elif channel not in channels:
            complaints.append(f"{name}: its channel, {channel}, is not active")
    complaints += _sections(content)
    if "crashes" in content and not _list(content["crashes"]):
        complaints.append(f"crashes: {content['crashes']!r}, not a list with something in it")
    for index, crash in enumerate(_list(content.get("crashes"))):
        complaints += [f"crashes[{index}].{fault}" for fault in _crash(crash)]
    if "ident" in channels:
        complaints += [f"{name}: missing" for name in IDENT if name not in content]
    stored = "report_id" in content and "report_timestamp" in content
    return Checked((content,), tuple(complaints), STORED if stored else NOT_STORED)


def _device(received: Received) -> Checked:
    """``PUT /device``: the samples of one host, each as ``{"device": …, "time": …, "data": …}``."""
    content, complaints = _object(received)
    samples: list[dict[str, Any]] = []
    for name, times in (content or {}).items():
        if not _is_uuid(name.rpartition("_")[2]):
            complaints.append(f"{name}: not a random UUID after the last _")
        for time, data in (mapping(times) or {"": times}).items():
            samples.append({"device": name, "time": time, "data": data})
            place = f"{name}.{time}"
            if not re.fullmatch(r"\d{8}-\d{6}", time):
                complaints.append(f"{place}: {time!r}, not YYYYmmdd-HHMMSS")
            if mapping(data) is None:
                complaints.append(f"{place}: not an object")
            complaints += [f"{place}.{fault}" for fault in _identifiers(data)]
    hosts = {str((mapping(one["data"]) or {}).get("host_id")) for one in samples}
    if len(hosts) > 1 or not all(map(_is_uuid, hosts)):
        complaints.append(f"host_id: {', '.join(sorted(hosts))}, not one random UUID")
    if content is not None and not samples:
        complaints.append("body: no samples")
    return Checked(tuple(samples), tuple(complaints), STORED if samples else NOT_STORED)


def _object(received: Received) -> tuple[dict[str, Any] | None, list[str]]:
    complaints = [
        f"{name}: {received.headers[name.lower()]!r}; bodies come as they are, with their length"
        for name in ("Content-Encoding", "Transfer-Encoding")
        if name.lower() in received.headers
    ]
    content, faults = json_object(received.body)
    return content, [*complaints, *json_type(received), *faults]


HEADER: Mapping[str, Callable[[Any], bool]] = {
    "leaderboard": lambda value: isinstance(value, bool),
    "report_version": lambda value: value == 1,
    "report_timestamp": lambda value: isinstance(value, str) and bool(re.fullmatch(TIMESTAMP, value)),
    "report_id": lambda value: _is_uuid(value),  # noqa: PLW0108 - defined further down
    "channels": lambda value: (
        bool(_list(value)) and value == [channel for channel in CHANNELS if channel in _list(value)]
    ),
    "channels_available": lambda value: value == AVAILABLE,
    "license": lambda value: value == "sharing-1-0",
}
"""Field → whether a value is as documented."""


def _header(content: Mapping[str, Any]) -> list[str]:
    missing = [f"{name}: missing" for name in HEADER if name not in content]
    wrong = [
        f"{name}: {content[name]!r}, not as documented"
        for name, fits in HEADER.items()
        if name in content and not fits(content[name])
    ]
    return missing + wrong


def _product(content: Mapping[str, Any]) -> str:
    """Which product names the version fields; the first where none does."""
    said = repr(content)
    return next((product for product in PRODUCTS if f"'{product}_version'" in said), PRODUCTS[0])


def _sections(content: Mapping[str, Any]) -> Iterable[str]:
    from usagewire.formats.stone.schema import LeftOut, admit, sections

    left_out = LeftOut()
    for name, shape in sections(_product(content)).items():
        if name in content:
            before = left_out.total()
            admitted = admit(shape, content[name], name, left_out)
            if left_out.total() == before and admitted != content[name]:
                left_out.add(name, "longer than it may be, or not in order")
    return left_out


def _crash(value: Any) -> Iterable[str]:
    crash = mapping(value)
    if crash is None:
        yield "not an object"
        return
    versions = {f"{product}_version" for product in PRODUCTS}
    needed = {*CRASH_TEXTS, "backtrace", *(versions & crash.keys() or {"stone_version"})}
    yield from (f"{name}: missing" for name in sorted(needed - crash.keys()))
    yield from (f"{name}: not known" for name in sorted(crash.keys() - needed - CRASH_MAY))
    for name in (*CRASH_TEXTS, *(versions & crash.keys())):
        if name in crash and not isinstance(crash[name], str):
            yield f"{name}: {crash[name]!r}, not a text"
    for name, form in CRASH_FORMS.items():
        if name in crash and not re.fullmatch(form, str(crash[name])):
            yield f"{name}: {crash[name]!r}, not as documented"
    frames = _list(crash.get("backtrace"))
    if not frames or not all(isinstance(frame, str) for frame in frames):
        yield f"backtrace: {crash.get('backtrace')!r}, not a list of texts"
    elif any("/" in frame or "\\" in frame for frame in frames):
        yield "backtrace: holds a path"


def _identifiers(value: Any) -> Iterable[str]:
    """Where something stands that tells one disk from its like."""
    for name, inner in (mapping(value) or {}).items():
        if name in GONE or (name.endswith("serial_number") and inner != "deleted"):
            yield f"{name}: {inner!r}, an identifier"
        yield from (f"{name}.{fault}" for fault in _identifiers(inner))
    for index, inner in enumerate(_list(value)):
        yield from (f"[{index}].{fault}" for fault in _identifiers(inner))


def _list(value: Any) -> list[Any]:
    """``value`` if it is a JSON array, else nothing."""
    return cast("list[Any]", value) if isinstance(value, (list, tuple)) else []


def _is_uuid(value: Any) -> bool:
    """Whether ``value`` is a random UUID as it is usually written."""
    try:
        found = UUID(str(value))
    except ValueError:
        return False
    return str(found) == value and found.version == 4


ROUTES: Mapping[tuple[str, str], Check] = {("PUT", "/report"): _report, ("PUT", "/device"): _device}
