"""Bounds an exchange from outside, whatever the server does: a deadline for the whole of it, and `Guard.abort`.

A socket's own timeout starts anew with every byte that trickles in, so a server that drips its headers could hold a
sender for days. Here another thread shuts the sockets down instead; whoever was waiting on one wakes at once.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Generator, Sequence
from ipaddress import ip_address
from typing import Any
from weakref import WeakSet


class PlainRefused(OSError):
    """A connection without TLS was about to leave this machine."""


class Guard:
    """Watches every socket of one transport. One exchange at a time; `abort` may come from any thread.

    Looking a name up is the one wait that nothing can end from outside; the system's resolver bounds it, and the
    deadline is checked right after.
    """

    def __init__(self) -> None:
        self.ended = ""
        """Why the exchange was cut short; empty while it was not."""
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._lock = threading.Lock()
        self._deadline = 0.0
        self._under_way = self._aborted = False
        self._ticking: threading.Event | None = None  # set: the thread that watches the time is to look at once
        self._pid = os.getpid()

    @contextlib.contextmanager
    def exchange(self, seconds: float) -> Generator[None, None, None]:
        """The time of one exchange, the same ``seconds`` for each; raises `TimeoutError` when it was aborted before it
        began."""
        with self._lock:
            if self._aborted:
                raise TimeoutError
            self._under_way, self.ended = True, ""
            self._deadline = time.monotonic() + seconds
            if self._ticking is None:
                self._tick(f"timed out after {seconds * 1000:.0f} ms")
        try:
            yield
        finally:
            with self._lock:
                self._under_way = False

    def abort(self) -> None:
        """End the exchange in progress, and every later one at its start."""
        if os.getpid() != self._pid:
            return  # a forked child: these connections are the parent's
        with self._lock:
            self._aborted, self._under_way = True, False
            self._shut("aborted")
            if self._ticking is not None:
                self._ticking.set()

    def _tick(self, why: str) -> None:
        """Have a thread that watches the time. One serves every exchange that begins before its first is due: starting
        one for each would keep the courier of a busy program waiting."""
        look = threading.Event()
        thread = threading.Thread(target=self._expire, args=(look, why), name="usagewire-time", daemon=True)
        with contextlib.suppress(RuntimeError):  # at the end of Python 3.12: the sockets still have their timeouts
            thread.start()
            self._ticking = look

    def _expire(self, look: threading.Event, why: str) -> None:
        left = 0.0
        while not look.wait(left):
            with self._lock:
                left = self._deadline - time.monotonic()
                if self._under_way and left > 0:
                    continue
                if self._under_way:
                    self._shut(why)
                self._ticking = None
                return

    def _shut(self, why: str) -> None:
        self.ended = why
        for sock in list(self._sockets):
            with contextlib.suppress(OSError):  # closed, or not connected yet
                # not SSLSocket's own shutdown, which takes the TLS state away under the reading thread
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _watch(self, sock: socket.socket) -> None:
        with self._lock:
            if self.ended:
                raise TimeoutError
            self._sockets.add(sock)

    def connect(self, host: str, port: int, options: Sequence[tuple[Any, ...]], *, plain: bool) -> socket.socket:
        """A connected socket, within what is left of the exchange. ``plain``: to a loopback address or not at all."""
        fault: OSError = socket.gaierror(f"{host} has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
            if plain and not ip_address(address[0]).is_loopback:
                fault = PlainRefused(host)
                continue
            sock = socket.socket(family, kind, protocol)
            try:
                for option in options:
                    sock.setsockopt(*option)
                left = self._deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                sock.settimeout(left)
                self._watch(sock)
                sock.connect(address)
                return sock
            except OSError as found:
                sock.close()
                fault = found
        raise fault

    def socket_class(self) -> type[ssl.SSLSocket]:
        """For `ssl.SSLContext.sslsocket_class`: TLS sockets that are watched from their handshake on."""
        watch = self._watch

        class Watched(ssl.SSLSocket):
            def getpeername(self) -> Any:
                try:
                    return super().getpeername()
                except OSError:
                    # Reset before the handshake: ssl would forget to close it, or hand it out without TLS.
                    self.close()
                    raise ConnectionResetError from None

            def do_handshake(self, block: bool = False) -> None:
                watch(self)
                super().do_handshake(block)

        return Watched
