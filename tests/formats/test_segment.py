"""Segment: what is rendered, encoded, packed and judged, against the documents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.golden import NOON, ORIGIN, SECOND, packed, settings_for, strict
from tests.support.values import attributes
from usagewire.config import Resolved
from usagewire.errors import Unsendable
from usagewire.formats.segment import BATCH_BYTES, BATCH_EVENTS, EVENT_BYTES, FORMAT
from usagewire.signals import Delivered, Event, Histogram, Item, Period, Point, Rejected, Request, Response, Retry

SCHEMA = json.loads((Path(__file__).parent / "readyset.schema.json").read_text())
NAMES = SCHEMA["components"]["schemas"]["TrackBody"]["properties"]["event"]["enum"]
CHECKER = jsonschema.FormatChecker(formats=())


@CHECKER.checks("date-time", raises=ValueError)
def is_date_time(value: object) -> bool:
    """RFC 3339, with its offset, as the schema's `format` asks."""
    return datetime.strptime(str(value), "%Y-%m-%dT%H:%M:%S.%f%z").tzinfo is not None


def settings(**given: Any) -> Resolved:
    """Settings with a write key, and what is given."""
    return settings_for(FORMAT, {"write_key": "write_key", **given})


SETTINGS = settings()


def event(name: str = "installer_run", body: Any = None, **attributes: Any) -> Event:
    """An event at noon with an id of its own."""
    return Event(name, NOON, "ab" * 16, {key.replace("__", "."): value for key, value in attributes.items()}, body)


def encoded(found: Event, chosen: Resolved = SETTINGS) -> Item:
    """The event as the queue gets it."""
    assert FORMAT.encode is not None
    data = FORMAT.encode(FORMAT.render(found), ORIGIN, chosen)
    assert data is not None
    return Item(data)


def compiled(*points: Point, nonce: str = "5e" * 16) -> list[dict[str, Any]]:
    """The report over ``points``, parsed."""
    assert FORMAT.compile is not None
    period = Period(1, NOON - 86_400 * SECOND, NOON, points, (), nonce)
    return [strict(item.data) for item in FORMAT.compile(period, ORIGIN, SETTINGS, NOON + SECOND)]


def test_every_item_satisfies_readysets_schema() -> None:
    """The nine events with the five properties, made from component events and others, pass the OpenAPI schema."""
    versions = {"adapter_version": "1.30.0", "server_version": "1.30.0", "docker_version": "24.0.7"}
    for name in NAMES:
        component, _, happened = name.partition("_")
        found = event(name, db_backend="postgres", commit_id="4f2a9c1", **versions)
        if happened in ("start", "stop"):
            found = event(
                f"usage.component.{happened}",
                usage__component__name=component,
                usage__component__version="1.30.0",
                db_backend="mysql",
                commit_id="4f2a9c1",
            )
        item = strict(encoded(found).data)

        assert name == item["event"]
        jsonschema.validate(item, SCHEMA, format_checker=CHECKER)


def test_schema_is_really_checked() -> None:
    """What breaks the schema is noticed, so that the test above says something."""
    good = strict(encoded(event()).data)
    for bad in ({"event": "lunch"}, {"timestamp": "noon"}, {"properties": {"db_backend": "oracle"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**good, **bad}, SCHEMA, format_checker=CHECKER)


def test_item_has_exactly_the_documented_keys_in_order() -> None:
    """Nothing is sent that the page does not list; ids are never null; the user id is not stored."""
    item = strict(encoded(event(), settings(user_id="secret-user")).data)

    assert ["type", "event", "anonymousId", "properties", "timestamp", "messageId", "context"] == list(item)
    assert {"library": {"name": "usagewire", "version": "0.1.0"}} == item["context"]
    assert ORIGIN.session == str(UUID(item["anonymousId"]))
    assert "ab" * 16 == item["messageId"]


# -- render -------------------------------------------------------------------------------------------------------


def test_component_events_carry_the_component_in_their_name() -> None:
    """`usage.component.start` of `server` is `server_start`, its version `server_version`; the rest stays."""
    rendered = FORMAT.render(
        event(
            "usage.component.stop",
            usage__component__name="Flow",
            usage__component__version="3.2",
            usage__component__duration=1.5,
            error__type="OSError",
        )
    )

    assert "Flow_stop" == rendered.name
    assert {"Flow_version": "3.2", "usage.component.duration": 1.5, "error.type": "OSError"} == rendered.attributes


@pytest.mark.parametrize("name", [None, "", 7, ["server"]])
def test_component_event_without_a_name_stays_as_it_is(name: Any) -> None:
    """Without a component there is nothing to build a name from."""
    found = event("usage.component.start", usage__component__name=name, usage__component__version="1")

    assert found == FORMAT.render(found)


def test_other_events_keep_their_names() -> None:
    """Only start and stop are component events; a crash keeps its component as an attribute."""
    found = event("usage.crash", usage__component__name="server")

    assert found == FORMAT.render(found)


def test_mapping_body_joins_the_attributes_and_text_body_stays_behind() -> None:
    """A body that is a mapping becomes properties, before plan and redaction see them; attributes win."""
    rendered = FORMAT.render(event(body={"a": "body", "b": 2}, a="attribute"))

    assert ({"a": "attribute", "b": 2}, None) == (rendered.attributes, rendered.body)
    assert b"free text" not in encoded(event(body="free text")).data


# -- encode -------------------------------------------------------------------------------------------------------


@given(attributes(), st.text(), st.integers(-(10**30), 10**30))
def test_anything_becomes_valid_json_or_is_unsendable(found: Mapping[Any, Any], name: str, time: int) -> None:
    """Whatever a program attaches, in both dialects: one line of strict JSON within the limit, or Unsendable."""
    for chosen in (SETTINGS, settings(dialect="upstream")):
        try:
            item = encoded(Event(name, time, "ab" * 16, found), chosen)
        except Unsendable:
            continue
        parsed = strict(item.data)
        assert b"\n" not in item.data
        assert len(item.data) <= EVENT_BYTES
        assert isinstance(parsed["properties"], dict)
        request, taken = FORMAT.pack([item.data], chosen, NOON, 1)
        assert 1 == taken
        assert item.data in request.body


def test_limit_is_32_kilobytes_to_the_byte() -> None:
    """The largest event passes, one byte more does not, and the refusal names event, size and limit."""
    room = EVENT_BYTES - len(encoded(event(filler="")).data)

    assert EVENT_BYTES == len(encoded(event(filler="x" * room)).data)
    with pytest.raises(Unsendable) as refusal:
        encoded(event(filler="x" * (room + 1)))
    assert "event 'installer_run' takes 32769 bytes as JSON, Segment takes 32768" == refusal.value.detail


@pytest.mark.parametrize(
    "huge",
    [
        {str(number): number for number in range(1_000_000)},
        {"list": [0] * 1_000_000},
        {"text": "x" * 10_000_000},
        {"text": "\x00" * 30_000},
        {"nested": {"range": range(10**12)}},
    ],
    ids=["attributes", "list", "text", "escapes", "range"],
)
def test_huge_events_are_refused_early(huge: Mapping[str, Any]) -> None:
    """A million of anything is refused with its name, without first building the JSON."""
    with pytest.raises(Unsendable, match=r"oversize: event 'installer_run' takes .* Segment takes 32768"):
        encoded(Event("installer_run", NOON, "ab" * 16, huge))


def test_huge_event_name_is_refused() -> None:
    """The limit counts the whole event, and the message stays short."""
    with pytest.raises(Unsendable) as refusal:
        encoded(event("x" * 40_000))
    assert len(refusal.value.detail) < 200


# -- metrics ------------------------------------------------------------------------------------------------------


def test_metric_ids_derive_from_the_period() -> None:
    """Compiling again gives the same ids; another period or another metric others."""
    points = [Point("a", "sum", NOON, value=1), Point("b", "sum", NOON, value=2)]
    first, again, other = compiled(*points), compiled(*points), compiled(*points, nonce="77" * 16)

    assert first == again
    assert 4 == len({item["messageId"] for item in first + other})
    assert all(len(item["messageId"]) == 32 for item in first)


def test_metric_has_its_attributes_and_the_value_wins() -> None:
    """Properties are the attributes plus `value`; the timestamp is the period's end."""
    [item] = compiled(Point("jobs", "sum", NOON, {"queue": "q", "value": "attribute"}, value=3))

    assert {"queue": "q", "value": 3} == item["properties"]
    assert "2026-09-30T12:00:00.000Z" == item["timestamp"]


def test_distribution_leaves_out_what_is_not_known() -> None:
    """Without moments there is no variance, never a guess; the mean is sum by count."""
    exact = Histogram(2, 4.0, 1.0, 3.0, 2.0, 2.0, (2.0,), (1, 1))
    rough = Histogram(2, 4.0)

    assert [
        {
            "count": 2,
            "sum": 4.0,
            "min": 1.0,
            "max": 3.0,
            "mean": 2.0,
            "variance": 1.0,
            "buckets": {"bounds": [2.0], "counts": [1, 1]},
        },
        {"count": 2, "sum": 4.0, "mean": 2.0},
    ] == [
        item["properties"] for item in compiled(*(Point("h", "histogram", NOON, histogram=h) for h in (exact, rough)))
    ]


def test_metric_too_large_for_an_event_keeps_its_numbers() -> None:
    """Attributes and buckets go, the numbers stay, and `oversize` says so; compiling never fails."""
    wide = Histogram(1, 2.0, bounds=tuple(map(float, range(20_000))), buckets=(0,) * 20_001)
    found = compiled(
        Point("wide", "histogram", NOON, histogram=wide),
        Point("long", "sum", NOON, {"text": "x" * 40_000}, value=7),
        Point("n" * 40_000, "gauge", NOON, value=1),
    )

    assert [
        {"oversize": True, "count": 1, "sum": 2.0, "mean": 2.0},
        {"oversize": True, "value": 7},
        {"oversize": True, "value": 1},
    ] == [item["properties"] for item in found]


# -- pack ---------------------------------------------------------------------------------------------------------


def test_request_goes_to_the_batch_endpoint_with_the_key() -> None:
    """Basic authentication with the write key as user and no password; JSON."""
    request, _ = FORMAT.pack([encoded(event()).data], settings(endpoint="http://127.0.0.1:8080/x/"), NOON, 1)

    assert "http://127.0.0.1:8080/x/v1/batch" == request.url
    assert {"Content-Type": "application/json", "Authorization": "Basic d3JpdGVfa2V5Og=="} == request.headers


def test_sent_at_and_retry_count_belong_to_the_attempt() -> None:
    """Each attempt has its own `sentAt`; the number of earlier ones is a header, absent at first."""
    item = encoded(event())
    first, _ = FORMAT.pack([item.data], SETTINGS, NOON, 1)
    third, _ = FORMAT.pack([item.data], SETTINGS, NOON + 5 * SECOND, 3)

    assert "2026-09-30T12:00:05.000Z" == strict(third.body)["sentAt"]
    assert strict(first.body)["batch"] == strict(third.body)["batch"]
    assert (None, "2") == (first.headers.get("X-Retry-Count"), third.headers.get("X-Retry-Count"))


@given(st.lists(st.integers(0, 30_000), min_size=1, max_size=60), st.sampled_from([None, "u", "ü" * 500]))
def test_batches_are_full_but_never_over_the_limit(sizes: list[int], user: str | None) -> None:
    """Every item once, in order; a batch ends only where the next item would pass 475,000 bytes."""
    chosen = settings(user_id=user)
    items = [Item(encoded(event(n=n, filler="x" * size)).data) for n, size in enumerate(sizes)]
    batches = [strict(request.body)["batch"] for request, _ in packed(FORMAT, items, chosen)]
    bodies = [request.body for request, _ in packed(FORMAT, items, chosen)]

    assert list(range(len(sizes))) == [found["properties"]["n"] for batch in batches for found in batch]
    assert all(len(body) < BATCH_BYTES for body in bodies)
    for body, following in zip(bodies, batches[1:], strict=False):
        least = len(json.dumps(following[0], ensure_ascii=False, separators=(",", ":")).encode())
        assert len(body) + 1 + least >= BATCH_BYTES


def test_batch_has_at_most_2500_events() -> None:
    """Small events are limited by number."""
    items = [Item(b'{"type":"track"}')] * (BATCH_EVENTS + 1)

    assert [BATCH_EVENTS, 1] == [taken for _, taken in packed(FORMAT, items, SETTINGS)]


def test_user_id_joins_every_event_at_send_time() -> None:
    """The id is in the request, not in the queue; quotes and other alphabets survive."""
    item = encoded(event())
    request, _ = FORMAT.pack([item.data, item.data], settings(user_id='a"ü'), NOON, 1)

    assert ['a"ü', 'a"ü'] == [found["userId"] for found in strict(request.body)["batch"]]


def test_event_at_the_limit_travels_without_user_id() -> None:
    """32 KB hold for what is sent: an event the id would push over the limit goes with its anonymous id alone."""
    room = EVENT_BYTES - len(encoded(event(filler="")).data)
    items = [
        encoded(event(filler="x" * (room - spare))).data
        for spare in (0, len('"userId":"u",') - 1, len('"userId":"u",'))
    ]
    request, _ = FORMAT.pack(items, settings(user_id="u"), NOON, 1)

    assert [None, None, "u"] == [found.get("userId") for found in strict(request.body)["batch"]]


# -- the upstream dialect -----------------------------------------------------------------------------------------

VECTOR = (
    b'{"userId":"api-key","anonymousId":"9f3b6c1e-0000-4000-8000-000000000000","event":"adapter_start",'
    b'"properties":{"db_backend":"mysql","adapter_version":"1.30.0","commit_id":"dev","deployment_env":"",'
    b'"deployment_id":"readyset.db"}}'
)


def test_upstream_dialect_is_readysets_own_client_byte_for_byte() -> None:
    """The vector: 228 bytes, one event, its route, key and User-Agent, and no retry header."""
    chosen = settings(dialect="upstream", user_id="api-key")
    started = event(
        "usage.component.start",
        deployment_id="readyset.db",
        usage__component__name="adapter",
        db_backend="mysql",
        usage__component__version="1.30.0",
        commit_id="dev",
    )
    request, taken = FORMAT.pack([encoded(started, chosen).data] * 3, chosen, NOON, 4)

    assert (228, VECTOR, 1) == (len(request.body), request.body, taken)
    assert "https://api.segment.io/v1/track" == request.url
    assert {
        "Content-Type": "application/json",
        "Authorization": "Basic d3JpdGVfa2V5Og==",
        "User-Agent": "readyset-telemetry-reporter/0.1.0",
    } == request.headers


def test_items_of_both_dialects_leave_from_one_queue() -> None:
    """After a change of dialect what waits still leaves in order, each item in its own way; batches alone carry ids by
    which Segment knows a repeat."""
    documented, upstream = encoded(event()), encoded(event(), settings(dialect="upstream"))
    for chosen in (SETTINGS, settings(dialect="upstream", user_id="u")):
        sent = packed(FORMAT, [documented, documented, upstream, upstream, documented], chosen)

        assert [("batch", 2), ("track", 1), ("track", 1), ("batch", 1)] == [
            (request.url.rpartition("/")[2], taken) for request, taken in sent
        ]
        assert [True, False, False, True] == [request.idempotent for request, _ in sent]


# -- judge --------------------------------------------------------------------------------------------------------

ASKED = Request("https://api.segment.io/v1/batch", b"{}")


def judged(status: int | None, **headers: str) -> object:
    """The verdict on an answer; header names as keywords."""
    answer = Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, error="refused")
    verdicts = {repr(FORMAT.judge(ASKED, answer, uncertain)) for uncertain in (False, True)}
    assert 1 == len(verdicts), "a repeat is harmless, so uncertainty changes nothing"
    return FORMAT.judge(ASKED, answer, False)


@pytest.mark.parametrize("status", range(200, 300))
def test_2xx_is_delivered(status: int) -> None:
    """Segment answers 200 to whatever it could read; so does its batch endpoint for the whole batch."""
    assert Delivered() == judged(status)


@pytest.mark.parametrize("status", [408, 410, 429, 460, *(s for s in range(500, 600) if s not in (501, 505))])
def test_passing_troubles_are_tried_again(status: int) -> None:
    """What Segment calls retryable is kept, and left to the back-off when the server asks for nothing."""
    assert Retry(f"HTTP {status}") == judged(status)


def test_no_answer_is_tried_again() -> None:
    """A connection error, a timeout."""
    assert Retry("refused") == judged(None)


@pytest.mark.parametrize("status", [s for s in (*range(300, 500), 501, 505) if s not in (408, 410, 429, 460)])
def test_everything_else_is_rejected(status: int) -> None:
    """The reason names the status; only 400 and 413 may be the fault of one event."""
    verdict = judged(status)

    assert isinstance(verdict, Rejected)
    assert verdict.reason.startswith(f"HTTP {status}")
    assert (status in (400, 413)) == verdict.isolates


def test_rejections_name_the_remedy() -> None:
    """The operator reads these in `usagewire status`."""
    assert Rejected("HTTP 401: check the write key") == judged(401)
    assert Rejected("HTTP 302: check the endpoint, it points elsewhere") == judged(302)


@pytest.mark.parametrize(
    ("asked", "waits"),
    [
        ("7", 7.0),
        ("300", 300.0),
        ("301", 300.0),
        ("9" * 5_000, None),
        ("0", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("", None),
        ("Wed, 30 Sep 2026 12:00:42 GMT", 42.0),
        ("Wed, 30 Sep 2026 13:00:00 GMT", 300.0),
        ("Wed, 30 Sep 2026 11:00:00 GMT", None),
        ("Wed, 99 Sep 2026 11:00:00 GMT", None),
    ],
)
def test_retry_after_is_honoured_up_to_300_seconds(asked: str, waits: float | None) -> None:
    """Seconds, or a date against the server's own clock; nonsense and the past are left to the back-off."""
    for status in (429, 503):
        assert Retry(f"HTTP {status}", waits) == judged(status, retry_after=asked, date="Wed, 30 Sep 2026 12:00:00 GMT")


@pytest.mark.parametrize("clock", [{}, {"date": "today"}])
def test_retry_after_date_needs_the_servers_clock(clock: dict[str, str]) -> None:
    """Without a Date header a date says nothing: a format knows no clock, and ours may be wrong."""
    assert Retry("HTTP 429") == judged(429, retry_after="Wed, 30 Sep 2026 12:00:42 GMT", **clock)
