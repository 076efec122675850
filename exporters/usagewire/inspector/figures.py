"""Figures of everything that arrived, kept up as it arrives: so the pictures cost the same after 100,000 events."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from usagewire.formats.ranges import BOUNDARIES, FILE_SIZE, TRANSFER_SIZE
from usagewire.inspector.received import Received, mapping

MINUTE = 60_000_000_000
MINUTES = 2 * 24 * 60
"""Minutes that are told apart; older ones are forgotten."""
SAMPLES, DISTINCT = 200, 200
"""Of one statistic over time, and different names or values."""
OTHERS = "(others)"

SIZES: Mapping[str, str] = {"file sizes": FILE_SIZE, "transfer sizes": TRANSFER_SIZE}
SPREADS: Mapping[str, str] = {
    "usage.transfer.round_trip_time": "round trip times",
    "usage.transfer.rate.samples": "transfer rates",
    "usage.transmission.rate.samples": "transmission rates",
}
"""The metric → the data set of the same statistics."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One report's statistics of a quantity."""

    time: int
    count: float
    low: float
    mean: float
    high: float


class Figures:
    """Everything the pictures are drawn from. Not for several threads at once."""

    def __init__(self) -> None:
        self.minutes: Counter[tuple[int, str]] = Counter()
        """``(minute, format)`` → events."""
        self.names: Counter[str] = Counter()
        self.sizes: dict[str, list[int]] = {name: [0] * (len(BOUNDARIES[made]) + 1) for name, made in SIZES.items()}
        """``file sizes``, ``transfer sizes`` → how many in each of the documented ranges."""
        self.samples: dict[str, deque[Sample]] = {name: deque(maxlen=SAMPLES) for name in SPREADS.values()}
        self.entities: dict[str, float] = {}
        """What is counted → its newest count."""
        self.versions: dict[str, Counter[str]] = {}
        """What has a version, or is a platform → which, and in how many events and messages."""

    def add(self, received: Received, format: str, names: Counter[str]) -> None:
        """Count an accepted request."""
        minute = received.time // MINUTE
        self.minutes[minute, format] += sum(names.values())
        if len(self.minutes) > 6 * MINUTES:
            oldest = minute - MINUTES
            self.minutes = Counter({key: count for key, count in self.minutes.items() if key[0] > oldest})
        for name, count in names.items():
            _count(self.names, name, count)
        look = {"segment": self._segment, "jetstream": self._jetstream, "jina": self._jina}.get(format)
        for event in received.events:
            said = mapping(event)
            if said is None:
                continue
            if look is not None:
                look(said, received.time)
            elif format == "tts":
                self._tts(said)
            elif format == "stone":
                self._stone(said)
        if format == "jetstream" and received.events:
            self._version("platform", _platform(received))

    def _segment(self, event: dict[str, Any], time: int) -> None:
        properties = mapping(event.get("properties")) or {}
        name = str(event.get("event"))
        for what, made in SIZES.items():
            if made == name:
                buckets = mapping(properties.get("buckets")) or {}
                if buckets.get("bounds") == list(BOUNDARIES[made]):
                    self._size(what, buckets.get("counts"))
        if name in SPREADS:
            self._sample(SPREADS[name], properties, time)
        if name == "usage.entity.count":
            facets = [str(value) for key, value in sorted(properties.items()) if key.startswith("usage.entity.")]
            self._entity(" · ".join(reversed(facets)), properties.get("value"))
        for key, value in properties.items():
            if key.endswith("_version") and isinstance(value, str):
                self._version(key, value)

    def _jetstream(self, data: dict[str, Any], time: int) -> None:
        name, values = str(data.get("event")), mapping(data.get("properties")) or {}
        if name in SIZES:
            self._size(name, list(values.values())[1 if name == "file sizes" else 2 :])
        elif name in self.samples:
            self._sample(name, {**values, "count": values.get("count", values.get("files"))}, time)

    def _jina(self, event: dict[str, Any], time: int) -> None:
        self._version("platform", event.get("platform"))
        for key in ("jina", "python", "architecture"):
            self._version(key, event.get(key))

    def _tts(self, message: dict[str, Any]) -> None:
        system = mapping(message.get("os")) or {}
        self._version("platform", system.get("operating_system"))
        for key in ("arch", "binary_version", "golang_version"):
            self._version({"arch": "architecture"}.get(key, key), system.get(key))
        for path, value in _leaves(message.get("entities_count")):
            self._entity(" · ".join(word.replace("_", " ") for word in path if word != "total"), value)

    def _stone(self, report: dict[str, Any]) -> None:
        for section, field in (
            ("mon", "count"),
            ("osd", "count"),
            ("hosts", "num"),
            ("usage", "pools"),
            ("rgw", "count"),
        ):
            self._entity(f"{section} · {field}", (mapping(report.get(section)) or {}).get(field))
        for path, value in _leaves(report.get("metadata")):
            if len(path) == 3 and path[1] in ("arch", "distro", "stone_version", "ceph_version") and _number(value):
                self._version(f"{path[0]} {path[1]}", path[2], int(value))

    def _size(self, name: str, counts: Any) -> None:
        known = self.sizes[name]
        found = cast("list[Any]", counts) if isinstance(counts, (list, tuple)) else []
        if len(found) == len(known) and all(map(_number, found)):
            self.sizes[name] = [one + int(more) for one, more in zip(known, found, strict=True)]

    def _sample(self, name: str, said: Mapping[str, Any], time: int) -> None:
        numbers = [said.get(key) for key in ("count", "min", "mean", "max")]
        if all(map(_number, numbers)):
            self.samples[name].append(Sample(time, *(float(cast("float", number)) for number in numbers)))

    def _entity(self, label: str, value: Any) -> None:
        if _number(value) and (label in self.entities or len(self.entities) < DISTINCT):
            self.entities[label[:80]] = value

    def _version(self, what: str, value: Any, count: int = 1) -> None:
        if isinstance(value, str) and value and (what in self.versions or len(self.versions) < 20):
            _count(self.versions.setdefault(what[:40], Counter()), value[:80], count)


def _count(counter: Counter[str], name: str, count: int) -> None:
    counter[name if name in counter or len(counter) < DISTINCT else OTHERS] += count


def _platform(received: Received) -> Any:
    from usagewire.inspector.checks.jetstream import read

    return (mapping(read(received)[0]) or {}).get("platform")


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    table = mapping(value)
    if table is None or len(path) > 5:
        yield path, value
        return
    for name, inner in table.items():
        yield from _leaves(inner, (*path, name))


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -1e300 < value < 1e300
