"""The request to delete what was sent before, to the address that the product's tracking plan names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import click
import orjson

from usagewire.cli.choose import Found
from usagewire.cli.words import bad, good
from usagewire.delivery.http import HttpTransport
from usagewire.pipeline.destination import Destination
from usagewire.signals import Request

Asking = tuple[str, Destination, Request]


def prepare(found: Sequence[Found]) -> list[Asking]:
    """One request for each destination whose vendor takes one, and knows the installation by something."""
    asking: list[Asking] = []
    for one in found:
        if one.destination is None or not one.destination.product.deletion:
            continue
        destination = one.destination
        known_by = destination.format.known_by(destination.newest_origin(), destination.settings)
        if known_by:
            body = orjson.dumps({"request": "deletion", "format": destination.format.name, **known_by})
            url = destination.product.deletion
            asking.append((one.title, destination, Request(url, body, {"Content-Type": "application/json"})))
    return asking


def ask(asking: Sequence[Asking]) -> bool:
    """Send them, and tell each answer; whether all were taken. Needs neither consent nor a program that runs: it is the
    operator who asks."""
    if not asking:
        reason = "no tracking plan names an address for that, or nothing that was sent bears a lasting id"
        click.echo(f"nobody was asked to delete what was sent: {reason}", err=True)
    taken = bool(asking)
    for name, destination, request in asking:
        settings = destination.settings
        # the operator's headers are meant for the endpoint
        chosen = {**settings, "endpoint": request.url, "headers": None, "compression": "none"}
        transport = HttpTransport(replace(settings, chosen=chosen))
        try:
            response = transport.send(request)
        finally:
            transport.close()
        done = response.status is not None and 200 <= response.status < 300
        answer = f"HTTP {response.status}" if response.status is not None else response.error
        click.echo(f"{name}: asked {request.url} to delete {settings.mask(request.body).decode()}")
        click.echo(f"{name}: {good(answer) if done else bad(answer)}", err=not done)
        taken = taken and done
    return taken


def left(asked: bool, forget: bool, service: str) -> str:
    """What is still there after a request that was not taken, or not made, and the command that goes on from there."""
    if asked:
        kept, also = (", and nothing was forgotten, for the request needs the id", "--forget ") if forget else ("", "")
        return f"{kept}; say `usagewire off --ask-deletion {also}--service {service}` again"
    return f", and nothing was forgotten; say `usagewire off --forget --service {service}` for that" if forget else ""
