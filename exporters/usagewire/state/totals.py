"""What became of items, over every epoch; and the small files without data that keep it when a ledger goes.

``totals.json`` is the consumer's copy. ``purged-<token>`` is a note by whoever purged: what that cost, and what the
purged ledger knew. The consumer counts each note once.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from usagewire.errors import StateError
from usagewire.state.files import read_json, write_json
from usagewire.state.listing import names
from usagewire.state.paths import Place

NOTE = "purged-"


@dataclass
class Totals:
    """Counts of items."""

    delivered: int = 0
    lost: Counter[str] = field(default_factory=Counter[str])
    """By reason: quota, ttl, consent, plan, oversize, rejected, corrupt, full, memory."""
    repeated: int = 0
    """Of the delivered those that the endpoint had already, as it said when they were tried again."""

    def copy(self) -> Totals:
        """Independent of this one."""
        return Totals(self.delivered, self.lost.copy(), self.repeated)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "delivered": self.delivered,
            "lost": dict(sorted(self.lost.items())),
            "repeated": self.repeated,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Totals:
        """From `to_json`. Raises `ValueError`, `KeyError`, `TypeError` or `AttributeError`."""
        lost = Counter({str(reason): int(count) for reason, count in content["lost"].items()})
        return cls(int(content["delivered"]), lost, int(content.get("repeated", 0)))


@dataclass
class Memory:
    """What a new ledger begins with."""

    totals: Totals = field(default_factory=Totals)
    period: int = 0
    """Highest period number ever begun."""
    notes: set[str] = field(default_factory=set[str])
    """Notes that are in ``totals`` already and may still be there."""
    successes: dict[str, int] = field(default_factory=dict[str, int])
    """Lane → when something was last delivered there, in nanoseconds."""

    def join(self, other: Memory) -> None:
        """Catch up with another copy. Totals only grow, by one hand, so the larger number is the newer."""
        self.totals.delivered = max(self.totals.delivered, other.totals.delivered)
        self.totals.lost |= other.totals.lost
        self.totals.repeated = max(self.totals.repeated, other.totals.repeated)
        self.period = max(self.period, other.period)
        self.notes |= other.notes
        for lane, at in other.successes.items():
            self.successes[lane] = max(self.successes.get(lane, 0), at)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "version": 1,
            **self.totals.to_json(),
            "period": self.period,
            "notes": sorted(self.notes),
            "successes": dict(sorted(self.successes.items())),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Memory:
        """From `to_json`. Raises `ValueError`, `KeyError`, `TypeError` or `AttributeError`."""
        notes = {str(name) for name in content["notes"]}
        successes = {str(lane): int(at) for lane, at in content.get("successes", {}).items()}
        return cls(Totals.from_json(content), int(content["period"]), notes, successes)


@dataclass
class Note:
    """What one purge left."""

    lost: Counter[str] = field(default_factory=Counter[str])
    memory: Memory = field(default_factory=Memory)


def leave_note(place: Place, lost: Counter[str], memory: Memory) -> None:
    """Leave a note for the consumer. A disk too full for it loses the numbers, never the purge."""
    content: dict[str, Any] = {"version": 1, "lost": dict(lost), "memory": memory.to_json()}
    with suppress(OSError):
        write_json(place.folder / f"{NOTE}{os.urandom(8).hex()}", content)


def notes(place: Place) -> dict[str, Note | None]:
    """Every note there is, by file name; ``None``: damaged."""
    found: dict[str, Note | None] = {}
    for name in sorted(names(place.folder)):
        if not name.startswith(NOTE) or name.endswith(".tmp"):
            continue
        try:
            content = read_json(place.folder / name)
            if content is not None:
                lost = Counter({str(reason): int(count) for reason, count in content["lost"].items()})
                found[name] = Note(lost, Memory.from_json(content["memory"]))
        except (StateError, KeyError, TypeError, ValueError, AttributeError):
            found[name] = None
    return found


def read_memory(path: Path) -> Memory | None:
    """``totals.json``; ``None``: absent. Raises `StateError` when damaged."""
    content = read_json(path)
    try:
        return None if content is None else Memory.from_json(content)
    except (KeyError, TypeError, ValueError, AttributeError) as why:
        raise StateError(f"{path}: damaged ({why!r})") from why
