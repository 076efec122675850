"""``usagewire show``: the requests that would leave, made the way the courier makes them, and left where they are."""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
import orjson

from usagewire import formats
from usagewire.cli.choose import Choice, Found, choosing
from usagewire.cli.consent import way_out
from usagewire.cli.explain import Explainer, explained
from usagewire.cli.layout import as_json, body_lines, differing, indented, masked
from usagewire.cli.look import Look
from usagewire.cli.words import bad, faint, iso, plural, span, title
from usagewire.delivery import open_transport
from usagewire.delivery.lane import MOST_BYTES, MOST_ITEMS
from usagewire.pipeline.destination import Destination
from usagewire.policy import plan as plans
from usagewire.signals import Item, Request

HOUR = 3_600_000_000_000
LINES = 60
"""Lines of one body that are printed unless ``--full`` asks for all."""


@dataclass(frozen=True)
class Preview:
    """One request that would leave."""

    found: Found
    destination: Destination
    request: Request
    items: int
    volatile: frozenset[str]
    due: int | None
    """``None``: next. Otherwise the end of the report period whose beginning this shows."""
    left_out: Mapping[str, int]
    """What the format has no place for: ``place: why`` → how many values."""


@dataclass(frozen=True)
class Outlook:
    """What would leave for one destination, or why nothing would."""

    found: Found
    previews: Sequence[Preview]
    beyond: int = 0
    """Items that wait behind the requests shown."""
    reason: str = ""
    blank: str = ""
    """While there is no consent: what a report says before anything is recorded, as JSON."""


@click.command()
@choosing("service", "format", "destination")
@click.option(
    "--limit", type=click.IntRange(min=1), default=3, show_default=True, metavar="N", help="Requests per destination."
)
@click.option("--full", is_flag=True, help=f"Whole bodies, not their first {LINES} lines.")
@click.option("--explain", is_flag=True, help="Say of each field why it is there; with --format, before anything ran.")
@click.option(
    "--plan",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The tracking plan to explain by; unset: USAGEWIRE_PLAN, else what the program's plan said.",
)
@click.option("--json", "as_json_", is_flag=True, help="Print JSON; bodies are whole and unchanged but for secrets.")
def show(limit: int, full: bool, explain: bool, plan: Path | None, as_json_: bool, **names: str | None) -> None:
    """Print what would leave next, to the letter.

    Each request with its URL, headers and body, made by the same code that sends it; reports as they would be if
    their period ended now. Secrets are masked, and fields that may differ when it really leaves are marked with ~.
    Nothing is sent, changed or created.

    With --explain each field says what it is for: the tracking plan's purpose, else the format's document. Where
    nothing was collected, as before a yes, it lists what the format and the plan would let leave.

    \b
    Examples:
      usagewire show --service shop
      usagewire show --full | less
      usagewire show --explain --format stone --plan plan.yaml
      usagewire show --json | jq '.requests[].body | fromjson'
    """
    choice = Choice(**names)
    explainer = Explainer(plans.load(source) if (source := plans.find(plan, os.environ)) else None) if explain else None
    try:
        found = choice.found()
    except click.BadParameter:
        if explainer is None or choice.format not in formats.names() or choice.destination or choice.service:
            raise
        found = []
    outlooks = [outlook(one, limit, time.time_ns()) for one in found]
    _show(outlooks, choice, full, as_json_, explainer)


def _show(
    outlooks: Sequence[Outlook], choice: Choice, full: bool, as_json_: bool, explainer: Explainer | None = None
) -> None:
    if as_json_:
        told = document(outlooks, explainer)
        if explainer is not None:
            told["would"] = explainer.ahead(outlooks, choice.format)
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2))
        return
    if not outlooks:
        click.echo(f"Nothing waits: no program has left anything in {choice.root} yet.")
    for number, one in enumerate(outlooks):
        if number:
            click.echo()
        _print(one, full, explainer)
    for ahead in explainer.ahead(outlooks, choice.format) if explainer is not None else ():
        click.echo()
        for line in explained(ahead):
            click.echo(line)


@click.command("show-device")
@choosing("service", "format", "destination")
@click.option(
    "--limit", type=click.IntRange(min=1), default=3, show_default=True, metavar="N", help="Requests per destination."
)
@click.option("--full", is_flag=True, help=f"Whole bodies, not their first {LINES} lines.")
@click.option("--json", "as_json_", is_flag=True, help="Print JSON; bodies are whole and unchanged but for secrets.")
def show_device(limit: int, full: bool, as_json_: bool, **names: str | None) -> None:
    """Print the device reports that would leave next.

    They go to an endpoint of their own, one per host, and nothing in them leads to the report.

    \b
    Example:
      usagewire show-device --service shop
    """
    choice = Choice(**names)
    found = [one for one in choice.found() if one.destination is None or one.destination.format.event_lane]
    if not found and choice.found():
        raise click.UsageError("no format here has device reports; `usagewire show` shows what would leave")
    _show([outlook(one, limit, time.time_ns(), "device") for one in found], choice, full, as_json_)


def outlook(found: Found, limit: int, now: int, lane: str | None = None) -> Outlook:
    """What would leave for ``found``, in at most ``limit`` requests; ``lane``: for this endpoint of its format's."""
    destination = found.destination
    if destination is None:
        return Outlook(found, (), reason=found.fault)
    look = Look(destination)
    decision = look.decision
    if not decision.on:
        kept = f" ({plural(look.backlog.items, 'item')} kept until that changes)" if look.backlog.items else ""
        service = found.place.service_dir.name
        blank = destination.format.blank
        nothing = blank(destination.origin, destination.settings, now) if blank and not lane else b""
        reason = f"{decision.detail}{kept}; {way_out(decision, service)}"
        return Outlook(found, (), reason=reason, blank=destination.settings.mask(nothing).decode())
    if destination.settings.faults:
        return Outlook(found, (), look.backlog.items, f"settings: {'; '.join(destination.settings.faults)}")
    previews: list[Preview] = []
    beyond = 0
    for name in look.lanes if lane is None else (lane,):
        items, failures = [Item(entry.data) for entry in look.of(name)], look.ledger.of(name).failures
        packed, left = _packed(found, destination, items, limit - len(previews), now, failures + 1)
        previews, beyond = previews + packed, beyond + left
    report, cut = ([], 0) if lane else _report(found, destination, look, limit - len(previews), now)
    return Outlook(found, [*previews, *report], beyond + cut, "" if previews or report else "nothing waits")


def _packed(
    found: Found,
    destination: Destination,
    items: Sequence[Item],
    limit: int,
    now: int,
    attempt: int = 1,
    drawn: frozenset[str] = frozenset(),
    due: int | None = None,
) -> tuple[list[Preview], int]:
    """``items`` as the courier would pack them, in at most ``limit`` requests, and how many items are left over."""
    previews: list[Preview] = []
    volatile = destination.format.volatile | drawn
    transport = open_transport(destination.settings)  # connects to nothing; knows the headers that it adds
    while items and len(previews) < limit:
        request, taken = destination.format.pack(_offered(items), destination.settings, now, attempt)
        wired = replace(request, headers=transport.wire(request).headers)  # the body stays readable
        left_out = Counter[str]()
        for item in items[:taken]:
            left_out.update(item.left_out or {})
        previews.append(Preview(found, destination, wired, taken, volatile, due, left_out))
        items, attempt = items[taken:], 1
    return previews, len(items)


def _offered(items: Sequence[Item]) -> Sequence[Item]:
    """As many as the courier offers a format at once."""
    room, count = MOST_BYTES, 0
    for item in items[:MOST_ITEMS]:
        room -= len(item.data)
        if room < 0 and count:
            break
        count += 1
    return items[:count]


def _report(found: Found, destination: Destination, look: Look, limit: int, now: int) -> tuple[list[Preview], int]:
    """The report of the period so far, as if it ended now."""
    compile, period = destination.format.compile, look.period
    if compile is None or period is None:
        return [], 0
    origin, settings = destination.origin, destination.settings
    items = compile(period, origin, settings, now)
    # Ids and times are drawn when the period really ends: what differs between two drawings is what will differ then.
    later = now + HOUR
    again = compile(
        replace(period, number=period.number + 1, end=later, nonce=secrets.token_hex(16)),
        replace(origin, session=str(uuid4()), started=later),
        settings,
        later,
    )
    drawn = {name for one, two in zip(items, again, strict=False) for name in _differing(one, two)}
    return _packed(found, destination, items, limit, now, drawn=frozenset(drawn), due=look.due)


def _differing(one: Item, two: Item) -> set[str]:
    return differing(orjson.loads(one.data), orjson.loads(two.data))


def document(outlooks: Sequence[Outlook], explainer: Explainer | None = None) -> dict[str, Any]:
    """What ``--json`` prints."""
    requests = [
        {
            "service": preview.found.place.service_dir.name,
            "destination": preview.found.place.name,
            "format": preview.destination.format.name,
            "leaves": "next" if preview.due is None else "at the end of the period",
            "due": iso(preview.due),
            "method": preview.request.method,
            "url": preview.request.url,
            **as_json(*masked(preview.request, preview.destination.settings)),
            "items": preview.items,
            "volatile": sorted(preview.volatile),
            "left_out": dict(preview.left_out),
            **({"why": explainer.fields(preview.destination, _body(preview))} if explainer is not None else {}),
        }
        for one in outlooks
        for preview in one.previews
    ]
    return {
        "requests": requests,
        "volatile": sorted({name for one in outlooks for preview in one.previews for name in preview.volatile}),
        "beyond": sum(one.beyond for one in outlooks),
        "nothing": [
            {
                "service": one.found.place.service_dir.name,
                "destination": one.found.place.name,
                "reason": one.reason,
                "blank": one.blank or None,
            }
            for one in outlooks
            if one.reason
        ],
    }


def _body(preview: Preview) -> str | bytes:
    return masked(preview.request, preview.destination.settings)[1]


def _print(one: Outlook, full: bool, explainer: Explainer | None) -> None:
    click.echo(title(one.found.title))
    if one.reason:
        click.echo(f"  nothing would leave: {one.reason}")
    if one.blank:
        click.echo(faint("\n  a report would begin with\n"))
        for line in indented(one.blank):
            click.echo(f"  {line}")
    for preview in one.previews:
        _print_request(preview, full, explainer)
    if one.beyond:
        click.echo(f"\n  … and {plural(one.beyond, 'more item')} behind; --limit N shows more requests")


def _print_request(preview: Preview, full: bool, explainer: Explainer | None) -> None:
    when = "next"
    if preview.due is not None:
        when = f"in {span(preview.due - time.time_ns())}, with what is added until then"
    for place, count in preview.left_out.items():
        times = f" ({count:,} times)" if count > 1 else ""
        click.echo(f"{preview.found.title}: {bad('left out')}: {place}{times}", err=True)
    headers, body = masked(preview.request, preview.destination.settings)
    click.echo(faint(f"\n  would leave {when}: {plural(preview.items, 'item')}"))
    if preview.volatile:
        click.echo(faint(f"  ~ may differ then: {', '.join(sorted(preview.volatile))}"))
    click.echo(f"\n  {preview.request.method} {preview.request.url}")
    for name, value in headers.items():
        click.echo(f"  {name}: {value}")
    click.echo()
    whys = explainer.lines(preview.destination, body) if explainer is not None else repeat("")
    for number, ((volatile, line), why) in enumerate(zip(body_lines(body, preview.volatile), whys, strict=False)):
        if number == LINES and not full:
            click.echo(faint("  … --full prints the rest"))
            break
        click.echo(f"{'~' if volatile else ' '} {line}" + (faint(f"  ← {why}") if why else ""))
