"""A real HTTP server on this machine that takes what usagewire sends, checks it, and remembers it.

One receiver for the tests, the demo and the operator's page. Standard library only.

    with Receiver() as receiver:
        ...                                   # send to receiver.url
        assert receiver.wait(3)               # three events accepted
        assert receiver.complaints() == []

By itself: ``python -m usagewire.inspector.receiver --port 8080`` prints every request.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import socket
import ssl
import sys
import threading
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, BinaryIO, cast

from usagewire.inspector.describe import describe
from usagewire.inspector.faults import Script
from usagewire.inspector.records import Records
from usagewire.inspector.routes import Answer, Received

MOST_BYTES = 16 << 20
"""Of a body, before and after decompression; more is answered 413."""


class Receiver(Records):
    """Listens while it is entered. ``tls`` is a certificate and key file, or an `ssl.SSLContext` of one's own."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: tuple[str, str] | ssl.SSLContext | None = None,
        script: Script | None = None,
        watch: Callable[[Received], None] | None = None,
        remember: bool = True,
    ) -> None:
        super().__init__(script, watch, remember=remember)
        self._server = _Server((host, port), _context(tls), self.take)
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://{'localhost' if tls else host}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.end()
        self._thread.join()

    @property
    def connections(self) -> int:
        """How many connections were made."""
        return self._server.connections


def _context(tls: tuple[str, str] | ssl.SSLContext | None) -> ssl.SSLContext | None:
    if not isinstance(tls, tuple):
        return tls
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*tls)
    return context


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], context: ssl.SSLContext | None, take: Callable[[Received], Answer]
    ) -> None:
        self.take = take
        self.stopping = threading.Event()
        self.connections = 0
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)
        if context is not None:
            # the handshake is left to the connection's own thread: a client that stalls in it holds up nobody
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def get_request(self) -> tuple[socket.socket, Any]:
        request, address = super().get_request()
        self.connections += 1
        self._open.add(request)
        return request, (*address, self.connections)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def end(self) -> None:
        """Close everything; handlers that wait for a client wake and leave."""
        self.stopping.set()
        for request in list(self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(request, socket.SHUT_RDWR)
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that vanish are what tests are about; anything else is our own mistake and is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes; the second would wait 40 ms

    def do_POST(self) -> None:
        """Every method goes the same way."""
        server = cast("_Server", self.server)
        raw = body = b""
        complaints: tuple[str, ...] = ()
        answer = Answer()
        try:
            _check_origin(self.headers.get("Origin"))
            raw = self._read()
            body = _decoded(raw, self.headers.get("Content-Encoding", ""))
        except _Refused as fault:
            self.close_connection = True
            complaints, answer = (str(fault),), Answer(fault.status, str(fault).encode())
        headers = {name.lower(): value for name, value in self.headers.items()}
        connection = self.client_address[-1]
        received = Received(
            time.time_ns(), self.command, self.path, headers, raw, body, connection, (), complaints, answer
        )
        self._answer(server.take(received), server.stopping)

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._chunks()
        length = _number(self.headers.get("Content-Length", "0"), 10, "Content-Length")
        if length > MOST_BYTES:
            raise _Refused(413, f"body: more than {MOST_BYTES} bytes")
        return self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        found = self.rfile.read(length)
        if len(found) < length:
            raise _Refused(400, f"body: breaks off after {len(found)} of {length} bytes")
        return found

    def _chunks(self) -> bytes:
        whole = bytearray()
        while length := _number(self.rfile.readline(64).partition(b";")[0].decode("latin-1"), 16, "chunk size"):
            if len(whole) + length > MOST_BYTES:
                raise _Refused(413, f"body: more than {MOST_BYTES} bytes")
            whole += self._exactly(length)
            self.rfile.readline(64)
        while self.rfile.readline(1 << 10).strip():  # trailers
            pass
        return bytes(whole)

    def _answer(self, answer: Answer, stopping: threading.Event) -> None:
        if stopping.wait(answer.delay):
            self.close_connection = True
        if answer.raw is not None:
            self.close_connection = True
            answer.raw(cast("BinaryIO", self.wfile), stopping)
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing; what came is in `Receiver.requests`."""


class _Refused(Exception):
    """A body that is not read to its end."""

    def __init__(self, status: int, complaint: str) -> None:
        self.status = status
        super().__init__(complaint)


_LOCAL = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")


def _check_origin(origin: str | None) -> None:
    """Programs send none; a browser does, and its user's is not the page that made it send."""
    if origin is not None and not _LOCAL.fullmatch(origin):
        raise _Refused(403, f"Origin: {origin!r}: pages of other sites may not send here")


def _number(text: str, base: int, name: str) -> int:
    try:
        value = int(text, base)
    except ValueError:
        value = -1
    if value < 0:
        raise _Refused(400, f"{name}: {text!r}, not a number")
    return value


def _decoded(raw: bytes, coding: str) -> bytes:
    if coding in ("", "identity"):
        return raw
    if coding != "gzip":
        raise _Refused(415, f"Content-Encoding: {coding!r}, not 'gzip'")
    inflate = zlib.decompressobj(31)  # 31: a gzip wrapping
    try:
        body = inflate.decompress(raw, MOST_BYTES)
    except zlib.error as fault:
        raise _Refused(400, f"body: not gzip: {fault}") from fault
    if inflate.unconsumed_tail:
        raise _Refused(413, f"body: more than {MOST_BYTES} bytes decompressed")
    if not inflate.eof:
        raise _Refused(400, "body: gzip that breaks off")
    return body


# -- by itself ----------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> None:
    """Listen until interrupted, and print every request."""
    parser = argparse.ArgumentParser(prog="python -m usagewire.inspector.receiver", description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="0 takes any free one (default: %(default)s)")
    options = parser.parse_args(arguments)
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def show(received: Received) -> None:
        print(describe(received, color), end="", flush=True)

    try:
        receiver = Receiver(options.host, options.port, watch=show)
    except (OSError, OverflowError) as fault:
        why = getattr(fault, "strerror", None) or fault
        sys.exit(f"--host {options.host} --port {options.port}: {why}; --port 0 takes any free one")
    with contextlib.suppress(KeyboardInterrupt), receiver:
        print(f"listening on {receiver.url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
