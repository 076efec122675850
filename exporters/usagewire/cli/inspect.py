"""``usagewire inspect``: the page for operators and engineers, and the receiver it shows."""

from __future__ import annotations

import errno
import os
import socket
import webbrowser
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import click

from usagewire.cli.words import bad
from usagewire.config import is_loopback
from usagewire.policy import plan as plans


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Of the page; unset: any free one.")
@click.option(
    "--receiver-port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="N",
    help="Of the receiver for HTTP; the one for gRPC takes the next. Unset: any free ones.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--plan",
    type=click.Path(path_type=Path),
    help="The vendor's tracking plan, which says what each field is for; unset: USAGEWIRE_PLAN.",
)
@click.option("--open", "open_", is_flag=True, help="Open it in a browser.")
def inspect(port: int, receiver_port: int, host: str, plan: Path | None, open_: bool) -> None:
    """Show everything on a page of this machine, and receive what is sent to it.

    For operators: who decided, with a switch; what waits, what left, what was lost; each payload with what every
    field says. For engineers: a receiver that takes all formats, holds them against their documents, and
    misbehaves on request. Needs the extra: pip install 'usagewire[inspector]'.

    The printed URL holds the key to the page. It ends with Ctrl-C.

    \b
    Examples:
      usagewire inspect --open
      usagewire inspect --receiver-port 8080 --plan shop.yaml
    """
    missing = [name for name in ("jinja2", "starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise click.ClickException(f"not installed: {', '.join(missing)}; pip install 'usagewire[inspector]'")
    from usagewire.inspector.grpc_receiver import GrpcReceiver
    from usagewire.inspector.journal import Journal
    from usagewire.inspector.receiver import Receiver
    from usagewire.inspector.serve import Inspector

    source = plans.find(plan, os.environ)
    known = None if source is None else plans.load(source)
    if not is_loopback(host):
        warning = "whoever can reach it and has the URL sees and switches everything, and nothing is encrypted"
        click.echo(f"{bad('listening beyond this machine')}: {warning}", err=True)
    journal = Journal()
    with ExitStack() as stack:
        with _asking("--receiver-port", receiver_port, host):
            events = stack.enter_context(Receiver(host, receiver_port, watch=journal.take, remember=False))
            beside = receiver_port + 1 if receiver_port else 0
            reports = stack.enter_context(GrpcReceiver(beside, watch=journal.take, remember=False, host=host))
        addresses = {"HTTP": events.url, "gRPC": reports.url}
        with _asking("--port", port, host):
            inspector = Inspector(journal, (events, reports), addresses, known, host, port)
        click.echo(f"page      {inspector.url}")
        for name, url in addresses.items():
            click.echo(f"{name:<9} {url}")
        if open_:
            webbrowser.open(inspector.url)
        with suppress(KeyboardInterrupt):
            inspector.run()


@contextmanager
def _asking(option: str, port: int, host: str) -> Generator[None, None, None]:
    """Say which port, or address, could not be had."""
    try:
        yield
    except (OSError, RuntimeError) as fault:  # RuntimeError: gRPC's
        why = fault.strerror if isinstance(fault, OSError) else fault
        if isinstance(fault, socket.gaierror) or getattr(fault, "errno", None) == errno.EADDRNOTAVAIL:
            raise click.ClickException(f"--host {host}: {why}; name an address of this machine") from fault
        raise click.ClickException(f"{option} {port}: {why}; leave it out to take any free one") from fault
