"""A destination's memory: what the period has gathered, what is settled, what was counted, when to try again.

One version is one file, ``<epoch>-ledger-<serial>``, holding ``crc32 SP json LF``. A new version is linked to the next
serial, so that of two holders one fails; the last two are kept, so that one can be damaged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import orjson

from usagewire.errors import HolderLost, StateError
from usagewire.signals import Stance
from usagewire.state import lines
from usagewire.state.files import make_folder, read_file, write_file
from usagewire.state.fold import Gathered
from usagewire.state.listing import names
from usagewire.state.paths import Place
from usagewire.state.totals import NOTE, Memory, Totals

VERSION = 1
LONGEST_WAIT = 330 * 1_000_000_000
"""The longest back-off, jitter included, in nanoseconds."""
_log = logging.getLogger("usagewire")


@dataclass
class Outcome:
    """How the last requests went. Times in nanoseconds."""

    last_success: int | None = None
    last_error: dict[str, Any] | None = None
    """``time`` and ``reason``."""
    retry_at: int | None = None
    retry_by_server: bool = False
    failures: int = 0
    """In a row."""

    def succeed(self, now: int) -> None:
        """Something was delivered."""
        self.last_success = now
        self.failures, self.retry_at, self.retry_by_server = 0, None, False

    def reject(self, now: int, reason: str) -> None:
        """The endpoint answered, and will not take it: no reason to wait."""
        self.last_error = {"time": now, "reason": reason}
        self.failures, self.retry_at, self.retry_by_server = 0, None, False

    def wait(self, now: int) -> int:
        """Nanoseconds until the endpoint may be asked again; 0: now. A time further away than any wait can be was
        stored under a clock that has been set back since, and counts as over."""
        left = (self.retry_at or 0) - now
        return left if 0 < left <= LONGEST_WAIT else 0

    def fail(self, now: int, reason: str, at: int, by_server: bool) -> None:
        """Nothing arrived; not again before ``at``."""
        self.last_error = {"time": now, "reason": reason}
        self.failures += 1
        self.retry_at, self.retry_by_server = at, by_server


@dataclass
class Running:
    """The period that runs. ``due`` is 0 until something is gathered."""

    number: int = 1
    start: int = 0
    """Where the previous one ended, until something is gathered."""
    due: int = 0
    gathered: Gathered = field(default_factory=Gathered)


@dataclass
class Closing:
    """Drawn once when a period closes, so that compiling again gives the same bytes."""

    nonce: str
    end: int
    origin: dict[str, Any]


@dataclass
class Ledger:
    """One version. Saved only as a copy with the next serial; what is in hand is what is on disk, or the next."""

    epoch: str
    serial: int = 0
    period: Running = field(default_factory=Running)
    closing: Closing | None = None
    folded: dict[str, int] = field(default_factory=dict[str, int])
    """Stem of a folded segment, or name of a counted note, that may still be there → the serial that folded it."""
    offsets: dict[str, int] = field(default_factory=dict[str, int])
    """Stem or report → bytes from its beginning that are settled. Bytes, not lines: damage moves lines, not bytes."""
    reports: dict[str, int] = field(default_factory=dict[str, int])
    """File name of a report that waits → when it was compiled."""
    totals: Totals = field(default_factory=Totals)
    outcome: Outcome = field(default_factory=Outcome)
    lanes: dict[str, Outcome] = field(default_factory=dict[str, Outcome])
    """The same for a second endpoint: see `usagewire.formats.Format.event_lane`."""
    copies: dict[str, str] = field(default_factory=dict[str, str])
    """Lane → the copy in sent/ of the last request that is settled here."""
    channels: dict[str, str] = field(default_factory=dict[str, str])
    """Channel → the epoch under which what it holds of that was gathered, where not this ledger's own."""

    @classmethod
    def begin(cls, epoch: str, memory: Memory, serial: int = 0) -> Ledger:
        """The first one of an epoch, with what outlived the ledgers before it."""
        new = cls(epoch, serial, Running(memory.period + 1), totals=memory.totals)
        new.folded = dict.fromkeys(memory.notes, 0)
        for lane, at in memory.successes.items():
            new.of(lane).last_success = at
        return new

    def under(self, stance: Stance) -> bool:
        """Whether everything in it was gathered under ``stance``, and may leave."""
        return stance.on and stance.epoch == self.epoch and stance.words == self.channels

    def of(self, lane: str) -> Outcome:
        """How the last requests to one endpoint went."""
        return self.lanes.setdefault(lane, Outcome()) if lane else self.outcome

    def copy(self) -> Ledger:
        """The next version, to be changed and saved."""
        period = self.period
        return Ledger(
            self.epoch,
            self.serial + 1,
            Running(period.number, period.start, period.due, period.gathered),
            self.closing,
            dict(self.folded),
            dict(self.offsets),
            dict(self.reports),
            self.totals.copy(),
            replace(self.outcome),
            {lane: replace(outcome) for lane, outcome in self.lanes.items()},
            dict(self.copies),
            self.channels,
        )

    def memory(self) -> Memory:
        """What outlives this ledger."""
        notes = {name for name in self.folded if name.startswith(NOTE)}
        lanes = {"": self.outcome, **self.lanes}
        successes = {lane: outcome.last_success for lane, outcome in lanes.items() if outcome.last_success}
        return Memory(self.totals.copy(), self.period.number, notes, successes)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        period = self.period
        return {
            "version": VERSION,
            "epoch": self.epoch,
            "serial": self.serial,
            "period": {"number": period.number, "start": period.start, "due": period.due, **period.gathered.to_json()},
            "closing": None if self.closing is None else asdict(self.closing),
            "folded": self.folded,
            "offsets": self.offsets,
            "reports": self.reports,
            "totals": self.totals.to_json(),
            "outcome": asdict(self.outcome),
            "lanes": {lane: asdict(outcome) for lane, outcome in self.lanes.items()},
            "copies": self.copies,
            "channels": self.channels,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Ledger:
        """From `to_json`. Raises `ValueError`, `KeyError`, `TypeError` or `AttributeError`."""
        period, closing = content["period"], content["closing"]
        return cls(
            epoch=content["epoch"],
            serial=int(content["serial"]),
            period=Running(int(period["number"]), int(period["start"]), int(period["due"]), Gathered.from_json(period)),
            closing=None if closing is None else Closing(**closing),
            folded={str(stem): int(serial) for stem, serial in content["folded"].items()},
            offsets={str(stem): int(offset) for stem, offset in content["offsets"].items()},
            reports={str(name): int(time) for name, time in content["reports"].items()},
            totals=Totals.from_json(content["totals"]),
            outcome=Outcome(**content["outcome"]),
            lanes={str(lane): Outcome(**outcome) for lane, outcome in content.get("lanes", {}).items()},
            copies={str(lane): str(name) for lane, name in content.get("copies", {}).items()},
            channels={str(channel): str(epoch) for channel, epoch in content.get("channels", {}).items()},
        )


def encode(ledger: Ledger) -> bytes:
    """The file of one version."""
    return lines.frame(orjson.dumps(ledger.to_json()))


def decode(content: bytes) -> Ledger:
    """From `encode`. Raises `ValueError` when damaged, `StateError` when a newer usagewire wrote it."""
    stored = orjson.loads(lines.parse(content.removesuffix(b"\n")))
    try:
        if stored["version"] > VERSION:
            raise StateError(f"ledger of version {stored['version']}: written by a newer usagewire; use that one")
        return Ledger.from_json(stored)
    except (KeyError, TypeError, AttributeError) as why:
        raise ValueError(f"not a ledger: {why!r}") from why


# -- on disk --------------------------------------------------------------------------------------------------------


def versions(place: Place, epoch: str) -> list[int]:
    """Serials of the versions on disk, oldest first."""
    prefix = f"{epoch}-ledger-"
    found = (name.removeprefix(prefix) for name in names(place.folder) if name.startswith(prefix))
    return sorted(int(serial) for serial in found if serial.isdecimal())


def read(place: Place, epoch: str) -> tuple[Ledger | None, list[int]]:
    """The newest readable version, and the serials of damaged ones after it. Changes nothing on disk."""
    damaged: list[int] = []
    for serial in reversed(versions(place, epoch)):
        path = place.folder / f"{epoch}-ledger-{serial}"
        try:
            found = decode(read_file(path))
        except StateError as why:
            raise StateError(f"{path}: {why}") from why
        except (OSError, ValueError):
            damaged.append(serial)
            continue
        if (found.epoch, found.serial) == (epoch, serial):
            return found, damaged
        damaged.append(serial)
    return None, damaged


def save(place: Place, ledger: Ledger) -> None:
    """Make ``ledger`` the newest version. Raises `HolderLost` when somebody else did so first, `OSError` when the disk
    did not take it."""
    prefix = f"{ledger.epoch}-ledger-"
    try:
        write_file(place.folder / f"{prefix}{ledger.serial}", encode(ledger), link=True)
    except FileExistsError:
        raise HolderLost(f"{place.folder}: another process wrote version {ledger.serial} of the ledger") from None
    except FileNotFoundError:  # purged under our hands
        raise HolderLost(f"{place.folder}: unlinked while being written") from None
    found = versions(place, ledger.epoch)
    if found and found[-1] > ledger.serial:
        (place.folder / f"{prefix}{ledger.serial}").unlink(missing_ok=True)
        raise HolderLost(f"{place.folder}: another process is at version {found[-1]} of the ledger")
    prune(place, ledger, found)


def prune(place: Place, ledger: Ledger, found: Iterable[int]) -> None:
    """Unlink all but the two newest of the versions ``found``."""
    for serial in found:
        if serial < ledger.serial - 1:
            (place.folder / f"{ledger.epoch}-ledger-{serial}").unlink(missing_ok=True)


def put_aside(place: Place, epoch: str, serials: Iterable[int]) -> None:
    """Move damaged versions to corrupt/."""
    for serial in serials:
        name = f"{epoch}-ledger-{serial}"
        path = place.folder / name
        _log.info("%s: damaged; moved to corrupt/", path)
        try:
            make_folder(place.corrupt)
            path.rename(place.corrupt / name)
        except OSError:  # it must go, or its serial could not be written again
            path.unlink(missing_ok=True)
