"""Folding signals into the period, exactly once, and compiling a period into a report, once.

A segment is unlinked when both versions of the ledger on disk name it as folded, and a period closes when no folded
segment is left: were a version lost, nothing could be folded a second time.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import accumulate

from usagewire.signals import Origin
from usagewire.state import lines, period
from usagewire.state.files import make_folder, read_file, sync_folder, write_file
from usagewire.state.fold import Keep, fold
from usagewire.state.holder import Holder
from usagewire.state.ledger import Ledger
from usagewire.state.listing import Found, file_blocks, order
from usagewire.state.paths import Place
from usagewire.state.period import Compile
from usagewire.state.taking import keep_damage
from usagewire.state.totals import NOTE, notes


class Folding:
    """The signal side of a consumer. Raises `StateError` when the disk does not take it; nothing has changed then."""

    def __init__(
        self, place: Place, holder: Holder, clock: Callable[[], int], interval: int, keep: Keep | None
    ) -> None:
        """``interval`` in nanoseconds."""
        self._place, self._holder, self._clock, self._interval = place, holder, clock, interval
        self._keep = keep

    def due(self) -> bool:
        """Whether the running period is over and holds something."""
        running = self._holder.ledger.period
        return bool(running.gathered) and running.due <= self._clock()

    def fold(self, taken: Iterable[Found], *, more: bool) -> None:
        """Fold what is new among the taken, if ``more``; unlink what both versions of the ledger say is folded."""
        signals = self._unlink_folded([found for found in taken if found.signals])
        ledger = self._holder.ledger
        if ledger.closing is not None:
            return
        fresh = self._affordable([found for found in signals if more and found.stem not in ledger.folded])
        noted = {name: note for name, note in notes(self._place).items() if name not in ledger.folded}
        if not (fresh or noted or ledger.folded):
            return
        new = ledger.copy()
        if fresh:
            new.period.gathered = new.period.gathered.copy()
        for found in fresh:
            self._fold_segment(new, found)
        for name, note in noted.items():
            new.totals.lost += note.lost if note is not None else Counter(corrupt=1)
            new.folded[name] = new.serial
        self._holder.commit(new)

    def _affordable(self, fresh: list[Found]) -> list[Found]:
        """The oldest of them, as many as leave room to close the period: folded all at once, segments that fill a disk
        would need more than they give back, and nothing could go on."""
        ledger, disk = self._holder.ledger, os.statvfs(self._place.folder)
        free = disk.f_bavail * disk.f_frsize + file_blocks(self._place.reserve)
        version = file_blocks(self._place.folder / f"{ledger.epoch}-ledger-{ledger.serial}")
        room = (free - 2 * version) // 4  # three versions of the ledger and a report
        sizes = accumulate(file_blocks(found.path) for found in fresh)
        return [found for found, size in zip(fresh, sizes, strict=True) if size <= room]

    def _fold_segment(self, new: Ledger, found: Found) -> None:
        try:
            content = read_file(found.path)
        except OSError:  # removed by hand; or unreadable, and then it is tried again
            return
        stretches = lines.scan(content, torn=found.suffix == ".open")
        keep_damage(self._place, new.totals.lost, found.stem, content, stretches)
        made, token, _ = order(found.stem)
        payloads = [line.payload for line in stretches if line.payload is not None]
        new.totals.lost += fold(new.period.gathered, payloads, token, self._keep)
        new.folded[found.stem] = new.serial
        if new.period.gathered and not new.period.due:
            period.begin(new.period, made, self._clock(), self._interval)

    def _unlink_folded(self, signals: list[Found]) -> list[Found]:
        ledger = self._holder.ledger
        named = {name for name, serial in ledger.folded.items() if serial < ledger.serial}
        done = [found.path for found in signals if found.stem in named]
        noted = [self._place.folder / name for name in named if name.startswith(NOTE)]
        if noted and not self._holder.save_totals():
            return signals  # a note must not go before totals.json knows it
        for path in (*done, *noted):
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in (*done, *noted)}:
            sync_folder(folder)
        ledger.folded = {name: serial for name, serial in ledger.folded.items() if name not in named}
        return [found for found in signals if found.stem not in named]

    def close(self, origin: Origin, *, force: bool) -> bool:
        """Whether a period is closed and to be compiled; closes it if it is due, or by ``force``."""
        ledger = self._holder.ledger
        if ledger.closing is not None:
            return True
        if not ledger.period.gathered or not (force or self.due()):
            return False
        if any(not name.startswith(NOTE) for name in ledger.folded):
            return False
        new = ledger.copy()
        period.close(new, self._clock(), origin)
        self._holder.commit(new)
        return True

    def compile(self, compile: Compile) -> int:
        """Write the closed period's report and begin the next period; the number of items."""
        new = self._holder.ledger.copy()
        items, lost = period.compile_closing(new, compile)
        new.totals.lost += lost
        if items and new.closing is not None:
            name = f"{new.epoch}-r{new.period.number}-{new.closing.nonce[:12]}"
            content = b"".join(lines.frame(lines.item(item.data)) for item in items)
            make_folder(self._place.reports)
            self._holder.write(lambda: write_file(self._place.reports / name, content))
            new.reports[name] = new.closing.end
        period.turn(new, self._keep)
        self._holder.commit(new)
        return len(items)
