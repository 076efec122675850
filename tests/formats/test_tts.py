"""The Things Stack: the documents' samples and vectors, and what becomes of the numbers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.golden.tts.cases import LOCAL, SAMPLE, SAMPLE_ORIGIN, command, count
from tests.support.golden import NOON, ORIGIN, SECOND, packed, settings_for, strict
from usagewire.errors import Unsendable
from usagewire.formats.plain import text
from usagewire.formats.tts import FORMAT
from usagewire.signals import Delivered, Event, Item, Origin, Period, Point, Rejected, Request, Response, Retry

PRINTED = """
{"message": {"uid": "m64Jv5T3Bqnxz3tSgOAYD0w25UqWwP5DgIsuKbS0g5dBQkA8ZEHwlV1iDoKgjeF7uE3dt+3SDMdANJ41xDZqag==",
  "os": {"operating_system": "linux", "arch": "amd64", "binary_version": "3.27.0-dev", "golang_version": " go1.20.7"},
  "cli": null,
  "entities_count": {
    "gateways": {"total": 0, "gateways_by_frequency_plan_id": {"US_902_928_FSB_1": 1, "US_902_928_FSB_2": 1}},
    "end_devices": {"total": 0,
      "activate_end_devices": {"total": 0, "last_day": 0, "last_week": 0, "last_month": 0}},
    "applications": {"total": 0},
    "accounts": {"users": {"standard": 0, "admin": 1}, "organizations": {"total": 0}}}}}
"""
"""The document's sample of the Identity Server, as printed."""


def compiled(*points: Point, events: tuple[Event, ...] = (), origin: Origin = ORIGIN, **given: Any) -> tuple[Item, ...]:
    """The messages of a period; further keywords are settings."""
    assert FORMAT.compile is not None
    period = Period(1, NOON - 86_400 * SECOND, NOON, points, tuple(map(FORMAT.render, events)), "5e" * 16)
    return FORMAT.compile(period, origin, settings_for(FORMAT, given), NOON)


def message(*points: Point, **given: Any) -> Any:
    """The one message of a period, parsed."""
    [item] = compiled(*points, **given)
    return strict(item.data)["message"]


def test_sample_of_the_document_is_reproduced() -> None:
    """Equal as objects, key for key in its order; the blank before Go's version is the document's misprint."""
    [item] = compiled(*SAMPLE, origin=SAMPLE_ORIGIN, uid_elements=LOCAL, golang_version="go1.20.7")
    printed = json.loads(PRINTED.replace(" go1.20.7", "go1.20.7"))

    assert printed == strict(item.data)
    assert json.dumps(printed) == json.dumps(strict(item.data))


def test_upstream_command_line_is_the_released_clients_byte_for_byte() -> None:
    """The vector: 184 bytes, without the wrapping, to the default path."""
    origin = replace(SAMPLE_ORIGIN, installation="xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
    chosen = settings_for(FORMAT, {"endpoint": "https://telemetry.example", "dialect": "upstream"})
    waiting = compiled(events=(command(None),), origin=origin, dialect="upstream", golang_version="go1.20.7")
    [(request, _)] = packed(FORMAT, waiting, chosen)

    assert 184 == len(request.body)
    assert (
        b'{"uid":"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx","os":{"operating_system":"linux","arch":"amd64",'
        b'"binary_version":"3.27.0-dev","golang_version":"go1.20.7"},"cli":{},"entities_count":null}'
    ) == request.body
    assert "https://telemetry.example/collect" == request.url
    assert {"Content-Type": "application/json"} == request.headers


# -- the uid ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "uid"),
    [
        (LOCAL, "m64Jv5T3Bqnxz3tSgOAYD0w25UqWwP5DgIsuKbS0g5dBQkA8ZEHwlV1iDoKgjeF7uE3dt+3SDMdANJ41xDZqag=="),
        (["foo", "bar"], "wBs9NNSlIoSm2v/pcVCrI1j1UuOMFF36AFsiKszEq2r33ghp6MjSyxRci9Wqs5t3JkyLEUaouYHEO5gdyRFh3Q=="),
    ],
)
def test_uid_vectors(elements: list[str], uid: str) -> None:
    """Both vectors, as elements and as base URLs; elements go first."""
    one = count(1, "application")

    assert uid == message(one, uid_elements=elements)["uid"]
    assert uid == message(one, base_urls=",".join(elements))["uid"]
    assert uid == message(one, uid_elements=elements, base_urls=["https://x.example"])["uid"]


def test_uid_is_random_where_nothing_is_configured() -> None:
    """The installation's own UUID, and never the default that every site would share; a command line's always."""
    cli = strict(compiled(events=(command(None),), uid_elements=LOCAL)[0].data)["message"]

    assert ORIGIN.installation == message(count(1, "application"))["uid"] == cli["uid"]


# -- what is counted ----------------------------------------------------------------------------------------------


def test_facets_are_never_summed() -> None:
    """A gateway counts under each of its plans; a total that nobody counted is 0."""
    plans = [count(n, "gateway", frequency_plan_id=name) for n, name in ((2, "EU"), (3, "AS"))]
    found = message(*plans)["entities_count"]["gateways"]

    assert {"total": 0, "gateways_by_frequency_plan_id": {"AS": 3, "EU": 2}} == found
    assert ["AS", "EU"] == list(found["gateways_by_frequency_plan_id"])


def test_other_attributes_add_up() -> None:
    """A product that counts by tenant has its numbers added."""
    found = message(count(3, "application", tenant="a"), count(4, "application", tenant="b"))

    assert {"total": 7} == found["entities_count"]["applications"]


ACTIVITY = {"any": "total", "last_day": "last_day", "last_week": "last_week", "last_month": "last_month"}


@pytest.mark.parametrize(("activity", "key"), ACTIVITY.items())
def test_devices_by_activity(activity: str, key: str) -> None:
    """Each activity has its key, and none of them is the devices' total."""
    found = message(count(5, "end_device", activity=activity))["entities_count"]["end_devices"]

    assert (0, 5) == (found["total"], found["activate_end_devices"].pop(key))
    assert {0} == set(found["activate_end_devices"].values())


SHAPE = (
    '{"gateways":{"total":N},"end_devices":{"total":N,"activate_end_devices":{"total":N,"last_day":N,"last_week":N,'
    '"last_month":N}},"applications":{"total":N},"accounts":{"users":{"standard":N,"admin":N},"organizations":'
    '{"total":N}}}'
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["gateway", "user", "end_device", "x"]),
            st.sampled_from(["frequency_plan_id", "role", "activity", "tenant"]),
            st.text(st.characters(exclude_categories=())) | st.sampled_from(["any", "admin"]),
            st.none() | st.floats() | st.integers(0, 2**53),
        )
    )
)
def test_any_counts_make_the_documented_shape(found: list[tuple[str, str, str, float | None]]) -> None:
    """Whatever is counted, in both dialects: strict JSON, every documented key, whole numbers only."""
    points = [count(value, kind, **{facet: said}) for kind, facet, said, value in found]
    for dialect in ("documented", "upstream"):
        for item in compiled(*points, dialect=dialect):
            assert b"\n" not in item.data
            whole = strict(item.data)
            counted = whole.get("message", whole)["entities_count"]
            plans = counted["gateways"].pop("gateways_by_frequency_plan_id")
            assert set(plans) == {text(said) for kind, facet, said, _ in found if facet[0] + kind == "fgateway"}
            assert all(isinstance(number, int) and number >= 0 for number in plans.values())
            assert SHAPE == re.sub(r"\d+", "N", json.dumps(counted, separators=(",", ":")))


def test_only_entities_and_commands_have_a_place() -> None:
    """Other metrics, other instruments and other events are not kept for the report at all."""
    settings = settings_for(FORMAT)
    gauge = count(1, "gateway")

    assert gauge is FORMAT.admit(gauge, settings)
    assert None is FORMAT.admit(gauge._replace(kind="sum"), settings)
    assert None is FORMAT.admit(gauge._replace(name="usage.capacity"), settings)
    with pytest.raises(Unsendable, match=r"format: event 'usage.crash' has no place"):
        FORMAT.render(Event("usage.crash", NOON, "00" * 16))


def test_of_a_command_only_its_path_is_kept() -> None:
    """Neither duration nor error nor body waits for the report."""
    told = command("applications list", **{"usage.command.duration": 1.5, "error.type": "OSError"})

    assert command("applications list") == FORMAT.render(told._replace(body={"a": 1}))


def test_commands_are_counted_by_path() -> None:
    """As far as their paths came through; in a message of their own."""
    events = tuple(map(command, ("b", "a", "b", None)))
    found = message(events=events)

    assert ({"commands": {"a": 1, "b": 2}}, None) == (found["cli"], found["entities_count"])
    assert ["a", "b"] == list(found["cli"]["commands"])


def test_nothing_of_interest_makes_no_message() -> None:
    """Neither entities nor commands: no message."""
    assert () == compiled()


@pytest.mark.parametrize(
    ("machine", "arch"),
    [("x86_64", "amd64"), ("AMD64", "amd64"), ("aarch64", "arm64"), ("arm64", "arm64"), ("i686", "386"),
     ("armv7l", "arm"), ("riscv64", "riscv64")],
)  # fmt: skip
def test_architectures_have_gos_names(machine: str, arch: str) -> None:
    """Whatever the system calls them."""
    assert arch == message(count(1, "application"), origin=replace(ORIGIN, architecture=machine))["os"]["arch"]


# -- the wire -----------------------------------------------------------------------------------------------------


def test_upstream_escapes_as_go_does() -> None:
    """`<`, `>`, `&` and the two line separators are escaped, everything else stays as it is."""
    [item] = compiled(count(1, "gateway", frequency_plan_id="<ü>&\u2028\u2029"), dialect="upstream")

    assert '"\\u003cü\\u003e\\u0026\\u2028\\u2029":1'.encode() in item.data
    assert "<ü>&\u2028\u2029" in strict(item.data)["entities_count"]["gateways"]["gateways_by_frequency_plan_id"]


@pytest.mark.parametrize(
    ("endpoint", "documented", "upstream"),
    [
        ("https://t.example", "https://t.example", "https://t.example/collect"),
        ("https://t.example/", "https://t.example", "https://t.example/collect"),
        ("https://t.example/in/box", "https://t.example/in/box", "https://t.example/in/box"),
    ],
)
def test_path_is_the_endpoints_own(endpoint: str, documented: str, upstream: str) -> None:
    """Only the upstream dialect has a path where the endpoint has none; each item leaves as it was made."""
    waiting = [compiled(count(1, "gateway"), dialect=dialect)[0] for dialect in ("documented", "upstream")]
    for dialect in ("documented", "upstream"):
        chosen = settings_for(FORMAT, {"endpoint": endpoint, "dialect": dialect})

        assert [documented, upstream] == [request.url for request, _ in packed(FORMAT, waiting, chosen)]


def test_verdicts() -> None:
    """2xx has arrived; overload and trouble are tried again, when the server says; the rest is rejected."""
    asked = Request("https://telemetry.example", b"{}")
    for status in (None, 408, 429, *range(500, 600)):
        assert isinstance(FORMAT.judge(asked, Response(status, error="refused"), True), Retry)
    for status in range(200, 300):
        assert Delivered() == FORMAT.judge(asked, Response(status), True)
    for status in (400, 401, 404, 413, 302):
        assert isinstance(FORMAT.judge(asked, Response(status), False), Rejected)


def test_page_names_every_number() -> None:
    """Each number of the message stands in the table of docs/formats/tts.md."""
    page = (Path(__file__).parents[2] / "docs" / "formats" / "tts.md").read_text(encoding="utf-8")
    counted = message(count(1, "gateway"))["entities_count"]
    table = page.partition("| number |")[2].partition("\n\n")[0]
    named = {tuple(name.split(".")[:2]) for name in re.findall(r"^\| `([a-z_.]+)`", table, re.MULTILINE)}

    assert {(name, inner) for name, group in counted.items() for inner in group} == named
