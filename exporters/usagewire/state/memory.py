"""The queue where no folder can be had: both sides in one object, bounded, lost at exit and counted until then."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence

from usagewire.signals import Origin, Stance
from usagewire.state import lines as framing
from usagewire.state import period
from usagewire.state.consumer import MILLI, Limits
from usagewire.state.fold import fold
from usagewire.state.ledger import Ledger
from usagewire.state.listing import SIGNALS, channel_folder, channel_of
from usagewire.state.period import Compile
from usagewire.state.segments import Outcome
from usagewire.state.shelf import Backlog, Entries, Entry, Weight
from usagewire.state.withdraw import drop_signals, stale


class MemoryQueue:
    """`usagewire.state.segments.Writer` and `usagewire.state.consumer.Consumer` for one process. Thread-safe."""

    def __init__(self, stance: Callable[[], Stance], limits: Limits, clock: Callable[[], int] = time.time_ns) -> None:
        self._stance, self._limits, self._clock = stance, limits, clock
        self._interval = (limits.interval_millis or 0) * MILLI
        self._begin()

    def _begin(self) -> None:
        self._mutex = threading.RLock()
        self._token = os.urandom(8).hex()
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._channels: dict[int, str] = {}  # of items that are no report's
        self._bytes = self._number = 0
        stance = self._stance()
        self.ledger = Ledger(stance.epoch, channels=stance.words)
        self.held = False
        self.uncertain: set[str] = set()

    # -- writing ----------------------------------------------------------------------------------------------------

    def put(self, channel: str, lines: Sequence[bytes]) -> Outcome:
        """Keep payloads in memory; the oldest go when there are too many (``memory``)."""
        with self._mutex:
            if not (self._consented() and self._stance().of(channel_of(channel_folder(channel))).on):
                return "off"
            now = self._clock()
            if channel.endswith(SIGNALS):
                running = self.ledger.period
                self.ledger.totals.lost += fold(running.gathered, lines, self._token, self._limits.keep)
                if running.gathered and not running.due:
                    period.begin(running, now, now, self._interval)
            else:
                for payload in lines:
                    self._add(framing.item_data(payload), now, self._limits.event_lane)
                    self._channels[self._number] = channel_folder(channel)
            return "kept"

    def _add(self, data: bytes, now: int, lane: str) -> None:
        self._number += 1
        self._entries[self._number] = Entry(lane, self._number, data, now, self._number + 1)
        self._bytes += len(data)
        while self._bytes > self._limits.queue_bytes:
            self._drop([next(iter(self._entries.values()))], "memory")

    def lose(self, reason: str, count: int = 1) -> None:
        """Count a loss."""
        with self._mutex:
            self.ledger.totals.lost[reason] += count

    def rest(self) -> None:
        """Nothing is written anywhere."""

    def close(self, patience: float = 0.0) -> None:
        """Nothing is written anywhere; what waits is lost when the process ends."""

    def after_fork(self) -> None:
        """In a forked child: begin empty; what waits is the parent's."""
        self._begin()

    # -- consuming --------------------------------------------------------------------------------------------------

    def acquire(self) -> bool:
        """Always ours, with consent."""
        self.held = self._stance().on
        return self.held

    def release(self) -> None:
        """For symmetry."""
        self.held = False

    def refresh(self) -> None:
        """Forget what there is no consent for any more, and what waits too long."""
        with self._mutex:
            self._consented()
            now = self._clock()
            period.clamp(self.ledger, now, self._interval)
            oldest = now - self._limits.queue_ttl_millis * MILLI
            self._drop([entry for entry in self._entries.values() if entry.time < oldest], "ttl")

    def compile_due(self, origin: Origin, compile: Compile, *, force: bool = False) -> int:
        """As `Consumer.compile_due`."""
        with self._mutex:
            running, now = self.ledger.period, self._clock()
            if not self._interval or not running.gathered or not (force or running.due <= now):
                return 0
            period.close(self.ledger, now, origin)
            items, lost = period.compile_closing(self.ledger, compile)
            self.ledger.totals.lost += lost
            period.turn(self.ledger, self._limits.keep)
            for item in items:
                self._add(item.data, now, "")
            return len(items)

    def waiting(self, max_items: int, max_bytes: int, lane: str = "") -> Entries:
        """As `Consumer.waiting`."""
        found: list[Entry] = []
        with self._mutex:
            for entry in self._of(lane):
                max_bytes -= len(entry.data)
                if len(found) >= max_items or (max_bytes < 0 and found):
                    break
                found.append(entry)
        return Entries.of(found)

    def backlog(self, lane: str | None = None) -> Backlog:
        """As `Consumer.backlog`."""
        with self._mutex:
            entries = self._of(lane)
            size = self._bytes if len(entries) == len(self._entries) else sum(len(entry.data) for entry in entries)
            return Backlog(len(entries), size, next((entry.time for entry in entries), None))

    def weight(self, lane: str = "") -> Weight:
        """As `Consumer.weight`."""
        found = self.backlog(lane)
        return Weight(found.bytes, found.oldest)

    def _of(self, lane: str | None) -> Collection[Entry]:
        """The entries of a lane, which in memory is an entry's source; of all that there are, where there is one."""
        entries = self._entries.values()
        if lane is None or not self._limits.event_lane:
            return entries
        return [entry for entry in entries if entry.source == lane]

    def delivered(
        self, entries: Iterable[Entry], *, repeat: bool = False, idempotent: bool = False, lane: str = ""
    ) -> None:
        """As `Consumer.delivered`."""
        with self._mutex:
            count = self._drop(entries)
            self.ledger.totals.delivered += count
            self.ledger.totals.repeated += count if repeat else 0
            self.ledger.of(lane).succeed(self._clock())

    def settle(self) -> None:
        """Nothing is written anywhere."""

    def rejected(self, entries: Iterable[Entry], reason: str, body: bytes, lane: str = "") -> None:
        """As `Consumer.rejected`, but nothing is kept."""
        with self._mutex:
            self._drop(entries, "rejected")
            self.ledger.of(lane).reject(self._clock(), reason)

    def retry(self, reason: str, at: int, by_server: bool, lane: str = "") -> None:
        """As `Consumer.retry`."""
        with self._mutex:
            self.ledger.of(lane).fail(self._clock(), reason, at, by_server)

    def sending(self, url: str, body: bytes, count: int, packed: bytes = b"", lane: str = "") -> str:
        """No copy is kept."""
        return ""

    def sent(self, name: str, verdict: str, status: int | None, lane: str = "") -> None:
        """Remembers only whether the outcome is known."""
        uncertain = verdict.startswith("retry") and (lane in self.uncertain or status is None)
        (self.uncertain.add if uncertain else self.uncertain.discard)(lane)

    def _consented(self) -> bool:
        stance = self._stance()
        if stance.on and stance.epoch == self.ledger.epoch:
            self._withdraw(stance.words)
            return True
        if stance.epoch != self.ledger.epoch or stance.erases:
            self._drop(list(self._entries.values()), "consent")
            # Totals and numbers go on; sums do not.
            self.ledger = Ledger.begin(stance.epoch, self.ledger.memory())
            self.ledger.channels = stance.words
        return stance.on

    def _withdraw(self, words: dict[str, str]) -> None:
        """As the consumer's."""
        channels = stale(self.ledger, words)
        if not channels:
            return
        drop_signals(self.ledger, channels, self._limits.channels)
        for entry in list(self._entries.values()):
            channel, without = self._channels.get(entry.start), self._limits.without
            if channel is not None:
                left = None if channel in channels else entry.data
            else:
                left = without(entry.data, channels) if without is not None else None
            if left is None:
                self._drop([entry], "consent")
            else:
                self._bytes += len(left) - len(entry.data)
                self._entries[entry.start] = entry._replace(data=left)
        self.ledger.channels = words

    def _drop(self, entries: Iterable[Entry], reason: str = "") -> int:
        """Forget entries, counting them as lost unless they were delivered; how many were still there."""
        there = [self._entries.pop(entry.start) for entry in entries if entry.start in self._entries]
        for entry in there:
            self._bytes -= len(entry.data)
            self._channels.pop(entry.start, None)
        if reason and there:
            self.lose(reason, len(there))
        return len(there)
