"""``usagewire on`` and ``usagewire off``: the operator's word, stored for one service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import click

from usagewire.cli.choose import Choice, Found, choosing, find, places
from usagewire.cli.words import bad, good, plural
from usagewire.errors import StateError
from usagewire.policy.consent import ADMINISTRATOR, FILE, Consent, Decision, write
from usagewire.signals import Stance
from usagewire.state import identity
from usagewire.state.paths import Place, read_json, services
from usagewire.state.purge import purge
from usagewire.state.view import totals

NOBODY = Stance(on=False, epoch="", erases=True)
"""The stance that leaves nothing standing."""


def decide(service_dir: Path, found: list[Found]) -> list[Decision]:
    """Who decides now: one decision per destination, or one for a service that has none yet."""
    decisions = [one.destination.consent(os.environ).decide() for one in found if one.destination is not None]
    return decisions or [Consent(service_dir, (), True, os.environ, []).decide()]


def way_out(decision: Decision, service: str) -> str:
    """How to decide otherwise."""
    if decision.on:
        return f"to say no: usagewire off --service {service}"
    if decision.by == str(ADMINISTRATOR):
        return f"only the administrator can change {ADMINISTRATOR}"
    if Path(decision.by).name == FILE or decision.by == "default":
        return f"to say yes: usagewire on --service {service}"
    return f"unset {decision.by}, here and where the program is started"


@click.command()
@choosing("service")
def on(**names: str | None) -> None:
    """Allow a service to send, from now on.

    Stored beside its queue, with the time: nothing from before is ever sent. It does not overrule any other no:
    DO_NOT_TRACK, the administrator and the program's own switches count first.

    \b
    Example:
      usagewire on --service shop
    """
    service_dir = _service(names)
    if _stored(service_dir) == "on":
        click.echo(f"{service_dir.name}: already {good('on')}, stored in {service_dir / FILE}")
    else:
        before = _dropped(service_dir)
        write(service_dir, True, _who("on"))
        stored = Consent(service_dir, (), True, {}, [])
        for place in places(service_dir):
            purge(place, stored.stance)
        click.echo(f"{service_dir.name}: {good('on')}, stored in {service_dir / FILE}")
        earlier = _dropped(service_dir) - before
        if earlier:
            click.echo(f"deleted: {plural(earlier, 'item')} from before")
    off = next((decision for decision in decide(service_dir, find(service_dir)) if not decision.on), None)
    if off is not None:
        click.echo(f"{bad('but nothing leaves yet')}: {off.detail}; {way_out(off, service_dir.name)}", err=True)


@click.command()
@choosing("service")
@click.option(
    "--forget",
    is_flag=True,
    help="Delete the service's random id and all history too: what was sent, rejected and counted.",
)
def off(forget: bool, **names: str | None) -> None:
    """Forbid a service to send, and delete what waits.

    Works at once and on a full disk, whether the program runs or not; at most the one request that is under way
    right now completes. It holds until `usagewire on`.

    \b
    Examples:
      usagewire off --service shop
      usagewire off --service shop --forget
    """
    service_dir = _service(names)
    before = _dropped(service_dir)
    removed = 0

    def make_room() -> None:
        nonlocal removed
        removed += sum(purge(place, lambda: NOBODY) for place in places(service_dir))

    write(service_dir, False, _who("off"), make_room=make_room)
    make_room()  # the operator's no erases, whoever else says no
    click.echo(f"{service_dir.name}: {bad('off')}, stored in {service_dir / FILE}")
    waited = plural(_dropped(service_dir) - before, "item")
    click.echo(f"deleted: {waited} that waited, {plural(removed, 'file')} in all")
    if forget:
        gone = sum(_forget(place) for place in places(service_dir))
        identity.forget(service_dir)
        click.echo(f"forgotten: the random id, and {plural(gone, 'file')} of history")


def _service(names: Mapping[str, str | None]) -> Path:
    """The one service that is meant. One that has left nothing yet may be meant; or it is a slip of the pen."""
    choice = Choice(**names)
    service_dir = choice.one_service(create=True)
    others = [name for name in services(choice.root) if name != service_dir.name]
    if not service_dir.exists() and others:
        click.echo(f"{service_dir.name} has not run here yet; there are: {', '.join(others)}", err=True)
    return service_dir


def _stored(service_dir: Path) -> object:
    """``on``, ``off``, or something else where there is no word that can be read."""
    with suppress(StateError):
        return (read_json(service_dir / FILE) or {}).get("state")
    return None


def _dropped(service_dir: Path) -> int:
    """Items that an off has cost so far."""
    return sum(totals(place).lost["consent"] for place in places(service_dir))


def _forget(place: Place) -> int:
    """Everything of one destination but the operator's own settings; returns how many files that were."""
    files = [path for path in place.folder.rglob("*") if path.is_file() and path != place.config_json]
    for path in files:
        path.unlink(missing_ok=True)
    folders = sorted((path for path in place.folder.rglob("*") if path.is_dir()), reverse=True)
    for folder in (*folders, place.folder):
        with suppress(OSError):  # not empty: the running program has just begun anew, or settings are kept there
            folder.rmdir()
    return len(files)


def _who(word: str) -> str:
    return f"usagewire {word} (uid {os.geteuid()})"
