"""What a report period has gathered so far: many points made one per series, by rules that do not mind the order.

Sums add. Histograms merge: counts and buckets add, moments by Chan's formula. Of a gauge the newest value wins, by
time, then by the token of the process that saw it. Events are kept as they are, and what a format still needs of them
(`Keep`) goes on into the next period.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import copysign, isfinite
from typing import Any, Union, cast

import orjson

from usagewire.signals import Event, Histogram, Point
from usagewire.state import lines

MOST_SERIES = 10_000
MOST_EVENT_BYTES = 4 << 20
"""Bounds of one period, which is written anew with every version of the ledger; more is lost as ``quota``."""

Key = tuple[str, str, str, bytes]
Series = tuple[Point, str]
"""The merged point, and the token of the process whose value it holds (gauges)."""

Keep = Callable[[Sequence[Event], Union[int, None]], tuple[Sequence[Event], int]]
"""See `usagewire.formats.Format.keep`."""


def key(point: Point) -> Key:
    """What makes two points one series; attributes in whatever order."""
    plain = cast("Any", point.attributes)
    if type(plain) is not dict:
        plain = dict(plain)
    try:
        ordered = orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # not as it comes from disk; for such keys orjson takes three times as long
        ordered = orjson.dumps(plain, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return point.name, point.kind, point.unit, ordered


def merge(old: Series, new: Series) -> Series:
    """Two values of one series as one."""
    (before, earlier), (point, token) = old, new
    if point.kind == "gauge":
        return new if (point.time, token) >= (before.time, earlier) else old
    name, kind, time, attributes, value, histogram, unit, _ = before  # `_replace` takes five times as long
    time = max(time, point.time)
    if point.histogram is not None and histogram is not None:
        histogram = merge_histograms(histogram, point.histogram)
    else:
        value = add(value or 0, point.value or 0)
    return Point(name, kind, time, attributes, value, histogram, unit), token


def add(one: float, two: float) -> float:
    """The sum, held within what a JSON number can be."""
    total = one + two
    return total if isfinite(total) else copysign(sys.float_info.max, total)


def merge_histograms(one: Histogram, two: Histogram) -> Histogram:
    """The distribution of both together. Different bounds cannot be reconciled: their buckets are left out."""
    if not one.count or not two.count:
        return two if not one.count else one
    count = one.count + two.count
    mean = m2 = None
    if one.mean is not None and two.mean is not None:
        delta = two.mean - one.mean
        mean = one.mean + delta * two.count / count
        if one.m2 is not None and two.m2 is not None:
            m2 = one.m2 + two.m2 + delta * delta * one.count * two.count / count
    same = one.bounds == two.bounds and len(one.buckets) == len(two.buckets)
    return Histogram(
        count=count,
        sum=add(one.sum, two.sum),
        # a side that kept no minimum makes the minimum of both unknown
        min=None if one.min is None or two.min is None else min(one.min, two.min),
        max=None if one.max is None or two.max is None else max(one.max, two.max),
        mean=mean if mean is None or isfinite(mean) else None,
        m2=m2 if m2 is None or isfinite(m2) else None,
        bounds=one.bounds if same else (),
        buckets=tuple(a + b for a, b in zip(one.buckets, two.buckets, strict=True)) if same else (),
    )


@dataclass
class Gathered:
    """The points and events of one period."""

    series: dict[Key, Series] = field(default_factory=dict[Key, Series])
    events: list[Event] = field(default_factory=list[Event])
    event_bytes: int = 0
    carried: int = 0
    """How many of the events, the first ones, are an earlier period's: they alone are nothing to report."""

    def __bool__(self) -> bool:
        return bool(self.series) or len(self.events) > self.carried

    def copy(self) -> Gathered:
        """Independent of this one; points and events are frozen and shared."""
        return Gathered(dict(self.series), list(self.events), self.event_bytes, self.carried)

    def add(self, signal: Event | Point, token: str, size: int) -> bool:
        """Take one signal from the process with ``token``; ``size`` in bytes as stored. False: the period is full."""
        if isinstance(signal, Event):
            if self.event_bytes + size > MOST_EVENT_BYTES:
                return False
            self.events.append(signal)
            self.event_bytes += size
            return True
        name = key(signal)
        old = self.series.get(name)
        if old is None and len(self.series) >= MOST_SERIES:
            return False
        self.series[name] = (signal, token) if old is None else merge(old, (signal, token))
        return True

    def condense(self, keep: Keep) -> int:
        """Make room for events: only those that still count stay. Returns how many were lost by it."""
        kept, lost = keep(self.events, None)
        return lost + self._hold(kept)

    def carry(self, keep: Keep, ended: int) -> tuple[Gathered, int]:
        """What the next period begins with when this one has ended, and how many events were lost by it."""
        kept, lost = keep(self.events, ended)
        new = Gathered()
        lost += new._hold(kept)
        new.carried = len(new.events)
        return new, lost

    def _hold(self, events: Sequence[Event]) -> int:
        """Have these events and no others, the last ones of them that take half the room; how many were too many."""
        sizes = [len(lines.event(event)) for event in events]
        first = len(events)
        self.event_bytes = self.carried = 0
        while first and self.event_bytes + sizes[first - 1] <= MOST_EVENT_BYTES // 2:
            first -= 1
            self.event_bytes += sizes[first]
        self.events = list(events[first:])
        return first

    def without(self, channels: Collection[str], channel_of: Mapping[str, str]) -> tuple[Gathered, int]:
        """What is left where the signals of some channels go, and how many those are; ``channel_of``: by name."""
        new = Gathered({at: one for at, one in self.series.items() if channel_of.get(one[0].name) not in channels})
        stays = [channel_of.get(event.name) not in channels for event in self.events]
        new.events = [event for event, stay in zip(self.events, stays, strict=True) if stay]
        new.event_bytes = sum(len(lines.event(event)) for event in new.events)
        new.carried = sum(stays[: self.carried])
        return new, len(self.series) + len(self.events) - len(new.series) - len(new.events)

    def points(self) -> tuple[Point, ...]:
        """One point per series."""
        return tuple(point for point, _ in self.series.values())

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "points": [[lines.point_to_json(point), token] for point, token in self.series.values()],
            "events": [lines.event_to_json(event) for event in self.events],
            "event_bytes": self.event_bytes,
            "carried": self.carried,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Gathered:
        """From `to_json`. Raises `ValueError`, `KeyError` or `TypeError`."""
        found = cls(event_bytes=int(content["event_bytes"]), carried=int(content.get("carried", 0)))
        for stored, token in content["points"]:
            point = lines.point_from_json(stored)
            found.series[key(point)] = (point, token)
        found.events = [lines.event_from_json(stored) for stored in content["events"]]
        return found


def fold(gathered: Gathered, payloads: Iterable[bytes], token: str, keep: Keep | None = None) -> Counter[str]:
    """Add a segment's signals to ``gathered``; returns the losses that it reports, or that adding it caused. ``keep``:
    what makes room where there are too many events."""
    losses: Counter[str] = Counter()
    for payload in payloads:
        try:
            signal = lines.signal(payload)
            if isinstance(signal, dict):
                losses.update(signal)
            elif not gathered.add(signal, token, len(payload)):
                if keep is not None and isinstance(signal, Event):
                    losses["quota"] += gathered.condense(keep)
                    if gathered.add(signal, token, len(payload)):
                        continue
                losses["quota"] += 1
        except (ValueError, TypeError, AttributeError):  # well framed, and yet nothing that we wrote
            losses["corrupt"] += 1
    return losses
