"""How it leaves."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol
from urllib.parse import urlsplit

from usagewire import forks
from usagewire.errors import ConfigError
from usagewire.signals import Request, Response, Settings

CHILD = "USAGEWIRE_CHILD"
"""Set in the helper that delivers when the program has ended: exporters that see it do nothing, so that it never makes
telemetry of its own."""
_TRANSPORTS = {
    "http": "usagewire.delivery.http:HttpTransport",
    "https": "usagewire.delivery.http:HttpTransport",
    "grpc": "usagewire.delivery.grpc:GrpcTransport",
}
"""Protocol, where a format has a choice, or URL scheme → where its transport lives; loaded when the first request is
about to leave."""


class Transport(Protocol):
    """The seam to the network: above all, one method that takes a request and says what came back.

    Everything above it (retries, verdicts, the queue) can be tried with a function in place of a network.
    """

    def send(self, request: Request) -> Response:
        """One exchange, bounded in time and size. Never raises: no answer is a `Response` with ``status=None`` whose
        ``error`` says why in a few words, and holds no credential."""
        ...

    def pack(self, request: Request) -> Request:
        """The request with its body as it leaves, compressed where that is wanted; doing it again changes nothing."""
        ...

    def wire(self, request: Request) -> Request:
        """The request as it leaves, with every header of ours and its body packed, for who wants to see it first.
        Connects to nothing."""
        ...

    def close(self) -> None:
        """End an exchange in progress in another thread, and let go of every connection. Final."""
        ...


def open_transport(settings: Settings, user_agent: str = "") -> Transport:
    """The transport for the protocol, or the endpoint's scheme; it connects to nothing yet.

    ``user_agent`` stands in for our own name where a request has none. Raises `ConfigError` for a scheme that no
    transport carries.
    """
    protocol = settings.get("protocol")
    scheme = protocol if protocol in _TRANSPORTS else urlsplit(settings["endpoint"] or "").scheme
    if scheme not in _TRANSPORTS:
        raise ConfigError([f"endpoint={settings['endpoint']!r}: nothing carries it; use http or https"])
    module, _, name = _TRANSPORTS[scheme].partition(":")
    with forks.held_up():
        made: Transport = getattr(import_module(module), name)(settings, user_agent)
    return made
