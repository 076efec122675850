"""The data sets: which points they are made of, their keys, and their values in the documented order.

Document: JETStream Server, "Telemetry". Indices there count from 1.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from math import isfinite
from typing import NamedTuple, Union

from usagewire.errors import Unsendable
from usagewire.formats.ranges import BOUNDARIES, FILE_SIZE, TRANSFER_SIZE
from usagewire.signals import Histogram, Period, Point

Value = Union[int, float]
Points = Mapping[str, Sequence[Point]]
"""The points of a period by metric."""
Tables = Mapping[str, Sequence[str]]
"""The vendor's own data sets: name → sources, see `Source`."""

COUNT, STATE = "usage.transfer.count", "usage.transfer.state"
STATES = ("queued", "started", "completed", "failed")
ROUND_TRIP_TIME = "usage.transfer.round_trip_time"
TRANSFER_RATE, TRANSMISSION_RATE = "usage.transfer.rate", "usage.transmission.rate"
SAMPLES = ".samples"
_GAUGES = (TRANSFER_RATE, TRANSMISSION_RATE)
_STATISTICS = frozenset({ROUND_TRIP_TIME, *_GAUGES, *(name + SAMPLES for name in _GAUGES)})

METRICS = frozenset({*BOUNDARIES, COUNT, *_STATISTICS})
"""What the documented data sets are made of."""


def key(name: str) -> int:
    """The key of a data set: FNV-1a, 32 bit, of its name in lower case."""
    found = 0x811C9DC5
    for byte in name.lower().encode():
        found = (found ^ byte) * 0x01000193 & 0xFFFFFFFF
    return found


# -- what may enter a period --------------------------------------------------------------------------------------


def admit(point: Point, tables: Tables) -> Point | None:
    """``point`` as a period takes it; ``None``: no data set is made of it.

    Attributes that no data set tells apart are left off, so that the period adds their series up, and a gauge that the
    document reports as samples becomes a sample. Raises `Unsendable` for a point that its set cannot be made of.
    """
    name = point.name
    if name in BOUNDARIES:
        return point._replace(attributes={}, histogram=_aligned(point))
    if name in _STATISTICS:
        return point._replace(kind="histogram", attributes={}, value=None, histogram=_exact(point))
    if name == COUNT:
        state = point.attributes.get(STATE)
        if point.kind != "sum" or state not in STATES:
            raise Unsendable("unfit", f"{name}: a counter with {STATE} = {', '.join(STATES)} is needed")
        return point._replace(attributes={STATE: state})
    return point if name in _own(_frozen(tables)).metrics else None


def _aligned(point: Point) -> Histogram:
    found = _histogram(point)
    if found.bounds != BOUNDARIES[point.name]:
        raise Unsendable("unfit", f"{point.name}: its buckets are not the documented ranges (a View, or another SDK)")
    return found


def _exact(point: Point) -> Histogram:
    value = point.value
    if point.kind == "gauge" and point.name in _GAUGES and value is not None:
        if not isfinite(value):
            raise Unsendable("unfit", f"{point.name}: {value} is not a finite number")
        return Histogram(1, value, value, value, value, 0.0)
    found = _histogram(point)
    if not all(number is not None and isfinite(number) for number in (found.m2, found.mean, found.min, found.max)):
        raise Unsendable("unfit", f"{point.name}: its variance is not known exactly (a View, or another SDK)")
    return replace(found, bounds=(), buckets=())


def _histogram(point: Point) -> Histogram:
    if point.histogram is None:
        raise Unsendable("unfit", f"{point.name}: a histogram is needed, not a {point.kind}")
    return point.histogram


# -- what a period makes ------------------------------------------------------------------------------------------


def data_sets(period: Period, tables: Tables) -> Iterator[tuple[str, list[Value]]]:
    """Name and values of every data set that has something new; times in microseconds."""
    points: dict[str, list[Point]] = defaultdict(list)
    for point in period.points:
        points[point.name].append(point)
    length = max(0, period.end - period.start) // 1_000
    for name, values in _DOCUMENTED.items():
        found = values(points, length)
        if found:
            yield name, found
    for name, sources in _own(_frozen(tables)).sets.items():
        if any(source.series(points) for source in sources):
            yield name, [source.value(points) for source in sources]


def _file_sizes(points: Points, length: int) -> list[Value]:
    found = _one(points, FILE_SIZE)
    return [found.count, *found.buckets] if found else []


def _transfer_sizes(points: Points, length: int) -> list[Value]:
    found = _one(points, TRANSFER_SIZE)
    return [_whole(found.sum), found.count, *found.buckets] if found else []


def _transfer_status(points: Points, length: int) -> list[Value]:
    found = {point.attributes.get(STATE): _whole(point.value or 0) for point in points.get(COUNT, ())}
    return [found.get(state, 0) for state in STATES] if any(found.values()) else []


def _round_trip_times(points: Points, length: int) -> list[Value]:
    return _statistics(_one(points, ROUND_TRIP_TIME), length)


def _transfer_rates(points: Points, length: int) -> list[Value]:
    return _statistics(_one(points, TRANSFER_RATE + SAMPLES) or _one(points, TRANSFER_RATE), length)


def _transmission_rates(points: Points, length: int) -> list[Value]:
    """The third value is the number of *files*, where it can be known."""
    found = _statistics(_one(points, TRANSMISSION_RATE + SAMPLES) or _one(points, TRANSMISSION_RATE), length)
    transfers = _transfer_status(points, length)
    if found and transfers:
        found[2] = transfers[STATES.index("completed")]
    return found


def _statistics(found: Histogram | None, length: int) -> list[Value]:
    if found is None or found.min is None or found.max is None or found.mean is None or found.m2 is None:
        return []
    low, high = float(found.min), float(found.max)
    mean = min(max(float(found.mean), low), high)  # rounding must not carry it out of its range
    return [0, length, found.count, low, high, mean, max(found.m2, 0.0) / found.count]


def _one(points: Points, name: str) -> Histogram | None:
    """The distribution that is known under ``name``, if it is what `admit` lets in."""
    for point in points.get(name, ()):
        found = point.histogram
        if found and found.count and (name not in BOUNDARIES or len(found.buckets) == len(BOUNDARIES[name]) + 1):
            return found
    return None


def _whole(number: float) -> int:
    return number if isinstance(number, int) else round(number)


_DOCUMENTED: Mapping[str, Callable[[Points, int], list[Value]]] = {
    "file sizes": _file_sizes,
    "transfer sizes": _transfer_sizes,
    "transfer status": _transfer_status,
    "round trip times": _round_trip_times,
    "transfer rates": _transfer_rates,
    "transmission rates": _transmission_rates,
}
DOCUMENTED = tuple(_DOCUMENTED)
"""Names of the documented data sets, in the document's order."""


# -- the vendor's own ---------------------------------------------------------------------------------------------

_SOURCE = re.compile(r"(?P<metric>[^{}]+?)\s*(?:\{\s*(?P<attribute>[^{}=]+?)\s*=\s*(?P<value>[^{}]*?)\s*\})?")


class Source(NamedTuple):
    """``metric`` or ``metric{attribute=value}``: one value of a data set. Of a counter it is the sum, of a gauge the
    newest value, of a histogram the count; all series that match are added; 0 where there is none."""

    metric: str
    attribute: str | None
    wanted: str | None

    def series(self, points: Points) -> list[Point]:
        """The matching ones."""
        found = points.get(self.metric, ())
        return [p for p in found if self.attribute is None or str(p.attributes.get(self.attribute)) == self.wanted]

    def value(self, points: Points) -> Value:
        """What the series come to."""
        found = self.series(points)
        return sum(p.histogram.count if p.histogram is not None else p.value or 0 for p in found)


def fault(tables: Tables) -> str:
    """Why these cannot be told apart or read; empty: they can."""
    by_key: dict[int, list[str]] = defaultdict(list)
    for name in (*DOCUMENTED, *tables):
        by_key[key(name)].append(name)
    found = [
        f"{' and '.join(map(repr, names))} have the same key {number}: rename one"
        for number, names in by_key.items()
        if len(names) > 1
    ]
    for name, sources in tables.items():
        unread = [source for source in sources if not _SOURCE.fullmatch(source)]
        found += [f"{name}: {source!r} is neither metric nor metric{{attribute=value}}" for source in unread]
    return "; ".join(found)


class _Own(NamedTuple):
    sets: Mapping[str, Sequence[Source]]
    metrics: frozenset[str]


def _frozen(tables: Tables) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((name, tuple(sources)) for name, sources in tables.items())


@lru_cache(maxsize=8)  # asked for every point, and the same for as long as the program runs
def _own(tables: tuple[tuple[str, tuple[str, ...]], ...]) -> _Own:
    sets = {
        name: [Source(*match.groups()) for match in map(_SOURCE.fullmatch, texts) if match] for name, texts in tables
    }
    return _Own(sets, frozenset(source.metric for sources in sets.values() for source in sources))
