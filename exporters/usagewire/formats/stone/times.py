"""Times as the document writes them, all in UTC. Beyond the years 1970 to 9999 they move to the edge."""

from __future__ import annotations

from datetime import datetime, timedelta

_EPOCH = datetime(1970, 1, 1)
_LAST = 253_402_300_799_999_999


def moment(time: int) -> datetime:
    """Nanoseconds → a naive time."""
    return _EPOCH + timedelta(microseconds=min(max(time // 1_000, 0), _LAST))


def iso(time: int) -> str:
    """``2026-11-21T09:17:31.751323``, always with its microseconds and without a zone."""
    return moment(time).isoformat(timespec="microseconds")
