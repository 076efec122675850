"""The receiver takes what a format's document allows, and says precisely what it does not."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import usagewire
from usagewire.inspector import faults
from usagewire.inspector.describe import describe
from usagewire.inspector.receiver import Receiver
from usagewire.inspector.routes import Answer, Received, check

EVENT = {
    "type": "track",
    "event": "server_start",
    "anonymousId": "9f3b6c1e-0000-4000-8000-000000000000",
    "properties": {"db_backend": "mysql"},
    "timestamp": "2026-01-02T03:04:05.678Z",
    "messageId": "a1b2",
}
HEADERS = {"content-type": "application/json", "authorization": "Basic d3JpdGVfa2V5Og=="}


def batch(*events: Any, **more: Any) -> bytes:
    """A request body; ``more`` replaces or adds keys."""
    return json.dumps({"batch": events, "sentAt": "2026-01-02T03:04:06.000Z", **more}).encode()


def received(body: bytes, path: str = "/v1/batch", method: str = "POST", **headers: str) -> Received:
    """A request as the receiver would hand it to a route."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Received(0, method, path, {**HEADERS, **named}, body, body, 1)


def post(
    url: str, body: bytes = b"", path: str = "/v1/batch", headers: dict[str, str] | None = None, **more: Any
) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of the answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request("POST", path, body, {**HEADERS, **(headers or {})}, **more)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def test_takes_a_batch_and_remembers_its_events_in_order() -> None:
    """Events that the document allows are accepted without a complaint."""
    with Receiver() as receiver:
        status, body, _ = post(receiver.url, batch(EVENT, {**EVENT, "messageId": "a1b3"}))

        assert 200 == status
        assert b'{"success":true}' == body
        assert receiver.wait(2)
        assert ["a1b2", "a1b3"] == [event["messageId"] for event in receiver.events()]
        assert [] == receiver.complaints()
        assert "application/json" == receiver.requests[0].headers["content-type"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"anonymousId": None}, "batch[0]: anonymousId: missing, and no userId either"),
        ({"userId": ""}, "batch[0]: userId: '', not a non-empty string"),
        ({"event": ""}, "batch[0]: event: '', not a non-empty string"),
        ({"type": "page"}, "batch[0]: type: 'page', not 'track'"),
        ({"timestamp": "yesterday"}, "batch[0]: timestamp: 'yesterday', not an ISO 8601 time"),
        ({"timestamp": 5}, "batch[0]: timestamp: 5, not an ISO 8601 time"),
        (
            {"timestamp": "2026-01-02T03:04:05.678"},
            "batch[0]: timestamp: '2026-01-02T03:04:05.678', without a time zone",
        ),
        ({"messageId": "x" * 101}, "batch[0]: messageId: 101 characters, more than 100"),
        ({"properties": []}, "batch[0]: properties: not an object"),
    ],
)
def test_names_the_event_and_the_field_that_is_wrong(change: dict[str, Any], complaint: str) -> None:
    """A complaint says which event of the batch, which field, and what it held."""
    assert (complaint,) == check(received(batch({**EVENT, **change}))).complaints


@pytest.mark.parametrize("name", ["type", "event", "timestamp", "messageId"])
def test_names_what_is_missing(name: str) -> None:
    """Every required field of an event in a batch is asked for by name."""
    event = {key: value for key, value in EVENT.items() if key != name}

    assert (f"batch[0]: {name}: missing",) == check(received(batch(event))).complaints


def test_asks_for_an_id() -> None:
    """An event without any id is complained of; one with a userId alone is fine."""
    event = {key: value for key, value in EVENT.items() if key != "anonymousId"}

    found = check(received(batch(event, {**event, "userId": "u", "messageId": "2"})))

    assert ("batch[0]: anonymousId: missing, and no userId either",) == found.complaints


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        (received(batch(EVENT), content_type="text/plain"), "Content-Type: 'text/plain', not 'application/json'"),
        (received(batch(EVENT), authorization=""), "Authorization: not `Basic base64(writeKey + ':')`"),
        (received(batch(EVENT), authorization="Basic a2V5"), "Authorization: not `Basic base64(writeKey + ':')`"),
        (received(batch(EVENT, sentAt=None)), "sentAt: missing"),
        (received(batch(EVENT, EVENT)), "batch: a messageId comes twice"),
        (received(batch()), "batch: 0 events, not 1 to 2500"),
        (received(b'{"batch":{}}'), "batch: missing, or not a list"),
        (received(b"[]"), "body: not a JSON object"),
        (received(batch(7)), "batch[0]: not an object"),
    ],
)
def test_checks_the_whole_request(request_: Received, complaint: str) -> None:
    """Headers and the batch itself are checked as well as the events."""
    assert (complaint,) == check(request_).complaints


def test_holds_events_and_batches_to_the_limits() -> None:
    """32 KiB an event, 500 KiB and 2,500 events a batch."""
    long = {**EVENT, "properties": {"x": "y" * 33_000}}
    many = [{**EVENT, "messageId": f"{index:090}"} for index in range(2_501)]

    assert "bytes, more than 32768" in check(received(batch(long))).complaints[0]
    assert "batch: 2501 events, not 1 to 2500" in check(received(batch(*many))).complaints
    assert re.search(r"batch: \d+ bytes, more than 512000", check(received(batch(*many))).complaints[0])


def test_a_single_event_may_leave_its_time_to_the_server() -> None:
    """/v1/track takes what the real product's client sends."""
    body = b'{"anonymousId":"9f3b","event":"adapter_start","properties":{}}'

    found = check(received(body, "/v1/track"))

    assert () == found.complaints
    assert ("adapter_start",) == tuple(event["event"] for event in found.events)


def test_other_paths_are_not_found() -> None:
    """What no format uses is answered 404, remembered and complained of."""
    with Receiver() as receiver:
        assert 404 == post(receiver.url, b"{}", "/v2/batch")[0]
        assert ["POST /v2/batch: no such route"] == receiver.complaints()
        assert [] == receiver.events()


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["batch", "sentAt", *EVENT]), inner, max_size=4)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_body_is_judged(body: bytes) -> None:
    """Whatever comes, the checks return a verdict."""
    for path in ("/v1/batch", "/v1/track", "/jina", "/collect"):
        found = check(received(body, path))

        assert found.events or found.complaints


@settings(deadline=None)
@given(st.binary(max_size=64))
def test_prints_anything_without_control_characters(noise: bytes) -> None:
    """Events that came over the network cannot steer a terminal."""
    event = {**EVENT, "event": noise.decode("latin-1"), "properties": {noise.decode("latin-1"): 1}}
    text = describe(Received(0, "POST", "/v1/batch", {}, b"", b"", 1, (event, 7)))

    assert all(character.isprintable() or character == "\n" for character in text)


def test_prints_a_request_readably() -> None:
    """One block per request: what came, each event with its properties, each complaint."""
    shown = describe(Received(0, "POST", "/v1/batch", {}, b"12", b"", 1, (EVENT,), ("sentAt: missing",)))

    assert (
        "POST /v1/batch  1 event, 2 bytes, answered 200\n"
        '    server_start  db_backend="mysql"\n'
        "    complaint: sentAt: missing\n"
    ) == shown.partition("  ")[2]
    assert "\x1b[31m" in describe(Received(0, "POST", "/", {}, b"", b"", 1, (), ("x",)), color=True)


def test_reads_gzip_and_chunks() -> None:
    """Bodies may be compressed, or come in chunks of unknown total."""
    with Receiver() as receiver:
        packed = gzip.compress(batch(EVENT))
        assert 200 == post(receiver.url, packed, headers={"Content-Encoding": "gzip"})[0]
        chunks: Any = iter([b"{", b'"batch"', batch(EVENT)[8:]])
        assert 200 == post(receiver.url, chunks, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})[0]

        assert [] == receiver.complaints()
        assert 2 == len(receiver.events())
        assert packed == receiver.requests[0].raw
        assert batch(EVENT) == receiver.requests[0].body == receiver.requests[1].body


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (gzip.compress(bytes(17 << 20)), {"Content-Encoding": "gzip"}, 413),
        (b"", {"Content-Length": str(17 << 20)}, 413),
        (b"", {"Content-Length": "-1"}, 400),
        (b"not gzip", {"Content-Encoding": "gzip"}, 400),
        (gzip.compress(b"{}")[:-9], {"Content-Encoding": "gzip"}, 400),
        (b"{}", {"Content-Encoding": "br"}, 415),
        (b"zz\r\n", {"Transfer-Encoding": "chunked"}, 400),
    ],
    ids=["inflates", "long", "negative", "not gzip", "gzip breaks off", "unknown coding", "no chunk size"],
)
def test_refuses_bodies_without_bounds_or_sense(body: bytes, headers: dict[str, str], status: int) -> None:
    """A body that is too long, inflates too far or cannot be read is refused, and said to be."""
    with Receiver() as receiver:
        assert status == post(receiver.url, body, headers=headers)[0]
        assert 1 == len(receiver.complaints())
        assert [] == receiver.events()


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("null", 403),
        ("https://evil.example", 403),
        ("http://127.0.0.1.evil.example", 403),
        ("http://[::1", 403),
        ("http://localhost:8080", 200),
    ],
)
def test_pages_of_other_sites_may_not_send(origin: str, status: int) -> None:
    """What a browser sends for a page that is not this machine's is refused, and never counted."""
    with Receiver() as receiver:
        found, _, _ = post(receiver.url, batch(EVENT), headers={"Origin": origin})

        assert status == found
        assert (status == 200) == bool(receiver.events())


def test_a_body_that_breaks_off_is_not_accepted() -> None:
    """A sender that dies in the middle has delivered nothing."""
    with Receiver() as receiver:
        with socket.create_connection((urlsplit(receiver.url).hostname, urlsplit(receiver.url).port or 0)) as sender:
            sender.sendall(b"POST /v1/batch HTTP/1.1\r\nContent-Length: 100\r\n\r\n{}")
        assert receiver.wait_for(lambda: len(receiver.requests) == 1)

        assert ["body: breaks off after 2 of 100 bytes"] == receiver.complaints()
        assert [] == receiver.events()


def test_a_script_answers_in_turn() -> None:
    """Scripts stand in for the ordinary answer; what they refuse does not count as accepted."""
    script = faults.in_turn(faults.status(503), faults.retry_after(7), faults.redirect("/elsewhere"))
    with Receiver(script=script) as receiver:
        answers = [post(receiver.url, batch(EVENT)) for _ in range(4)]

        assert [503, 429, 307, 200] == [status for status, _, _ in answers]
        assert "7" == answers[1][2]["Retry-After"]
        assert "/elsewhere" == answers[2][2]["Location"]
        assert 1 == len(receiver.events())
        assert 4 == len(receiver.requests)


def test_poison_refuses_only_the_batch_that_holds_it() -> None:
    """One bad event spoils its batch, and no other."""
    with Receiver(script=faults.poison(lambda event: event["messageId"] == "bad")) as receiver:
        assert 200 == post(receiver.url, batch(EVENT))[0]
        assert 400 == post(receiver.url, batch(EVENT, {**EVENT, "messageId": "bad"}))[0]
        assert 1 == len(receiver.events())


def test_waits_no_longer_than_told() -> None:
    """`wait` says whether the events came in time."""
    with Receiver() as receiver:
        assert not receiver.wait(1, timeout=0.01)
        sender = threading.Thread(target=post, args=(receiver.url, batch(EVENT)))
        sender.start()
        assert receiver.wait(1)
        sender.join()


def test_ends_under_clients_that_wait() -> None:
    """Leaving the receiver ends slow answers and open connections at once."""
    with Receiver(script=lambda request: Answer(delay=60)) as receiver:
        client = socket.create_connection(
            (urlsplit(receiver.url).hostname, urlsplit(receiver.url).port or 0), timeout=10
        )
        client.sendall(b"POST /v1/batch HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        assert receiver.wait_for(lambda: len(receiver.requests) == 1)
    with client:
        while client.recv(4096):
            pass


@pytest.mark.slow
def test_runs_by_itself_without_any_package() -> None:
    """`python -m usagewire.inspector.receiver` prints requests, needs no package, and ends on Ctrl-C."""
    command = [sys.executable, "-S", "-m", "usagewire.inspector.receiver", "--port", "0"]  # -S: no site-packages
    only_ours = {"PYTHONPATH": str(Path(usagewire.__file__).parents[1])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=only_ours) as process:
        assert process.stdout is not None
        post(process.stdout.readline().split()[-1], batch(EVENT))
        shown = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        _, noise = process.communicate(timeout=10)

    assert 'server_start  db_backend="mysql"' == shown[1].strip()
    assert "\x1b" not in "".join(shown)
    assert (0, "") == (process.returncode, noise)


@pytest.mark.slow
def test_by_itself_it_says_which_port_is_taken() -> None:
    """One line, with the way out, and 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "usagewire.inspector.receiver", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    said = f"--host 127.0.0.1 --port {port}: Address already in use; --port 0 takes any free one\n"
    assert (1, said) == (done.returncode, done.stderr)
