"""The pictures of what arrived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from usagewire.formats import BUILT_IN
from usagewire.formats.ranges import BOUNDARIES
from usagewire.inspector.charts import Picture, Ranking, byte_ranges, columns, over_time, ranking, trend
from usagewire.inspector.figures import MINUTE, SIZES, Figures

TRENDS = (
    ("round trip times", "Round-trip times", "s"),
    ("transfer rates", "Transfer rates", "B/s"),
    ("transmission rates", "Transmission rates", "B/s"),
)

MOST = 12
"""Rows of a table; twice as many where different things stand in one."""


def drawn(figures: Figures) -> tuple[Sequence[Picture], Sequence[Ranking]]:
    """Those for which something has arrived."""
    found: list[Picture] = []
    if figures.minutes:
        times = Counter({(minute * MINUTE, format): count for (minute, format), count in figures.minutes.items()})
        found.append(over_time("events", "Events", "By format, as they arrived.", times, BUILT_IN))
    for what, title in (("file sizes", "File sizes"), ("transfer sizes", "Transfer sizes")):
        counts = figures.sizes[what]
        if any(counts):
            caption = f"How many {what.split()[0]}s lie in which range; a column's name is where its range begins."
            labels = byte_ranges(BOUNDARIES[SIZES[what]])
            found.append(columns(what.replace(" ", "-"), title, caption, labels, {"count": counts}, every=2))
    for what, title, unit in TRENDS:
        if figures.samples[what]:
            caption = "The mean of each report, in the band from smallest to largest; in order of arrival, UTC."
            found.append(trend(what.replace(" ", "-"), f"{title} ({unit})", caption, list(figures.samples[what]), unit))
    tables: list[Ranking] = []
    if figures.names:
        tables.append(ranking("names", "Most frequent events", "", ("event", "how many"), figures.names))
    if figures.entities:
        caption = "The newest number of each."
        tables.append(ranking("entities", "Entities", caption, ("entity", "how many"), figures.entities, 2 * MOST))
    if figures.versions:
        versions = {
            f"{what.replace('_', ' ')}: {value}": count
            for what, values in figures.versions.items()
            for value, count in values.most_common(MOST)
        }
        caption = "In how many events and messages."
        tables.append(ranking("versions", "Versions and platforms", caption, ("what", "how many"), versions, 2 * MOST))
    return found, tables
