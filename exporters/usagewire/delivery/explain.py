"""What went wrong on the way, in words of our own: the messages of exceptions may quote headers and URLs."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from http.client import HTTPException
from typing import Any

from usagewire.delivery.guard import PlainRefused
from usagewire.errors import UsagewireError


def explain(fault: BaseException, millis: int) -> str:
    """A few words for ``fault``, which holds no credential; ``millis`` is the timeout that was set."""
    chain = tuple(_chain(fault))
    words = next((_words(link, millis) for link in chain if _words(link, millis)), "")
    proxied = "proxy: " if any(type(link).__name__ == "ProxyError" for link in chain) else ""
    return proxied + (words or f"no answer ({type(fault).__name__})")


def _chain(fault: BaseException) -> Iterator[BaseException]:
    """``fault`` and what led to it, the root first: the system's own errors say more than their wrappings."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [fault]
    while waiting:
        link = waiting.pop()
        if link is not None and link not in found:
            found.append(link)
            waiting += [link.__cause__, link.__context__]
    yield from reversed(found)


def _words(fault: BaseException, millis: int) -> str:
    for kind, say in _SAY:
        if isinstance(fault, kind):
            said = say(fault) if callable(say) else say.format(millis=millis)
            if said:
                return said
    return ""


def _tunnel(fault: OSError) -> str:
    found = re.match(r"Tunnel connection failed: (\d{3})", str(fault))
    return f"answered {found[1]}" if found else ""


_NOT_HTTP = "the URL or a header holds what HTTP does not allow; see ENDPOINT and HEADERS"

_SAY: tuple[tuple[type[BaseException], str | Callable[[Any], str]], ...] = (
    (UsagewireError, str),
    (PlainRefused, "plain http goes to this machine only; use https"),
    (ssl.SSLCertVerificationError, lambda fault: f"certificate: {fault.verify_message or 'not trusted'}"),
    (ssl.SSLError, lambda fault: f"tls: {(fault.reason or 'handshake failed').replace('_', ' ').lower()}"),
    (socket.gaierror, "name not resolved"),
    (TimeoutError, "timed out after {millis} ms"),
    (ConnectionRefusedError, "connection refused"),
    (ConnectionError, "connection closed by the server"),
    (HTTPException, "not an HTTP answer"),
    (OSError, _tunnel),
    (OSError, lambda fault: os.strerror(fault.errno).lower() if fault.errno else ""),
    (ValueError, lambda fault: "certificate: for another name" if type(fault).__name__ == "CertificateError" else ""),
    (ValueError, _NOT_HTTP),
)
"""Kind of exception → what to say of it; the first that has something to say, says it."""
