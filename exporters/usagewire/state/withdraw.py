"""Taking single channels back: out of the running period, of compiled reports, and of copies of what was tried.

What waits in folders of their own is unlinked by `usagewire.state.purge`, which needs no lock. This is the holder's
part: one version of the ledger without what they had gathered, and one more that says so. Killed between the two it is
done again, and with the second one the last version that still held it is gone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from usagewire.state import lines
from usagewire.state.files import read_file, write_file
from usagewire.state.ledger import Ledger
from usagewire.state.listing import names
from usagewire.state.paths import Place

Without = Callable[[bytes, Collection[str]], bytes | None]
"""A report's item without the part of some channels; ``None``: nothing is left of it."""


def stale(ledger: Ledger, words: Mapping[str, str]) -> frozenset[str]:
    """Channels of which ``ledger`` may hold what was gathered under another word than now."""
    return frozenset(name for name in {*words, *ledger.channels} if words.get(name) != ledger.channels.get(name))


def drop_signals(ledger: Ledger, channels: Collection[str], channel_of: Mapping[str, str]) -> None:
    """Take the signals of ``channels`` out of a copy's period, and count them."""
    running = ledger.period
    running.gathered, lost = running.gathered.without(channels, channel_of)
    ledger.totals.lost["consent"] += lost
    if not running.gathered and ledger.closing is None:
        running.due = 0


def drop_from_reports(place: Place, ledger: Ledger, channels: Collection[str], without: Without | None) -> None:
    """Replace in a copy every report that waits by a new file without ``channels``; the files themselves stay. Raises
    `OSError`."""
    for name, made in list(ledger.reports.items()):
        kept: list[bytes] = []
        with suppress(FileNotFoundError):
            for line in lines.scan(read_file(place.reports / name), ledger.offsets.get(name, 0)):
                item = lines.item_data(line.payload) if line.payload is not None else None
                left = without(item, channels) if item is not None and without is not None else None
                if left is not None:
                    kept.append(lines.frame(lines.item(left)))
                else:
                    ledger.totals.lost["corrupt" if item is None else "consent"] += 1
        del ledger.reports[name]
        ledger.offsets.pop(name, None)
        if kept:
            again = f"{name.rpartition('-')[0]}-{os.urandom(6).hex()}"
            write_file(place.reports / again, b"".join(kept))
            ledger.reports[again] = made


def drop_copies(place: Place) -> None:
    """Unlink every copy of what could not be read, or was never taken: which channels are in one cannot be told."""
    for folder in (place.rejected, place.corrupt):
        for name in names(folder):
            (folder / name).unlink(missing_ok=True)
