"""What a receiver knows of JetStream: a session is an information structure and data sets with these values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import isfinite
from typing import Any, cast

from usagewire.formats.jetstream.codec import SEND, from_protobuf
from usagewire.formats.jetstream.data_sets import DOCUMENTED, STATES, key
from usagewire.formats.ranges import BOUNDARIES, FILE_SIZE, TRANSFER_SIZE
from usagewire.inspector.received import Answer, Checked, Received, mapping, media_type

POST, CALL = "/v1/telemetry", f"/{SEND}"
_KINDS = {POST: ("application/json", "application/x-protobuf"), CALL: ("application/grpc",)}

PLATFORMS = ("linux", "macOS", "windows")


def _ranges(name: str) -> Iterator[str]:
    """The documented byte ranges, from bucket boundaries that include their upper edge."""
    edges = [-1, *BOUNDARIES[name]]
    yield from (f"{low + 1}-{high}" if high > low + 1 else f"{high}" for low, high in pairwise(edges))
    yield f"{edges[-1] + 1}-"


_STATISTICS = ("start", "end", "count", "min", "max", "mean", "variance")
VALUES: Mapping[str, tuple[str, ...]] = {
    "file sizes": ("total", *_ranges(FILE_SIZE)),
    "transfer sizes": ("bytes", "queued", *_ranges(TRANSFER_SIZE)),
    "transfer status": STATES,
    "round trip times": _STATISTICS,
    "transfer rates": _STATISTICS,
    "transmission rates": ("start", "end", "files", *_STATISTICS[3:]),
}
"""Data set → what its values are, in the document's order."""
_NAMES = {key(name): name for name in DOCUMENTED}


def read(received: Received) -> list[Any]:
    """The session in a body, in any of its three forms. Raises `ValueError`."""
    if media_type(received) != "application/json":
        return list(from_protobuf(received.body))
    try:
        found = _list(json.loads(received.body, parse_constant=_refuse))
    except RecursionError as fault:
        raise ValueError("too deep") from fault
    if not found:
        raise ValueError("not a list that begins with the information structure")
    return found


def _list(value: Any) -> list[Any] | None:
    return [*cast("Sequence[Any]", value)] if isinstance(value, list) else None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def session(received: Received) -> Checked:
    """A session in any of its three forms."""
    kind = media_type(received)
    wrong = (
        [] if kind in _KINDS[received.path] else [f"Content-Type: {kind!r}, not {' or '.join(_KINDS[received.path])}"]
    )
    try:
        found = read(received)
    except ValueError as fault:
        invalid = {"grpc-status": "3"} if received.path == CALL else {}
        return Checked((), (*wrong, f"body: {fault}"), Answer(200 if invalid else 400, b"invalid", invalid))
    return Checked(events(found), (*wrong, *complaints(found)))


def events(session: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    """The data sets, each under its name with its values by what they are."""
    return tuple(_event(data) for data in session[1:])


def _event(data: Any) -> dict[str, Any]:
    said = mapping(data) or {}
    name, meanings = labels(said.get("key"))
    values = _list(said.get("values")) or []
    meanings = meanings or tuple(str(index) for index in range(1, len(values) + 1))
    name = name or f"data set {said.get('key')}"
    return {"event": name, **said, "properties": dict(zip(meanings, values, strict=False))}


def labels(key: Any) -> tuple[str, tuple[str, ...]]:
    """Name of the documented data set with this key, and what its values are; empty for another."""
    name = _NAMES.get(key, "") if isinstance(key, int) else ""
    return name, VALUES.get(name, ())


# -- what is wrong ------------------------------------------------------------------------------------------------


def complaints(session: Sequence[Any]) -> Iterator[str]:
    """Everything that the document does not allow."""
    yield from (f"information: {fault}" for fault in _faults(session[0], _INFORMATION))
    if len(session) < 2:
        yield "no data set"
    for index, data in enumerate(session[1:], 1):
        faults = list(_faults(data, _DATA)) or list(_wrong(_NAMES.get(data["key"], ""), data["values"]))
        yield from (f"data {index}: {fault}" for fault in faults)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63


def _number(value: Any) -> bool:
    return _whole(value) or (isinstance(value, float) and isfinite(value))


Rule = tuple[str, bool, Callable[[Any], bool]]
_INFORMATION: Sequence[Rule] = (
    ("license", True, lambda value: isinstance(value, str)),
    ("platform", True, lambda value: value in PLATFORMS),
    ("revision", False, _whole),
    ("serverId", True, lambda value: isinstance(value, str) and value != ""),
    ("startTime", True, lambda value: value is None or (_whole(value) and value > 0)),
)
_DATA: Sequence[Rule] = (
    ("key", True, lambda value: _whole(value) and 0 <= value < 1 << 32),
    ("timestamp", True, lambda value: value is None or _whole(value)),
    ("values", True, lambda value: _list(value) is not None and all(map(_number, value))),
)
"""Name of a field, whether it must be there, and what it may be."""


def _faults(structure: Any, rules: Sequence[Rule]) -> Iterator[str]:
    said = mapping(structure)
    if said is None:
        yield "not a structure"
        return
    for name, needed, allowed in rules:
        if (needed or name in said) and not (name in said and allowed(said[name])):
            yield f"{name}: {said[name]!r}" if name in said else f"{name}: missing"
    yield from (f"{name}: unknown" for name in said.keys() - {name for name, _, _ in rules})


def _wrong(name: str, values: list[Any]) -> Iterator[str]:
    """What the values of a documented data set contradict."""
    if name and len(values) != len(VALUES[name]):
        yield f"{name}: {len(values)} values, not {len(VALUES[name])}"
    elif name.endswith("sizes"):
        count, *bins = values if name == "file sizes" else values[1:]
        if not all(map(_whole, values)) or min(values) < 0:
            yield f"{name}: counts that are none"
        elif sum(bins) != count or not count:
            yield f"{name}: bins of {sum(bins)}, of {count} together"
    elif name == "transfer status":
        if not all(map(_whole, values)) or min(values) < 0 or not any(values):
            yield f"{name}: counts that are none, or nothing counted"
    elif name:
        start, end, count, low, high, mean, variance = values
        if not 0 <= start <= end or not all(map(_whole, values[:3])) or count < 0:
            yield f"{name}: offsets or count are wrong"
        if not low <= mean <= high or variance < 0:
            yield f"{name}: min {low}, mean {mean}, max {high}, variance {variance}"
