"""requests, cut down to what may speak for us; imported when the first request leaves, never sooner.

Its adapter finds the way to an endpoint, and urllib3's connection pool goes it. Its `Session` is not used: it would add
credentials from ~/.netrc, keep cookies, follow redirects and read environment variables of its own accord.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.util.ssl_ import create_urllib3_context

from usagewire.delivery.guard import Guard
from usagewire.errors import ConfigError
from usagewire.signals import Response

LIMIT = 64 << 10
"""Bytes of an answer that are read; the rest is nobody's business."""
_PIECE = 4 << 10


class Client:
    """Connections that live as long as both sides like, made and watched by a `Guard`.

    ``trust``: file or folder with the certificates to trust, else those that come with requests.
    """

    def __init__(self, guard: Guard, *, proxy: str = "", trust: str = "", certificate: str = "", key: str = "") -> None:
        self._guard = guard
        self._trust = trust or DEFAULT_CA_BUNDLE_PATH
        self._adapter = _Adapter(guard, self._trust)
        self._proxy = proxy
        self._certificate = (certificate, key or certificate) if certificate else None
        self._way: tuple[str, HTTPConnectionPool, str] | None = None  # URL → pool and path: mostly there is but one

    def call(self, method: str, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Response:
        """One request, one answer: no redirect followed. Raises whatever goes wrong before an answer's headers are
        complete; an answer that breaks off later is what came of it."""
        if self._way is None or self._way[0] != url:
            self._way = (url, *self._find(url))
        _, pool, path = self._way
        answer = pool.urlopen(
            method,
            path,
            body,
            headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=seconds,
            preload_content=False,
            decode_content=False,
        )
        if self._guard.ended:  # to http.client, headers that break off are complete
            answer.close()
            raise TimeoutError
        found = bytearray()
        try:
            while len(found) < LIMIT:
                piece = answer.read(min(_PIECE, LIMIT - len(found)), decode_content=False)
                if not piece:
                    break
                found += piece
        except (OSError, ValueError, HTTPError, http.client.HTTPException):
            pass  # the status counts: to ask again because of a broken body would deliver twice
        finally:
            answer.close()
            answer.release_conn()
        return Response(answer.status, {name.lower(): answer.headers[name] for name in answer.headers}, bytes(found))

    def _find(self, url: str) -> tuple[HTTPConnectionPool, str]:
        prepared = requests.Request("POST", url).prepare()
        proxies = self._proxies(url)
        if proxies.get("https", "http").startswith("socks"):
            raise ConfigError(["proxy: only http:// and https:// proxies are known"])
        pool = self._adapter.get_connection_with_tls_context(prepared, self._trust, proxies, self._certificate)
        return cast("HTTPConnectionPool", pool), self._adapter.request_url(prepared, proxies)

    def _proxies(self, url: str) -> dict[str, str]:
        if urlsplit(url).scheme != "https":
            return {}  # plain http stays on this machine, so no proxy may have it
        if self._proxy:
            return {"https": self._proxy}
        return get_environ_proxies(url, no_proxy=None)

    def close(self) -> None:
        """Let go of every connection."""
        self._adapter.close()


class _Adapter(HTTPAdapter):
    def __init__(self, guard: Guard, trust: str) -> None:
        self._guard, self._trust = guard, trust
        self._pools = _guarded_pools(guard)
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._context(), **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        if proxy not in self.proxy_manager:
            outer = None
            if proxy.startswith("https:"):  # TLS to the proxy, where urllib3 loads no certificates of its own
                outer = self._context()
                folder = Path(self._trust).is_dir()
                outer.load_verify_locations(None if folder else self._trust, self._trust if folder else None)
            manager = super().proxy_manager_for(proxy, ssl_context=self._context(), proxy_ssl_context=outer, **kwargs)
            manager.pool_classes_by_scheme = self._pools
        return self.proxy_manager[proxy]

    def _context(self) -> ssl.SSLContext:
        context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
        context.sslsocket_class = self._guard.socket_class()
        return context


def _guarded_pools(guard: Guard) -> dict[str, type[HTTPConnectionPool]]:
    """urllib3's pools, whose connections are opened by ``guard``."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return guard.connect(self.host, self.port, self.socket_options or (), plain=True)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return guard.connect(self.host, self.port, self.socket_options or (), plain=False)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain  # pyright: ignore[reportAssignmentType]  # urllib3's own classes fail it too

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure  # pyright: ignore[reportAssignmentType]

    return {"http": PlainPool, "https": SecurePool}
