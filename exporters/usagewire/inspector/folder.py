"""What lies in a destination's folder beside the queue: its history, and the room everything takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from usagewire.inspector.charts import Picture, over_time
from usagewire.inspector.received import mapping
from usagewire.state.files import read_file
from usagewire.state.listing import names, split
from usagewire.state.paths import Place
from usagewire.state.sent import body_of

NEWEST = 1_000
"""Requests of the history that are read for one page."""
OUTCOMES = ("delivered", "to be retried", "unknown", "rejected", "damaged")


@dataclass(frozen=True, slots=True)
class Past:
    """A request that left, or tried to."""

    name: str
    time: int
    url: str
    count: int
    """Items in it."""
    size: int
    verdict: str
    outcome: str
    """One of `OUTCOMES`."""
    status: int | None
    finished: int | None
    content: dict[str, Any]

    def body(self) -> str | bytes | None:
        """What it said; ``None`` where that was too large to be kept, or is damaged."""
        try:
            raw = body_of(self.content)
        except (ValueError, OSError, EOFError, AttributeError, TypeError):  # damaged
            return None
        try:
            return None if raw is None else raw.decode()
        except UnicodeDecodeError:
            return raw


def history(place: Place, most: int = NEWEST) -> list[Past]:
    """The newest ``most`` requests, newest first."""
    known = [name for name in names(place.sent) if split(name)[1] in (".json", ".open", ".retry")]
    newest = sorted(known, key=lambda name: name.partition("-")[2], reverse=True)[:most]
    return [found for name in newest if (found := past(place, name)) is not None]


def past(place: Place, name: str) -> Past | None:
    """The request whose copy is called ``name``; ``None`` where there is none that can be read."""
    suffix = split(name)[1]
    if "/" in name or suffix not in (".json", ".open", ".retry"):
        return None
    try:
        raw = read_file(place.sent / name)
        content = mapping(orjson.loads(raw if raw.rstrip().endswith(b"}") else raw + b"}"))
    except (OSError, ValueError):
        return None
    if content is None:
        return None
    verdict = str(content.get("verdict", ""))
    outcome = {".open": "unknown", ".retry": "to be retried"}.get(suffix, verdict.partition(":")[0].partition(" ")[0])
    return Past(
        name=name,
        time=_whole(content.get("time")),
        url=str(content.get("url", "")),
        count=_whole(content.get("count")),
        size=_whole(content.get("bytes")),
        verdict=verdict or "nobody knows: the program ended before the answer came",
        outcome=outcome.rstrip(",") if outcome.rstrip(",") in OUTCOMES else "unknown",
        status=_whole(content["status"]) if content.get("status") is not None else None,
        finished=_whole(content["finished"]) if "finished" in content else None,
        content=content,
    )


def timeline(place: Place, found: Sequence[Past]) -> Picture:
    """Deliveries and losses over time, as far back as the history goes."""
    counts: Counter[tuple[int, str]] = Counter()
    for one in found:
        counts[one.time, one.outcome] += max(one.count, 1)
    for path in _files(place.corrupt):
        with suppress(OSError):
            counts[path.stat().st_mtime_ns, "damaged"] += 1
    caption = "Items per request in the history, by what became of them; damaged files by when they were put aside."
    return over_time(f"timeline-{place.name}", "Deliveries and losses", caption, counts, OUTCOMES)


@dataclass(frozen=True, slots=True)
class Aside:
    """A file of rejected/."""

    name: str
    time: int
    reason: str
    items: int


def rejected(place: Place, most: int = 20) -> list[Aside]:
    """What the endpoint will never take, newest first."""
    found: list[Aside] = []
    for path in _files(place.rejected):
        try:
            first, *items = read_file(path).splitlines()
            said = mapping(orjson.loads(first)) or {}
        except (OSError, ValueError):
            continue
        found.append(Aside(path.name, _whole(said.get("time")), str(said.get("reason", "")), len(items)))
    return sorted(found, key=lambda one: one.time, reverse=True)[:most]


def room(place: Place) -> list[tuple[str, int]]:
    """What each part of the folder takes on disk, in bytes."""
    parts = {
        "what waits": (place.queue,),
        "history": (place.sent,),
        "rejected": (place.rejected,),
        "damaged": (place.corrupt,),
    }
    found = [(name, sum(map(_size, _files(*folders)))) for name, folders in parts.items()]
    everything = sum(map(_size, _files(place.folder)))
    return [*found, ("books and settings", max(everything - sum(size for _, size in found), 0))]


def _files(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        with suppress(OSError):
            for path in folder.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    yield path


def _size(path: Path) -> int:
    try:
        return path.lstat().st_blocks * 512
    except OSError:
        return 0


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
