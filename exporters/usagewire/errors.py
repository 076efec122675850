"""Every exception of ours. None of them ever reaches the host program.

UsagewireError
├── Faults                  several things wrong at once, each with its way out
│   ├── ConfigError         settings
│   └── PlanError           a tracking plan
├── Unsendable              one event or point that a format cannot carry
└── StateError              the state folder cannot be used
    └── HolderLost          another process took the destination over
"""

from __future__ import annotations

from collections.abc import Iterable


class UsagewireError(Exception):
    """Base of all."""


class Faults(UsagewireError):
    """Carries every fault found, not the first: ``faults`` is a tuple of sentences."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


class ConfigError(Faults):
    """Settings that cannot be used."""


class PlanError(Faults):
    """A tracking plan that cannot be used."""


class Unsendable(UsagewireError):
    """Raised by a format's ``encode`` for an event that may never leave; counted under ``reason``.

    ``reason`` is one of the loss reasons (``oversize``, ``rejected``), ``detail`` names the event and the limit.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class StateError(UsagewireError):
    """The state folder cannot be used safely (not ours, read-only, no locks): the queue falls back to memory."""


class HolderLost(StateError):
    """Another holder advanced the ledger: drop everything in hand, unlink nothing, let go."""
