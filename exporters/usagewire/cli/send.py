"""``usagewire send``: deliver everything now, with the program stopped or running."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Collection
from contextlib import closing, suppress
from dataclasses import replace

import click

from usagewire.cli.choose import Choice, Found, choosing
from usagewire.cli.consent import way_out
from usagewire.cli.look import Look
from usagewire.cli.words import SECOND, bad, good, iso, moment, plural
from usagewire.delivery.courier import Courier, Progress
from usagewire.delivery.detached import LIFETIME
from usagewire.errors import StateError, UsagewireError
from usagewire.pipeline.destination import Destination, recall, transport_for
from usagewire.signals import Item, Origin, Period, Settings
from usagewire.state.consumer import Consumer
from usagewire.state.ledger import Outcome
from usagewire.state.totals import Totals

QUIET_SECONDS = 2.0
"""How long a delivery may take before its progress is shown."""
PATIENCE = 5.0
"""Seconds the helper waits for its parent, which is just exiting, to let go of the lock."""


REPORT = "report"


@click.command()
@click.argument("what", type=click.Choice([REPORT, "device"]), required=False)
@choosing("service", "format", "destination")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up after this time; a request under way is finished.",
)
@click.option("--force", is_flag=True, help="Do not wait either where the server asked for it (Retry-After).")
@click.option("--detached", is_flag=True, hidden=True, help="As the helper that a program starts when it ends.")
def send(what: str | None, timeout: float, force: bool, detached: bool, **names: str | None) -> None:
    """Deliver everything that waits, now.

    Waits for no back-off of our own, but for a Retry-After of the server, unless --force. Where a running program
    holds the queue, that program is asked to send, and watched. Reports leave when their period ends, not before;
    `send report` ends it now. Where a format has an endpoint for device reports, `send report` and `send device`
    send to one of the two, and `send` to both, with a report of the period so far.

    The exit code is 0 when nothing is left, 1 when something is (and why is said), 2 when the command is wrong.

    \b
    Examples:
      usagewire send
      usagewire send --service shop --timeout 300
      usagewire send report --format stone
    """
    choice = Choice(**names)
    if detached:
        _helper(choice)
        return
    until = time.monotonic() + timeout
    found = choice.found()
    if not found:
        click.echo(f"nothing to send: no program has left anything in {choice.root} yet")
    sending = [one for one in found if _sends(one, what)]
    if found and not sending:
        raise click.UsageError(f"no format here sends {what}s of its own; `usagewire send` sends everything")
    try:
        everything = [_deliver(one, what, until, force) for one in sending]
    except KeyboardInterrupt as stopped:
        raise click.ClickException("interrupted; what has not arrived still waits") from stopped
    if not all(everything):
        click.get_current_context().exit(1)


def _sends(found: Found, what: str | None) -> bool:
    fmt = found.destination.format if found.destination else None
    return what is None or fmt is None or (fmt.compile is not None if what == REPORT else fmt.event_lane == what)


def _deliver(found: Found, what: str | None, until: float, force: bool) -> bool:
    """One destination; whether all that waited has left."""
    destination = found.destination
    if destination is None:
        return _failed(found, found.fault)
    fmt, look = destination.format, Look(destination)
    lanes = look.lanes if what is None or not fmt.event_lane else ("" if what == REPORT else what,)
    early = fmt.compile is not None and (what == REPORT or (what is None and fmt.sends_early))
    if not look.decision.on:
        return _failed(found, f"off: {look.decision.detail}; {way_out(look.decision, found.place.service_dir.name)}")
    if destination.settings.faults:
        return _failed(found, "; ".join(destination.settings.faults))
    before = look.totals
    try:
        with closing(_Ticker(found.title)) as ticker:
            left, elsewhere = _drain(look, lanes, early, until, force, ticker)
    except StateError as fault:
        return _failed(found, str(fault))
    return _report(found, before, Look(destination), lanes, left, elsewhere)


def _drain(
    look: Look, lanes: Collection[str], early: bool, until: float, force: bool, report: Callable[[Progress], None]
) -> tuple[int, bool]:
    """Send what is owed, or have it sent by the process that holds the queue; ``early``: a report, too.

    Returns how much of it is left, and whether another process holds the queue.
    """
    destination, owed = look.destination, look.owed(lanes)
    unmade = look.ledger.period.number if early and look.period is not None else 0
    courier = _courier(destination)
    asked = 0
    while True:
        patience = max(0.0, until - time.monotonic())
        progress = courier.drain(only=lanes, force=force, early=unmade > 0, timeout=patience, report=report)
        look = Look(destination)
        if unmade and look.ledger.period.number > unmade:
            unmade, owed = 0, owed | look.owed(lanes)
        left = len(owed & look.owed(lanes)) + (unmade > 0)
        if not left or not look.decision.on or time.monotonic() >= until:
            break
        if not progress.held_elsewhere:
            if not progress.done:
                break  # the endpoint said no
            # done, and yet something is left: a program that is running still writes that file, for a second or two
        elif not asked or (unmade and time.time_ns() > asked + SECOND):  # what it has just written it cannot take yet
            asked = time.time_ns()
            destination.ask(early=unmade > 0)
        elif not unmade and all(
            (outcome.last_error or {}).get("time", 0) > asked or _told_to_wait(outcome)
            for outcome in look.outcomes(lanes).values()
        ):
            break  # it tried, and the endpoints said no
        time.sleep(0.2)
    return left, progress.held_elsewhere


def _told_to_wait(outcome: Outcome) -> bool:
    return outcome.retry_by_server and outcome.wait(time.time_ns()) > 0


def _courier(destination: Destination) -> Courier:
    stance = destination.consent(os.environ).stance

    def compile(period: Period, origin: Origin, settings: Settings, now: int) -> tuple[Item, ...]:
        current = recall(destination.place, os.environ)  # the operator may have said something while this waited
        return current.format.compile(period, origin, current.settings, now) if current.format.compile else ()

    return Courier(
        replace(destination.format, compile=compile if destination.format.compile else None),
        destination.settings,
        lambda: destination.origin,
        Consumer(destination.place, stance, destination.limits()),
        stance,
        transport_for(destination.settings),
    )


class _Ticker:
    """Says how far it is, once it takes long: one line that changes on a terminal, a few plain ones elsewhere."""

    def __init__(self, name: str) -> None:
        self._name, self._tty = name, sys.stderr.isatty()
        self._next = time.monotonic() + QUIET_SECONDS
        self._pause = 0.2 if self._tty else 5.0
        self._open = False

    def __call__(self, progress: Progress) -> None:
        """Called about once a second while it takes."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._pause
        state = "the running program sends" if progress.held_elsewhere else f"{progress.waiting:,} to go"
        text = f"{self._name}: {progress.delivered:,} delivered, {state}"
        self._open = self._tty
        click.echo(f"\r\x1b[K{text}" if self._tty else text, err=True, nl=not self._tty, color=self._tty)

    def close(self) -> None:
        """Leave the terminal's line as it was."""
        if self._open:
            click.echo("\r\x1b[K", err=True, nl=False, color=True)


def _failed(found: Found, why: str) -> bool:
    click.echo(f"{found.title}: {bad('not sent')}: {why}", err=True)
    return False


def _report(found: Found, before: Totals, after: Look, lanes: Collection[str], left: int, elsewhere: bool) -> bool:
    """Say how it went: what arrived on stdout, what did not on stderr. Whether everything arrived."""
    delivered = after.totals.delivered - before.delivered
    rejected = after.totals.lost["rejected"] - before.lost["rejected"]
    lane = next(iter(after.outcomes(lanes) or lanes))
    reason = str((after.ledger.of(lane).last_error or {}).get("reason", ""))
    if delivered or not (left or rejected):
        arrived = good(f"{plural(delivered, 'item')} delivered") if delivered else "nothing waits"
        click.echo(f"{found.title}: {arrived}{' by the running program' if elsewhere and delivered else ''}")
    if rejected:
        kept = f"{reason}; kept in {found.place.rejected}"
        click.echo(f"{found.title}: {plural(rejected, 'item')} {bad('rejected')}: {kept}", err=True)
    if left:
        click.echo(
            f"{found.title}: {plural(left, 'item')} {bad('left')}: {_why(after, lane, elsewhere, reason)}", err=True
        )
    return not left and not rejected


def _why(look: Look, lane: str, elsewhere: bool, reason: str) -> str:
    """What kept the rest from leaving, and the way out."""
    outcome, now = look.ledger.of(lane), time.time_ns()
    holder = look.holder if elsewhere else None
    if not look.decision.on:
        return look.decision.detail
    if holder is not None and holder.stopped:
        return f"process {holder.pid} holds the queue and is stopped; `kill -CONT {holder.pid}` lets it go on"
    if _told_to_wait(outcome):
        how = "and the running program keeps to that" if elsewhere else "--force tries all the same"
        return f"{reason}; the server asks not to come back before {moment(iso(outcome.retry_at), now)}, {how}"
    if outcome.failures:
        return f"{reason}; check the endpoint, {look.endpoint(lane)}, then send again"
    return "time is up; send again, with a longer --timeout"


def _helper(choice: Choice) -> None:
    """Deliver what a program left when it ended. Says nothing, starts no second try, and never outlives its time."""
    signal.alarm(int(LIFETIME))  # whatever happens, even inside the resolver
    with suppress(UsagewireError, OSError, click.UsageError):
        for found in choice.found():
            if found.destination is not None and not found.destination.settings.faults:
                _help(found.destination)


def _help(destination: Destination) -> None:
    courier = _courier(destination)
    patience = time.monotonic() + PATIENCE
    while time.monotonic() < patience:
        look = Look(destination)
        if not look.decision.on or all(look.ledger.of(lane).wait(time.time_ns()) for lane in look.lanes):
            return
        if not courier.drain(timeout=LIFETIME - 2 * PATIENCE).held_elsewhere:
            return
        time.sleep(0.1)
