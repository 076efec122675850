"""A destination as it stands on disk, seen from beside whichever process works on it. Changes and creates nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from usagewire.pipeline.destination import Destination
from usagewire.signals import Period
from usagewire.state import view
from usagewire.state.ledger import Ledger, Outcome
from usagewire.state.listing import is_report
from usagewire.state.locks import try_lock
from usagewire.state.paths import Place
from usagewire.state.shelf import Backlog, Entry
from usagewire.state.totals import Memory, Totals

MILLI = 1_000_000

Owed = frozenset[tuple[str, int]]
"""Items by file and place in it."""


@dataclass(frozen=True)
class Holder:
    """The process that sends for a destination."""

    pid: int | None
    """``None`` where the system does not tell, as between containers."""
    stopped: bool
    """It was stopped (SIGSTOP, Ctrl-Z): nothing is delivered until it goes on."""


class Look:
    """One look at a destination; each part is read when it is first asked for."""

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        consent = destination.consent(os.environ)
        self.decision, self._stance = consent.decide(), consent.stance()

    @cached_property
    def entries(self) -> list[Entry]:
        """Every item on disk, oldest first. A no from this shell's environment hides nothing of it."""
        erased = self._stance.erases and not self._stance.on
        lane = self.destination.format.event_lane
        return [] if erased else view.peek(self.destination.place, self._stance._replace(on=True), lane)

    @property
    def lanes(self) -> tuple[str, ...]:
        """The endpoints (`usagewire.formats.Format.event_lane`): that of reports first."""
        lane = self.destination.format.event_lane
        return ("", lane) if lane else ("",)

    def of(self, lane: str) -> list[Entry]:
        """The items that are for one endpoint."""
        return [entry for entry in self.entries if len(self.lanes) == 1 or is_report(entry.source) == (not lane)]

    def owed(self, lanes: Iterable[str]) -> Owed:
        """What tells the items for these endpoints apart, in later looks too."""
        return frozenset((entry.source, entry.start) for lane in lanes for entry in self.of(lane))

    def endpoint(self, lane: str) -> str:
        """The base URL of a lane."""
        settings = self.destination.settings
        return str(settings.get(f"{lane}_endpoint") or settings["endpoint"])

    def outcomes(self, lanes: Iterable[str]) -> dict[str, Outcome]:
        """How it went at those of the endpoints that something waits for."""
        return {lane: self.ledger.of(lane) for lane in lanes if self.of(lane)}

    @property
    def backlog(self) -> Backlog:
        """How much waits."""
        entries = self.entries
        return Backlog(
            len(entries), sum(len(entry.data) for entry in entries), min((one.time for one in entries), default=None)
        )

    @cached_property
    def ledger(self) -> Ledger:
        """The newest version, or the one that would be begun now."""
        epoch = self._stance.epoch
        return view.read_ledger(self.destination.place, epoch) or Ledger.begin(epoch, self._memory)

    @cached_property
    def _memory(self) -> Memory:
        return view.remembered(self.destination.place)

    @property
    def totals(self) -> Totals:
        """What became of items so far."""
        return self._memory.totals

    @cached_property
    def period(self) -> Period | None:
        """The report period as far as it has come."""
        return view.preview(self.destination.place, self._stance, channel_of=self.destination.channel_of)

    @property
    def due(self) -> int | None:
        """When that period ends, in nanoseconds."""
        if self.period is None:
            return None
        interval = self.destination.limits().interval_millis or 0
        return self.ledger.period.due or self.period.start + interval * MILLI

    @cached_property
    def holder(self) -> Holder | None:
        """Who sends; ``None``: nobody."""
        return holder(self.destination.place)


def holder(place: Place) -> Holder | None:
    """The process that has the lock of ``place``, if one has."""
    try:
        descriptor = os.open(place.lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if try_lock(descriptor):
            return None
        pid = _locker(os.fstat(descriptor).st_ino)
    finally:
        os.close(descriptor)
    return Holder(pid, pid is not None and _is_stopped(pid))


def _locker(inode: int) -> int | None:
    """Linux: the pid that has a lock on a file."""
    with suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            found = re.match(rf"\d+: FLOCK +\S+ +\S+ +(\d+) \S+:{inode} ", line)
            if found and int(found[1]) > 0:
                return int(found[1])
    return None


def _is_stopped(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")
    return False
