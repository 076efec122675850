"""Servers for the tests, all on this machine: silent ones, refusing ones, TLS ones, a proxy."""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import trustme


@contextlib.contextmanager
def black_hole(*, full: bool = False) -> Iterator[str]:
    """URL of a server whose connections are made but never answered; ``full``: not even made."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0 if full else 16))
        address = listening.getsockname()
        for _ in range(3 if full else 0):  # what the kernel queues beyond the backlog, it drops silently
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}"


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """URL of a port that nobody listens on, and nobody else can take meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


class Authority:
    """A throw-away certificate authority; `file` is what a client is given to trust."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.file = str(folder / "authority.pem")
        self._authority.cert_pem.write_to_path(self.file)
        self._folder = folder

    def server(self, *names: str, client: bool = False, until: datetime | None = None) -> ssl.SSLContext:
        """For a server called ``names`` (``localhost`` unless told); ``client``: clients need a certificate as well;
        ``until``: when its own expires."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        since = until - timedelta(days=1) if until else None
        issued = self._authority.issue_cert(*names or ("localhost", "127.0.0.1"), not_before=since, not_after=until)
        issued.configure_cert(context)
        if client:
            self._authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def files(self, *names: str) -> tuple[str, str]:
        """Certificate file and key file for a server called ``names`` (``localhost`` unless told)."""
        return self._files("server", self._authority.issue_cert(*names or ("localhost", "127.0.0.1")))

    def client(self) -> tuple[str, str]:
        """Certificate file and key file for a client."""
        return self._files("client", self._authority.issue_cert("client@example.org"))

    def _files(self, name: str, issued: trustme.LeafCert) -> tuple[str, str]:
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
        return str(certificate), str(key)


@dataclass
class Proxy:
    """A forward proxy that tunnels (CONNECT) and nothing else. ``login`` is ``user:password``, or none asked for;
    ``tls`` is what it shows its own clients."""

    login: str = ""
    tls: ssl.SSLContext | None = None
    seen: list[str] = field(default_factory=list)
    """Request line of everything that was asked."""
    heads: list[str] = field(default_factory=list)
    """Request line and headers."""

    def __enter__(self) -> Proxy:
        self._stack = contextlib.ExitStack()
        self._listening = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http{'s' if self.tls else ''}://{self.login + '@' if self.login else ''}127.0.0.1:{self.port}"
        self._stop, self._stopping = socket.socketpair()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.close()
        for thread in self._threads:
            thread.join(10)
        self._stopping.close()
        self._stack.close()

    def _accept(self) -> None:
        while self._listening in select.select([self._listening, self._stopping], [], [])[0]:
            client, _ = self._listening.accept()
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, accepted: socket.socket) -> None:
        with contextlib.suppress(OSError), self._secured(accepted) as client:  # a client may hang up at any time
            head = b""
            while b"\r\n\r\n" not in head:
                if self._stopping in select.select([client, self._stopping], [], [])[0]:
                    return
                piece = client.recv(4096)
                if not piece:
                    return
                head += piece
            text = head.decode("latin-1")
            self.seen.append(text.partition("\r\n")[0])
            self.heads.append(text)
            method, target, _ = self.seen[-1].split(" ")
            if self.login and f"Basic {base64.b64encode(self.login.encode()).decode()}\r\n" not in text:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            elif method != "CONNECT":
                client.sendall(b"HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n")
            else:
                host, _, port = target.rpartition(":")
                with socket.create_connection((host, int(port))) as server:
                    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    self._relay(client, server)

    def _secured(self, accepted: socket.socket) -> socket.socket:
        return self.tls.wrap_socket(accepted, server_side=True) if self.tls else accepted

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        while True:
            for ready in select.select([client, server, self._stopping], [], [])[0]:
                piece = b"" if ready is self._stopping else ready.recv(65_536)
                if not piece:
                    return
                other[ready].sendall(piece)
