"""What the receiver knows of each format: a route is a method and a path, and a function that checks what came.

A later format adds a module to `usagewire.inspector.checks`. Standard library only, so that the demo needs nothing
installed; JetStream's, which needs protobuf, is loaded with its first request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress

from usagewire.inspector.checks import jina, segment, stone, tts
from usagewire.inspector.received import Answer, Check, Checked, Received, mapping, media_type

__all__ = ["BY_FORMAT", "ROUTES", "Answer", "Checked", "Received", "check", "format_of", "mapping", "readable"]


def _jetstream(received: Received) -> Checked:
    from usagewire.inspector.checks.jetstream import session

    return session(received)


BY_FORMAT: Mapping[str, Mapping[tuple[str, str], Check]] = {
    "segment": segment.ROUTES,
    "jetstream": {
        ("POST", "/v1/telemetry"): _jetstream,
        ("POST", "/usagewire.wire.jetstream.v1.TelemetryService/Send"): _jetstream,
    },
    "stone": stone.ROUTES,
    "tts": tts.ROUTES,
    "jina": jina.ROUTES,
}
ROUTES: Mapping[tuple[str, str], Check] = {
    route: found for routes in BY_FORMAT.values() for route, found in routes.items()
}


def format_of(received: Received) -> str:
    """Name of the format whose route it came by; empty for a path that no format uses."""
    route = _route(received)
    return next((name for name, routes in BY_FORMAT.items() if route in routes), "")


def check(received: Received) -> Checked:
    """Check ``received`` by its route; a path that no format uses is answered 404."""
    route = ROUTES.get(_route(received))
    if route is None:
        return Checked((), (f"{received.method} {received.path}: no such route",), Answer(404, b"not found"))
    return route(received)


def _route(received: Received) -> tuple[str, str]:
    return received.method, received.path.partition("?")[0]


def readable(received: Received) -> bytes:
    """What the body says, as JSON where a format wraps it in something else; the body itself otherwise."""
    format = format_of(received)
    if format == "jina" and media_type(received) == jina.UPSTREAM:
        return jina.decoded(received.body) or received.body
    if format == "jetstream" and media_type(received) != "application/json":
        from usagewire.inspector.checks.jetstream import read

        with suppress(ValueError):
            return json.dumps(read(received)).encode()
    return received.body
