"""``usagewire status``: who decided, what waits, how it went."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import orjson

from usagewire.cli.choose import Choice, Found, choosing
from usagewire.cli.consent import decide, way_out, yes
from usagewire.cli.look import Look
from usagewire.cli.words import bad, good, iso, moment, plural, remedy, size, title
from usagewire.errors import StateError
from usagewire.policy.consent import Decision, read

HOW_TO_START = "start a program under opentelemetry-instrument with OTEL_LOGS_EXPORTER=segment"


@click.command()
@choosing("service", "format", "destination")
@click.option("-v", "--verbose", is_flag=True, help="Also who said on or off before, when, and under which licence.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(verbose: bool, as_json: bool, **names: str | None) -> None:
    """Tell who decided whether data may leave, what waits, how it went, and what was lost.

    For each service and destination. Works with the program stopped or running, and creates nothing.

    \b
    Examples:
      usagewire status --service shop
      usagewire status --json | jq '.destinations[].totals'
    """
    choice = Choice(**names)
    document = report(choice)
    if as_json:
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
        return
    click.echo(f"state folder: {document['state_dir']}")
    if document["hint"]:
        click.echo(document["hint"])
    if not document["destinations"]:
        click.echo(f"Nothing has run here yet: {HOW_TO_START}.")
    for one in document["destinations"]:
        click.echo()
        for line in _lines(one, time.time_ns(), verbose=verbose):
            click.echo(line)


def report(choice: Choice) -> dict[str, Any]:
    """What ``--json`` prints; every key is always there. Times are ISO 8601 in UTC."""
    found = choice.found()
    seen = {one.place.service_dir for one in found}
    silent = [] if choice.format or choice.destination else [path for path in choice.services() if path not in seen]
    return {
        "state_dir": str(choice.root),
        "hint": _hint(choice.root),
        "destinations": [*(_destination(one) for one in found), *(_nothing(path) for path in silent)],
    }


EMPTY: Mapping[str, Any] = {
    "service": None,
    "destination": None,
    "format": None,
    "folder": None,
    "fault": None,
    "consent": None,
    "channels": None,
    "held_back": [],
    "endpoint": None,
    "delivery": None,
    "faults": [],
    "holder": None,
    "queue": None,
    "period": None,
    "last_success": None,
    "last_error": None,
    "next_try": None,
    "lanes": {},
    "totals": None,
}


def _nothing(service_dir: Path) -> dict[str, Any]:
    """A service that was decided about and never ran, or was forgotten."""
    return {
        **EMPTY,
        "service": service_dir.name,
        "folder": str(service_dir),
        "consent": _consent(decide(service_dir, [])[0], service_dir),
        "fault": f"nothing has run yet: {HOW_TO_START}",
    }


def _destination(found: Found) -> dict[str, Any]:
    service_dir = found.place.service_dir
    base = {**EMPTY, "service": service_dir.name, "destination": found.place.name, "folder": str(found.place.folder)}
    destination = found.destination
    if destination is None:
        return {**base, "consent": _consent(decide(service_dir, [])[0], service_dir), "fault": found.fault}
    settings = destination.settings
    base |= {
        "format": destination.format.name,
        "channels": dict(destination.channels) or None,
        "held_back": list(destination.held_back),
        "endpoint": settings["endpoint"],
        "delivery": settings["delivery"],
        "faults": list(settings.faults),
    }
    try:
        look = Look(destination)
        return base | _standing(look)
    except (StateError, OSError) as fault:
        return {**base, "fault": str(fault)}


def _standing(look: Look) -> dict[str, Any]:
    backlog, totals = look.backlog, look.totals
    holder = look.holder
    return {
        "consent": _consent(look.decision, look.destination.place.service_dir),
        "holder": None if holder is None else {"pid": holder.pid, "stopped": holder.stopped},
        "queue": {"items": backlog.items, "bytes": backlog.bytes, "oldest": iso(backlog.oldest)},
        "period": _period(look),
        **_went(look, ""),
        "lanes": {lane: {"endpoint": look.endpoint(lane), **_went(look, lane)} for lane in look.lanes if lane},
        "totals": {
            "delivered": totals.delivered,
            "repeated": totals.repeated,
            "waiting": backlog.items,
            "lost": {
                reason: {"count": count, "remedy": remedy(reason)}
                for reason, count in sorted(totals.lost.items())
                if count
            },
        },
    }


def _went(look: Look, lane: str) -> dict[str, Any]:
    """How the last requests to an endpoint went."""
    outcome = look.ledger.of(lane)
    error = outcome.last_error
    waits = outcome.wait(time.time_ns()) > 0 and bool(look.of(lane))
    return {
        "last_success": iso(outcome.last_success),
        "last_error": None if error is None else {"time": iso(error["time"]), "reason": error["reason"]},
        "next_try": {"time": iso(outcome.retry_at), "by_server": outcome.retry_by_server} if waits else None,
    }


def _period(look: Look) -> dict[str, Any] | None:
    period = look.period
    if period is None:
        return None
    return {
        "start": iso(period.start),
        "due": iso(look.due),
        "points": len(period.points),
        "events": len(period.events),
    }


def _consent(decision: Decision, service_dir: Path) -> dict[str, Any]:
    return {
        "on": decision.on,
        "by": decision.by,
        "detail": decision.detail,
        "since": iso(decision.since),
        "license": decision.license or None,
        "change": way_out(decision, service_dir.name),
        "history": [{**word, "time": iso(word.get("time"))} for word in read(service_dir).history],
    }


def _hint(root: Path) -> str | None:
    """Why a program's queue may be nowhere to be seen."""
    if not root.is_absolute():
        return (
            f"{root} is no absolute path: a program keeps its queue in memory, nothing of which is seen here; "
            "set USAGEWIRE_STATE_DIR to one"
        )
    existing = next((folder for folder in (root, *root.parents) if folder.exists()), root)
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return None
    return (
        f"{existing} cannot be written to: a program of this user keeps its queue in memory, nothing of which is seen "
        "here; set USAGEWIRE_STATE_DIR to one that can"
    )


def _lines(one: Mapping[str, Any], now: int, *, verbose: bool) -> Iterator[str]:
    """One destination, for people."""
    yield title(" · ".join(name for name in (one["service"], one["destination"]) if name))
    yield from (f"  {name:<13}{text}" for name, text in _rows(one, now))
    if verbose and one["consent"] is not None:
        words = list(map(_word, reversed(one["consent"]["history"]))) or ["nobody has ever said anything"]
        yield from (f"  {name:<13}{text}" for name, text in zip(("history", *[""] * len(words)), words, strict=False))


def _word(said: Mapping[str, Any]) -> str:
    """One word of the operator's."""
    about = f", {said['destination']}: {said['channel']}" if "channel" in said else ""
    under = f", licence {said['license']}" if "license" in said else ""
    of = "".join(
        f"; {name}: {accepted.get('plan') or 'no plan'}, content {accepted.get('content')}"
        for name, accepted in said.get("accepted", {}).items()
    )
    return f"{said['time']} {said['state']}{about} by {said['by']}{under}{of}"


_WORDS = (("on", True), ("off", False))


def _rows(one: Mapping[str, Any], now: int) -> Iterator[tuple[str, str]]:
    consent = one["consent"]
    if consent is not None:
        yield "consent", f"{good('on') if consent['on'] else bad('off')}: {consent['detail']}"
        yield "", consent["change"]
    if one["held_back"]:
        come = f"{plural(len(one['held_back']), 'thing')} that came since the last yes"
        yield "held back", f"{come}: `usagewire diff` names them, {yes(one['service'], '')} accepts them"
    if one["channels"]:
        switched = [(word, [name for name, on in one["channels"].items() if on == wanted]) for word, wanted in _WORDS]
        yield "channels", "; ".join(f"{word}: {', '.join(names)}" for word, names in switched if names)
    if one["fault"]:
        yield "fault" if one["destination"] else "", bad(one["fault"]) if one["destination"] else one["fault"]
    for fault in one["faults"]:
        yield "setting", bad(fault)
    if one["queue"] is None:
        return
    yield "endpoint", str(one["endpoint"])
    yield "delivery", f"{one['delivery']}; {_running(one)}"
    queue, totals = one["queue"], one["totals"]
    oldest = f", {size(queue['bytes'])}, the oldest from {moment(queue['oldest'], now)}" if queue["items"] else ""
    yield "queue", f"{plural(queue['items'], 'item')}{oldest}"
    if one["period"]:
        period = one["period"]
        gathered = f"{plural(period['points'], 'point')}, {plural(period['events'], 'event')}"
        yield "next report", f"{gathered}; due {moment(period['due'], now)}"
    yield from _outcome_rows(one, now)
    for lane, said in one["lanes"].items():
        yield lane, str(said["endpoint"])
        yield from _outcome_rows(said, now)
    lost = totals["lost"]
    count = sum(loss["count"] for loss in lost.values())
    repeated = f" ({totals['repeated']:,} of it once more than needed)" if totals["repeated"] else ""
    yield "totals", f"{totals['delivered']:,} delivered{repeated}, {totals['waiting']:,} waiting, {count:,} lost"
    for reason, loss in lost.items():
        yield "", f"{loss['count']:,} {reason}: {loss['remedy']}"


def _outcome_rows(one: Mapping[str, Any], now: int) -> Iterator[tuple[str, str]]:
    yield "last success", moment(one["last_success"], now) if one["last_success"] else "never"
    error = one["last_error"]
    yield "last error", f"{error['reason']}; {moment(error['time'], now)}" if error else "none"
    if one["next_try"]:
        asked = " (the server asked for that)" if one["next_try"]["by_server"] else ""
        yield "next try", f"{moment(one['next_try']['time'], now)}{asked}"


def _running(one: Mapping[str, Any]) -> str:
    holder = one["holder"]
    if holder is None:
        if one["delivery"] == "manual":
            return "`usagewire send` delivers"
        return "no program is running" + (
            "; its next run delivers, or `usagewire send`" if one["queue"]["items"] else ""
        )
    who = f"process {holder['pid']}" if holder["pid"] else "a program"
    return f"{who} is running" + (f", but {bad('stopped')}: `kill -CONT {holder['pid']}`" if holder["stopped"] else "")
