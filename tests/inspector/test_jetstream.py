"""The receivers know JetStream's document: goldens are fine, what breaks the document is named."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.golden.jetstream.cases import ALL
from tests.support.golden import GOLDEN, Case, cases, items, packed, settings_for
from usagewire.formats import load
from usagewire.formats.jetstream.codec import SEND
from usagewire.inspector.checks.jetstream import VALUES, complaints
from usagewire.inspector.describe import describe
from usagewire.inspector.received import Received
from usagewire.inspector.routes import check

FORMAT = load("jetstream")
GOOD = orjson.loads((GOLDEN / "jetstream" / "two.out").read_bytes().splitlines()[-1])
TYPES = {"grpc": "application/grpc", "http/protobuf": "application/x-protobuf", "http/json": "application/json"}


def received(path: str, body: bytes, kind: str) -> Received:
    """A request as the receiver would hand it to a route."""
    return Received(0, "POST", path, {"content-type": kind}, body, body, 1)


@pytest.mark.parametrize("case", cases("jetstream"))
def test_goldens_are_what_the_document_asks_for(case: str) -> None:
    """Every recorded request is taken without a complaint."""
    made = cases("jetstream")[case]
    settings = settings_for(FORMAT, made.settings)
    for request, _ in packed(FORMAT, items(FORMAT, made, settings), settings):
        found = check(received(urlsplit(request.url).path, request.body, TYPES[settings["protocol"]]))
        assert () == found.complaints
        assert found.events


def test_sets_are_printed_under_their_names() -> None:
    """All six, each value by what it is."""
    settings = settings_for(FORMAT, {"endpoint": "https://telemetry.example"})
    [(request, _)] = packed(FORMAT, items(FORMAT, Case(points=ALL), settings), settings)
    one = received(f"/{SEND}", request.body, "application/grpc")
    text = describe(Received(0, "POST", one.path, {}, b"", b"", 1, check(one).events)).splitlines()

    assert sorted(VALUES) == sorted(name for name in VALUES for line in text if line.strip().startswith(name))
    assert any("queued=3  started=3  completed=2  failed=1" in line for line in text)
    assert any("0=1  1-1023=2  1024-8191=1" in line for line in text)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda s: s[0].update(platform="darwin"), "information: platform: 'darwin'"),
        (lambda s: s[0].pop("serverId"), "information: serverId: missing"),
        (lambda s: s[0].update(host="a"), "information: host: unknown"),
        (lambda s: s.__delitem__(slice(1, None)), "no data set"),
        (lambda s: s[1].update(key=-1), "data 1: key: -1"),
        (lambda s: s[1].update(values=[1, "2"]), "data 1: values: [1, '2']"),
        (lambda s: s[1]["values"].pop(), "data 1: transfer sizes: 13 values, not 14"),
        (lambda s: s[1]["values"].__setitem__(1, 7), "data 1: transfer sizes: bins of 2, of 7 together"),
        (lambda s: s[2].update(values=[0, 0, 0, 0]), "data 2: transfer status: counts that are none"),
        (lambda s: s.__setitem__(2, "x"), "data 2: not a structure"),
    ],
)
def test_what_breaks_the_document_is_named(change: Any, complaint: str) -> None:
    """One change to a good session, one complaint."""
    session = orjson.loads(orjson.dumps(GOOD))
    change(session)

    [found] = complaints(session)
    assert found.startswith(complaint)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([0, 9, 2, 1.0, 2.0, 3.0, 0.0], "min 1.0, mean 3.0, max 2.0"),
        ([0, 9, 2, 1.0, 2.0, 1.5, -1.0], "variance -1.0"),
        ([9, 0, 2, 1.0, 2.0, 1.5, 0.0], "offsets or count are wrong"),
    ],
)
def test_impossible_statistics_are_named(values: list[float], complaint: str) -> None:
    """min ≤ mean ≤ max, and no negative variance."""
    [found] = complaints([GOOD[0], {"key": 4229049640, "timestamp": 1, "values": values}])

    assert complaint in found


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"[" * 100_000, b"\xff", b'[{"a":NaN}]'])
def test_what_is_no_session_is_refused(body: bytes) -> None:
    """400 over HTTP."""
    found = check(received("/v1/telemetry", body, "application/json"))

    assert (400, ()) == (found.answer.status, found.events)


@given(st.binary())
def test_any_bytes_are_taken_for_what_they_are(body: bytes) -> None:
    """A call with garbage ends with INVALID_ARGUMENT or with complaints, never with a fault of ours."""
    found = check(received(f"/{SEND}", body, "application/grpc"))

    assert found.complaints or found.events
