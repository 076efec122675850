"""HTTP and HTTPS. `requests` does the work (`usagewire.delivery.client`), loaded when the first request leaves.

What a hostile or broken server can do to us is bounded here: time, size, where a body goes, and what is told of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from usagewire import __version__, forks
from usagewire.delivery.explain import explain
from usagewire.delivery.guard import Guard
from usagewire.errors import ConfigError
from usagewire.signals import Request, Response, Settings

if TYPE_CHECKING:
    from usagewire.delivery.client import Client

WORTH_PACKING = 1 << 10
"""Bytes below which compression saves no network packet."""
HOPS = 3
"""Redirects followed for one request."""


class HttpTransport:
    """Sends requests over HTTP, one at a time, keeping the connection open between them.

    - The setting ``timeout`` bounds the whole exchange: connecting, TLS, sending, and reading to the end.
    - TLS is always verified. A connection without TLS is made to a loopback address or not at all, never by a proxy.
    - Of an answer, 64 KiB are read. Where it breaks off after its headers, its status counts.
    - A redirect is followed if it is 307 or 308 and stays with the same scheme, host and port; the body is never sent
      anywhere else. Every other redirect is an answer like any other.
    - No credentials from ``~/.netrc``, no cookies. ``HTTPS_PROXY``, ``NO_PROXY`` and ``REQUESTS_CA_BUNDLE`` count where
      the settings say nothing.
    """

    def __init__(self, settings: Settings, user_agent: str = "") -> None:
        self._settings = settings
        self._user_agent = user_agent
        self._begin()

    def _begin(self) -> None:
        self._guard = Guard()
        self._client: Client | None = None
        self._pid = os.getpid()

    def send(self, request: Request) -> Response:
        """See `usagewire.delivery.Transport.send`."""
        if self._pid != os.getpid():
            self._begin()  # forked: the open connections are the parent's
        guard, millis = self._guard, int(self._settings["timeout"])
        try:
            with guard.exchange(millis / 1000):
                return self._follow(request, millis / 1000)
        except Exception as fault:  # whatever it is, the courier needs an answer and the host must not see it
            return Response(None, error=guard.ended or explain(fault, millis))

    def pack(self, request: Request) -> Request:
        """See `usagewire.delivery.Transport.pack`."""
        body = request.body
        coded = any(name.lower() == "content-encoding" for name in request.headers)
        if coded or self._settings.get("compression") != "gzip" or len(body) < WORTH_PACKING:
            return request
        packed = _gzip(body)
        if len(packed) >= len(body):
            return request
        return request._replace(headers={**request.headers, "Content-Encoding": "gzip"}, body=packed)

    def wire(self, request: Request) -> Request:
        """See `usagewire.delivery.Transport.wire`."""
        packed = self.pack(request)
        return packed._replace(headers=self._headers(packed))

    def abort(self) -> None:
        """Make an exchange in progress in another thread return soon, and every later one at once."""
        self._guard.abort()

    def close(self) -> None:
        """See `usagewire.delivery.Transport.close`."""
        self.abort()
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _follow(self, request: Request, seconds: float) -> Response:
        if self._client is None:
            self._client = self._open()
        wired = self.wire(request)
        url = wired.url
        for _ in range(HOPS):
            response = self._client.call(wired.method, url, wired.headers, wired.body, seconds)
            target = _same_place(url, response)
            if not target:
                return response
            url = target
        return self._client.call(wired.method, url, wired.headers, wired.body, seconds)

    @forks.held_up()
    def _open(self) -> Client:
        from usagewire.delivery.client import Client

        files = {name: self._settings.get(name) or "" for name in ("certificate", "client_certificate", "client_key")}
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # what every tool built on requests goes by
            files[name] = "" if files["certificate"] else os.environ.get(name, "")
        missing = [f"{name}={path!r}: no such file" for name, path in files.items() if path and not Path(path).exists()]
        if missing:
            raise ConfigError(missing)
        return Client(
            self._guard,
            proxy=self._settings.get("proxy") or "",
            trust=files["certificate"] or files["REQUESTS_CA_BUNDLE"] or files["CURL_CA_BUNDLE"],
            certificate=files["client_certificate"],
            key=files["client_key"],
        )

    def _headers(self, request: Request) -> Mapping[str, str]:
        ours = {"User-Agent": self._user_agent or f"usagewire/{__version__}", "Accept-Encoding": "identity"}
        framing = {name: value for name, value in request.headers.items() if name.lower() == "content-encoding"}
        operators: Mapping[str, str] = self._settings.get("headers") or {}
        said = (ours, request.headers, operators, framing)  # the last to speak wins
        return dict({name.lower(): (name, value) for part in said for name, value in part.items()}.values())


def _gzip(body: bytes) -> bytes:
    with forks.held_up():
        try:
            from isal import igzip  # a quarter of zlib's time, and smaller
        except ImportError:
            import gzip

            return gzip.compress(body, 1, mtime=0)
    return igzip.compress(body, 1, mtime=0)  # pyright: ignore[reportUnknownMemberType]


def _same_place(url: str, response: Response) -> str:
    """Where the body may go next; empty: nowhere."""
    if response.status not in (307, 308):
        return ""
    try:
        target = urljoin(url, response.headers.get("location", ""))
        here, there = urlsplit(url), urlsplit(target)
        stays = (here.scheme, here.hostname, here.port) == (there.scheme, there.hostname, there.port)
    except ValueError:
        return ""
    return target if stays and target != url and there.username is None else ""
