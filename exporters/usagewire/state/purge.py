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
from usagewire.state.ledger import Ledger
from usagewire.state.listing import REPORTS, SIGNALS, epoch_of, folders, is_stem, names, split
from usagewire.state.paths import Place, read_file, sync_folder
from usagewire.state.totals import Memory, leave_note


def purge(place: Place, stance: Callable[[], Stance]) -> int:
    """Unlink every file of another epoch, or of all epochs when off; returns how many files that were.

    Items that were still owed are counted (``consent``) in a note for the consumer. Raises `OSError` only when a file
    can be listed but not unlinked.
    """
    listed = [(folder, names(folder)) for folder in _data_folders(place)]
    # Consent is read after listing: a file listed later may belong to an epoch that began after the reading.
    now = stance()
    if not (now.on or now.erases):
        return 0
    ours = f"{now.epoch}-" if now.on else "/"
    doomed = [
        (folder, name)
        for folder, found in listed
        for name in found
        if not name.startswith(ours) and _is_data(folder, name, place)
    ]
    if not doomed:
        return 0
    known: dict[str, Ledger | None] = {}
    for epoch in {epoch_of(name) for _, name in doomed}:
        known[epoch] = None
        with suppress(StateError, OSError):
            known[epoch], _ = ledgers.read(place, epoch)
    lost: Counter[str] = Counter()
    unlinked = 0
    for folder, name in doomed:
        owed = _owed(folder, name, known[epoch_of(name)])
        # A writer may be renaming it from .open to .seg under our hands.
        stem, suffix = split(name)
        if _unlink(folder / name) or (suffix == ".open" and _unlink(folder / f"{stem}.seg")):
            lost += owed
            unlinked += 1
    for folder in {folder for folder, _ in doomed}:
        sync_folder(folder)
    ledgers_gone = [ledger for ledger in known.values() if ledger is not None]
    memory = Memory()
    for ledger in ledgers_gone:
        memory.join(ledger.memory())
    if lost or ledgers_gone:
        leave_note(place, lost, memory)
    return unlinked


def _data_folders(place: Place) -> list[Path]:
    return [*folders(place), place.rejected, place.corrupt, place.sent, place.folder]


def _is_data(folder: Path, name: str, place: Place) -> bool:
    """Whether a file holds unsent data; then its name begins with its epoch."""
    if folder == place.folder:
        return "-ledger-" in name
    if folder == place.sent:  # what was sent is history; what was only tried is not
        return "-" in name and not name.endswith(".json")
    if folder.parent == place.queue and folder.name != REPORTS:
        return is_stem(split(name)[0])
    return "-" in name


def _owed(folder: Path, name: str, ledger: Ledger | None) -> Counter[str]:
    """Items in a file that nobody has settled, and losses that nobody has counted."""
    stem, suffix = split(name)
    signals = folder.name.endswith(SIGNALS)
    report = folder.name == REPORTS
    lost: Counter[str] = Counter()
    if folder.parent.name != "queue" or suffix == ".tmp" or (ledger and report and name not in ledger.reports):
        return lost
    if ledger and signals and stem in ledger.folded:
        return lost
    try:
        content = read_file(folder / name)
    except OSError:
        return lost
    offset = ledger.offsets.get(name if report else stem, 0) if ledger else 0
    for line in lines.scan(content, offset, torn=suffix == ".open"):
        if line.payload is None:
            lost["corrupt"] += line.records
        elif not signals:
            lost["consent"] += 1
        elif line.payload.startswith(lines.LOST):
            with suppress(ValueError):
                signal = lines.signal(line.payload)
                lost.update(signal if isinstance(signal, dict) else {})
    return lost


def _unlink(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
