"""Writing: each process appends to segments of its own, and nobody else ever writes to them.

A segment is created as ``.tmp``, locked, and renamed to ``.open`` before its first line. It is sealed by renaming it to
``.seg``, and closed after that: were it closed first, a consumer could take it under one name and lose it under the
other. A segment that may end in a torn line keeps the name ``.open``; closing it hands it over.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from usagewire import forks
from usagewire.signals import Stance
from usagewire.state import lines as framing
from usagewire.state.files import make_folder, sync_folder
from usagewire.state.listing import SIGNALS, channel_folder, channel_of, make_stem, names, used_bytes
from usagewire.state.locks import try_lock
from usagewire.state.paths import Place
from usagewire.state.totals import Memory, leave_note

SEGMENT_BYTES = 1 << 20
"""Size at which a segment is sealed; less where so little may wait that a single one would be much of it."""
SHARE = 16
"""Segments that fill a queue, at least."""
LOSSES = "counts.signals"
LOOK_SECONDS = 10.0
"""How old the writer's idea of the queue's size may be."""
PIECE = 64 << 10
"""Bytes of one write. For more, Linux looks for a large stretch of memory, mostly one that nobody has used for long;
to fetch that takes ten times as long as the copying."""
_TRIES = 3

Outcome = Literal["kept", "off", "full"]
Fate = Literal["", "seal", "leave", "drop"]
FATES: tuple[Fate, ...] = ("", "seal", "leave", "drop")
"""What happens to a segment when its last user leaves; a later one overrules an earlier one."""


class _Segment:
    """One open file. Guarded by the writer's mutex, but for `sync`, which has a gate of its own."""

    def __init__(self, descriptor: int, stem: Path, epoch: str) -> None:
        self.descriptor, self.stem, self.epoch = descriptor, stem, epoch
        self.opened = time.monotonic()
        self.written = 0
        self.acknowledged = 0
        """Lines."""
        self.users = 0
        self.torn = False
        self.fate: Fate = ""
        self._gate = threading.Lock()
        self._synced = 0
        self._failed = False

    def append(self, data: bytes) -> int:
        """Write up to where the disk takes no more; returns the bytes that it took."""
        view, taken = memoryview(data), 0
        try:
            for start in range(0, len(data), PIECE):
                taken += os.write(self.descriptor, view[start : start + PIECE])
                if taken < min(start + PIECE, len(data)):
                    break
        except OSError:
            pass
        finally:  # a program's Ctrl-C may come between two pieces
            self.written += taken
            self.torn = self.torn or (0 < taken < len(data) and not data[:taken].endswith(b"\n"))
        return taken

    def sync(self, end: int) -> bool:
        """Make everything up to byte ``end`` durable. Threads that wait here meanwhile share the next fdatasync."""
        with self._gate:
            if self._synced < end and not self._failed:
                written = self.written
                try:
                    os.fdatasync(self.descriptor)
                except OSError:
                    # What the disk holds now is unknown, and a second fdatasync would falsely say that all is well.
                    self._failed = True
                else:
                    self._synced = written
            return self._synced >= end


class Writer:
    """Appends lines to the queue's channels. Thread-safe; creates nothing before the first line, or without consent."""

    def __init__(
        self,
        place: Place,
        stance: Callable[[], Stance],
        *,
        queue_bytes: int,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """``stance`` is asked before and after every write and must be cheap. Items past twice ``queue_bytes`` on disk
        are refused."""
        self._place, self._stance, self._most, self._clock = place, stance, 2 * queue_bytes, clock
        self._whole = min(SEGMENT_BYTES, queue_bytes // SHARE)
        self._begin()

    def _begin(self) -> None:
        self._token = os.urandom(8).hex()
        self._number = 0
        self._mutex = threading.Lock()
        self._open: dict[str, _Segment] = {}
        self._all: set[_Segment] = set()  # also those that wait for their last user
        self._counting = threading.Lock()
        self._lost: Counter[str] = Counter()
        self._used = 0
        self._looked = float("-inf")

    def put(self, channel: str, lines: Sequence[bytes]) -> Outcome:
        """Append payloads (`usagewire.state.lines`). ``kept``: they survive kill -9 and power loss from here on.

        ``off``: there is no consent, nothing is kept or counted. ``full``: some or all are lost, and counted.
        """
        if not lines:
            return "kept"
        outcome, reason, lost = self._put(channel_folder(channel), lines)
        if lost:
            self.lose(reason, lost)
        return outcome

    def lose(self, reason: str, count: int = 1) -> None:
        """Count a loss; it reaches the totals with the next `rest` or `close`."""
        with self._counting:
            self._lost[reason] += count

    def rest(self) -> None:
        """To be called about once a second: write the losses, seal what is old."""
        stance = self._stance()
        self._let_go()
        if not stance.on:
            return
        self._put_losses()
        now = time.monotonic()
        if now - self._looked > LOOK_SECONDS and self._open:
            self._look()
        with self._mutex:
            for folder, segment in list(self._open.items()):
                age = now - segment.opened
                # The more is waiting, the larger the pieces: a week's outage must not make a file a second.
                if age > 1 and age > self._waiting(folder):
                    self._retire(folder, segment, "seal")

    def close(self, patience: float = 0.0) -> None:
        """Write the losses and seal everything; a few milliseconds, no network. Putting more later is fine.

        A segment that another thread is still syncing is sealed by that thread; ``patience`` is how many seconds that
        is waited for.
        """
        stance = self._stance()
        self._let_go()
        if not stance.on:
            return
        self._put_losses()
        with self._mutex:
            for folder, segment in list(self._open.items()):
                self._retire(folder, segment, "seal")
            busy = set(self._all)
        until = time.monotonic() + patience
        while busy & self._all and time.monotonic() < until:
            time.sleep(0.001)

    def after_fork(self) -> None:
        """In a forked child: let go of the parent's segments. Closing a copy leaves the parent's lock alone, unlocking
        would not."""
        for segment in self._all:
            with suppress(OSError):
                os.close(segment.descriptor)
        self._begin()

    # -- one put ----------------------------------------------------------------------------------------------------

    def _put(self, folder: str, payloads: Sequence[bytes]) -> tuple[Outcome, str, int]:
        """Outcome, and the reason and number of losses."""
        data = framing.frames(payloads)
        count = len(payloads)
        for _ in range(_TRIES):
            try:
                if self._used > self._most and self._stance().on and self._look() > self._most:
                    return "full", "quota", count
                appended = self._append(folder, data)
            except OSError:
                return "full", "full", count
            if appended is None:
                self._let_go()
                return "off", "", 0
            stance, segment, taken, end = appended
            self._used += taken
            synced = segment.sync(end)
            linked = os.fstat(segment.descriptor).st_nlink > 0
            after = self._stance_of(folder)
            consented = after == stance
            kept = 0
            if synced and linked and consented:
                kept = count if taken == len(data) else data.count(b"\n", 0, taken)
            with self._mutex:
                segment.users -= 1
                segment.acknowledged += kept
                fate: Fate = _fate(after) if not consented else "leave" if not linked else "" if synced else "seal"
                if segment.written >= self._whole:
                    fate = fate or "seal"
                self._retire(folder, segment, fate)
            if not consented:
                return "off", "", 0
            if linked:
                return ("kept", "", 0) if kept == count else ("full", "full", count - kept)
            # Somebody removed the folder: once more, in a new one.
        return "full", "full", count

    def _append(self, folder: str, data: bytes) -> tuple[Stance, _Segment, int, int] | None:
        """Append; under which stance, to which segment, how much of it, and up to where; ``None``: no consent.

        Consent is asked under the mutex, or a thread that was held up would drop what others keep under a newer epoch.
        Raises `OSError`.
        """
        with self._mutex:
            stance = self._stance_of(folder)
            if not stance.on:
                return None
            segment = self._segment(folder, stance.epoch)
            segment.users += 1
            taken = segment.append(data)
            end = segment.written
            if taken < len(data):
                self._retire(folder, segment, "seal")
            return stance, segment, taken, end

    def _segment(self, folder: str, epoch: str) -> _Segment:
        """The open segment of a channel. Mutex held. Raises `OSError`."""
        segment = self._open.get(folder)
        if segment is not None and segment.epoch != epoch:
            self._retire(folder, segment, "drop")
            segment = None
        for attempt in range(_TRIES):
            if segment is not None:
                break
            try:
                segment = self._open[folder] = self._create(self._place.queue / folder, epoch)
            except FileNotFoundError:
                # The folder is not there yet, or a consumer cleared the .tmp away before it was locked.
                if attempt == _TRIES - 1:
                    raise
                for path in (self._place.folder, self._place.queue, self._place.queue / folder):
                    make_folder(path)
        assert segment is not None  # noqa: S101 - for the type checker; the last attempt raises
        return segment

    def _create(self, folder: Path, epoch: str) -> _Segment:
        self._number += 1
        stem = folder / make_stem(epoch, self._clock(), self._token, self._number)
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with forks.held_up():  # a child closes what is known here
            descriptor = os.open(f"{stem}.tmp", flags, 0o600)
            segment = _Segment(descriptor, stem, epoch)
            self._all.add(segment)
        try:
            # Locked by a consumer already, which is about to unlink it: take another name, as if it were gone.
            if not try_lock(descriptor):
                raise FileNotFoundError
            os.rename(f"{stem}.tmp", f"{stem}.open")  # noqa: PTH104
            sync_folder(folder)
        except OSError:
            self._all.discard(segment)
            os.close(descriptor)
            raise
        return segment

    # -- letting go of a segment ------------------------------------------------------------------------------------

    def _retire(self, folder: str, segment: _Segment, fate: Fate) -> None:
        """Append no more to ``segment``; whoever uses it last does what ``fate`` says. Mutex held."""
        if fate and self._open.get(folder) is segment:
            del self._open[folder]
        if FATES.index(fate) > FATES.index(segment.fate):
            segment.fate = fate
        if segment.users or not segment.fate or segment not in self._all:
            return
        self._all.discard(segment)
        opened = f"{segment.stem}.open"
        with suppress(OSError):  # whatever fails here, the consumer finds an .open whose owner is gone
            if segment.fate == "drop" or not segment.written:
                os.unlink(opened)  # noqa: PTH108
                lost = _cost(folder, segment)
                if lost:
                    leave_note(self._place, lost, Memory())
            elif segment.fate == "seal" and not segment.torn:
                os.rename(opened, f"{segment.stem}.seg")  # noqa: PTH104
        os.close(segment.descriptor)

    def _let_go(self) -> None:
        """Consent is gone, or was when the caller looked: what was collected under another epoch goes, too, unless only
        this process was silenced.

        It looks again, under the mutex: after a quick off and on another thread may have begun a segment that counts.
        """
        with self._mutex:
            for folder, segment in list(self._open.items()):
                stance = self._stance_of(folder)
                if not (stance.on and segment.epoch == stance.epoch):
                    self._retire(folder, segment, _fate(stance))

    def _stance_of(self, folder: str) -> Stance:
        """Consent for what goes into a folder."""
        return self._stance().of(channel_of(folder))

    # -- looking around ---------------------------------------------------------------------------------------------

    def _put_losses(self) -> None:
        with self._counting:
            losses, self._lost = self._lost, Counter()
        if losses and self._put(LOSSES, [framing.lost(losses)])[0] != "kept":
            with self._counting:
                self._lost += losses

    def _waiting(self, folder: str) -> int:
        """Sealed segments of a channel."""
        return sum(name.endswith(".seg") for name in names(self._place.queue / folder))

    def _look(self) -> int:
        """See how full the queue is, once a second at most."""
        now = time.monotonic()
        if now - self._looked > 1:
            self._looked = now
            self._used = used_bytes(self._place)
        return self._used


def _cost(folder: str, segment: _Segment) -> Counter[str]:
    """What dropping a segment costs, as `usagewire.state.purge` counts it: items, no signals, and losses as what they
    were."""
    if not folder.endswith(SIGNALS):
        return +Counter(consent=segment.acknowledged)
    lost: Counter[str] = Counter()
    for line in framing.scan(os.pread(segment.descriptor, segment.written, 0), torn=True):
        lost.update(framing.losses(line.payload or b""))
    return lost


def _fate(stance: Stance) -> Fate:
    """What becomes of a segment that was begun under an earlier stance."""
    return "drop" if stance.on or stance.erases else "seal"
