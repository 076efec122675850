"""``usagewire diff``: what is collected now, against what was when the operator said yes."""

from __future__ import annotations

import os
from typing import Any

import click
import orjson

from usagewire.cli.choose import Choice, Found, choosing
from usagewire.cli.consent import yes
from usagewire.cli.words import bad, good, plural, title
from usagewire.pipeline.destination import as_left
from usagewire.policy import content


@click.command()
@choosing("service", "format", "destination")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(as_json: bool, **names: str | None) -> None:
    """Tell what has come, and gone, since the last yes.

    Fields, channels, events and attributes, each with what it is for. What has come is held back until `usagewire on`
    is said again; what has gone is collected no more.

    \b
    Examples:
      usagewire diff
      usagewire diff --json | jq '.destinations[].added'
    """
    choice = Choice(**names)
    document = [_compare(found) for found in choice.found()]
    if as_json:
        click.echo(orjson.dumps({"destinations": document}, option=orjson.OPT_INDENT_2))
        return
    if not document:
        click.echo(f"Nothing to compare: no program has left anything in {choice.root} yet.")
    for one in document:
        _print(one)


def _compare(found: Found) -> dict[str, Any]:
    place = found.place
    base: dict[str, Any] = {"service": place.service_dir.name, "destination": place.name, "fault": found.fault or None}
    nothing: dict[str, Any] = {"plan": None, "accepted": None, "added": [], "removed": [], "license": None}
    if found.destination is None:
        return {**base, **nothing}
    left = as_left(place, os.environ)
    decision = left.consent(os.environ).decide()
    accepted = content.recall(place, decision.term) if decision.term else None
    if accepted is None:
        why = "nobody has said yes" if not decision.term else "nothing has run since the yes, which covers all of it"
        return {**base, **nothing, "plan": left.product.plan, "fault": why}
    added = content.grown(left.content, accepted.content)
    removed = [piece for piece in accepted.content if piece not in left.content]
    return {
        **base,
        "plan": left.product.plan,
        "accepted": {"plan": accepted.plan, "content": content.fingerprint(accepted.content)},
        "added": [{"name": piece, "about": left.content[piece]} for piece in added],
        "removed": [{"name": piece, "about": accepted.content[piece]} for piece in removed],
        "license": decision.license,
    }


def _print(one: dict[str, Any]) -> None:
    click.echo(title(f"{one['service']} · {one['destination']}"))
    if one["fault"]:
        click.echo(f"  nothing to compare: {one['fault']}")
        return
    for sign, pieces in ((good("+"), one["added"]), (bad("-"), one["removed"])):
        for piece in pieces:
            click.echo(f"  {sign} {piece['name']}: {piece['about']}")
    if one["added"]:
        click.echo(
            f"  {plural(len(one['added']), 'thing')} held back; to accept: {yes(one['service'], one['license'])}"
        )
    elif not one["removed"]:
        click.echo("  what is collected is what was accepted")
