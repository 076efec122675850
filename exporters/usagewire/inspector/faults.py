"""Ready-made misbehaviour for a `usagewire.inspector.receiver.Receiver`.

Each function makes a *script*: called with a request before it is answered, it gives another answer, or ``None`` for
the ordinary one. A script may be combined with others by `in_turn`.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO

from usagewire.inspector.routes import Answer, Received

Script = Callable[[Received], "Answer | None"]


def ordinary(received: Received) -> Answer | None:
    """The ordinary answer."""
    return None


def in_turn(*scripts: Script) -> Script:
    """The first request goes by the first script, and so on; from then on the ordinary answer."""
    left = iter(scripts)
    lock = threading.Lock()

    def script(received: Received) -> Answer | None:
        with lock:
            chosen = next(left, ordinary)
        return chosen(received)

    return script


def status(code: int, body: bytes = b"{}") -> Script:
    """Answer with ``code``."""
    return lambda received: Answer(code, body)


def retry_after(value: int | str, code: int = 429) -> Script:
    """Answer 429 (or ``code``) with ``Retry-After``: seconds, or an HTTP date."""
    return lambda received: Answer(code, b"{}", {"Retry-After": str(value)})


def grpc_status(code: int, retry_after: float | None = None, delay: float = 0.0) -> Script:
    """End the call with ``code``, after ``delay`` seconds; ``retry_after`` seconds are asked for by a RetryInfo."""
    wish = {} if retry_after is None else {"retry-after": str(retry_after)}
    return lambda received: Answer(headers={"grpc-status": str(code), **wish}, delay=delay)


def slow(seconds: float) -> Script:
    """The ordinary answer, ``seconds`` late."""
    return lambda received: replace(received.answer, delay=seconds)


def redirect(to: str, code: int = 307) -> Script:
    """Send the client to ``to``."""
    return lambda received: Answer(code, b"", {"Location": to})


def poison(predicate: Callable[[Any], bool]) -> Script:
    """400 to a request that holds an event of which ``predicate`` is true, and to that one only."""
    return lambda received: Answer(400, b'{"success":false}') if any(map(predicate, received.events)) else None


def cut(said: bytes = b"") -> Script:
    """Take the request, say ``said`` and close the connection: taken, but the client cannot know."""

    def write(wire: BinaryIO, stop: threading.Event) -> None:
        wire.write(said)

    return lambda received: Answer(raw=write)


def garbage(said: bytes = b"\x00\xff\x13 this is no HTTP \r\n" * 64) -> Script:
    """Something that is not HTTP; the request counts as not taken."""

    def write(wire: BinaryIO, stop: threading.Event) -> None:
        wire.write(said)

    return lambda received: Answer(502, raw=write)


def endless(code: int = 200) -> Script:
    """Headers, then a body that never ends."""

    def write(wire: BinaryIO, stop: threading.Event) -> None:
        wire.write(b"HTTP/1.1 %d OK\r\nContent-Type: text/plain\r\n\r\n" % code)
        while not stop.is_set():
            wire.write(b"x" * 65_536)

    return lambda received: Answer(code, raw=write)


def drip_headers(pause: float = 0.05) -> Script:
    """Headers that come a byte at a time and never end; the request counts as not taken."""

    def write(wire: BinaryIO, stop: threading.Event) -> None:
        for byte in itertools.chain(b"HTTP/1.1 200 OK\r\nX-Slow: ", itertools.repeat(ord("x"))):
            wire.write(bytes((byte,)))
            if stop.wait(pause):
                return

    return lambda received: Answer(504, raw=write)


def drip_body(pause: float = 0.05, code: int = 200) -> Script:
    """Headers at once, then a body that comes a byte at a time and never ends."""

    def write(wire: BinaryIO, stop: threading.Event) -> None:
        wire.write(b"HTTP/1.1 %d OK\r\nContent-Length: 1000000\r\n\r\n" % code)
        while not stop.wait(pause):
            wire.write(b"x")

    return lambda received: Answer(code, raw=write)
