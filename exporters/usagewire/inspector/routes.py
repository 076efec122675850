"""What the receiver knows of each format: a route is a method and a path, and a function that checks what came.

A later format adds a module to `usagewire.inspector.checks`. Standard library only, so that the demo needs nothing
installed; JetStream's, which needs protobuf, is loaded with its first request.
"""

from __future__ import annotations

from collections.abc import Mapping

from usagewire.inspector.checks import jina, segment, stone, tts
from usagewire.inspector.received import Answer, Check, Checked, Received, mapping

__all__ = ["ROUTES", "Answer", "Checked", "Received", "check", "mapping"]


def _jetstream(received: Received) -> Checked:
    from usagewire.inspector.checks.jetstream import session

    return session(received)


ROUTES: Mapping[tuple[str, str], Check] = {
    **segment.ROUTES,
    ("POST", "/v1/telemetry"): _jetstream,
    ("POST", "/usagewire.wire.jetstream.v1.TelemetryService/Send"): _jetstream,
    **jina.ROUTES,
    **tts.ROUTES,
    **stone.ROUTES,
}


def check(received: Received) -> Checked:
    """Check ``received`` by its route; a path that no format uses is answered 404."""
    route = ROUTES.get((received.method, received.path.partition("?")[0]))
    if route is None:
        return Checked((), (f"{received.method} {received.path}: no such route",), Answer(404, b"not found"))
    return route(received)
