"""``usagewire show``: the requests that would leave, made the way the courier makes them, and left where they are."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path

import click
import orjson

from usagewire import formats
from usagewire.cli.choose import Choice, choosing
from usagewire.cli.explain import Explainer, explained
from usagewire.cli.layout import body_lines, indented, masked
from usagewire.cli.outlook import Outlook, Preview, document, outlook
from usagewire.cli.words import bad, faint, plural, span, title
from usagewire.policy import plan as plans

LINES = 60
"""Lines of one body that are printed unless ``--full`` asks for all."""


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
