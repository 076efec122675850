"""gRPC against real servers: well-behaved ones, and every other kind. Nothing hangs, and every answer says why."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.servers import Authority, Proxy, black_hole, refusing
from usagewire.delivery import open_transport
from usagewire.delivery.grpc import GrpcTransport, _retry_info
from usagewire.delivery.http import HttpTransport
from usagewire.formats.jetstream.codec import SEND, to_protobuf
from usagewire.inspector.faults import grpc_status
from usagewire.inspector.grpc_receiver import GrpcReceiver, retry_info
from usagewire.inspector.receiver import Receiver
from usagewire.signals import Request, Response

SESSION = (
    b'[{"license":"","platform":"linux","serverId":"ferry-7","startTime":1},'
    b'{"key":4185460380,"timestamp":1,"values":[1,0,0,0]}]'
)
BODY = to_protobuf(SESSION)


def transport(endpoint: str, **settings: Any) -> GrpcTransport:
    """With two seconds for everything."""
    return GrpcTransport({"endpoint": endpoint, "timeout": 2_000, "compression": "gzip", **settings})


def send(endpoint: str, **settings: Any) -> Response:
    """One call, over a connection of its own."""
    one = transport(endpoint, **settings)
    try:
        return one.send(Request(f"{endpoint}/{SEND}", BODY))
    finally:
        one.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whom a client may be told to trust."""
    return Authority(tmp_path)


# -- what goes well -----------------------------------------------------------------------------------------------


def test_a_call_arrives_whole() -> None:
    """The message, its method, our name, and the operator's headers."""
    with GrpcReceiver() as receiver:
        found = send(receiver.url, headers={"X-Tenant": "a"})

    [received] = receiver.requests
    assert Response(200, {"grpc-status": "0"}) == found
    assert (f"/{SEND}", BODY, []) == (received.path, received.body, receiver.complaints())
    assert "a" == received.headers["x-tenant"]
    assert received.headers["user-agent"].startswith("usagewire/")


def test_what_is_shown_is_what_is_sent() -> None:
    """`wire` knows every header of ours."""
    with GrpcReceiver() as receiver:
        one = transport(receiver.url, headers={"X-Tenant": "a"})
        wired = one.wire(Request(f"{receiver.url}/{SEND}", BODY))
        one.send(Request(f"{receiver.url}/{SEND}", BODY))
        one.close()

    headers = receiver.requests[0].headers
    assert BODY == wired.body
    assert headers["user-agent"].startswith(wired.headers["User-Agent"])
    assert {"User-Agent": wired.headers["User-Agent"], "x-tenant": "a"} == dict(wired.headers)


def test_calls_share_a_connection() -> None:
    """One channel serves until something goes wrong; the peer stays the same."""
    with GrpcReceiver() as receiver:
        one = transport(receiver.url)
        statuses = [one.send(Request(f"{receiver.url}/{SEND}", BODY)).status for _ in range(3)]
        kept = one._channel
        one.close()

    assert [200, 200, 200] == statuses
    assert kept is not None


def test_protocol_chooses_the_transport() -> None:
    """`protocol=grpc` over an https endpoint is gRPC; without a protocol the scheme decides."""
    settings = {"endpoint": "https://telemetry.example"}

    assert isinstance(open_transport({**settings, "protocol": "grpc"}), GrpcTransport)
    assert isinstance(open_transport({**settings, "protocol": "http/json"}), HttpTransport)
    assert isinstance(open_transport(settings), HttpTransport)


# -- TLS and proxies ----------------------------------------------------------------------------------------------


def test_tls_with_an_authority_of_ones_own(authority: Authority) -> None:
    """`certificate` is whom to trust."""
    with GrpcReceiver(tls=authority.files()) as receiver:
        assert 200 == send(receiver.url, certificate=authority.file).status
        assert "certificate: not trusted" == send(receiver.url).error


def test_certificate_for_another_name_is_refused(authority: Authority) -> None:
    """Trusted, but somebody else."""
    with GrpcReceiver(tls=authority.files("other.example")) as receiver:
        found = send(receiver.url, certificate=authority.file)

    assert (None, "certificate: for another name", []) == (found.status, found.error, receiver.requests)


def test_client_certificates(authority: Authority) -> None:
    """Mutual TLS: with one the call arrives, without one it does not."""
    certificate, key = authority.client()
    with GrpcReceiver(tls=authority.files(), clients=authority.file) as receiver:
        trusting = {"certificate": authority.file}
        with_one = send(receiver.url, **trusting, client_certificate=certificate, client_key=key)
        without = send(receiver.url, **trusting)

    assert (200, None) == (with_one.status, without.status)


def test_missing_file_is_named() -> None:
    """Gone since the settings were read."""
    found = send("https://localhost:1", certificate="/nowhere/ca.pem")

    assert "certificate='/nowhere/ca.pem': no such file or directory" == found.error


@pytest.mark.parametrize("where", ["setting", "environment"])
def test_proxy(where: str, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS goes through the proxy that the setting, or HTTPS_PROXY, names; with its login."""
    with GrpcReceiver(tls=authority.files()) as receiver, Proxy("user:secret") as proxy:
        said = {"proxy": proxy.url} if where == "setting" else {}
        if where == "environment":
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            monkeypatch.setenv("NO_PROXY", "")
            monkeypatch.setenv("no_proxy", "")
        found = send(receiver.url, certificate=authority.file, **said)

    assert 200 == found.status
    assert [f"CONNECT {receiver.url.removeprefix('https://')} HTTP/1.1"] == proxy.seen


def test_plain_calls_stay_on_this_machine_and_off_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TLS no proxy may have it, and no other machine either."""
    with GrpcReceiver() as receiver, Proxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("grpc_proxy", proxy.url)
        assert 200 == send(receiver.url, proxy=proxy.url).status
    assert [] == proxy.seen
    assert "plain gRPC goes to this machine only" in send("http://telemetry.example").error


# -- what goes wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_silent_server_is_given_up_in_time(scheme: str) -> None:
    """The timeout bounds connecting and TLS as well as the answer."""
    with black_hole() as url:
        began = time.monotonic()
        found = send(url.replace("http", scheme), timeout=300)

    assert (None, "timed out after 300 ms") == (found.status, found.error)
    assert time.monotonic() - began < 5


def test_stalling_call_is_given_up_in_time() -> None:
    """Taken, and never answered."""
    with GrpcReceiver(script=grpc_status(0, delay=60)) as receiver:
        found = send(receiver.url, timeout=300)

    assert (None, "timed out after 300 ms") == (found.status, found.error)


def test_nobody_listens() -> None:
    """Refused at once, and named so."""
    with refusing() as url:
        found = send(url)

    assert (None, "connection refused", "14") == (found.status, found.error, found.headers["grpc-status"])


def test_tls_client_meets_a_plain_server() -> None:
    """Named for what it is."""
    with GrpcReceiver() as receiver:
        found = send(receiver.url.replace("http://127.0.0.1", "https://localhost"))

    assert (None, "tls: the server does not speak it") == (found.status, found.error)


def test_plain_client_meets_a_tls_server(authority: Authority) -> None:
    """No answer, and no hang."""
    with GrpcReceiver(tls=authority.files()) as receiver:
        found = send(receiver.url.replace("https://localhost", "http://127.0.0.1"))

    assert None is found.status
    assert found.error


def test_http_server_is_no_grpc_server() -> None:
    """An endpoint that speaks another protocol."""
    with Receiver() as receiver:
        found = send(receiver.url)

    assert None is found.status
    assert found.error in ("not a gRPC answer", "connection closed by the server")  # the second up to grpcio 1.76


@pytest.mark.parametrize(("code", "name"), [(3, "INVALID_ARGUMENT"), (8, "RESOURCE_EXHAUSTED"), (13, "INTERNAL")])
def test_statuses_come_back_as_they_are(code: int, name: str) -> None:
    """What a server says is the format's to judge."""
    with GrpcReceiver(script=grpc_status(code)) as receiver:
        found = send(receiver.url)

    assert Response(200, {"grpc-status": str(code)}, error=f"gRPC {name}") == found


@pytest.mark.parametrize(("seconds", "wish"), [(7, "7"), (0.25, "1"), (90.5, "91")])
@pytest.mark.parametrize("code", [8, 14])
def test_retry_info_is_a_retry_after(code: int, seconds: float, wish: str) -> None:
    """Whole seconds, rounded up, beside any status."""
    with GrpcReceiver(script=grpc_status(code, retry_after=seconds)) as receiver:
        found = send(receiver.url)

    assert {"grpc-status": str(code), "retry-after": wish} == found.headers


@given(st.binary(max_size=64), st.integers(0, 40))
def test_damaged_retry_info_is_none(noise: bytes, cut: int) -> None:
    """Whatever stands in that header is read or passed over; only protobuf's own complaint comes out."""
    from google.protobuf.message import DecodeError

    for details in (noise, retry_info(8, 5)[:cut] + noise):
        try:
            found = _retry_info(details)
        except DecodeError:
            continue
        assert set(found) <= {"retry-after"}


def test_server_that_dies_and_comes_back() -> None:
    """A call under way when its server dies ends at once; a later one goes to the server that is back on its port."""
    first = GrpcReceiver(script=grpc_status(0, delay=30))
    with first:
        one = transport(first.url, timeout=20_000)
        request = Request(f"{first.url}/{SEND}", BODY)
        threading.Timer(0.3, first.stop).start()
        began = time.monotonic()
        cut = one.send(request)
        took = time.monotonic() - began
    down = one.send(request)
    with GrpcReceiver(port=int(first.url.rpartition(":")[2])) as second:
        back = one.send(request)
        one.close()

    assert (None, None, 200) == (cut.status, down.status, back.status)
    assert took < 15
    assert 1 == len(second.requests)


def test_closing_ends_a_call_in_another_thread() -> None:
    """Whoever stops does not wait for a server; what comes after is answered at once."""
    with GrpcReceiver(script=grpc_status(0, delay=60)) as receiver:
        one = transport(receiver.url, timeout=60_000)
        threading.Timer(0.3, one.close).start()
        began = time.monotonic()
        answers = [one.send(Request(f"{receiver.url}/{SEND}", BODY)).error for _ in range(2)]

    assert ["aborted", "aborted"] == answers
    assert time.monotonic() - began < 20


def test_endless_answer_is_not_read() -> None:
    """An answer of any size costs no more than its limit."""
    with GrpcReceiver() as receiver:
        receiver._answer = lambda method, body, context: b"x" * (1 << 20)  # type: ignore[method-assign]
        found = send(receiver.url)

    assert len(found.body) <= 64 << 10


def test_header_that_grpc_refuses_is_named() -> None:
    """gRPC allows fewer characters than HTTP."""
    with GrpcReceiver() as receiver:
        found = send(receiver.url, headers={"X!": "a"})

    assert (None, "headers: gRPC has no header x!; it allows letters, digits, '-', '_' and '.'") == (
        found.status,
        found.error,
    )


# -- the host -----------------------------------------------------------------------------------------------------


def run(source: str, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A program of its own."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(source), *argv],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environ},
    )


CALL = """
import os, sys
from usagewire.delivery.grpc import GrpcTransport
from usagewire.signals import Request
url = sys.argv[1]
def call():
    one = GrpcTransport({"endpoint": url, "timeout": 5_000})
    answer = one.send(Request(url + "/a.B/Send", b""))
    one.close()
    return answer
"""


@pytest.mark.slow
def test_grpc_is_loaded_with_the_first_call_and_says_nothing() -> None:
    """The host's stderr is its own: gRPC's core writes there, unless it is told not to; its environment stays."""
    source = CALL + "assert 'grpc' not in sys.modules; print(call().error, 'GRPC_VERBOSITY' in os.environ)"
    with GrpcReceiver() as receiver:
        done = run(source, receiver.url.replace("http://127.0.0.1", "https://localhost"))

    assert ("tls: the server does not speak it False\n", "") == (done.stdout, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["os._exit(0)", "sys.exit(0)"])
def test_forked_children_leave_grpc_alone(end: str) -> None:
    """A child of a process that calls makes no call, which on many versions would crash the parent: it ends normally,
    and the parent goes on calling."""
    source = (
        CALL
        + f"""
import threading, time
stop = threading.Event()
mine = GrpcTransport({{"endpoint": url, "timeout": 5_000}})
def calls():
    while not stop.is_set():
        mine.send(Request(url + "/{SEND}", b""))
caller = threading.Thread(target=calls)
caller.start()
time.sleep(0.3)
for _ in range(5):
    child = os.fork()
    if not child:
        answer = call()
        assert answer.status is None and "forked" in answer.error, answer
        {end}
    assert (child, 0) == os.waitpid(child, 0)
stop.set()
caller.join()
print(mine.send(Request(url + "/{SEND}", b"")).status)
"""
    )
    with GrpcReceiver() as receiver:
        done = run(source, receiver.url)

    assert (0, "200\n", "") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_child_of_a_process_that_never_called_calls() -> None:
    """Only what the parent has used is out of bounds: servers that fork before they send are served."""
    source = (
        CALL
        + """
child = os.fork()
if not child:
    os._exit(0 if call().status == 200 else 1)
print(os.waitpid(child, 0)[1])
"""
    )
    with GrpcReceiver() as receiver:
        done = run(source, receiver.url)

    assert ("0\n", "") == (done.stdout, done.stderr)
