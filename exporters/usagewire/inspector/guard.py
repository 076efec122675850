"""Who may see the page: whoever has the URL that was printed, from this page's own address, and nobody else.

Pages of other sites can make a browser send requests here, or give their own name our address. So Host must be ours,
what changes something must be a POST that our own page sent, and everything needs the token: first in the URL, from
then on in a cookie that no script can read.
"""

from __future__ import annotations

import secrets
from ipaddress import ip_address
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 64 << 10
"""Of a form."""
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer a form's Origin would be null
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """In front of ``app``. ``anywhere``: it listens beyond this machine, and is called by any of its addresses."""

    def __init__(self, app: ASGIApp, token: str, host: str, port: int, *, anywhere: bool) -> None:
        self._app, self._token, self._cookie = app, token, f"usagewire-{port}"
        self._names, self._port, self._anywhere = {host, "127.0.0.1", "localhost", "[::1]"}, str(port), anywhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return  # no web sockets here

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refuse(scope)
        await (refusal or self._app)(scope, receive, guarded)

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if not self._is_ours(host):
            return PlainTextResponse(f"Host: {host!r} is not this page's address", 421)
        given = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        token = given.pop("token", None)
        if token is not None and scope["method"] in ("GET", "HEAD") and self._is_token(token):
            answer = RedirectResponse(scope["path"] + (f"?{urlencode(given)}" if given else ""), 303)
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            return answer
        if not self._is_token(_cookie(headers.get("cookie", ""), self._cookie)):
            return PlainTextResponse(
                "Open the URL that `usagewire inspect` printed: it holds the key to this page.", 403
            )
        return None if scope["method"] in ("GET", "HEAD") else self._refuse_change(headers, host)

    def _refuse_change(self, headers: Headers, host: str) -> Response | None:
        origin, length = headers.get("origin", ""), headers.get("content-length", "")
        if origin != f"http://{host}" or headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return PlainTextResponse(f"Origin: {origin!r} may change nothing here", 403)
        if not length.isdecimal() or int(length) > MOST_BYTES:
            return PlainTextResponse(f"body: its length, at most {MOST_BYTES} bytes, is needed", 413)
        return None

    def _is_ours(self, host: str) -> bool:
        """Whether a Host may be this page's: no name can be, but localhost, for any name can be given our address."""
        name, _, port = host.rpartition(":")
        return port == self._port and (name in self._names or (self._anywhere and _is_address(name)))

    def _is_token(self, value: str) -> bool:
        return secrets.compare_digest(value.encode(errors="replace"), self._token.encode())


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _cookie(header: str, name: str) -> str:
    pairs = (pair.strip().partition("=") for pair in header.split(";"))
    return next((value for key, _, value in pairs if key == name), "")
