"""What waits to be sent, oldest first, read from disk when it is asked for and not before."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, overload

from usagewire.state.files import read_file
from usagewire.state.lines import Line, is_item, item_data, items, scan
from usagewire.state.listing import file_bytes


class Entry(NamedTuple):
    """One item that waits."""

    source: str
    """The segment's stem or the report's file name."""
    start: int
    """Byte of the source at which its line begins."""
    data: bytes
    time: int
    """When its segment was begun or its report compiled, in nanoseconds."""
    end: int
    """Byte after its line."""


class Entries(Sequence[Entry]):
    """Entries, column by column: thousands of them are handed on as they are read, and an object for each would be the
    garbage collector's to follow. An entry is made when it is asked for."""

    __slots__ = ("columns", "data", "ends", "sources", "starts")

    def __init__(self, *columns: Sequence[Any]) -> None:
        """Columns of one length, in the order of `Entry`; none: no entries."""
        self.columns = columns or ((), (), (), (), ())
        self.sources: Sequence[str]
        self.starts: Sequence[int]
        self.data: Sequence[bytes]
        self.ends: Sequence[int]
        self.sources, self.starts, self.data, _, self.ends = self.columns

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Entries:
        """From whole ones."""
        return cls(*zip(*entries, strict=True))

    def __len__(self) -> int:
        return len(self.data)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Entries: ...
    def __getitem__(self, index: int | slice) -> Entry | Entries:
        if isinstance(index, slice):
            return Entries(*(column[index] for column in self.columns))
        return Entry._make(column[index] for column in self.columns)

    def __iter__(self) -> Iterator[Entry]:
        return map(Entry._make, zip(*self.columns, strict=True))

    def __add__(self, more: Entries) -> Entries:
        return Entries(*([*mine, *theirs] for mine, theirs in zip(self.columns, more.columns, strict=True)))

    def reach(self) -> dict[str, int | None]:
        """Source → byte after the last of its entries."""
        return dict(zip(self.sources, self.ends, strict=True))


class Backlog(NamedTuple):
    """How much waits."""

    items: int
    bytes: int
    oldest: int | None
    """Time of the oldest, in nanoseconds."""


class Weight(NamedTuple):
    """How much room what waits takes."""

    bytes: int
    oldest: int | None
    """Time of the oldest, in nanoseconds; ``None``: nothing waits."""


class Source(NamedTuple):
    """A file of items."""

    name: str
    path: Path
    time: int
    torn: bool
    """May end in a torn line: its writer died."""
    lane: str = ""
    """Which endpoint it is for."""


class Content(NamedTuple):
    """What a source holds: its items, its damaged stretches, and the byte behind the last of both."""

    entries: Entries
    damaged: list[Line]
    end: int

    def after(self, offset: int) -> Content:
        """What stands at byte ``offset`` or behind it."""
        first, scratch = bisect_left(self.entries.starts, offset), bisect_left(self.damaged, offset, key=_start)
        return Content(self.entries[first:], self.damaged[scratch:], max(self.end, offset))


class Shelf:
    """The sources a consumer may read. Offsets (source → bytes settled) come in from the ledger with every question."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}
        self._read: dict[str, Content] = {}
        self._sizes: dict[str, tuple[int, int, int]] = {}  # offset, items and bytes after it
        self._ends: dict[str, int] = {}

    def stock(self, sources: Iterable[Source]) -> None:
        """Replace the sources; they do not change while they are here."""
        self.sources = {source.name: source for source in sorted(sources, key=lambda one: (one.time, one.name))}
        self._read = {name: found for name, found in self._read.items() if name in self.sources}
        self._sizes = {name: found for name, found in self._sizes.items() if name in self.sources}
        self._ends = {name: found for name, found in self._ends.items() if name in self.sources}

    def remove(self, name: str) -> list[Source]:
        """Forget a source that is done with; returns it, if it was there."""
        for known in (self._read, self._sizes, self._ends):
            known.pop(name, None)
        return [self.sources.pop(name)] if name in self.sources else []

    def content(self, name: str, offset: int = 0) -> Content:
        """What a source holds from byte ``offset`` on."""
        found = self._read.get(name)
        if found is None:
            source = self.sources.get(name)
            if source is None:
                return Content(Entries(), [], offset)
            found = self._read[name] = read_items(source)
        return found.after(offset) if offset else found

    def raw(self, name: str) -> bytes:
        """A source's bytes as they are on disk."""
        return read_content(self.sources[name])

    def waiting(
        self, offsets: Mapping[str, int], most: int, most_bytes: int, lane: str = ""
    ) -> tuple[Entries, list[str]]:
        """Up to ``most`` entries of a lane, ``most_bytes`` together on disk, but one at least; and the sources found to
        hold nothing more."""
        entries = Entries()
        spent: list[str] = []
        seen: set[str] = set()
        for name, source in list(self.sources.items()):
            if source.lane != lane:
                continue
            seen.add(name)
            owed = self.content(name, offsets.get(name, 0)).entries
            if not owed:
                spent.append(name)
                continue
            fits = bisect_right(owed.ends, owed.starts[0] + most_bytes, hi=min(len(owed), most - len(entries)))
            entries += owed[: fits if entries else max(fits, 1)]
            most_bytes -= owed.ends[-1] - owed.starts[0]
            if fits < len(owed) or len(entries) >= most:
                break
        # Only what is asked for again and again stays in memory.
        self._read = {name: found for name, found in self._read.items() if name in seen or self._lane(name) != lane}
        return entries, spent

    def _lane(self, name: str) -> str:
        return self.sources[name].lane

    def backlog(self, offsets: Mapping[str, int], lane: str | None = None) -> Backlog:
        """Counts everything, or one lane; each source is read once for it, and again when its offset has moved."""
        items = size = 0
        oldest: int | None = None
        for name, source in list(self.sources.items()):
            if lane not in (None, source.lane):
                continue
            offset = offsets.get(name, 0)
            known = self._sizes.get(name)
            if known is None or known[0] != offset:
                known = self._sizes[name] = self._measure(name, offset)
            items += known[1]
            size += known[2]
            if known[1] and oldest is None:
                oldest = source.time
        return Backlog(items, size, oldest)

    def weight(self, offsets: Mapping[str, int], lane: str) -> Weight:
        """Of one lane; reads nothing."""
        size = 0
        oldest: int | None = None
        for name, source in list(self.sources.items()):
            if source.lane != lane:
                continue
            if name not in self._ends:
                self._ends[name] = file_bytes(source.path)
            owed = self._ends[name] - offsets.get(name, 0)
            if owed > 0:
                size += owed
                oldest = source.time if oldest is None else oldest
        return Weight(size, oldest)

    def _measure(self, name: str, offset: int) -> tuple[int, int, int]:
        if name in self._read:
            rest = self.content(name, offset)
            return offset, len(rest.entries) + len(rest.damaged), rest.end - offset
        content = read_content(self.sources[name])
        return offset, content.count(b"\n", offset), max(0, len(content) - offset)


def read_content(source: Source) -> bytes:
    """The file's bytes; none when somebody removed it."""
    try:
        return read_file(source.path)
    except OSError:
        return b""


def read_items(source: Source) -> Content:
    """What the file holds; a line that holds no item counts as damaged."""
    content = read_content(source)
    clean = _read_clean(source, content)
    if clean is not None:
        return clean
    entries: list[Entry] = []
    damaged: list[Line] = []
    end = 0
    for line in scan(content, torn=source.torn):
        end = line.end
        if line.payload is not None and is_item(line.payload):
            entries.append(Entry(source.name, line.start, item_data(line.payload), source.time, end))
        else:
            damaged.append(Line(line.start, end, None, line.records))
    return Content(Entries.of(entries), damaged, end)


def _read_clean(source: Source, content: bytes) -> Content | None:
    """The same, for a file without a scratch, column by column: the way nearly every file goes. ``None``: the slow
    way has to look at it."""
    raws = content.split(b"\n")
    if raws.pop():
        return None
    try:
        data = items(raws)
    except ValueError:
        return None
    starts = list(accumulate([len(raw) + 1 for raw in raws], initial=0))
    end = starts.pop()
    columns = Entries([source.name] * len(data), starts, data, [source.time] * len(data), [*starts[1:], end])
    return Content(columns, [], end)


_start = attrgetter("start")
