"""Jina: the document's samples, the released client's bytes, and anything a program may attach."""

from __future__ import annotations

import ast
import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.golden.jina.cases import SAMPLE_ORIGIN, SAMPLES, sample
from tests.support.golden import NOON, ORIGIN, packed, settings_for, strict
from tests.support.values import attributes
from usagewire.config import Resolved
from usagewire.errors import Unsendable
from usagewire.formats.jina import DOCUMENTED, EVENT_BYTES, FORMAT, UPSTREAM
from usagewire.signals import Delivered, Event, Item, Origin, Rejected, Request, Response, Retry

PAGE = """
{'architecture': 'x86_64', 'ci-vendor': '(unset)', 'docarray': '0.15.2', 'event': EVENT, 'grpcio': '1.46.3',
 'jina': '3.7.13', 'jina-proto': '0.1.13', 'platform': 'Darwin', 'platform-release': '21.6.0',
 'platform-version': 'Darwin Kernel Version 21.6.0: Sat Jun 18 17:07:28 PDT '
 '2022; root:xnu-8020.140.41~1/RELEASE_ARM64_T8110', 'processor': 'i386', 'proto-backend': 'cpp',
 'protobuf': '3.20.1', 'python': '3.7.9', 'pyyaml': '6.0', 'session-id': SESSION, 'uid': 94731629138370,
 'uptime': '2022-08-21T18:53:59.681842'}
"""
"""A sample payload as the document prints it; the four differ in event and session."""

SETTINGS = settings_for(FORMAT)
UPSTREAM_SETTINGS = settings_for(FORMAT, {"dialect": "upstream"})


def event(name: str = "Client.start", body: Any = None, **attributes: Any) -> Event:
    """An event at noon; ``__`` in a keyword stands for a dot."""
    return Event(name, NOON, "ab" * 16, {key.replace("__", "."): value for key, value in attributes.items()}, body)


def encoded(found: Event, origin: Origin = ORIGIN, chosen: Resolved = SETTINGS) -> Item:
    """The event as the queue gets it."""
    assert FORMAT.encode is not None
    data = FORMAT.encode(FORMAT.render(found), origin, chosen)
    assert data is not None
    return Item(data)


def sent(found: Event, origin: Origin = ORIGIN, chosen: Resolved = SETTINGS) -> Request:
    """The event as it leaves."""
    [(request, _)] = packed(FORMAT, [encoded(found, origin, chosen)], chosen)
    return request


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_of_the_document_are_reproduced(name: str) -> None:
    """The four payloads that the document prints, key for key and in its order."""
    origin = SAMPLES[name]
    printed = ast.literal_eval(PAGE.replace("EVENT", repr(name)).replace("SESSION", repr(origin.session)))
    body = strict(sent(sample(name), origin).body)

    assert printed == body
    assert list(printed) == list(body)


def test_upstream_dialect_is_the_released_client_byte_for_byte() -> None:
    """The vector: 752 bytes of url-safe Base64 and their digest; its headers; the setting's URL, whole."""
    request = sent(sample("WorkerRuntime.start"), SAMPLE_ORIGIN, UPSTREAM_SETTINGS)

    assert 752 == len(request.body)
    assert "faa00246182ebd66bd22629aa226a7cbf9b59626b123dc83cb7d7ec469625545" == sha256(request.body).hexdigest()
    assert {"User-Agent": "Mozilla/5.0", "Content-Type": "application/x-www-form-urlencoded"} == request.headers
    assert SETTINGS["endpoint"] == request.url


def test_dialects_carry_the_same_keys() -> None:
    """Eighteen keys; Base64 of JSON with Python's separators, in the client's order, holds what the document does."""
    documented = strict(sent(event()).body)
    upstream = strict(urlsafe_b64decode(sent(event(), chosen=UPSTREAM_SETTINGS).body))

    assert documented == upstream
    assert 18 == len(DOCUMENTED) == len(set(DOCUMENTED))
    assert (list(DOCUMENTED), list(UPSTREAM)) == (list(documented), list(upstream))


def test_types_are_the_documented_ones() -> None:
    """The user id is a whole number below 2^48, the session a UUID, the start a time without a zone, the rest text."""
    body = strict(sent(event()).body)

    assert isinstance(body["uid"], int)
    assert 0 <= body["uid"] < 1 << 48
    assert body["session-id"] == str(UUID(body["session-id"]))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", body["uptime"])
    assert {"uid"} == {key for key, value in body.items() if not isinstance(value, str)}


def test_what_is_not_known_is_said_in_the_documents_words() -> None:
    """No CI is `(unset)`, a package that is not installed `not-available`."""
    body = strict(sent(event(), replace(ORIGIN, packages={"jina": "3.27.1", "grpcio": ""}, proto_backend="")).body)

    assert ("(unset)", "3.27.1", "not-available", "not-available", "not-available") == tuple(
        body[key] for key in ("ci-vendor", "jina", "grpcio", "pyyaml", "proto-backend")
    )


def test_page_lists_the_documented_keys() -> None:
    """The field table of docs/formats/jina.md is the document's list, in its order."""
    page = (Path(__file__).parents[2] / "docs" / "formats" / "jina.md").read_text(encoding="utf-8")
    table = page.partition("## What an event becomes")[2].partition("\nAfter these")[0]

    assert list(DOCUMENTED) == re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)


def test_ci_vendor_is_the_origins() -> None:
    """The name of the CI service, as it stands in the table."""
    assert "TRAVIS" == strict(sent(event(), replace(ORIGIN, ci_vendor="TRAVIS")).body)["ci-vendor"]


def test_plan_adds_packages_of_another_product() -> None:
    """Versions that the tracking plan asks for follow the documented keys."""
    body = strict(sent(event(), replace(ORIGIN, packages={**ORIGIN.packages, "torch": "2.4.1", "faiss": ""})).body)

    assert ["torch", "faiss"] == list(body)[18:]
    assert ("2.4.1", "not-available") == (body["torch"], body["faiss"])


# -- events -------------------------------------------------------------------------------------------------------


def test_component_events_are_called_as_the_document_calls_them() -> None:
    """`usage.component.stop` of `Flow` is `Flow.stop`, with `duration` and `version`; other attributes stay."""
    rendered = FORMAT.render(
        event(
            "usage.component.stop",
            usage__component__name="Flow",
            usage__component__version="3.7",
            usage__component__duration=1.5,
            entity_id="7",
        )
    )

    assert "Flow.stop" == rendered.name
    assert {"version": "3.7", "duration": 1.5, "entity_id": "7"} == rendered.attributes


def test_further_attributes_follow_the_documented_keys() -> None:
    """Attributes and a mapping body come last; a text body stays behind."""
    body = strict(sent(event(body={"b": 2}, a=1)).body)

    assert ["b", "a"] == list(body)[18:]
    assert b"free text" not in sent(event(body="free text")).body


def test_documented_keys_cannot_be_forged() -> None:
    """An attribute called `uid` is not sent; a version may be said by the program, for a protocol is no package."""
    forged = {"uid": 1, "event": "x", "python": "2.7", "jina-proto": "0.1.27"}
    body = strict(sent(Event("Client.start", NOON, "ab" * 16, forged)).body)

    assert {**strict(sent(event()).body), "jina-proto": "0.1.27"} == body


@given(attributes(), st.text(), st.integers(-(10**30), 10**30))
def test_anything_becomes_valid_json_or_is_unsendable(found: Mapping[Any, Any], name: str, time: int) -> None:
    """Whatever a program attaches, in both dialects: one line of strict JSON with the documented keys."""
    for chosen in (SETTINGS, UPSTREAM_SETTINGS):
        try:
            item = encoded(Event(name, time, "ab" * 16, found), chosen=chosen)
        except Unsendable:
            continue
        assert b"\n" not in item.data
        assert len(item.data) <= EVENT_BYTES
        assert set(DOCUMENTED) <= set(strict(item.data))


@pytest.mark.parametrize("huge", [{"a": "x" * 40_000}, {str(n): n for n in range(100_000)}, {"a": "\x00" * 6_000}])
def test_huge_events_are_refused(huge: Mapping[str, Any]) -> None:
    """Beyond 32 KB an event is refused with its name."""
    with pytest.raises(Unsendable, match=r"oversize: event .* takes more than 32768 bytes"):
        encoded(Event("Client.start", NOON, "ab" * 16, huge))


# -- the wire -----------------------------------------------------------------------------------------------------


def test_items_of_both_dialects_leave_from_one_queue() -> None:
    """One event a request, each in the way it was made, whatever the setting says now."""
    documented, upstream = encoded(event()), encoded(event(), chosen=UPSTREAM_SETTINGS)
    for chosen in (SETTINGS, UPSTREAM_SETTINGS):
        found = packed(FORMAT, [documented, upstream, documented], chosen)

        assert ["json", "x-www-form-urlencoded", "json"] == [
            request.headers["Content-Type"].rpartition("/")[2] for request, _ in found
        ]
        assert [json.loads(documented.data)] * 2 == [json.loads(found[0][0].body), json.loads(found[2][0].body)]


def test_verdicts() -> None:
    """2xx has arrived; overload and trouble are tried again, when the server says; the rest is rejected."""
    asked = Request("https://telemetry.example", b"{}")
    for status in (None, 408, 429, *range(500, 600)):
        assert isinstance(FORMAT.judge(asked, Response(status, error="refused"), True), Retry)
    for status in range(200, 300):
        assert Delivered() == FORMAT.judge(asked, Response(status), True)
    for status in (400, 401, 404, 413, 302):
        assert isinstance(FORMAT.judge(asked, Response(status), False), Rejected)
    assert Retry("HTTP 503", 7.0) == FORMAT.judge(asked, Response(503, {"retry-after": "7"}), False)
