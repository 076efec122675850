"""``usagewire config``: settings the operator stores for one destination; they win over the program's own."""

from __future__ import annotations

import os
import sys
from typing import Any, cast

import click
import orjson

from usagewire.cli.choose import Choice, choosing
from usagewire.config import MASK, parse, rows, variables
from usagewire.pipeline.destination import Destination, recall
from usagewire.signals import Setting
from usagewire.state.paths import read_json, write_json


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
    shown = [(line["name"], _text(line["value"]), line["source"], line["variables"][0]) for line in table]
    widths = [max(len(cells[column]) for cells in shown) for column in range(3)]
    for cells in shown:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=False))
        click.echo(f"{'  '.join(padded)}  {cells[3]}")


@config.command()
@click.argument("name")
@choosing("service", "format", "destination")
def get(name: str, **names: str | None) -> None:
    """Print the value of the setting NAME; the exit code is 1 where it has none."""
    destination = Choice(**names).one()
    value = _row(destination, _find(destination, name))["value"]
    if value is None:
        raise click.ClickException(f"{name} is not set")
    click.echo(_text(value))


@config.command("set")
@click.argument("name")
@click.argument("value")
@choosing("service", "format", "destination")
def set_(name: str, value: str, **names: str | None) -> None:
    """Store VALUE for the setting NAME; the VALUE - reads it from standard input, which suits secrets."""
    destination = Choice(**names).one()
    row = _find(destination, name)
    if value == "-":
        value = sys.stdin.readline().rstrip("\r\n")
    shown = MASK if row.secret else repr(value)
    if not value.strip():
        raise click.UsageError(f"{row.name}={shown}: empty; `usagewire config unset {row.name}` removes a stored value")
    try:
        parse(row, value)
    except ValueError as fault:
        raise click.UsageError(f"{row.name}={shown}: {fault}") from fault
    _store(destination, {**_stored(destination), row.name: value})
    click.echo(f"{row.name} = {shown if row.secret else value}, stored; {_WHEN}")


@config.command()
@click.argument("name")
@choosing("service", "format", "destination")
def unset(name: str, **names: str | None) -> None:
    """Remove the stored value of the setting NAME; the program's own, or the default, counts again."""
    destination = Choice(**names).one()
    row = _find(destination, name)
    stored = _stored(destination)
    if stored.pop(row.name, None) is None:
        raise click.ClickException(f"{row.name} is not stored; its value comes from {_source(destination, row)}")
    _store(destination, stored)
    again = recall(destination.place, os.environ)
    click.echo(f"{row.name} = {_text(_row(again, row)['value'])}, from {_source(again, row)}; {_WHEN}")


_WHEN = "a running program reads it at its next start"


def _find(destination: Destination, name: str) -> Setting:
    known = rows(destination.format)
    for row in known:
        if name.lower() == row.name or name.upper() in variables(destination.format, row):
            return row
    raise click.UsageError(
        f"{destination.format.name} has no setting {name!r}; it has {', '.join(row.name for row in known)}"
    )


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


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, cast("list[Any]", value)))
    return str(value)
