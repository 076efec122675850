"""Taking over what nobody writes any more, and putting aside what cannot be read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

from usagewire import forks
from usagewire.state.files import make_folder, write_file
from usagewire.state.ledger import Ledger
from usagewire.state.lines import Line
from usagewire.state.listing import Found, epoch_of, order, segments, trim
from usagewire.state.locks import try_lock
from usagewire.state.paths import Place

KEPT_BYTES = 4 << 20
"""Bound of corrupt/, and of rejected/; the oldest goes."""


class Taker:
    """Finds the segments that a consumer may read."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._orphans: set[str] = set()  # stems; a dead writer stays dead

    def take(self, ledger: Ledger) -> list[Found]:
        """Sealed ones of the ledger's epoch, and those whose writer has died; oldest first."""
        taken = [
            found
            for found in segments(self._place)
            if epoch_of(found.stem) == ledger.channels.get(found.channel, ledger.epoch)
            and (found.suffix == ".seg" or self._orphaned(found))
        ]
        self._orphans &= {found.stem for found in taken}
        return sorted(taken, key=lambda found: order(found.stem))

    @forks.held_up()  # a child would inherit the lock, and never let go of it
    def _orphaned(self, found: Found) -> bool:
        """Whether the writer of an unsealed segment is dead: then its lock is free."""
        if found.stem in self._orphans:
            return True
        try:
            descriptor = os.open(found.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            if not try_lock(descriptor):
                return False
            if found.suffix == ".tmp":
                found.path.unlink(missing_ok=True)
                return False
            # A writer that has just sealed it has let go of the lock, and of this name.
            if not found.path.exists():
                return False
        finally:
            os.close(descriptor)
        self._orphans.add(found.stem)
        return True


def keep_damage(place: Place, lost: Counter[str], name: str, content: bytes, stretches: Iterable[Line]) -> None:
    """Count the damaged stretches of a file and copy them to corrupt/, under a name that a repeat repeats."""
    damaged = [line for line in stretches if line.payload is None]
    if not damaged:
        return
    lost["corrupt"] += sum(line.records for line in damaged)
    with suppress(OSError):  # the copy is a courtesy; what matters is the count
        make_folder(place.corrupt)
        kept = b"".join(content[line.start : line.end] for line in damaged)
        write_file(place.corrupt / f"{name}-{damaged[0].start}", kept)
        trim(place.corrupt, KEPT_BYTES)
