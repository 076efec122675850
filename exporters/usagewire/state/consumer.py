"""The one process that consumes: folds, compiles, hands out what waits and settles what became of it.

Whatever it does becomes true with one new version of the ledger, and files are unlinked only after that: a crash
anywhere repeats work, and neither loses nor counts anything twice.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import NamedTuple

from usagewire.errors import HolderLost, StateError
from usagewire.signals import Origin, Stance
from usagewire.state import period
from usagewire.state.fold import Keep
from usagewire.state.folding import Folding
from usagewire.state.holder import NOWHERE, Holder
from usagewire.state.ledger import Ledger
from usagewire.state.listing import Found, epoch_of, file_blocks, names, order, used_bytes
from usagewire.state.paths import Place
from usagewire.state.period import Compile
from usagewire.state.purge import purge
from usagewire.state.sent import Sent
from usagewire.state.settling import Settling
from usagewire.state.shelf import Backlog, Entries, Shelf, Source, Weight
from usagewire.state.taking import Taker
from usagewire.state.withdraw import Without, drop_copies, drop_from_reports, drop_signals, stale

__all__ = ["Backlog", "Consumer", "Entries", "Limits"]

_log = logging.getLogger("usagewire")
MILLI = 1_000_000
MEASURE_SECONDS = 10.0
"""Between two measurements of the queue, which ask for the size of every file."""
STALE_SECONDS = 60.0
"""Age at which a temporary file was left by somebody who died."""


class Limits(NamedTuple):
    """What a queue may hold, and how long a report period is (``None``: there are no reports)."""

    queue_bytes: int
    queue_ttl_millis: int
    sent_bytes: int
    interval_millis: int | None = None
    keep: Keep | None = None
    """Which events a period needs no more, and which the next one still does; ``None``: it begins with nothing."""
    event_lane: str = ""
    """The endpoint that events are for, where reports have another (`usagewire.formats.Format.event_lane`)."""
    channels: Mapping[str, str] = MappingProxyType({})
    """Event or metric → the channel that it belongs to, for what is folded."""
    without: Without | None = None
    """What takes channels out of a report; ``None``: reports that wait go as a whole."""


class Consumer:
    """The consuming side of a destination. For one thread at a time; nothing but `acquire`, `release`, `held` and
    `after_fork` makes sense before `acquire` has returned True.

    Raises `HolderLost` when another holder took over (it has let go then), `StateError` or `OSError` when the disk
    does not take what must be written.
    """

    def __init__(
        self, place: Place, stance: Callable[[], Stance], limits: Limits, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._place, self._stance, self._limits, self._clock = place, stance, limits, clock
        self._interval = (limits.interval_millis or 0) * MILLI
        self._holder = Holder(place, stance, clock)
        self._shelf = Shelf()
        self._sent = Sent(place, limits.sent_bytes, clock)
        self._taker = Taker(place)
        self._folding = Folding(place, self._holder, clock, self._interval, limits.keep)
        self._measured = float("-inf")
        self._settling = Settling(place, self._holder, self._shelf, self._sent, clock)

    @property
    def ledger(self) -> Ledger:
        """As it stands on disk, or will with the next version. Not to be changed."""
        return self._holder.ledger

    @property
    def held(self) -> bool:
        """Whether this process is the one that consumes."""
        return self._holder.held

    @property
    def uncertain(self) -> Collection[str]:
        """Lanes whose last request may have arrived although nobody saw the answer."""
        return self._sent.uncertain

    def acquire(self) -> bool:
        """Become the one that consumes; False when another process is, or there is no consent."""
        fresh = not self.held
        if not self._holder.acquire():
            return False
        if fresh:
            self._forget()
            self._sent.begin(self.ledger.epoch, self.ledger.copies)
        return True

    def release(self) -> None:
        """Let another process consume."""
        self._holder.release()
        self._forget()

    def after_fork(self) -> None:
        """In a forked child: let go of the parent's lock without freeing it."""
        self._holder.after_fork()
        self._forget()

    def _forget(self) -> None:
        """What this holder knew beyond the ledger."""
        self._shelf.stock(())
        self._settling.forget()

    # -- housekeeping -----------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """To be called about once a second: purge, fold, find what waits, drop what is too old or too much."""
        self._holder.check()
        purge(self._place, self._stance)
        stance = self._stance()
        if not stance.on:
            self._holder.unload()
            self._forget()
            return
        if stance.epoch != self.ledger.epoch:
            self._holder.unload()
            self._forget()
            self._holder.load(stance.epoch)
            self._sent.begin(stance.epoch, self.ledger.copies)
        self._holder.catch_up()
        self._withdraw(stance.words)
        if period.clamp(self.ledger, self._clock(), self._interval):
            self._settling.advance(self.ledger.copy())  # or programs that end soon would begin to wait anew each time
        self._tidy()
        taken = self._taker.take(self.ledger)
        self._forget_settled(taken)
        with self._room_later():
            # A period that is due takes no more: it closes when nothing folded is left, and new signals never end.
            self._folding.fold(taken, more=not self._folding.due())
        self._stock(taken)
        self._expire()
        self._holder.keep_reserve()
        self._holder.save_totals()

    def _withdraw(self, words: dict[str, str]) -> None:
        """Let go of what single channels gathered under another word than the operator's latest."""
        channels = stale(self.ledger, words)
        if not channels:
            return
        drop_copies(self._place)
        self._sent.forget_bodies(self.ledger.epoch)
        before = [self._place.reports / name for name in self.ledger.reports]
        new = self.ledger.copy()
        drop_signals(new, channels, self._limits.channels)
        try:
            drop_from_reports(self._place, new, channels, self._limits.without)
        except OSError:  # no room for what would be left of them: then they go as a whole
            new.totals.lost["consent"] += len(new.reports)
            new.reports = {}
        self._settling.advance(new)
        for path in before:
            path.unlink(missing_ok=True)
        done = self.ledger.copy()
        done.channels = words
        self._settling.advance(done)

    @contextmanager
    def _room_later(self) -> Generator[None, None, None]:
        """On a full disk what is inside waits for the next tick, so that delivering, which makes room, goes on."""
        try:
            yield
        except HolderLost:
            raise
        except StateError as why:
            _log.info("%s; later", why)

    def _tidy(self) -> None:
        """Unlink what a crash left half done."""
        for folder in (self._place.folder, self._place.reports):
            for name in names(folder):
                with suppress(FileNotFoundError):
                    if name.endswith(".tmp") and time.time() - (folder / name).lstat().st_mtime > STALE_SECONDS:
                        (folder / name).unlink()
        ledger = self.ledger
        there = {name for name in names(self._place.reports) if epoch_of(name) == ledger.epoch}
        for name in there - set(ledger.reports):
            if not name.endswith(".tmp"):
                (self._place.reports / name).unlink(missing_ok=True)
        # Removed by hand, or delivered by a version that was lost: nothing to wait for.
        ledger.reports = {name: made for name, made in ledger.reports.items() if name in there}

    def _forget_settled(self, taken: Iterable[Found]) -> None:
        """Offsets of files that are gone."""
        ledger = self.ledger
        there = {found.stem for found in taken} | set(ledger.reports)
        if any(name not in there for name in ledger.offsets):
            # Not before the unlink is durable: a file that came back would be owed anew.
            self._settling.sync()
            ledger.offsets = {name: offset for name, offset in ledger.offsets.items() if name in there}

    # -- reports ----------------------------------------------------------------------------------------------------

    def compile_due(self, origin: Origin, compile: Compile, *, force: bool = False) -> int:
        """Compile the period into a report that waits, if it is due; returns the number of items made.

        ``compile`` is given the period, the origin and the time, and may be called again with the same after a crash.
        ``force``: whether it is due or not.
        """
        if self.ledger.epoch == NOWHERE or not self._interval:
            return 0
        with self._room_later():
            # What is folded takes two more versions to be gone; whoever waits for a report waits for that.
            for attempt in range(3 if force or self._folding.due() else 0):
                self._folding.fold(self._taker.take(self.ledger), more=force and not attempt)
            if self._folding.close(origin, force=force):
                made = self._folding.compile(compile)
                self._stock(self._taker.take(self.ledger))
                return made
        return 0

    # -- what waits -------------------------------------------------------------------------------------------------

    def _stock(self, taken: Iterable[Found]) -> None:
        known = self._shelf.sources
        sources = [
            known.get(found.stem)
            or Source(found.stem, found.path, order(found.stem)[0], found.suffix == ".open", self._limits.event_lane)
            for found in taken
            if not found.signals
        ]
        sources += [Source(name, self._place.reports / name, at, False) for name, at in self.ledger.reports.items()]
        self._shelf.stock(sources)

    def waiting(self, max_items: int, max_bytes: int, lane: str = "") -> Entries:
        """The oldest items that are owed, at most so many, with at most so many bytes but one at least."""
        entries, spent = self._shelf.waiting(self.ledger.offsets, max_items, max_bytes, lane)
        if spent:
            self._settling.settle(dict.fromkeys(spent))
        return entries

    def backlog(self, lane: str | None = None) -> Backlog:
        """How much is owed, in all or by one lane."""
        return self._shelf.backlog(self.ledger.offsets, lane)

    def weight(self, lane: str = "") -> Weight:
        """How much room it takes, and since when the oldest waits: what decides whether a request leaves now. Unlike
        `backlog` it looks into no file."""
        return self._shelf.weight(self.ledger.offsets, lane)

    # -- what became of it ------------------------------------------------------------------------------------------

    def delivered(self, entries: Entries, *, repeat: bool = False, idempotent: bool = False, lane: str = "") -> None:
        """The endpoint took these, the first ones of `waiting`; ``repeat``: it had them already. ``idempotent``: no
        harm is done if it gets them again, so this may wait for `settle`."""
        self._settling.delivered(entries, repeat=repeat, idempotent=idempotent, lane=lane)

    def settle(self) -> None:
        """Write what waits for it."""
        self._settling.write()

    def rejected(self, entries: Entries, reason: str, body: bytes, lane: str = "") -> None:
        """The endpoint will never take these, the first ones of `waiting`; they are kept in rejected/ with the reason
        and the request's body."""
        if entries:
            self._settling.rejected(entries, reason, body, lane)

    def retry(self, reason: str, at: int, by_server: bool, lane: str = "") -> None:
        """Nothing arrived; not to be tried again before ``at`` (nanoseconds)."""
        new = self.ledger.copy()
        new.of(lane).fail(self._clock(), reason, at, by_server)
        self._settling.advance(new)

    def sending(self, url: str, body: bytes, count: int, packed: bytes = b"", lane: str = "") -> str:
        """A request is about to leave; returns the name of its copy in sent/."""
        return self._sent.sending(self.ledger.epoch, url, body, count, packed, lane)

    def sent(self, name: str, verdict: str, status: int | None, lane: str = "") -> None:
        """What became of it; see `usagewire.state.sent`."""
        self._sent.sent(name, verdict, status, lane)

    def _expire(self) -> None:
        """Drop what waits too long, and the oldest of what is too much."""
        now = self._clock()
        dropped: dict[str, str] = {}
        used = 0
        if time.monotonic() - self._measured > MEASURE_SECONDS:
            self._measured = time.monotonic()
            used = used_bytes(self._place)
        for name, source in self._shelf.sources.items():
            if now - source.time > self._limits.queue_ttl_millis * MILLI:
                dropped[name] = "ttl"
            elif used > self._limits.queue_bytes:
                dropped[name] = "quota"
            else:
                continue
            used -= file_blocks(source.path)
        if not dropped:
            return
        lost: Counter[str] = Counter()
        for name, reason in dropped.items():
            lost[reason] += len(self._shelf.content(name, self.ledger.offsets.get(name, 0)).entries)

        def count(new: Ledger) -> None:
            new.totals.lost += lost

        self._settling.settle(dict.fromkeys(dropped), count)
