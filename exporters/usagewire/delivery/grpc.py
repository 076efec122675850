"""gRPC: one unary call per request, the path of its URL being the method. grpcio is loaded when the first one leaves.

The answer's status and message are in the `Response` as they are on the wire: headers ``grpc-status`` and
``grpc-message``; a server's RetryInfo is its ``retry-after``.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from usagewire import __version__, forks
from usagewire.config import is_loopback
from usagewire.errors import ConfigError, UsagewireError
from usagewire.signals import Request, Response, Settings

LIMIT = 64 << 10
"""Bytes of an answer that are read."""
_NO_ANSWER = frozenset({"CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE"})
"""Statuses that mostly are this side's own, for a call that nobody answered."""
_DETAILS = "grpc-status-details-bin"
_NAME = re.compile(r"[a-z0-9_.-]+")
_process = 0
"""The process that has used gRPC's core."""
_channels: set[Any] = set()
"""Those that are open. Referred to from here, so that in a forked child the parent's are never destroyed."""


class GrpcTransport:
    """Calls over one connection, one at a time.

    - The setting ``timeout`` bounds the whole call: looking the name up, connecting, TLS, and the answer.
    - ``https://`` is TLS, always verified; ``http://`` is plain and goes to this machine only, past every proxy.
    - Connections are made anew after any call without an answer, so that gRPC's own waiting between attempts to connect
      does not come on top of ours.
    - A process forked from one that has used gRPC makes no calls: its core shares descriptors with the parent's, and up
      to grpcio 1.76 a call of the child crashes the parent. What waits is left to the parent, or to the next start.
    """

    def __init__(self, settings: Settings, user_agent: str = "") -> None:
        self._settings = settings
        self._user_agent = user_agent
        self._lock = threading.Lock()
        self._channel: Any = None
        self._closed = False

    def send(self, request: Request) -> Response:
        """See `usagewire.delivery.Transport.send`."""
        try:
            return self._call(request)
        except UsagewireError as fault:
            return Response(None, error=str(fault))
        except Exception as fault:  # whatever it is, the courier needs an answer and the host must not see it
            self._drop()
            return Response(None, error="aborted" if self._closed else f"no answer ({type(fault).__name__})")

    def pack(self, request: Request) -> Request:
        """As it is: gRPC compresses by itself."""
        return request

    def wire(self, request: Request) -> Request:
        """See `usagewire.delivery.Transport.wire`."""
        return request._replace(
            headers={"User-Agent": self._user_agent or f"usagewire/{__version__}", **dict(self._metadata(request))},
        )

    def close(self) -> None:
        """See `usagewire.delivery.Transport.close`."""
        self._closed = True
        self._drop()

    def _call(self, request: Request) -> Response:
        _refuse_after_fork()
        millis = int(self._settings["timeout"])
        with _hushed():
            with forks.held_up():
                import grpc

            channel = self._open(grpc)
        gzip = grpc.Compression.Gzip if self._settings.get("compression") == "gzip" else None
        call = channel.unary_unary(urlsplit(request.url).path)  # bytes in, bytes out
        try:
            body, outcome = call.with_call(
                request.body, timeout=millis / 1000, metadata=self._metadata(request), compression=gzip
            )
        except grpc.RpcError as fault:
            return self._failed(fault, millis)
        return Response(200, {"grpc-status": str(outcome.code().value[0])}, body[:LIMIT])

    def _failed(self, fault: Any, millis: int) -> Response:
        code = fault.code()
        headers = {"grpc-status": str(code.value[0])}
        with contextlib.suppress(Exception):  # a server may put anything there
            for name, value in fault.trailing_metadata() or ():
                if name == _DETAILS:
                    headers |= _retry_info(value)
        if code.name not in _NO_ANSWER:
            return Response(200, headers, error=f"gRPC {code.name}")
        self._drop()
        words = "aborted" if self._closed else _explain(code.name, fault.details() or "", millis)
        return Response(None, headers, error=words)

    # -- the connection -----------------------------------------------------------------------------------------

    def _open(self, grpc: Any) -> Any:
        with self._lock:
            if self._closed:
                raise ConnectionAbortedError
            if self._channel is None:
                self._channel = self._connect(grpc)
                _channels.add(self._channel)
            return self._channel

    def _connect(self, grpc: Any) -> Any:
        parts = urlsplit(str(self._settings["endpoint"]))
        host = parts.hostname or ""
        secure = parts.scheme == "https"
        target = f"{f'[{host}]' if ':' in host else host}:{parts.port or (443 if secure else 80)}"
        options: list[tuple[str, Any]] = [
            ("grpc.primary_user_agent", self._user_agent or f"usagewire/{__version__}"),
            ("grpc.max_receive_message_length", LIMIT),
            ("grpc.max_metadata_size", LIMIT),
            ("grpc.enable_retries", 0),  # trying again is the courier's business
            ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection
        ]
        if not secure:
            if not is_loopback(host):
                raise ConfigError([f"endpoint=http://{host}: plain gRPC goes to this machine only; use https://{host}"])
            return grpc.insecure_channel(target, [*options, ("grpc.enable_http_proxy", 0)])
        proxy = self._settings.get("proxy") or _environments_proxy(host)
        if proxy and not proxy.startswith("http://"):
            raise ConfigError(["proxy: gRPC goes through http:// proxies only"])
        options.append(("grpc.http_proxy", proxy) if proxy else ("grpc.enable_http_proxy", 0))
        credentials = grpc.ssl_channel_credentials(
            self._file("certificate"), self._file("client_key") or self._file("client_certificate"),
            self._file("client_certificate"),
        )  # fmt: skip
        return grpc.secure_channel(target, credentials, options)

    def _file(self, name: str) -> bytes | None:
        path = self._settings.get(name)
        try:
            return Path(path).read_bytes() if path else None
        except OSError as fault:
            raise ConfigError([f"{name}={path!r}: {(fault.strerror or 'cannot be read').lower()}"]) from fault

    def _drop(self) -> None:
        """End the call in progress, if any, and the connection."""
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None and _process == os.getpid():
            _channels.discard(channel)
            channel.close()

    def _metadata(self, request: Request) -> tuple[tuple[str, str], ...]:
        operators: Mapping[str, str] = self._settings.get("headers") or {}
        said = {name.lower(): value for name, value in (*request.headers.items(), *operators.items())}
        odd = [name for name in said if not _NAME.fullmatch(name)]
        if odd:
            raise ConfigError(
                [f"headers: gRPC has no header {', '.join(odd)}; it allows letters, digits, '-', '_' and '.'"]
            )
        return tuple(said.items())


def _refuse_after_fork() -> None:
    global _process  # noqa: PLW0603 - gRPC's core is one per process, too
    _process = _process or os.getpid()
    if _process != os.getpid():
        raise UsagewireError("gRPC does not work in a process forked from one that has used it")


@contextlib.contextmanager
def _hushed() -> Generator[None, None, None]:
    """gRPC's core writes to the host's stderr, unless it is told not to before it starts. Where the host, or its
    operator, has started it or decided about it, that stands."""
    if "grpc" in sys.modules or "GRPC_VERBOSITY" in os.environ:
        yield
        return
    os.environ["GRPC_VERBOSITY"] = "NONE"
    try:
        yield
    finally:
        os.environ.pop("GRPC_VERBOSITY", None)


def _environments_proxy(host: str) -> str:
    """What ``HTTPS_PROXY`` and ``NO_PROXY`` say, as for HTTP; the core would read them in lower case only."""
    from urllib.request import getproxies, proxy_bypass

    return "" if proxy_bypass(host) else getproxies().get("https", "")


# -- what came back -----------------------------------------------------------------------------------------------


def _retry_info(details: bytes) -> dict[str, str]:
    """The server's wish in a ``google.rpc.Status``: details (3) → Any.value (2) → RetryInfo.retry_delay (1) → seconds
    (1) and nanos (2) of a Duration. Read field by field, since the package with these messages is large."""
    for _, packed in _fields(details, 3):
        if b"google.rpc.RetryInfo" not in packed:
            continue
        for _, info in _fields(packed, 2):
            for _, delay in _fields(info, 1):
                seconds = sum(number for number, _ in _fields(delay, 1))
                nanos = sum(number for number, _ in _fields(delay, 2))
                return {"retry-after": str(seconds + (nanos > 0))}
    return {}


def _fields(message: bytes, wanted: int) -> Iterable[tuple[int, bytes]]:
    """Every field with the number ``wanted``: as a number and as bytes, whichever it is."""
    from google.protobuf.empty_pb2 import Empty
    from google.protobuf.unknown_fields import UnknownFieldSet

    found: Any = UnknownFieldSet(Empty.FromString(message))
    for field in found:
        if field.field_number == wanted:
            yield (0, field.data) if isinstance(field.data, bytes) else (int(field.data), b"")


_SAY = (
    ("wrong_version_number", "tls: the server does not speak it"),
    ("certificate_verify_failed", "certificate: not trusted"),
    ("certificate verify failed", "certificate: not trusted"),
    ("hostname verification", "certificate: for another name"),
    ("peer name", "certificate: for another name"),
    ("certificate", "certificate: refused"),
    ("handshake", "tls: handshake failed"),
    ("connection refused", "connection refused"),
    ("dns resolution failed", "name not resolved"),
    ("name resolution", "name not resolved"),
    ("domain name not found", "name not resolved"),
    ("proxy", "proxy: no connection through it"),
    ("timed out", "connection timed out"),
    ("timeout", "connection timed out"),
    ("unreachable", "network unreachable"),
    ("http2", "not a gRPC answer"),
    ("settings frame", "not a gRPC answer"),
)
"""Part of gRPC's own words, which may quote addresses → ours; the first that fits."""


def _explain(name: str, details: str, millis: int) -> str:
    if name == "DEADLINE_EXCEEDED":
        return f"timed out after {millis} ms"
    said = details.lower()
    return next((words for part, words in _SAY if part in said), "connection closed by the server")
