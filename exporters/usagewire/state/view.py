"""Looking without touching: for `status` and `show`, beside a running program and without its lock."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType

from usagewire.errors import StateError
from usagewire.signals import Period, Stance
from usagewire.state import ledger as ledgers
from usagewire.state import lines, period
from usagewire.state.files import read_file
from usagewire.state.fold import fold
from usagewire.state.ledger import Ledger
from usagewire.state.listing import REPORTS, Found, epoch_of, names, order, segments
from usagewire.state.paths import Place
from usagewire.state.sent import copies, in_doubt
from usagewire.state.shelf import Entry, Shelf, Source
from usagewire.state.totals import Memory, Totals, notes, read_memory
from usagewire.state.withdraw import drop_signals, stale

NO_NONCE = "0" * 32
MANY = 100
"""Segments that are better folded than left for the end of the period."""


def read_ledger(place: Place, epoch: str) -> Ledger | None:
    """The newest readable version. Raises `StateError` when a newer usagewire wrote it."""
    return ledgers.read(place, epoch)[0]


def unsettled(place: Place) -> set[str]:
    """Copies in sent/ that whoever sends next must find, because what became of their requests is not in the ledger."""
    there = names(place.sent)
    found = {name for name in there if not name.endswith(".json")}
    for epoch in {epoch_of(name) for name in there}:
        ledger = read_ledger(place, epoch)
        if ledger is not None:
            found |= set(in_doubt(copies(place, epoch), ledger.copies).values())
    return found


def totals(place: Place) -> Totals:
    """What became of items so far, with losses that the consumer has not counted yet."""
    return remembered(place).totals


def remembered(place: Place) -> Memory:
    """What outlives every ledger, with losses that the consumer has not counted yet."""
    memory = Memory()
    with suppress(StateError):
        memory = read_memory(place.totals_json) or memory
    folded: set[str] = set()
    for epoch in {epoch_of(name) for name in names(place.folder) if "-ledger-" in name}:
        with suppress(StateError):
            ledger = read_ledger(place, epoch)
            if ledger is not None:
                memory.join(ledger.memory())
                folded |= set(ledger.folded)
    left = notes(place)
    for note in left.values():
        if note is not None:
            memory.join(note.memory)
    found = memory.totals
    for name, note in left.items():
        if note is not None and name not in memory.notes:
            found.lost += note.lost
    for segment in segments(place):
        if segment.signals and segment.stem not in folded:
            for payload in _payloads(segment):
                found.lost.update(lines.losses(payload))
    return memory


def peek(place: Place, stance: Stance, event_lane: str = "") -> list[Entry]:
    """Every item that waits, lane by lane, oldest first; also what is being written right now."""
    if not stance.on:
        return []
    ledger = read_ledger(place, stance.epoch)
    shelf = Shelf()
    found = [one for one in segments(place) if _counts(one, stance) and not one.signals]
    sources = [Source(one.stem, one.path, order(one.stem)[0], one.suffix != ".seg", event_lane) for one in found]
    if ledger is not None:
        sources += [Source(name, place.queue / REPORTS / name, at, False) for name, at in ledger.reports.items()]
    shelf.stock(sources)
    offsets = ledger.offsets if ledger is not None else {}
    # a set: most formats have one lane
    return [entry for lane in sorted({"", event_lane}) for entry in shelf.waiting(offsets, 1 << 62, 1 << 62, lane)[0]]


def preview(
    place: Place,
    stance: Stance,
    clock: Callable[[], int] = time.time_ns,
    *,
    channel_of: Mapping[str, str] = MappingProxyType({}),
) -> Period | None:
    """The report period as it would be compiled now; ``None`` when nothing was recorded. ``channel_of``: by event or
    metric, for what a channel that was taken back has left in the ledger."""
    if not stance.on:
        return None
    ledger = (read_ledger(place, stance.epoch) or Ledger(stance.epoch)).copy()
    withdrawn = stale(ledger, stance.words)
    if withdrawn:
        drop_signals(ledger, withdrawn, channel_of)
    if ledger.closing is not None:
        return period.view(ledger.period, ledger.closing.end, ledger.closing.nonce)
    running = ledger.period
    running.gathered = running.gathered.copy()
    now = clock()
    for found in sorted(segments(place), key=lambda one: order(one.stem)):
        if found.signals and _counts(found, stance) and found.stem not in ledger.folded:
            made, token, _ = order(found.stem)
            fold(running.gathered, _payloads(found), token)
            if running.gathered and not running.due:
                period.begin(running, made, now, 0)
    if not running.gathered:
        return None
    return period.view(running, max(now, running.start), NO_NONCE)


def neglected(
    place: Place, stance: Stance, interval_millis: int | None, clock: Callable[[], int] = time.time_ns
) -> bool:
    """Whether signals wait that nobody sees to: their period is over, or they have become many. Programs that end
    sooner than anybody could look, such as commands, ask this when they end."""
    if not stance.on:
        return False
    try:
        ledger = read_ledger(place, stance.epoch) or Ledger(stance.epoch)
    except StateError:  # a newer version's: left to it
        return False
    waiting = [
        order(found.stem)[0]
        for found in segments(place)
        if found.signals and _counts(found, stance) and found.stem not in ledger.folded
    ]
    if len(waiting) >= MANY or interval_millis is None:
        return len(waiting) >= MANY
    running, now, interval = ledger.period, clock(), interval_millis * 1_000_000
    if ledger.closing is not None or running.gathered:
        return ledger.closing is not None or running.due <= now
    # Nothing is folded yet: the period will begin as `period.begin` says.
    goes_on = running.start <= now < running.start + interval
    return bool(waiting) and not goes_on and min(waiting) + interval <= now


def _counts(found: Found, stance: Stance) -> bool:
    """Whether a segment was collected under ``stance``."""
    return epoch_of(found.stem) == stance.of(found.channel).epoch


def _payloads(found: Found) -> list[bytes]:
    try:
        content = read_file(found.path)
    except OSError:  # its writer or the consumer moved it meanwhile
        return []
    return [line.payload for line in lines.scan(content, torn=True) if line.payload is not None]
