"""Pictures as plain geometry; the templates draw them as SVG, and as the table that says the same."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from usagewire.inspector.figures import MINUTE, Sample

WIDTH, HEIGHT = 420, 200
LEFT, RIGHT, TOP, BOTTOM = 48, 8, 12, 24
_ROOM, _TALL = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
COLUMNS = 48
"""At most, of a picture over time."""
_STEPS = tuple(minutes * MINUTE for minutes in (1, 5, 15, 60, 180, 360, 720, 1440, 7 * 1440, 30 * 1440))


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle of one series."""

    series: str
    x: float
    y: float
    width: float
    height: float
    says: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A word beside an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """Columns, or a line with a band around it."""

    name: str
    """For ids."""
    title: str
    caption: str
    bars: Sequence[Bar]
    across: Sequence[Mark]
    up: Sequence[Mark]
    legend: Sequence[str]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    line: str = ""
    """Points of a polyline."""
    band: str = ""
    """Points of a polygon."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Names with a bar each: a table by itself."""

    name: str
    title: str
    caption: str
    header: Sequence[str]
    rows: Sequence[tuple[str, str, float]]
    """Name, value, and its share of the largest from 0 to 100."""


def columns(
    name: str, title: str, caption: str, labels: Sequence[str], series: Mapping[str, Sequence[float]], *, every: int = 0
) -> Picture:
    """One column per label, stacked of ``series``; ``every`` so many labels are printed."""
    totals = [sum(values[index] for values in series.values()) for index in range(len(labels))]
    top = ceiling(max(totals, default=0))
    step = _ROOM / max(len(labels), 1)
    bars: list[Bar] = []
    for index, label in enumerate(labels):
        base = float(TOP + _TALL)
        for one, values in series.items():
            height = values[index] / top * _TALL
            if height:
                base -= height
                gap = min(2.0, step / 5)
                bars.append(
                    Bar(one, round(LEFT + index * step + gap / 2, 1), round(base, 1), round(step - gap, 1),
                        round(height, 1), f"{label}: {short(values[index])} {one}")
                )  # fmt: skip
    shown = every or max(1, math.ceil(len(labels) / 5))
    across = [Mark(round(LEFT + (at + 0.5) * step, 1), labels[at]) for at in range(0, len(labels), shown)]
    rows = [
        (label, *(short(values[index]) for values in series.values()))
        for index, label in enumerate(labels)
        if totals[index]
    ]
    up = [Mark(TOP, short(top)), Mark(TOP + _TALL / 2, short(top / 2)), Mark(TOP + _TALL, "0")]
    legend = [one for one, values in series.items() if any(values)]
    return Picture(name, title, caption, bars, across, up, legend, ("", *series), rows)


def over_time(name: str, title: str, caption: str, found: Counter[tuple[int, str]], series: Sequence[str]) -> Picture:
    """Columns of time. ``found``: ``(nanoseconds, series)`` → how many."""
    times = [time for time, _ in found]
    first, last = (min(times), max(times)) if times else (0, 0)
    step = next((step for step in _STEPS if (last - first) // step < COLUMNS), _STEPS[-1])
    start = first // step
    count = min(max(last // step - start + 1, 12), 4 * COLUMNS)
    values = {one: [0.0] * count for one in series}
    for (time, one), many in found.items():
        values[one][min(time // step - start, count - 1)] += many
    long = step * count > 2 * 1440 * MINUTE
    labels = [clock((start + index) * step, long) for index in range(count)] if times else []
    return columns(name, title, f"{caption} Each column: {_span(step)}; times are UTC.", labels, values)


def trend(name: str, title: str, caption: str, samples: Sequence[Sample], unit: str) -> Picture:
    """The mean over time, in a band from the smallest to the largest."""
    top = ceiling(max((sample.high for sample in samples), default=0))

    def point(index: int, value: float) -> str:
        x = LEFT + _ROOM * ((index + 0.5) / len(samples))
        return f"{x:.1f},{TOP + _TALL * (1 - min(max(value / top, 0), 1)):.1f}"

    line = " ".join(point(index, sample.mean) for index, sample in enumerate(samples))
    upper = [point(index, sample.high) for index, sample in enumerate(samples)]
    lower = [point(index, sample.low) for index, sample in enumerate(samples)]
    bars = [
        Bar("mean", across - 3, up - 3, 6, 6, f"{clock(sample.time)}: mean {short(sample.mean)} {unit}")
        for sample, (across, up) in zip(samples, map(_pair, line.split()), strict=True)
    ]
    stride = max(1, math.ceil(len(samples) / 5))
    across = [Mark(_pair(point(index, 0))[0], clock(samples[index].time)) for index in range(0, len(samples), stride)]
    up = [Mark(TOP, short(top)), Mark(TOP + _TALL / 2, short(top / 2)), Mark(TOP + _TALL, "0")]
    rows = [(clock(one.time), short(one.count), short(one.low), short(one.mean), short(one.high)) for one in samples]
    header = ("", "count", f"min ({unit})", f"mean ({unit})", f"max ({unit})")
    band = " ".join([*upper, *reversed(lower)])
    return Picture(name, title, caption, bars, across, up, (), header, rows, line, band)


def ranking(
    name: str, title: str, caption: str, header: Sequence[str], found: Mapping[str, float], most: int = 12
) -> Ranking:
    """The largest first."""
    largest = sorted(found.items(), key=lambda one: (-one[1], one[0]))[:most]
    top = max((value for _, value in largest), default=0) or 1
    rows = [(label, f"{value:,.10g}", round(max(value, 0) / top * 100, 1)) for label, value in largest]
    return Ranking(name, title, caption, header, rows)


def _pair(point: str) -> tuple[float, float]:
    x, _, y = point.partition(",")
    return float(x), float(y)


def ceiling(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, …"""
    if value <= 1e-12:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999999)


def short(value: float) -> str:
    """A number in few characters."""
    for power, letter in ((1e-6, "µ"), (1e-3, "m")):
        if 0 < abs(value) < 1e3 * power and abs(value) < 0.01:
            return f"{value / power:.3g}{letter}"
    for power, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= power:
            return f"{value / (1e3 if letter == 'k' else power):.3g}{letter}"
    return f"{value:.4g}"


def byte_ranges(edges: Sequence[float]) -> list[str]:
    """How each of the documented ranges is called: by its lower edge."""
    return ["0" if edges[0] == 0 else f"<{_bytes(edges[0] + 1)}", *(_bytes(edge + 1) for edge in edges)]


def _bytes(value: float) -> str:
    for unit in ("B", "Ki", "Mi", "Gi"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.0f} Ti"


def clock(time: int, long: bool = False) -> str:
    """``14:05``, or ``21 Nov`` where days matter."""
    try:
        said = datetime.fromtimestamp(time / 1e9, tz=timezone.utc)
    except (ValueError, OverflowError, OSError):  # a clock that was far off when this was stored
        return "?"
    return f"{said:%d %b}" if long else f"{said:%H:%M}"


def _span(step: int) -> str:
    minutes = step // MINUTE
    for length, unit in ((1440, "day"), (60, "hour")):
        if minutes >= length:
            return f"{minutes // length} {unit}{'' if minutes == length else 's'}"
    return f"{minutes} minute{'' if minutes == 1 else 's'}"
