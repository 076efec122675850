"""Unlink what the operator has not consented to. Needs no lock, no room on the disk and no consumer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from usagewire.errors import StateError
from usagewire.signals import Stance
from usagewire.state import ledger as ledgers
from usagewire.state import lines
from usagewire.state.files import read_file, sync_folder
from usagewire.state.ledger import Ledger
from usagewire.state.listing import (
    REPORTS,
    SIGNALS,
    base_epoch,
    channel_of,
    epoch_of,
    folders,
    is_stem,
    names,
    split,
)
from usagewire.state.paths import Place
from usagewire.state.totals import Memory, leave_note


def purge(place: Place, stance: Callable[[], Stance]) -> int:
    """Unlink every file of another epoch, or of all epochs when off; returns how many files that were. Of single
    channels that are off only what waits in their folders; `usagewire.state.withdraw` does the rest.

    Items that were still owed are counted (``consent``) in a note for the consumer. Raises `OSError` only when a file
    can be listed but not unlinked.
    """
    listed = [(folder, names(folder)) for folder in _data_folders(place)]
    # Consent is read after listing: a file listed later may belong to an epoch that began after the reading.
    now = stance()
    if not (now.on or now.erases):
        return 0
    doomed = [
        (folder, name)
        for folder, found in listed
        for name in found
        if not _counts(folder, name, place, now) and _is_data(folder, name, place)
    ]
    if not doomed:
        return 0
    known: dict[str, Ledger | None] = {}
    for epoch in {base_epoch(name) for _, name in doomed}:
        known[epoch] = None
        with suppress(StateError, OSError):
            known[epoch], _ = ledgers.read(place, epoch)
    lost: Counter[str] = Counter()
    unlinked = 0
    for folder, name in doomed:
        owed = _owed(folder, name, known[base_epoch(name)], gone=not now.on or base_epoch(name) != now.epoch)
        if any(map(_unlink, _paths(folder, name))):
            lost += owed
            unlinked += 1
    for folder in {folder for folder, _ in doomed}:
        sync_folder(folder)
    ledgers_gone = [ledger for epoch, ledger in known.items() if ledger and not (now.on and epoch == now.epoch)]
    memory = Memory()
    for ledger in ledgers_gone:
        memory.join(ledger.memory())
    if lost or ledgers_gone:
        leave_note(place, lost, memory)
    return unlinked


def _data_folders(place: Place) -> list[Path]:
    return [*folders(place), place.rejected, place.corrupt, place.sent, place.folder]


def _counts(folder: Path, name: str, place: Place, now: Stance) -> bool:
    """Whether a file was collected under the consent that holds ``now``."""
    if folder.parent == place.queue and folder.name != REPORTS:
        now = now.of(channel_of(folder.name))
        return now.on and epoch_of(name) == now.epoch
    return now.on and base_epoch(name) == now.epoch


def _is_data(folder: Path, name: str, place: Place) -> bool:
    """Whether a file holds unsent data; then its name begins with its epoch."""
    if folder == place.folder:
        return "-ledger-" in name
    if folder == place.sent:  # what was sent is history; what was only tried is not
        return "-" in name and not name.endswith(".json")
    if folder.parent == place.queue and folder.name != REPORTS:
        return is_stem(split(name)[0])
    return "-" in name


def _owed(folder: Path, name: str, ledger: Ledger | None, *, gone: bool) -> Counter[str]:
    """Items in a file that nobody has settled, and losses that nobody has counted; signals only where the period that
    they would have gone into goes on without them, not ``gone`` as a whole."""
    stem, suffix = split(name)
    signals = folder.name.endswith(SIGNALS)
    report = folder.name == REPORTS
    lost: Counter[str] = Counter()
    if folder.parent.name != "queue" or suffix == ".tmp" or (ledger and report and name not in ledger.reports):
        return lost
    if ledger and signals and stem in ledger.folded:
        return lost
    content = b""
    for path in _paths(folder, name):
        with suppress(OSError):
            content = read_file(path)
            break
    offset = ledger.offsets.get(name if report else stem, 0) if ledger else 0
    for line in lines.scan(content, offset, torn=suffix == ".open"):
        if line.payload is None:
            lost["corrupt"] += line.records
        elif not (signals and gone):
            lost["consent"] += 1
        else:
            lost.update(lines.losses(line.payload))
    return lost


def _paths(folder: Path, name: str) -> list[Path]:
    """Where a file is: a writer may be renaming it from .open to .seg under our hands."""
    stem, suffix = split(name)
    return [folder / name, *([folder / f"{stem}.seg"] if suffix == ".open" else ())]


def _unlink(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
