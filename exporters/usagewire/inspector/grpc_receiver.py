"""The receiver for gRPC: a real server on this machine that takes calls, checks them, and remembers them.

    with GrpcReceiver() as receiver:
        ...                                   # send to receiver.url
        assert receiver.wait(6)               # six data sets accepted

A script's answer says what becomes of the call by its headers ``grpc-status``, and ``retry-after`` for a RetryInfo.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import grpc
from google.protobuf.any_pb2 import Any as Packed

from usagewire.inspector.faults import Script
from usagewire.inspector.received import Received
from usagewire.inspector.records import Records


class GrpcReceiver(Records):
    """Listens while it is entered. ``tls`` is a certificate and key file; ``clients`` a file with the authority that
    clients' certificates must be from."""

    def __init__(
        self,
        port: int = 0,
        tls: tuple[str, str] | None = None,
        clients: str = "",
        script: Script | None = None,
        watch: Callable[[Received], None] | None = None,
        remember: bool = True,
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(script, watch, remember=remember)
        self._stopping = threading.Event()
        self._server: Any = grpc.server(
            ThreadPoolExecutor(8, "grpc-receiver"),
            handlers=[_Handler(self._answer)],
            options=(("grpc.so_reuseport", 0),),
        )
        if tls is None:
            found = self._server.add_insecure_port(f"{host}:{port}")
        else:
            certificate, key = (Path(name).read_bytes() for name in tls)
            trusted = Path(clients).read_bytes() if clients else None
            credentials = grpc.ssl_server_credentials([(key, certificate)], trusted, bool(clients))
            found = self._server.add_secure_port(f"{host}:{port}", credentials)
        self.url = f"https://localhost:{found}" if tls else f"http://{host}:{found}"

    def __enter__(self) -> GrpcReceiver:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End everything now, calls under way included."""
        self._stopping.set()
        self._server.stop(0).wait()

    def _answer(self, method: str, body: bytes, context: Any) -> bytes:
        said = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
        headers = {"content-type": "application/grpc", **said}
        answer = self.take(Received(time.time_ns(), "POST", method, headers, body, body, 0))
        if self._stopping.wait(answer.delay):
            context.abort(grpc.StatusCode.UNAVAILABLE, "stopped")
        status = int(answer.headers.get("grpc-status", "0" if answer.status == 200 else "12"))
        if status:
            if "retry-after" in answer.headers:
                details = retry_info(status, float(answer.headers["retry-after"]))
                context.set_trailing_metadata((("grpc-status-details-bin", details),))
            context.abort(_CODES[status], "as the script says")
        return b""


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc] # grpcio has no types
    def __init__(self, answer: Callable[[str, bytes, Any], bytes]) -> None:
        self._answer = answer

    def service(self, handler_call_details: Any) -> Any:
        """Every method goes the same way; which exist, the routes know."""

        def answer(body: bytes, context: Any) -> bytes:
            return self._answer(handler_call_details.method, body, context)

        return cast("Any", grpc.unary_unary_rpc_method_handler(answer))


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def retry_info(status: int, seconds: float) -> bytes:
    """A ``google.rpc.Status`` that asks to be left alone for so long."""
    from google.protobuf.duration_pb2 import Duration

    delay = Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9)).SerializeToString()
    info = Packed(type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\x0a%c%b" % (len(delay), delay))
    packed = info.SerializeToString()
    return b"\x08%c\x1a%c%b" % (status, len(packed), packed)
