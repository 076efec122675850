"""``usagewire history``: the requests that left, to the letter, with what became of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
import orjson

from usagewire.cli.choose import Choice, Found, choosing
from usagewire.cli.layout import as_json, body_lines
from usagewire.cli.words import bad, faint, good, iso, moment, plural, size
from usagewire.inspector.folder import Past
from usagewire.inspector.folder import history as past_of
from usagewire.state.listing import names
from usagewire.state.paths import Place
from usagewire.state.view import unsettled

MOST = 1_000_000
"""Copies of one destination that are looked at: more than sent_bytes has room for."""


@dataclass(frozen=True)
class Entry:
    """One request that left, or tried to."""

    number: int
    """1 is the newest."""
    found: Found
    past: Past


@click.group(invoke_without_command=True)
@choosing("service", "format", "destination")
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="Requests to list."
)
@click.option("--json", "as_json_", is_flag=True, help="Print JSON.")
@click.pass_context
def history(ctx: click.Context, /, limit: int, as_json_: bool, **names: str | None) -> None:
    """List what was sent: when, where to, how much, and what was answered.

    Newest first. Copies are kept up to `sent_bytes` (4 MiB unless set otherwise) for each destination, the oldest go
    first; `usagewire off --forget` deletes them, too. Reading them needs no consent and no network.

    \b
    Examples:
      usagewire history
      usagewire history show 1
      usagewire history show 3 --raw | jq .
      usagewire history clean --service shop
    """
    if ctx.invoked_subcommand is not None:
        return
    choice = Choice(**names)
    entries, unreadable = _entries(choice)
    if as_json_:
        document = {
            "requests": [_row(entry) for entry in entries[:limit]],
            "beyond": max(0, len(entries) - limit),
            "unreadable": unreadable,
        }
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
        return
    if not entries:
        click.echo(f"Nothing was sent, or nothing of it is kept in {choice.root}.")
    for entry in entries[:limit]:
        _print(entry)
    if len(entries) > limit:
        click.echo(f"… and {plural(len(entries) - limit, 'older request')}; --limit N lists more")
    if unreadable:
        click.echo(f"{plural(unreadable, 'copy')} in sent/ cannot be read".replace("copys", "copies"), err=True)


@history.command()
@click.argument("number", type=click.IntRange(min=1), metavar="N")
@choosing("service", "format", "destination")
@click.option("--raw", is_flag=True, help="The body alone, byte for byte, without a line feed at the end.")
@click.option("--json", "as_json_", is_flag=True, help="Print JSON.")
def show(number: int, raw: bool, as_json_: bool, **names: str | None) -> None:
    """Print the request with the number N in `usagewire history`, with its body.

    The body is what left, before compression; of one that is no text (JetStream's messages) it is what that says, and
    secrets that join a request at the last moment are ****.

    \b
    Example:
      usagewire history show 1 --raw | sha256sum
    """
    entries, _ = _entries(Choice(**names))
    if number > len(entries):
        there = f"there are {len(entries)}" if entries else "there is none"
        raise click.BadParameter(f"{number}: {there}; `usagewire history` lists them", param_hint="N")
    entry = entries[number - 1]
    body = entry.past.body()
    if as_json_:
        kept = {"body": None, "body_base64": None} if body is None else as_json({}, body)
        kept.pop("headers", None)
        click.echo(orjson.dumps({**_row(entry), **kept}, option=orjson.OPT_INDENT_2))
        return
    if body is None:
        raise click.ClickException("its body was longer than all of the history may be, or is damaged")
    if raw:
        click.echo(body.encode() if isinstance(body, str) else body, nl=False)
        return
    _print(entry)
    click.echo()
    for _, line in body_lines(body, frozenset()):
        click.echo(f"  {line}")


@history.command()
@choosing("service", "format", "destination")
def clean(**names: str | None) -> None:
    """Delete the copies of what was sent.

    A request that was tried and not settled keeps its copy: the next try must know of it.

    \b
    Example:
      usagewire history clean --service shop
    """
    deleted = kept = 0
    for found in Choice(**names).found():
        needed = unsettled(found.place)
        for name in _copies(found.place):
            if name not in needed:
                (found.place.sent / name).unlink(missing_ok=True)
                deleted += 1
            else:
                kept += 1
    click.echo(f"deleted: {plural(deleted, 'request')} of history")
    if kept:
        click.echo(f"kept: {plural(kept, 'request')} that {'is' if kept == 1 else 'are'} not settled yet")


def _entries(choice: Choice) -> tuple[Sequence[Entry], int]:
    """Every request that is meant, newest first, and how many copies cannot be read."""
    pairs = [(found, past) for found in choice.found() for past in past_of(found.place, MOST)]
    unreadable = sum(len(_copies(found.place)) for found in choice.found()) - len(pairs)
    pairs.sort(key=lambda pair: (pair[1].time, pair[1].name), reverse=True)
    return [Entry(number, found, past) for number, (found, past) in enumerate(pairs, 1)], max(0, unreadable)


def _copies(place: Place) -> list[str]:
    return [name for name in names(place.sent) if name.endswith((".json", ".open", ".retry"))]


def _row(entry: Entry) -> dict[str, Any]:
    past = entry.past
    return {
        "number": entry.number,
        "service": entry.found.place.service_dir.name,
        "destination": entry.found.place.name,
        "time": iso(past.time),
        "finished": iso(past.finished),
        "url": past.url,
        "items": past.count,
        "bytes": past.size,
        "outcome": past.outcome,
        "verdict": past.verdict,
        "status": past.status,
    }


def _print(entry: Entry) -> None:
    past = entry.past
    answer = f"HTTP {past.status}, {past.verdict}" if past.status else past.verdict
    colour = good if past.outcome == "delivered" else bad
    click.echo(f"{entry.number:>4}  {moment(iso(past.time), time.time_ns())}  {entry.found.title}")
    click.echo(f"      {plural(past.count, 'item')}, {size(past.size)} to {past.url}")
    click.echo(f"      {colour(answer)}" + (faint(f", at {iso(past.finished)}") if past.finished else ""))
