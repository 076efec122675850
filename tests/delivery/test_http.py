"""The HTTP transport against real servers on this machine: well-behaved, broken and hostile ones."""

from __future__ import annotations

import gzip
import logging
import os
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import usagewire
from tests.support.servers import Authority, Proxy, black_hole, refusing
from usagewire.delivery import open_transport
from usagewire.delivery.client import LIMIT
from usagewire.delivery.guard import Guard
from usagewire.delivery.http import HttpTransport
from usagewire.errors import ConfigError
from usagewire.inspector import faults
from usagewire.inspector.receiver import Receiver
from usagewire.inspector.routes import Answer
from usagewire.signals import Request, Response

BODY = b'{"batch":[]}'
KEY = "Basic c2VjcmV0LWtleTo="
SECRETS = ("c2VjcmV0LWtleTo=", "secret-key", "hunter2", "aHVudGVy", "operators-token")
"""Parts of every credential that is used here, plain and in base64."""


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own proxy and certificate settings stay out of the tests."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority that no system trusts."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A well-behaved server."""
    with Receiver() as running:
        yield running


def send(url: str, body: bytes = BODY, headers: dict[str, str] | None = None, **settings: Any) -> Response:
    """One request through a transport of its own."""
    transport = HttpTransport({"timeout": 5_000, **settings})
    try:
        return transport.send(request(url, body, headers))
    finally:
        transport.close()


def request(url: str, body: bytes = BODY, headers: dict[str, str] | None = None) -> Request:
    """A request as a format packs it."""
    if not url.partition("://")[2].partition("/")[2]:
        url += "/v1/batch"
    return Request(url, body, {"Content-Type": "application/json", "Authorization": KEY, **(headers or {})})


# -- the ordinary way ---------------------------------------------------------------------------------------------


def test_sends_and_tells_what_came_back(receiver: Receiver) -> None:
    """A response carries the status, the headers in lower case and the body."""
    response = send(receiver.url)

    assert (200, b'{"success":true}', "") == (response.status, response.body, response.error)
    assert "application/json" == response.headers["content-type"]
    assert BODY == receiver.requests[0].raw
    assert KEY == receiver.requests[0].headers["authorization"]


def test_keeps_the_connection_open(receiver: Receiver) -> None:
    """Ten requests, one connection."""
    transport = HttpTransport({"timeout": 5_000})
    for _ in range(10):
        assert 200 == transport.send(request(receiver.url)).status
    transport.close()

    assert 10 == len(receiver.requests)
    assert 1 == receiver.connections


def test_says_who_it_is(receiver: Receiver) -> None:
    """The User-Agent is ours, unless the transport or the request was given another; nobody hears of requests."""
    send(receiver.url)
    send(receiver.url, headers={"user-agent": "readyset-telemetry-reporter/0.1.0"})
    named = open_transport({"endpoint": receiver.url, "timeout": 5_000}, "product/2")
    named.send(request(receiver.url))
    named.close()

    assert [f"usagewire/{usagewire.__version__}", "readyset-telemetry-reporter/0.1.0", "product/2"] == [
        received.headers["user-agent"] for received in receiver.requests
    ]


def test_the_operators_headers_win(receiver: Receiver) -> None:
    """HEADERS are added, and replace what the format said under the same name."""
    transport = HttpTransport({"timeout": 5_000, "headers": {"authorization": "Bearer operators-token", "X-Site": "4"}})
    transport.send(request(receiver.url))
    transport.close()

    headers = receiver.requests[0].headers
    assert ("Bearer operators-token", "4") == (headers["authorization"], headers["x-site"])


@pytest.mark.parametrize("without_isal", [False, True])
def test_compresses_where_it_helps(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, without_isal: bool) -> None:
    """A long body leaves as gzip; short ones, incompressible ones and coded ones as they are."""
    if without_isal:
        monkeypatch.setitem(sys.modules, "isal", None)
    long, noise = b'{"batch":[]}' * 1_000, os.urandom(4_000)
    for body, headers in ((long, {}), (BODY, {}), (noise, {}), (gzip.compress(noise), {"Content-Encoding": "gzip"})):
        send(receiver.url, body, headers, compression="gzip")
    send(receiver.url, long, compression="none")

    took = receiver.requests
    assert [True, False, False, True, False] == ["content-encoding" in received.headers for received in took]
    assert [long, BODY, noise, noise, long] == [received.body for received in took]
    assert len(took[0].raw) < len(long) / 10


def test_a_scheme_without_transport_is_a_fault() -> None:
    """What cannot be carried is said at once, with the way out."""
    with pytest.raises(ConfigError, match=r"endpoint='ftp://x': nothing carries it; use http or https"):
        open_transport({"endpoint": "ftp://x"})


@pytest.mark.slow
def test_importing_it_costs_nothing() -> None:
    """Neither requests nor urllib3 is loaded before the first request leaves."""
    code = (
        "import sys, usagewire.delivery.http; print([n for n in ('requests', 'urllib3', 'isal') if n in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert "[]" == shown.strip()


# -- servers that do not answer -----------------------------------------------------------------------------------


def test_names_what_went_wrong(receiver: Receiver) -> None:
    """Each kind of trouble has its words."""
    with refusing() as url:
        assert Response(None, error="connection refused") == send(url)
    assert Response(None, error="name not resolved") == send("https://nothing.invalid")
    receiver.script = faults.garbage()
    assert Response(None, error="not an HTTP answer") == send(receiver.url)
    receiver.script = faults.cut()
    assert Response(None, error="connection closed by the server") == send(receiver.url)
    assert "does not allow" in send(receiver.url, headers={"X-Bad": "a\r\nb"}).error
    assert "does not allow" in send(receiver.url, headers={"X-Bad": "\u2603"}).error
    assert "does not allow" in send("http://[::1/v1/batch").error


@pytest.mark.parametrize("full", [False, True])
def test_a_black_hole_ends_at_the_deadline(full: bool) -> None:
    """Neither a connection that is never answered nor one that is never made holds a sender."""
    with black_hole(full=full) as url:
        began = time.monotonic()
        response = send(url, timeout=300)

    assert Response(None, error="timed out after 300 ms") == response
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (faults.drip_headers(0.02), None),
        (faults.drip_body(0.02), 200),
        (faults.endless(), 200),
        (faults.slow(60), None),
    ],
    ids=["headers drip", "body drips", "body never ends", "answer never begins"],
)
@pytest.mark.parametrize("way", ["plain", "tls", "through a proxy"])
def test_no_server_holds_a_sender(script: faults.Script, status: int | None, way: str, authority: Authority) -> None:
    """Headers or bodies that trickle, never end or never begin are bounded in time and size."""
    tls = None if way == "plain" else authority.server()
    with Receiver(tls=tls, script=script) as receiver, Proxy(tls=authority.server()) as proxy:
        through = proxy.url if way == "through a proxy" else ""
        began = time.monotonic()
        response = send(receiver.url, timeout=500, certificate=authority.file, proxy=through)

    assert time.monotonic() - began < 5
    assert len(response.body) <= LIMIT
    assert (status, "" if status else "timed out after 500 ms") == (response.status, response.error)


def test_an_endless_body_is_read_to_its_limit() -> None:
    """The status of an endless answer counts, and 64 KiB of it are kept; the next request finds a fresh connection."""
    with Receiver(script=faults.in_turn(faults.endless())) as receiver:
        transport = HttpTransport({"timeout": 5_000})
        first, second = (transport.send(request(receiver.url)) for _ in range(2))
        transport.close()

    assert (200, LIMIT) == (first.status, len(first.body))
    assert b'{"success":true}' == second.body


def test_an_answer_cut_in_its_body_still_counts() -> None:
    """Asking again for the sake of a broken body would deliver twice."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    with Receiver(script=faults.cut(head + b"{")) as receiver:
        assert 200 == send(receiver.url).status


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff"],
    ids=["continue", "chunk size"],
)
def test_endless_framing_is_bounded(head: bytes) -> None:
    """Not even the parts of an answer that carry nothing may go on for ever."""

    def write(wire: Any, stop: threading.Event) -> None:
        wire.write(head)
        while not stop.wait(0.001):
            wire.write(head if b"Continue" in head else b"f" * 1000)

    with Receiver(script=lambda received: Answer(raw=write)) as receiver:
        began = time.monotonic()
        response = send(receiver.url, timeout=400)

    assert time.monotonic() - began < 5
    assert len(response.body) <= LIMIT


def test_a_late_timer_does_not_cut_the_next_request(receiver: Receiver) -> None:
    """Each deadline ends its own exchange and no other."""
    transport = HttpTransport({"timeout": 200})
    for _ in range(3):
        assert 200 == transport.send(request(receiver.url)).status
        time.sleep(0.15)
    transport.close()

    assert 1 == receiver.connections


@pytest.mark.parametrize("close", [False, True])
def test_a_request_in_progress_can_be_ended(close: bool) -> None:
    """`abort` and `close` from another thread end a waiting exchange soon; later ones end at once."""
    with black_hole() as url:
        transport = HttpTransport({"timeout": 60_000})
        found: list[Response] = []
        sender = threading.Thread(target=lambda: found.append(transport.send(request(url))))
        sender.start()
        time.sleep(0.2)
        (transport.close if close else transport.abort)()
        sender.join(10)
        found.append(transport.send(request(url)))
        transport.close()

    assert [Response(None, error="aborted")] * 2 == found


@pytest.mark.slow
def test_a_forked_child_opens_its_own_connection(receiver: Receiver) -> None:
    """Parent and child never share a connection, and the child's end does not cut the parent's."""
    transport = HttpTransport({"timeout": 5_000})
    assert 200 == transport.send(request(receiver.url)).status
    child = os.fork()
    if child == 0:
        status = transport.send(request(receiver.url)).status
        transport.close()
        os._exit(0 if status == 200 else 1)
    assert 0 == os.waitpid(child, 0)[1]
    assert 200 == transport.send(request(receiver.url)).status
    transport.close()

    assert [1, 2, 1] == [received.connection for received in receiver.requests]


# -- where a body may go ------------------------------------------------------------------------------------------


def test_plain_http_stays_on_this_machine() -> None:
    """No name, and no proxy, takes an unencrypted body to another machine; nothing is connected to find out."""
    refused = Response(None, error="plain http goes to this machine only; use https")

    assert refused == send("http://192.0.2.1/v1/batch")
    with Proxy() as proxy:
        assert refused == send("http://192.0.2.1/v1/batch", proxy=proxy.url)
        assert [] == proxy.seen


def test_a_local_endpoint_is_not_proxied(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a proxy, "this machine" would be another one."""
    with Proxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert 200 == send(receiver.url).status
        assert 200 == send(receiver.url, proxy=proxy.url).status
        assert [] == proxy.seen


@pytest.mark.parametrize("code", [307, 308])
def test_follows_a_redirect_within_the_place(code: int) -> None:
    """307 and 308 to the same scheme, host and port are followed, with the body."""
    with Receiver(script=faults.in_turn(faults.redirect("/v1/track", code))) as receiver:
        assert 200 == send(receiver.url).status
        assert ["/v1/batch", "/v1/track"] == [received.path for received in receiver.requests]
        assert BODY == receiver.requests[1].raw


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_takes_a_body_nowhere_else(code: int) -> None:
    """A redirect to another port, host or scheme, or with credentials, is an answer and no more."""
    with Receiver() as elsewhere, Receiver() as receiver:
        port = receiver.url.rpartition(":")[2]
        for target in (
            f"{elsewhere.url}/v1/batch",
            f"http://localhost:{port}/v1/batch",
            f"https://127.0.0.1:{port}/v1/batch",
            f"http://user:hunter2@127.0.0.1:{port}/v1/batch",
            "http://192.0.2.1/",
            "http://[/",
            "",
        ):
            receiver.script = faults.redirect(target, code)
            assert code == send(receiver.url).status

        assert [] == elsewhere.requests
        assert 7 == len(receiver.requests)


def test_redirects_end() -> None:
    """A server that sends us round and round is left."""
    script = faults.in_turn(*(faults.redirect(f"/{turn}") for turn in range(50)))
    with Receiver(script=script) as receiver:
        assert 307 == send(receiver.url).status
        assert 4 == len(receiver.requests)


def test_other_redirects_are_answers(receiver: Receiver) -> None:
    """A 302 within the place would turn the POST into a GET; it is not followed."""
    receiver.script = faults.redirect("/v1/track", 302)

    assert 302 == send(receiver.url).status
    assert 1 == len(receiver.requests)


# -- TLS ----------------------------------------------------------------------------------------------------------


def test_trusts_the_certificate_it_was_given(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """CERTIFICATE, or the variable that every tool built on requests reads, names who is trusted."""
    with Receiver(tls=authority.server()) as receiver:
        assert 200 == send(receiver.url, certificate=authority.file).status
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority.file)
        assert 200 == send(receiver.url).status


def test_refuses_a_certificate_it_does_not_trust(authority: Authority, tmp_path: Path) -> None:
    """An unknown authority or a certificate for another name ends the exchange before a byte of ours is sent."""
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    with Receiver(tls=authority.server()) as receiver:
        assert send(receiver.url).error.startswith("certificate: ")
        assert send(receiver.url, certificate=other.file).error.startswith("certificate: ")
        assert [] == receiver.requests
    with Receiver(tls=authority.server("example.org")) as receiver:
        assert send(receiver.url, certificate=authority.file).error.startswith("certificate: ")
        assert [] == receiver.requests


def test_refuses_an_expired_certificate(authority: Authority) -> None:
    """Yesterday's certificate is none, and is said to have expired."""
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    with Receiver(tls=authority.server(until=yesterday)) as receiver:
        assert "certificate: certificate has expired" == send(receiver.url, certificate=authority.file).error
        assert [] == receiver.requests


@pytest.mark.parametrize("data", [b"", b"early"])
def test_a_reset_before_the_handshake_leaves_no_socket(data: bytes) -> None:
    """The server hangs up between TCP and TLS: nothing goes on without TLS, and the descriptor is closed at once."""
    guard = Guard()
    context = ssl.create_default_context()
    context.sslsocket_class = guard.socket_class()
    with socket.create_server(("127.0.0.1", 0)) as server, guard.exchange(5):
        connected = guard.connect("127.0.0.1", server.getsockname()[1], (), plain=False)
        descriptor = connected.fileno()
        peer, _ = server.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets
        peer.sendall(data)
        peer.close()
        reset = select.poll()
        reset.register(connected, select.POLLHUP)
        assert reset.poll(20_000)
        with pytest.raises(ConnectionResetError):
            context.wrap_socket(connected, server_hostname="localhost")

        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_shows_its_own_certificate(authority: Authority, tmp_path: Path) -> None:
    """A server that asks for a client certificate gets CLIENT_CERTIFICATE, and refuses us without."""
    certificate, key = authority.client()
    both = tmp_path / "both.pem"
    both.write_text(Path(certificate).read_text() + Path(key).read_text())
    with Receiver(tls=authority.server(client=True)) as receiver:
        trusted: dict[str, Any] = {"certificate": authority.file}
        assert 200 == send(receiver.url, **trusted, client_certificate=certificate, client_key=key).status
        assert 200 == send(receiver.url, **trusted, client_certificate=str(both)).status
        refused = send(receiver.url, **trusted)
        assert refused.status is None
        assert refused.error
        assert 2 == len(receiver.requests)


def test_names_a_missing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that has gone since the settings were read is named, with its setting."""
    gone = str(tmp_path / "gone.pem")

    assert f"client_key={gone!r}: no such file" == send("https://127.0.0.1:1", client_key=gone).error
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", gone)
    assert f"REQUESTS_CA_BUNDLE={gone!r}: no such file" == send("https://127.0.0.1:1").error


def test_no_tls_where_tls_is_meant(receiver: Receiver) -> None:
    """An https endpoint that speaks plain http is an error, not a fallback."""
    assert send(receiver.url.replace("http:", "https:")).error.startswith("tls: ")
    assert [] == receiver.requests


# -- proxies ------------------------------------------------------------------------------------------------------


def test_goes_through_the_proxy_it_was_given(authority: Authority) -> None:
    """PROXY tunnels to the endpoint, logs in where it holds a password, and never sees what is inside."""
    with Receiver(tls=authority.server()) as receiver, Proxy("user:hunter2") as proxy:
        assert 200 == send(receiver.url, certificate=authority.file, proxy=proxy.url).status

        assert [f"CONNECT {receiver.url.partition('://')[2]} HTTP/1.0"] == [
            line.replace("HTTP/1.1", "HTTP/1.0") for line in proxy.seen
        ]
        assert KEY not in proxy.heads[0]
        assert "proxy-authorization" not in receiver.requests[0].headers


def test_goes_through_the_environments_proxy(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY counts where PROXY is unset, and NO_PROXY excepts hosts from it."""
    with Receiver(tls=authority.server()) as receiver, Proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert 200 == send(receiver.url, certificate=authority.file).status
        assert 1 == len(proxy.seen)

        monkeypatch.setenv("NO_PROXY", "localhost")
        assert 200 == send(receiver.url, certificate=authority.file).status
        assert 1 == len(proxy.seen)


def test_goes_through_a_proxy_that_speaks_tls(authority: Authority) -> None:
    """TLS to the proxy is verified by the same certificates as TLS to the endpoint inside it."""
    with Receiver(tls=authority.server()) as receiver, Proxy(tls=authority.server()) as proxy:
        assert 200 == send(receiver.url, certificate=authority.file, proxy=proxy.url).status
    with Receiver(tls=authority.server()) as receiver, Proxy(tls=authority.server("example.org")) as proxy:
        refused = send(receiver.url, certificate=authority.file, proxy=proxy.url)
        assert refused.error.startswith("proxy: certificate: ")
        assert [] == proxy.seen


def test_names_the_proxys_troubles(authority: Authority) -> None:
    """What the proxy does wrong is said to be the proxy's."""
    with Proxy("user:hunter2") as proxy:
        url = f"http://user:wrong-hunter2@127.0.0.1:{proxy.port}"
        assert "proxy: answered 407" == send("https://localhost:1", proxy=url).error
    with refusing() as url:
        assert "proxy: connection refused" == send("https://localhost:1", proxy=url).error
    assert "proxy: only http:// and https:// proxies are known" == send("https://x", proxy="socks5://127.0.0.1:1").error


# -- what must not be told or taken --------------------------------------------------------------------------------


def test_tells_no_credential(
    authority: Authority, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """No key, header or proxy password is in an error or in any log, however chatty."""
    caplog.set_level(logging.DEBUG)
    errors: list[str] = []
    with Receiver(tls=authority.server()) as receiver, Proxy("user:hunter2") as proxy, refusing() as nobody:
        trusted: dict[str, Any] = {"certificate": authority.file, "headers": {"X-Token": "operators-token"}}
        for url, settings in (
            (receiver.url, {"proxy": proxy.url}),
            (receiver.url, {"proxy": proxy.url.replace("hunter2", "not-hunter2")}),
            (receiver.url, {"proxy": nobody.replace("//", "//user:hunter2@")}),
            (receiver.url, {"proxy": "http://user:hunter2@nothing.invalid:1"}),
            (receiver.url, {"proxy": "http://user:hunter2@[:1"}),
            (receiver.url, {"certificate": ""}),
            (receiver.url, {"headers": {"X-Token": "operators-token\n"}}),
            (receiver.url, {"headers": {"X-Token\n": "operators-token"}}),
            (receiver.url, {"headers": {"X-Token": "operators-token\u2603"}}),
            (nobody, {}),
        ):
            errors.append(send(url, **{**trusted, **settings}).error)

    assert 9 == sum(map(bool, errors))
    out, err = capfd.readouterr()
    told = "\n".join((*errors, caplog.text, out, err))
    assert [] == [secret for secret in SECRETS if secret in told]


def test_takes_no_password_from_netrc(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ~/.netrc for the same host adds no Authorization and replaces none."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text(netrc.read_text())
    transport = HttpTransport({"timeout": 5_000})
    transport.send(Request(f"{receiver.url}/v1/batch", BODY))
    transport.send(request(receiver.url))
    transport.close()

    assert [None, KEY] == [received.headers.get("authorization") for received in receiver.requests]


def test_keeps_no_cookie(receiver: Receiver) -> None:
    """A server cannot mark us."""
    receiver.script = lambda received: Answer(headers={"Set-Cookie": "id=1; Path=/"})
    transport = HttpTransport({"timeout": 5_000})
    for _ in range(2):
        transport.send(request(receiver.url))
    transport.close()

    assert ["cookie" in received.headers for received in receiver.requests] == [False, False]


def test_survives_a_server_that_closes_idle_connections() -> None:
    """A connection that the server closed between two requests is replaced, not reported."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        server = threading.Thread(target=serve)
        server.start()
        transport = HttpTransport({"timeout": 5_000})
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        first = transport.send(request(url)).status
        time.sleep(0.1)
        second = transport.send(request(url)).status
        transport.close()
        server.join(10)

    assert [200, 200] == [first, second]


def test_one_thread_watches_the_time(receiver: Receiver) -> None:
    """Of all exchanges that follow each other, and none does when the transport is closed."""
    transport = HttpTransport({"timeout": 5_000})
    before = set(threading.enumerate())
    seen: set[threading.Thread] = set()
    for _ in range(20):
        assert 200 == transport.send(request(receiver.url)).status
        seen |= {thread for thread in threading.enumerate() if thread.name == "usagewire-time"} - before
    transport.close()

    (watching,) = seen
    watching.join(4.0)  # sooner than it would have looked by itself
    assert not watching.is_alive()
