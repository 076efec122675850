"""What was given up where no queue was open to count it."""

from __future__ import annotations

import threading
from collections import Counter

from usagewire import forks
from usagewire.pipeline.said import Said
from usagewire.state.paths import Place

NEVER = "consent"
"""The reason that is counted nowhere else: off counts nothing."""


class Dropped(Counter[str]):
    """Events and points by reason. Thread-safe; each is either here or was taken from here."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def add(self, reason: str, count: int = 1) -> None:
        """Count a loss."""
        with self._lock:
            self[reason] += count

    def take(self) -> dict[str, int]:
        """All that is to be counted elsewhere, and here no longer."""
        with self._lock:
            return {reason: self.pop(reason) for reason in self.keys() - {NEVER}}

    def note(self, said: Said, place: Place) -> None:
        """Where an earlier run has left a queue in ``place``, and neither its word nor ``said``, wrong as that may be,
        is a no: a note for `status`, and for whoever opens that queue next. Raises `StateError` or `OSError`."""
        if not self.keys() - {NEVER}:
            return
        with forks.held_up():
            from usagewire.pipeline.destination import as_left
            from usagewire.state.totals import Memory, leave_note
        if not place.destination_json.exists() or not said.consent(place).decide().on:
            return
        if as_left(place, said.environ).consent(said.environ, said.argv).decide().on:
            leave_note(place, Counter(self.take()), Memory())
