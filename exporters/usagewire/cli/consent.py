"""``usagewire on`` and ``usagewire off``: the operator's word, stored for one service."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import click

from usagewire import formats
from usagewire.cli import deletion
from usagewire.cli.channels import begin_anew, switch
from usagewire.cli.choose import Choice, Found, choosing, find, places
from usagewire.cli.words import bad, good, plural
from usagewire.errors import StateError
from usagewire.formats import Format, License
from usagewire.pipeline.destination import as_left
from usagewire.policy import content
from usagewire.policy.consent import ADMINISTRATOR, FILE, Consent, Decision, read, write
from usagewire.signals import Stance
from usagewire.state import identity
from usagewire.state.paths import Place, services
from usagewire.state.purge import purge
from usagewire.state.view import totals

NOBODY = Stance(on=False, epoch="", erases=True)
"""The stance that leaves nothing standing."""
CHANNEL = click.option(
    "--channel",
    metavar="NAME",
    multiple=True,
    help="Only this channel; `usagewire status` names them. May be repeated.",
)
SYSTEM = click.option(
    "--system",
    is_flag=True,
    help=f"For every user and service of this machine, in {ADMINISTRATOR}; takes root.",
)


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
        return f"to say yes: {yes(service, decision.license)}"
    return f"unset {decision.by}, here and where the program is started"


def yes(service: str, license: str) -> str:
    """The command that says yes, under the licence that is demanded."""
    return f"usagewire on --service {service}{f' --license {license}' if license else ''}"


@click.command()
@choosing("service", "format", "destination")
@click.option("--license", metavar="NAME", default="", help="Accept this licence; some documents demand one.")
@CHANNEL
@SYSTEM
def on(license: str, channel: tuple[str, ...], system: bool, **names: str | None) -> None:
    """Allow a service to send, from now on.

    Stored beside its queue, with the time: nothing from before is ever sent. It does not overrule any other no:
    DO_NOT_TRACK, the administrator and the program's own switches count first.

    It holds for all of the service; --format and --destination tell whose licence is accepted, where formats demand
    one. Without that licence the exit code is 1, and nothing is changed.

    Said again it accepts what has come since: a new version's fields, channels and events are held back until then, and
    `usagewire diff` names them.

    With --channel it is about that channel alone, of the destinations that have one; what was collected of it before
    is never sent either. It has an effect only while the service as a whole is on.

    \b
    Examples:
      usagewire on --service shop
      usagewire on --service cluster --license sharing-1-0
      usagewire on --service cluster --channel ident
    """
    if system:
        _for_all(True, license, (*names.values(), *channel))
        return
    choice = Choice(**names)
    service_dir = _service(choice)
    stored, found = read(service_dir), find(service_dir)
    if channel:
        switch(choice, service_dir, found, channel, _who("on"), True)
        return
    _check_license(license, _meant(choice, found), stored.licenses, service_dir.name)
    left = [one for one in found if one.destination is not None and one.place.destination_json.exists()]
    there = [as_left(one.place, os.environ) for one in left]
    grown = {one.place.name: one.destination.held_back for one in found if one.destination is not None}
    if stored.on and (not license or license in stored.licenses) and not any(grown.values()):
        click.echo(f"{service_dir.name}: already {good('on')}, stored in {service_dir / FILE}")
    else:
        before = _dropped(service_dir)
        term = stored.epoch if stored.on else secrets.token_hex(8)
        for one in there:
            content.remember(one.place, term, content.Accepted(one.content, one.product.plan))
        covers = {
            one.place.name: {"plan": one.product.plan, "content": content.fingerprint(one.content)} for one in there
        }
        write(service_dir, True, _who("on"), license=license, accepted=covers, epoch=term, over=stored)
        for one in there:
            begin_anew(one, grown[one.place.name], _who("on"))
        for place in places(service_dir):
            purge(place, Consent(service_dir, (), True, {}, [], destination=place.name).stance)
        under = f" under the licence {license}" if license else ""
        click.echo(f"{service_dir.name}: {good('on')}{under}, stored in {service_dir / FILE}")
        for name, pieces in grown.items():
            if pieces:
                click.echo(f"accepted: {plural(len(pieces), 'thing')} that {name} has begun to collect")
        earlier = _dropped(service_dir) - before
        if earlier:
            click.echo(f"deleted: {plural(earlier, 'item')} from before")
    off = next((decision for decision in decide(service_dir, find(service_dir)) if not decision.on), None)
    if off is not None:
        click.echo(f"{bad('but nothing leaves yet')}: {off.detail}; {way_out(off, service_dir.name)}", err=True)


def _meant(choice: Choice, found: list[Found]) -> list[Format]:
    """The formats that are meant, of destinations that are there, or are yet to be."""
    meant = [one.destination.format for one in found if one.destination is not None and choice.means(one)]
    if choice.format is not None and not meant:
        try:
            return [formats.load(choice.format)]
        except KeyError:
            known = ", ".join(formats.names())
            raise click.BadParameter(f"{choice.format!r} is none of {known}", param_hint="--format") from None
    return meant


def _check_license(given: str, meant: list[Format], accepted: frozenset[str], service: str) -> None:
    """Raises `click.ClickException`, with the document's words, unless every licence that is demanded is accepted."""
    demanded = {fmt.license.id: fmt.license for fmt in meant if fmt.license is not None}
    known = {fmt.license.id: fmt.license for fmt in map(formats.load, formats.names()) if fmt.license is not None}
    if given and given not in known:
        raise _refused(f"{given!r} is no licence that any format asks for", list((demanded or known).values()), service)
    missing = [license for id, license in demanded.items() if id != given and id not in accepted]
    if missing:
        raise _refused("not switched on", missing, service)


def _refused(why: str, licenses: list[License], service: str) -> click.ClickException:
    words = [f"{one.text} To accept that: {yes(service, one.id)}" for one in licenses]
    return click.ClickException("\n".join([f"{service}: {why}.", *words]))


@click.command()
@choosing("service", "format", "destination")
@CHANNEL
@click.option(
    "--forget",
    is_flag=True,
    help="Delete the service's random id and all history too: what was sent, rejected and counted.",
)
@click.option(
    "--ask-deletion",
    is_flag=True,
    help="Ask the vendor to delete what was sent, where the program's tracking plan names an address for that.",
)
@SYSTEM
def off(forget: bool, ask_deletion: bool, channel: tuple[str, ...], system: bool, **names: str | None) -> None:
    """Forbid a service to send, and delete what waits.

    Works at once and on a full disk, whether the program runs or not; at most the one request that is under way
    right now completes. It holds until `usagewire on`.

    With --channel it is about that channel alone: what waits of it is deleted, out of the report that is gathered and
    of those that wait, too, and the rest goes on. Without --channel it holds for all of the service, whatever --format
    and --destination say.

    \b
    Examples:
      usagewire off --service shop
      usagewire off --service shop --forget --ask-deletion
      usagewire off --service cluster --channel crash
      sudo usagewire off --system
    """
    if system:
        _for_all(False, "", (*names.values(), *channel, forget, ask_deletion))
        return
    choice = Choice(**names)
    service_dir = _service(choice)
    if channel:
        if forget or ask_deletion:
            raise click.UsageError("--forget and --ask-deletion are about everything; say them without --channel")
        switch(choice, service_dir, find(service_dir), channel, _who("off"), False)
        return
    asking = deletion.prepare(find(service_dir)) if ask_deletion else []
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
    if ask_deletion and not deletion.ask(asking):
        left = deletion.left(bool(asking), forget, service_dir.name)
        raise click.ClickException(f"what was sent before is not deleted{left}")
    if forget:
        gone = sum(_forget(place) for place in places(service_dir))
        identity.forget(service_dir)
        click.echo(f"forgotten: the random id, and {plural(gone, 'file')} of history")


def _for_all(on: bool, license: str, others: Iterable[object]) -> None:
    """The administrator's word. What waits under a no is deleted by each user's next program, or command."""
    if any(others):
        raise click.UsageError("--system is about everything on this machine; say it alone")
    if license:
        _check_license(license, [], frozenset(), "this machine")
    word = "on" if on else "off"
    try:
        write(ADMINISTRATOR.parent, on, f"usagewire {word} --system (uid {os.geteuid()})", license=license, public=True)
    except StateError as why:
        fault = why.__cause__
        reason = fault.strerror if isinstance(fault, OSError) else str(why)
        raise click.ClickException(f"{ADMINISTRATOR}: {reason}; run: sudo usagewire {word} --system") from why
    click.echo(f"this machine: {good('on') if on else bad('off')}, stored in {ADMINISTRATOR}")
    click.echo(
        "it does not overrule any user's or program's own no"
        if on
        else "programs of every user stop at once, and delete what waits within a second, or when they start next"
    )


def _service(choice: Choice) -> Path:
    """The one service that is meant. One that has left nothing yet may be meant; or it is a slip of the pen, or another
    user's."""
    service_dir = choice.one_service(create=True)
    if not service_dir.exists() and not find(service_dir):  # below a product's own command it need not have left any
        others = ", ".join(name for name in services(choice.root) if name != service_dir.name)
        there = f"there are: {others}" if others else "if another user runs it, say it as that user, or with --system"
        click.echo(f"{service_dir.name} has not run here yet; {there}", err=True)
    return service_dir


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
