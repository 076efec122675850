"""``usagewire plan``: the vendor's side of the tracking plan. Needs no state folder and no program."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path

import click
import orjson

from usagewire.cli.words import bad, good, plural
from usagewire.errors import PlanError
from usagewire.policy import plan as plans
from usagewire.policy.source import line_of, read

_FILE = click.argument("file", type=click.Path(exists=True, path_type=Path))


@click.group()
def plan() -> None:
    """Write, check and publish a tracking plan, the list of everything that may leave.

    \b
    Examples:
      usagewire plan new ferry > plan.yaml
      usagewire plan check plan.yaml
      usagewire plan docs plan.yaml > docs/telemetry.md
    """


@plan.command()
@_FILE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(file: Path, as_json: bool) -> None:
    """Name everything that is wrong with the plan in FILE, each with its line.

    The exit code is 0 when the plan is in order, 1 when it is not, 2 when the command is wrong. What has expired is
    told; it is no fault.

    \b
    Example:
      usagewire plan check plan.yaml
    """
    faults, found = _read(file)
    today = datetime.now(timezone.utc).date()
    entries = {**found.events, **found.metrics} if found else {}
    expired = [name for name, entry in entries.items() if entry.expires and entry.expires < today]
    if as_json:
        document = {
            "file": str(file),
            "plan": found.name if found else None,
            "version": found.version if found else None,
            "events": len(found.events) if found else None,
            "metrics": len(found.metrics) if found else None,
            "expired": expired,
            "faults": [{"line": line_of(fault), "fault": re.sub("^line [0-9]+: ", "", fault)} for fault in faults],
        }
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    elif found:
        held = f"{plural(len(found.events), 'event')}, {plural(len(found.metrics), 'metric')}"
        click.echo(f"{file}: {good('in order')}: {found.name}, version {found.version}, {held}")
        for name in expired:
            click.echo(f"  {name}: expired on {entries[name].expires}, it no longer leaves")
    for fault in faults if not as_json else ():
        click.echo(f"{file}: {bad(fault)}", err=True)
    if faults:
        raise click.exceptions.Exit(1)


@plan.command()
@_FILE
def docs(file: Path) -> None:
    """Print the page about the plan in FILE that its vendor publishes, in Markdown.

    \b
    Example:
      usagewire plan docs plan.yaml > docs/telemetry.md
    """
    from usagewire.policy.page import page

    click.echo(page(plans.load(file)))


@plan.command()
def schema() -> None:
    """Print the JSON Schema of tracking plans, for editors.

    \b
    Example, and the first line of a plan that VS Code's and other editors' YAML support then completes:
      usagewire plan schema > plan.schema.json
      # yaml-language-server: $schema=plan.schema.json
    """
    from usagewire.policy.schema import schema

    click.echo(orjson.dumps(schema(), option=orjson.OPT_INDENT_2))


@plan.command()
@click.argument("name", default="my-product")
def new(name: str) -> None:
    """Print a plan to start from, for the product NAME, with a comment on everything.

    \b
    Example:
      usagewire plan new ferry > plan.yaml
    """
    if not re.fullmatch(r"[A-Za-z][\w.-]*", name):
        raise click.BadParameter(f"{name!r}: letters, digits, '.', '_' and '-', beginning with a letter")
    click.echo(_START.replace("$NAME", name), nl=False)


def _read(file: Path) -> tuple[tuple[str, ...], plans.Plan | None]:
    """What is wrong with the plan, or the plan."""
    try:
        return (), plans.parse(read(file))
    except PlanError as why:
        return why.faults, None
    except OSError as why:
        return (str(why.strerror),), None


_START = """\
# What $NAME tells its makers about its use. Everything that may leave is listed here, and nothing else ever does.
# `usagewire plan check` finds what is wrong, `usagewire plan docs` makes the page to publish. To use it:
# USAGEWIRE_PLAN=plan.yaml, or plan="plan.yaml" where the exporter is made in code.
plan: $NAME
version: 1 # raise it with every change

product:
  # Where it goes; any setting of the format may stand here, and an operator's own setting wins.
  # endpoint: https://telemetry.example.com
  # The product's own ways to say no: a flag, a variable that is there, a variable that is false.
  opt_out: [--disable-telemetry]
  # What holds while nobody has said anything: on or off.
  consent: off

# Attributes that several events have, defined once.
attributes:
  version:
    type: string # or integer, number, boolean, list, object
    purpose: Which versions are in use, to know which may be retired.
  backend:
    type: string
    values: [mysql, postgres] # nothing else leaves
    purpose: Decides where work on compatibility goes.

events:
  # Names as they leave: with the format segment, the start of the component `server` is `server_start`.
  server_start:
    purpose: How many installations are in use.
    owner: server team # who answers for it
    # channel: basic # the channel that it is switched off with, where the format has channels
    # review: https://example.com/reviews/1 # where it was agreed
    # expires: 2030-12-31 # the last day on which it leaves
    attributes: [version, backend]
  import_done:
    purpose: Whether large imports work.
    attributes:
      files:
        type: integer
        sensitivity: bucket # leaves as the range that it is in
        buckets: [0, 10, 1000, 100000]
        purpose: How large imports are.
      account:
        type: string
        sensitivity: hash # leaves as a hash that no other installation can make
        purpose: Tells accounts apart without knowing them.

metrics:
  usage.transfer.count:
    purpose: How many transfers there are, and how many of them succeed.
    attributes:
      usage.transfer.state:
        type: string
        values: [queued, started, completed, failed]
        purpose: Success rate.
"""
