"""The receiver knows each format's document: what the goldens hold is fine, what breaks the document is named."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from tests.support.golden import GOLDEN, cases, items, packed, settings_for
from usagewire.formats import load
from usagewire.inspector.routes import Checked, Received, check

CHECKED = ("segment", "jina", "tts", "stone")


def received(path: str, body: bytes, method: str = "POST", **headers: str) -> Received:
    """A request as the receiver would hand it to a route."""
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return Received(0, method, path, named, body, body, 1)


@pytest.mark.parametrize(("name", "case"), [(name, case) for name in CHECKED for case in cases(name)])
def test_goldens_are_what_the_documents_ask_for(name: str, case: str) -> None:
    """Every recorded request of every format is taken without a complaint, and its events are found."""
    fmt, made = load(name), cases(name)[case]
    settings = settings_for(fmt, made.settings)
    requests = packed(fmt, items(fmt, made, settings), settings, made.attempt)
    found = [check(received(urlsplit(r.url).path, r.body, r.method, **r.headers)) for r, _ in requests]

    assert [()] * len(requests) == [one.complaints for one in found]
    assert sum(taken for _, taken in requests) == sum(len(one.events) for one in found)


# -- jina ---------------------------------------------------------------------------------------------------------

JINA = orjson.loads((GOLDEN / "jina" / "sample.out").read_bytes().splitlines()[-1])


def jina(**changes: Any) -> Checked:
    """The document's sample with changes, as the receiver takes it."""
    body = {name: value for name, value in {**JINA, **changes}.items() if value is not None}
    return check(received("/jina", orjson.dumps(body), content_type="application/json"))


def test_jina_event_is_taken_with_its_further_attributes() -> None:
    """What follows the documented keys is the event's own."""
    assert Checked(({**JINA, "duration": 1.5},), ()) == jina(duration=1.5)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"event": None}, "event: None, not a text"),
        ({"pyyaml": 6.0}, "pyyaml: 6.0, not a text"),
        ({"uid": "94731629138370"}, "uid: '94731629138370', not a whole number below 2**48"),
        ({"uid": 1 << 48}, "uid: 281474976710656, not a whole number below 2**48"),
        ({"session-id": "mine"}, "session-id: 'mine', not a UUID"),
        (
            {"uptime": "2022-08-21T18:53:59Z"},
            "uptime: '2022-08-21T18:53:59Z', not a time with microseconds and without a zone",
        ),
    ],
)
def test_jina_names_the_key_that_is_wrong(changes: dict[str, Any], complaint: str) -> None:
    """Missing keys and wrong types, each by name."""
    assert (complaint,) == jina(**changes).complaints


def test_jina_body_that_is_no_object_is_refused() -> None:
    """Neither broken Base64 nor broken JSON is an event."""
    form = "application/x-www-form-urlencoded"
    broken = check(received("/jina", b"!", content_type=form))
    other = check(received("/jina", urlsafe_b64encode(b"[]"), content_type=form))

    assert (400, ()) == (broken.answer.status, broken.events)
    assert (400, ("body: not a JSON object",)) == (other.answer.status, other.complaints)


# -- tts ----------------------------------------------------------------------------------------------------------

TTS = orjson.loads((GOLDEN / "tts" / "sample.out").read_bytes().splitlines()[-1])["message"]


def tts(**changes: Any) -> Checked:
    """The document's sample with changes, as the receiver takes it."""
    body = orjson.dumps({"message": {**TTS, **changes}})
    return check(received("/collect", body, content_type="application/json"))


def test_tts_message_is_taken_with_and_without_its_wrapping() -> None:
    """The documented form and the released product's hold the same message."""
    bare = check(received("/collect", orjson.dumps(TTS), content_type="application/json"))

    assert Checked((TTS,), ()) == tts() == bare


COUNTED = TTS["entities_count"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"uid": ""}, "uid: '', not a non-empty text"),
        ({"os": {**TTS["os"], "arch": 64}}, "os.arch: 64, not a text"),
        ({"cli": {}}, "cli, entities_count: not an object and null, one of each"),
        ({"entities_count": None}, "cli, entities_count: not an object and null, one of each"),
        (
            {"entities_count": {**COUNTED, "applications": {"total": 1.5}}},
            "entities_count.applications.total: 1.5, not a count",
        ),
        (
            {"entities_count": {**COUNTED, "gateways": {"total": 1}}},
            "entities_count.gateways.gateways_by_frequency_plan_id: None, not an object of counts",
        ),
    ],
)
def test_tts_names_the_key_that_is_wrong(changes: dict[str, Any], complaint: str) -> None:
    """Missing keys and wrong types, each by its path."""
    assert (complaint,) == tts(**changes).complaints


def test_tts_body_that_is_no_message_is_named() -> None:
    """Neither a list nor a message that is none."""
    form = {"content_type": "application/json"}

    assert (400, ("body: not a JSON object",)) == (
        (one := check(received("/collect", b"[]", **form))).answer.status,
        one.complaints,
    )
    assert ("message: not an object",) == check(received("/collect", b'{"message":7}', **form)).complaints


# -- stone --------------------------------------------------------------------------------------------------------

STONE, DISKS = (
    orjson.loads((GOLDEN / "stone" / f"{case}.out").read_bytes().splitlines()[-1]) for case in ("full", "device")
)
ANONYMOUS, SAMPLED = next((name, times) for name, times in DISKS.items())
(SAMPLE,) = SAMPLED.values()


def stone(**changes: Any) -> Checked:
    """The golden report with changes, as the receiver takes it; ``None`` takes a field away."""
    body = {name: value for name, value in {**STONE, **changes}.items() if value is not ...}
    return check(received("/report", orjson.dumps(body), "PUT", content_type="application/json"))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"report_version": 2}, "report_version: 2, not as documented"),
        ({"report_timestamp": "2026-09-30T12:00:00Z"}, "report_timestamp: '2026-09-30T12:00:00Z', not as documented"),
        ({"license": ...}, "license: missing"),
        ({"contact": ...}, "contact: missing"),
        ({"report_id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}, "report_id: '6ba7b810-9dad-11d1-80b4-00c04fd430c8'"),
        ({"hostname": "host-a"}, "hostname: not known"),
        ({"osd": {"count": "12"}}, "osd.count: not a whole number"),
        ({"pools": [{"pool": 1, "name": "secrets"}]}, "pools[].name: not known"),
        ({"config": {"cluster_changed": ["b", "a"]}}, "config: longer than it may be, or not in order"),
        ({"crashes": []}, "crashes: [], not a list with something in it"),
        (
            {"crashes": [{**STONE["crashes"][0], "utsname_hostname": "host-a"}]},
            "crashes[0].utsname_hostname: not known",
        ),
        ({"crashes": [{**STONE["crashes"][0], "entity_name": "mon.host-a"}]}, "crashes[0].entity_name: 'mon.host-a'"),
        ({"crashes": [{**STONE["crashes"][0], "backtrace": ["/home/x:f:1"]}]}, "crashes[0].backtrace: holds a path"),
        ({"crashes": [{**STONE["crashes"][0], "os_id": ...}]}, "crashes[0].os_id: missing"),
    ],
)
def test_stone_names_the_field_that_is_wrong(changes: dict[str, Any], complaint: str) -> None:
    """Missing and unknown fields and wrong values, each by its path; it is stored all the same."""
    changes = {
        name: [{key: inner for key, inner in value[0].items() if inner is not ...}]
        if name == "crashes" and value
        else value
        for name, value in changes.items()
    }
    found = stone(**changes)

    assert [True] == [one.startswith(complaint) for one in found.complaints]
    assert b'{"status":true}' == found.answer.body


def test_stone_field_of_a_channel_that_is_off_is_named() -> None:
    """What leaves has to fit the channels that the report says are on."""
    found = stone(channels=["basic", "crash", "device"])

    assert {f"{name}: its channel, ident, is not active" for name in ("contact", "description", "organization")} == set(
        found.complaints
    )


def test_stone_says_null_to_what_it_does_not_store() -> None:
    """Like the real one it answers 200 then; the body makes the difference."""
    found = stone(report_id=...)

    assert (200, b"null") == (found.answer.status, found.answer.body)
    assert ("report_id: missing",) == found.complaints


def test_stone_takes_bodies_as_they_are_only() -> None:
    """A compressed or chunked body is complained of."""
    headers = {"content_type": "application/json", "content_encoding": "gzip", "transfer_encoding": "chunked"}
    found = check(received("/report", orjson.dumps(STONE), "PUT", **headers))

    assert (
        "Content-Encoding: 'gzip'; bodies come as they are, with their length",
        "Transfer-Encoding: 'chunked'; bodies come as they are, with their length",
    ) == found.complaints


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"SEAGATE_ZA1ABCDE": SAMPLED}, "SEAGATE_ZA1ABCDE: not a random UUID after the last _"),
        ({ANONYMOUS: {"yesterday": SAMPLE}}, f"{ANONYMOUS}.yesterday: 'yesterday', not YYYYmmdd-HHMMSS"),
        ({ANONYMOUS: {"20260930-110000": {**SAMPLE, "wwn": 7}}}, f"{ANONYMOUS}.20260930-110000.wwn: 7, an identifier"),
        (
            {ANONYMOUS: {"20260930-110000": {**SAMPLE, "x": [{"serial_number": "ZA1"}]}}},
            f"{ANONYMOUS}.20260930-110000.x.[0].serial_number: 'ZA1', an identifier",
        ),
        ({ANONYMOUS: {"20260930-110000": {**SAMPLE, "host_id": "host-a"}}}, "host_id: host-a, not one random UUID"),
        ({}, "body: no samples"),
    ],
)
def test_stone_names_what_gives_a_disk_away(body: dict[str, Any], complaint: str) -> None:
    """Identifiers wherever they stand, ids that are not random, times of another form."""
    found = check(received("/device", orjson.dumps(body), "PUT", content_type="application/json"))

    assert (complaint,) == found.complaints
