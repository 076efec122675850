"""The page on a socket of this machine.

with Inspector(journal, receivers, addresses) as inspector:
    print(inspector.url)              # holds the key
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType

import uvicorn

from usagewire.config import is_loopback
from usagewire.inspector.app import make
from usagewire.inspector.guard import Guard
from usagewire.inspector.journal import Journal
from usagewire.inspector.records import Records
from usagewire.policy.plan import Plan


class Inspector:
    """Listens while it is entered, or in `run`. ``receivers`` fill the ``journal``, and are what the page makes
    misbehave; ``addresses`` are their URLs by name."""

    def __init__(
        self,
        journal: Journal,
        receivers: Sequence[Records] = (),
        addresses: Mapping[str, str] | None = None,
        plan: Plan | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """Raises `OSError` where the address cannot be had."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family)
        port = self._socket.getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        token = secrets.token_urlsafe(24)
        self.url = f"http://{name}:{port}/?token={token}"
        app = make(journal, receivers, addresses or {}, plan)
        guard = Guard(app, token, name, port, anywhere=not is_loopback(host))
        config = uvicorn.Config(
            guard,
            log_level="warning",
            access_log=False,
            server_header=False,
            http="h11",
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        """Answer until interrupted."""
        self._server.run(sockets=[self._socket])

    def __enter__(self) -> Inspector:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
