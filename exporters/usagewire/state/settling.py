"""Settling: what became of items goes into the ledger, and what holds nothing more is unlinked after that.

Every outcome is one new version of the ledger, but for requests of which a repeat does no harm: of those a few share
one, and a crash repeats them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import orjson

from usagewire.errors import HolderLost, StateError
from usagewire.state.files import make_folder, sync_folder, write_file
from usagewire.state.holder import Holder
from usagewire.state.ledger import Ledger
from usagewire.state.listing import trim
from usagewire.state.paths import Place
from usagewire.state.sent import Sent
from usagewire.state.shelf import Entries, Shelf, Source
from usagewire.state.taking import KEPT_BYTES, keep_damage

MOST_UNWRITTEN, UNWRITTEN_SECONDS = 3, 1.0
"""Requests that may be settled in memory only, and how old the last version may be when another becomes one of them. A
crash, or the program's end, repeats them, beside the one under way."""

_log = logging.getLogger("usagewire")


class Settling:
    """For one consumer, by whose lock everything here happens. Raises as `usagewire.state.consumer.Consumer` does."""

    def __init__(self, place: Place, holder: Holder, shelf: Shelf, sent: Sent, clock: Callable[[], int]) -> None:
        self._place, self._holder, self._shelf, self._sent, self._clock = place, holder, shelf, sent, clock
        self._unwritten = 0  # requests that are settled in memory only
        self._written = float("-inf")  # when the last version was, in monotonic seconds
        self._spent: list[Source] = []  # settled wholly, and to be unlinked once that is written
        self._unsynced: set[Path] = set()  # folders from which something was unlinked

    def forget(self) -> None:
        """Whatever is not written is owed again: the ledger is somebody else's now, or of another epoch."""
        self._unwritten, self._spent = 0, []

    def delivered(self, entries: Entries, *, repeat: bool, idempotent: bool, lane: str) -> None:
        """See `usagewire.state.consumer.Consumer.delivered`."""

        def count(new: Ledger) -> None:
            new.totals.delivered += len(entries)
            new.totals.repeated += len(entries) if repeat else 0
            new.of(lane).succeed(self._clock())

        fresh = time.monotonic() - self._written < UNWRITTEN_SECONDS
        self.settle(entries.reach(), count, later=idempotent and fresh and self._unwritten < MOST_UNWRITTEN)

    def rejected(self, entries: Entries, reason: str, body: bytes, lane: str) -> None:
        """See `usagewire.state.consumer.Consumer.rejected`."""
        about = {"time": self._clock(), "reason": reason, "body": body.decode(errors="replace")}
        content = orjson.dumps(about) + b"\n" + b"".join(data + b"\n" for data in entries.data)
        with suppress(OSError):  # the copy is a courtesy; what matters is the count
            make_folder(self._place.rejected)
            write_file(self._place.rejected / f"{entries[0].source}-{entries[0].start}", content)
            trim(self._place.rejected, KEPT_BYTES)

        def count(new: Ledger) -> None:
            new.totals.lost["rejected"] += len(entries)
            new.of(lane).reject(self._clock(), reason)

        self.settle(entries.reach(), count)

    def write(self) -> None:
        """Write what is settled in memory only."""
        if self._unwritten:
            self.advance(self._holder.ledger.copy())

    def settle(
        self, ends: Mapping[str, int | None], count: Callable[[Ledger], None] = lambda new: None, *, later: bool = False
    ) -> None:
        """One version that says: these sources are settled up to these bytes (``None``: wholly), and ``count``.
        ``later``: the next one says it, too, and only that is written."""
        new = self._holder.ledger.copy()
        for name, until in ends.items():
            held = self._shelf.content(name, new.offsets.get(name, 0))
            owed = held.after(until).entries if until is not None else Entries()
            offset = owed.starts[0] if owed else held.end
            passed = [line for line in held.damaged if line.start < offset]
            if passed:
                keep_damage(self._place, new.totals.lost, name, self._shelf.raw(name), passed)
            new.offsets[name] = offset
            if not owed:
                self._spent += self._shelf.remove(name)
                if new.reports.pop(name, None) is not None:
                    new.offsets.pop(name, None)
        count(new)
        if later:
            self._unwritten += 1
            self._holder.remember(new)
        else:
            self.advance(new)

    def advance(self, new: Ledger) -> None:
        """Commit, and unlink what is spent by then. On a full disk those files are the room that is needed, so they go
        first; where there are none, going on in memory leads to some: delivering must not wait for room."""
        self._unwritten, self._written = 0, time.monotonic()
        new.copies.update(self._sent.known)
        try:
            self._holder.commit(new)
        except HolderLost:
            raise
        except StateError as why:
            _log.info("%s; going on in memory", why)
            self._holder.remember(new)
            self._unlink_spent()
            self._holder.catch_up()
        else:
            self._unlink_spent()

    def _unlink_spent(self) -> None:
        spent, self._spent = self._spent, []
        for source in spent:
            source.path.unlink(missing_ok=True)
            self._unsynced.add(source.path.parent)

    def sync(self) -> None:
        """Make what was unlinked so far durable."""
        while self._unsynced:
            sync_folder(self._unsynced.pop())
