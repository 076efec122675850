"""When a report period begins and ends. A period is a number, not a time: clocks jump, numbers do not."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence

from usagewire.signals import Item, Origin, Period
from usagewire.state import origin as origins
from usagewire.state.fold import Keep
from usagewire.state.ledger import Closing, Ledger, Running

_log = logging.getLogger("usagewire")

Compile = Callable[[Period, Origin, int], Sequence[Item]]


def begin(period: Running, first: int, now: int, interval: int) -> None:
    """Date a period that has just got its first signal, kept at ``first``: it goes on from the end of the one before,
    unless nothing was recorded for so long that it would be over already; then it begins with the signal."""
    first = min(max(first, period.start), now)
    if not period.start <= now < period.start + interval:
        period.start = first
    period.due = period.start + interval


def clamp(ledger: Ledger, now: int, interval: int) -> bool:
    """Correct a period's times after the clock was set back: it is never longer than its interval from now. Whether
    there was anything to correct."""
    period = ledger.period
    before = period.start, period.due
    period.start, period.due = min(period.start, now), min(period.due, now + interval)
    return before != (period.start, period.due)


def close(ledger: Ledger, now: int, origin: Origin) -> None:
    """Draw, once, what compiling needs besides the sums; nothing is folded from here on."""
    ledger.closing = Closing(os.urandom(16).hex(), max(now, ledger.period.start), origins.to_json(origin))


def compile_closing(ledger: Ledger, compile: Compile) -> tuple[Sequence[Item], Counter[str]]:
    """The closing period's items, the same whenever asked; and how much was lost: the whole report by a fault of the
    format, or values that a report has no place for."""
    closing, running = ledger.closing, ledger.period
    assert closing is not None  # noqa: S101 - for the type checker
    period = view(running, closing.end, closing.nonce)
    try:
        items = compile(period, origins.from_json(closing.origin), closing.end)
    except Exception:
        # Trying for ever would keep every later period from closing.
        _log.warning("usagewire: period %d could not be compiled and is lost", period.number, exc_info=True)
        return (), Counter(rejected=1)
    left_out = Counter[str]()
    for item in items:
        left_out.update(item.left_out or {})
    if left_out:
        _log.info("usagewire: period %d: left out of the report: %s", period.number, "; ".join(left_out))
    return items, Counter(unfit=left_out.total())


def view(running: Running, end: int, nonce: str) -> Period:
    """A running period as formats read it."""
    gathered = running.gathered
    return Period(running.number, running.start, end, gathered.points(), tuple(gathered.events), nonce)


def turn(ledger: Ledger, keep: Keep | None) -> None:
    """Begin the next period where the closing one ends, with the events that outlive it."""
    running, closing = ledger.period, ledger.closing
    assert closing is not None  # noqa: S101 - for the type checker
    ledger.period = Running(running.number + 1, closing.end)
    ledger.closing = None
    if keep is not None:
        ledger.period.gathered, lost = running.gathered.carry(keep, closing.end)
        ledger.totals.lost += Counter(quota=lost)
