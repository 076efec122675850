"""How the command line says things: sizes, times, counts, and what to do about a loss."""

from __future__ import annotations

from datetime import datetime, timezone

import click

SECOND = 1_000_000_000

REMEDIES = {
    "quota": "more waited than there is room for; see the last error, or raise queue_bytes",
    "ttl": "waited longer than queue_ttl; see the last error, or raise queue_ttl",
    "consent": "consent was taken back while it waited; that is what `usagewire off` is for",
    "plan": "not in the tracking plan; what should leave has to be listed there",
    "oversize": "larger than the format takes; make the event smaller",
    "unfit": "recorded in a way that the format's document has no room for; the program's log names what and why",
    "format": "this format carries nothing of the kind; another exporter may",
    "rejected": "the endpoint, or the format, will never take it; the reason stands beside the copy in rejected/",
    "corrupt": "damaged on disk; the damaged part is kept in corrupt/",
    "full": "the disk, or the queue, had no room left; make room, then see the last error",
    "configuration": "recorded while a setting or the tracking plan was wrong; the program's log names what",
    "fault": "recorded after an unexpected fault of ours; the program's log has it: please report it",
    "memory": "no state folder could be used, so it waited in memory; set USAGEWIRE_STATE_DIR to a writable folder",
}
"""Reason of a loss → what it means and what to do."""


def remedy(reason: str) -> str:
    """What to do about losses for ``reason``."""
    return REMEDIES.get(reason, "a reason this version does not know; use the version that the program uses")


def plural(number: int, one: str) -> str:
    """``1 event``, ``1,204 events``."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def size(number: int) -> str:
    """Bytes, for people."""
    amount = float(number)
    for unit in ("bytes", "KiB", "MiB"):
        if amount < 1024:
            return f"{number} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def span(nanoseconds: int) -> str:
    """A length of time, in its largest unit that says enough."""
    seconds = max(nanoseconds, 0) / SECOND
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def iso(time: int | None) -> str | None:
    """Nanoseconds as ``2026-10-05T07:30:00Z``."""
    if time is None:
        return None
    try:
        said = datetime.fromtimestamp(time / SECOND, tz=timezone.utc)
    except (ValueError, OverflowError, OSError):  # a clock that was far off when this was stored
        return None
    return said.isoformat(timespec="seconds").replace("+00:00", "Z")


def moment(said: str | None, now: int) -> str:
    """A time from `iso` and how far it is from ``now``."""
    if said is None:
        return "an unknown time"
    time = int(datetime.fromisoformat(said.replace("Z", "+00:00")).timestamp()) * SECOND
    return f"{said} ({f'in {span(time - now)}' if time > now else f'{span(now - time)} ago'})"


def good(text: str) -> str:
    """Green where colours are wanted."""
    return click.style(text, fg="green")


def bad(text: str) -> str:
    """Red where colours are wanted."""
    return click.style(text, fg="red")


def faint(text: str) -> str:
    """Less important."""
    return click.style(text, dim=True)


def title(text: str) -> str:
    """The head of a section."""
    return click.style(text, bold=True)
