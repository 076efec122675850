"""``usagewire config``: settings the operator stores for one destination; they win over the program's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, cast

import click
import orjson

from usagewire.cli.channels import switch
from usagewire.cli.choose import Choice, choosing, find
from usagewire.config import MASK, parse, rows, variables
from usagewire.pipeline.destination import Destination, recall
from usagewire.signals import Setting
from usagewire.state.files import read_json, write_json


@click.group()
def config() -> None:
    """Read and store settings of a destination.

    A stored setting wins over what the program says in code, YAML or its environment. Secrets are never printed.

    \b
    Examples:
      usagewire config list
      usagewire config set endpoint https://events.eu1.segmentapis.com
      usagewire config set write_key - < key-file
      usagewire config unset endpoint
    """


@config.command("list")
@choosing("service", "format", "destination")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool, **names: str | None) -> None:
    """List every setting: its value, where the value comes from, and the variable that sets it."""
    destination = Choice(**names).one()
    table = [_row(destination, row) for row in rows(destination.format)]
    if as_json:
        click.echo(orjson.dumps({"settings": table}, option=orjson.OPT_INDENT_2))
        return
    for fault in destination.settings.faults:
        click.echo(f"wrong: {fault}", err=True)
    shown = [
        (row.name, _text(line["value"], row), line["source"], line["variables"][0])
        for row, line in zip(rows(destination.format), table, strict=True)
    ]
    widths = [max(len(cells[column]) for cells in shown) for column in range(3)]
    for cells in shown:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=False))
        click.echo(f"{'  '.join(padded)}  {cells[3]}")


@config.command()
@click.argument("words", nargs=-1, required=True, metavar="NAME")
@choosing("service", "format", "destination")
def get(words: tuple[str, ...], **names: str | None) -> None:
    """Print the value of the setting NAME; the exit code is 1 where it has none."""
    destination = Choice(**names).one()
    (name,) = _spoken(destination, words, "NAME")
    channel = _channel(destination, name)
    if channel:
        click.echo(str(channel in destination.settings["channels"]).lower())
        return
    row = _find(destination, name)
    value = _row(destination, row)["value"]
    if value is None:
        raise click.ClickException(f"{name} is not set")
    click.echo(f"{value / HOUR_MILLIS:g}" if _in_hours(row, name) else _text(value))


@config.command("set")
@click.argument("words", nargs=-1, required=True, metavar="NAME VALUE")
@choosing("service", "format", "destination")
def set_(words: tuple[str, ...], **names: str | None) -> None:
    """Store VALUE for the setting NAME; the VALUE - reads it from standard input, which suits secrets."""
    destination = Choice(**names).one()
    name, value = _spoken(destination, words, "NAME VALUE")
    if value == "-":
        value = sys.stdin.readline().rstrip("\r\n")
    channel = _channel(destination, name)
    if channel:
        _switch(destination, channel, value)
        return
    row = _find(destination, name)
    shown = MASK if row.secret else repr(value)
    if not value.strip():
        raise click.UsageError(f"{row.name}={shown}: empty; `usagewire config unset {row.name}` removes a stored value")
    try:
        parsed = parse(row, _millis(row, value) if _in_hours(row, name) else value)
    except ValueError as fault:
        raise click.UsageError(f"{row.name}={shown}: {fault}") from fault
    _store(destination, {**_stored(destination), row.name: parsed if row.hours else value})
    click.echo(f"{row.name} = {MASK if row.secret else _text(parsed, row)}, stored; {_WHEN}")


@config.command()
@click.argument("words", nargs=-1, required=True, metavar="NAME")
@choosing("service", "format", "destination")
def unset(words: tuple[str, ...], **names: str | None) -> None:
    """Remove the stored value of the setting NAME; the program's own, or the default, counts again."""
    destination = Choice(**names).one()
    (name,) = _spoken(destination, words, "NAME")
    if _channel(destination, name):
        raise click.UsageError(
            f"{name} is consent, and no setting; `usagewire config set {name} true` or `false` decides"
        )
    row = _find(destination, name)
    stored = _stored(destination)
    if stored.pop(row.name, None) is None:
        raise click.ClickException(f"{row.name} is not stored; its value comes from {_source(destination, row)}")
    _store(destination, stored)
    again = recall(destination.place, os.environ)
    click.echo(f"{row.name} = {_text(_row(again, row)['value'], row)}, from {_source(again, row)}; {_WHEN}")


HOUR_MILLIS = 3_600_000
_WHEN = "a running program reads it at its next start"


def _find(destination: Destination, name: str) -> Setting:
    known = rows(destination.format)
    for row in known:
        if name.lower() == row.name or name.upper() in variables(destination.format, row):
            return row
    raise click.UsageError(
        f"{destination.format.name} has no setting {name!r}; it has {', '.join(row.name for row in known)}"
    )


# -- as the format's document has it -------------------------------------------------------------------------------


def _spoken(destination: Destination, words: Sequence[str], wanted: str) -> Sequence[str]:
    """``mgr mgr/telemetry/interval 72`` → ``interval``, ``72``, where the document writes it so."""
    who, _, path = destination.format.spelling.partition(" ")
    if path and words[0] == who and len(words) > 1 and words[1].startswith(path):
        words = words[1:]
    if len(words) != len(wanted.split()):
        raise click.UsageError(f"{' '.join(words)!r}: give {wanted}, and put quotes around what has a space in it")
    return (words[0].removeprefix(path), *words[1:])


def _channel(destination: Destination, name: str) -> str:
    """``channel_crash`` → ``crash``; empty: it is no channel's switch."""
    known = next((row.choices for row in rows(destination.format) if row.name == "channels"), ())
    channel = name.lower().removeprefix("channel_")
    return channel if channel in known and name.lower() != channel else ""


def _switch(destination: Destination, channel: str, value: str) -> None:
    """As ``usagewire on --channel`` or ``off --channel``, which a running program follows at once."""
    if value.lower() not in ("true", "false"):
        raise click.UsageError(f"channel_{channel}={value!r}: not true or false")
    place = destination.place
    choice = Choice(place.service_dir.name, destination.format.name, place.name)
    said = f"usagewire config set channel_{channel} {value.lower()} (uid {os.geteuid()})"
    switch(choice, place.service_dir, find(place.service_dir), [channel], said, on=value.lower() == "true")


def _in_hours(row: Setting, name: str) -> bool:
    """Whether the setting is counted in hours here; under its variable's name it never is."""
    return row.hours is not None and name.lower() == row.name


def _millis(row: Setting, value: str) -> int:
    if not value.strip().isdecimal() or int(value) < (row.hours or 0):
        raise ValueError(f"not a number of hours, {row.hours} at least")
    return int(value) * HOUR_MILLIS


def _row(destination: Destination, row: Setting) -> dict[str, Any]:
    named = destination.product.variables
    return {
        "name": row.name,
        "value": destination.settings.masked()[row.name],
        "source": _source(destination, row),
        "variables": variables(destination.format, row, None if named is None else frozenset(named)),
        "secret": row.secret,
        "help": row.help,
    }


def _source(destination: Destination, row: Setting) -> str:
    """Where the value comes from."""
    return destination.settings.sources[row.name]


def _stored(destination: Destination) -> dict[str, Any]:
    return read_json(destination.place.config_json) or {}


def _store(destination: Destination, values: dict[str, Any]) -> None:
    if values:
        write_json(destination.place.config_json, values)
    else:
        destination.place.config_json.unlink(missing_ok=True)


def _text(value: Any, row: Setting | None = None) -> str:
    if value is None:
        return "-"
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, cast("list[Any]", value))) or "none"
    if row is not None and row.hours:
        return f"{value / HOUR_MILLIS:g} h ({value} ms)"
    return str(value)
