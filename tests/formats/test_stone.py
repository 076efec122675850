"""The stone format, by its document: channels, allow-list, anonymity, verdicts."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.golden.stone.cases import ALL, COUNTS, CRASH, STATES, device, state
from tests.support.golden import NOON, ORIGIN, SECOND, settings_for
from usagewire.errors import Unsendable
from usagewire.formats.stone import FORMAT, crashes, devices, encode, judge, pack
from usagewire.formats.stone.report import CHANNELS, compile
from usagewire.formats.stone.schema import sections
from usagewire.inspector.routes import Received, check
from usagewire.signals import Delivered, Event, Item, Period, Point, Rejected, Request, Response, Retry, Verdict

DAY = 86_400 * SECOND
SETTINGS = settings_for(FORMAT)
ZERO_SALT = "00000000-0000-4000-8000-000000000000"


def period(events: list[Event], points: list[Point] | None = None) -> Period:
    """A day that ends at noon."""
    return Period(1, NOON - DAY, NOON, tuple(points or ()), tuple(events), "5e" * 16)


def crash(attributes: Mapping[str, Any]) -> Event:
    """The golden crash, but with these attributes."""
    return Event(CRASH.name, CRASH.time, CRASH.id, attributes)


def report(events: list[Event], points: list[Point] | None = None, **settings: Any) -> dict[str, Any]:
    """The one report of a day."""
    (item,) = compile(period(events, points), ORIGIN, settings_for(FORMAT, settings), NOON)
    found: dict[str, Any] = orjson.loads(item.data)
    return found


def complaints(item: Item) -> tuple[str, ...]:
    """What the receiver finds wrong with the request of one item."""
    request, _ = pack([item.data], SETTINGS, NOON, 1)
    path = request.url.removeprefix("https://telemetry.example")
    headers = {name.lower(): value for name, value in request.headers.items()}
    return check(Received(0, request.method, path, headers, request.body, request.body, 1)).complaints


# -- channels -----------------------------------------------------------------------------------------------------


@given(st.sets(st.sampled_from(CHANNELS), min_size=1))
def test_a_channel_that_is_off_leaves_no_field(chosen: set[str]) -> None:
    """Whatever is switched on, the report holds exactly those channels' fields, and the receiver agrees."""
    settings = settings_for(FORMAT, {"channels": ",".join(chosen)})
    items = compile(period(ALL, COUNTS), ORIGIN, settings, NOON)

    if not chosen & {"basic", "crash"}:
        assert () == items
        return
    content = orjson.loads(items[0].data)
    assert [channel for channel in CHANNELS if channel in chosen] == content["channels"]
    assert ("basic" in chosen) == bool(content.keys() & sections("stone").keys())
    assert ("crash" in chosen) == ("crashes" in content)
    assert ("ident" in chosen) == ("contact" in content)
    assert () == complaints(items[0])


@pytest.mark.parametrize(("event", "channel"), [(CRASH, "crash"), (ALL[0], "basic"), (device("ZA1ABCDE"), "device")])
def test_what_belongs_to_a_channel_that_is_off_is_not_even_kept(event: Event, channel: str) -> None:
    """It is refused as it comes in, as without consent."""
    others = ",".join(other for other in CHANNELS if other != channel)

    with pytest.raises(Unsendable, match=f"channel {channel} is off") as refused:
        encode(event, ORIGIN, settings_for(FORMAT, {"channels": others}))

    assert "consent" == refused.value.reason


def test_counts_of_a_channel_that_is_off_are_not_kept() -> None:
    """Data points are refused by the same rule; those of other products have no place."""
    with pytest.raises(Unsendable, match="channel basic is off"):
        FORMAT.admit(COUNTS[0], settings_for(FORMAT, {"channels": "crash"}))

    admitted = [point for point in COUNTS if FORMAT.admit(point, SETTINGS) is not None]
    assert [point for point in COUNTS if point.attributes.get("usage.entity.type") != "gateway"] == admitted


def test_other_events_have_no_place() -> None:
    """The vendor's own events are for other formats."""
    with pytest.raises(Unsendable, match="has no place") as refused:
        FORMAT.render(Event("deployment_started", NOON, "00" * 16))

    assert "format" == refused.value.reason


def test_nothing_recorded_is_no_report() -> None:
    """A header alone is not worth a request."""
    assert () == compile(period([], [COUNTS[0]._replace(name="usage.other")]), ORIGIN, SETTINGS, NOON)


# -- the basic channel --------------------------------------------------------------------------------------------

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=5)
            | st.sampled_from(["count", "features", "persistent", "pool", "osd", "arch", "filesystems", "type"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(list(sections("stone"))), PLAIN, min_size=1), st.floats())
def test_whatever_is_said_of_a_section_the_report_is_as_documented(bodies: Mapping[str, Any], number: float) -> None:
    """Wrong types, unknown fields, NaN and the like are left out and named; what is left passes the receiver."""
    events = [CRASH, *(state(section, body) for section, body in bodies.items())]
    (item,) = compile(period(events, [COUNTS[0]._replace(value=number)]), ORIGIN, SETTINGS, NOON)

    assert () == complaints(item)
    content = orjson.loads(item.data)
    assert 1 == len(content["crashes"])
    assert all(section in content or section in str(item.left_out) for section in bodies)


@pytest.mark.parametrize("section", list(STATES))
def test_every_documented_section_passes_whole(section: str) -> None:
    """Nothing of a section that is as documented is changed or left out, but for sorting."""
    (item,) = compile(period([state(section, STATES[section])]), ORIGIN, SETTINGS, NOON)

    def sort(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: sort(inner) for name, inner in value.items()}
        return sorted(map(sort, value), key=str) if isinstance(value, list) else value

    assert not item.left_out
    assert sort(STATES[section]) == sort(orjson.loads(item.data)[section])


def test_one_bad_record_section_and_value_stop_nothing_else() -> None:
    """A malformed crash, a section of the wrong type and a NaN stay behind, by name; everything else arrives."""
    bad = [crash({"usage.crash.frames": None}), state("osd", ["not", "an", "object"])]
    points = [*COUNTS[:1], COUNTS[4]._replace(value=float("nan"))]

    (item,) = compile(period([*bad, CRASH, state("balancer", STATES["balancer"])], points), ORIGIN, SETTINGS, NOON)

    content = orjson.loads(item.data)
    assert {"mon": {"count": 3}, "balancer": STATES["balancer"]} == {
        name: content[name] for name in sections("stone") if name in content
    }
    assert [CRASH.attributes["usage.crash.id"]] == [one["crash_id"] for one in content["crashes"]]
    assert {
        "usage.entity.count: not a whole number": 1,
        "osd: not an object": 1,
        "crashes[]: without a backtrace": 1,
    } == item.left_out


# -- crashes ------------------------------------------------------------------------------------------------------


def test_entity_is_anonymised_as_the_document_does() -> None:
    """The document's vector: the type stays, the rest is a salted SHA-1."""
    assert "mon.02eab5a39443c455d2d866c66033bd6c1a56403c" == crashes.entity("mon.host-a.example.com", ZERO_SALT)


@pytest.mark.parametrize("name", ["host-a.example.com", "HOST.x", "10.0.0.1", "", "x" * 99])
def test_a_name_without_a_type_gives_nothing_away(name: str) -> None:
    """What stands before the first dot leaves only where it looks like a daemon's type."""
    assert re.fullmatch(r"unknown\.[0-9a-f]{40}", crashes.entity(name, ZERO_SALT))


def test_equal_crashes_have_one_signature() -> None:
    """Ids, times and lines differ, the functions do not."""
    other = {
        **CRASH.attributes,
        "usage.crash.id": "",
        "usage.crash.frames": ["__main__:main:13", *["stone.monitor:tick:90", "stone.paxos:commit:300"]],
    }
    elsewhere = {**CRASH.attributes, "usage.crash.id": "", "usage.crash.frames": ["__main__:main:12"]}

    found = report([CRASH, Event(CRASH.name, NOON, "01" * 16, other), Event(CRASH.name, NOON, "02" * 16, elsewhere)])

    first, second, third = (crash["stack_sig"] for crash in found["crashes"])
    assert first == second != third


@given(st.dictionaries(st.sampled_from([*CRASH.attributes, "usage.crash.assert_line"]), PLAIN))
def test_any_crash_is_repaired_or_left_out(attributes: Mapping[str, Any]) -> None:
    """Whatever a program says of a crash, the list is as documented."""
    for item in compile(period([crash(attributes)]), ORIGIN, SETTINGS, NOON):
        assert () == complaints(item)


def test_crashes_are_listed_once_newest_500_of_a_year() -> None:
    """Repeats, old ones and the oldest of too many are not listed, in bounded time."""
    many = [
        Event("usage.crash", NOON - number * SECOND, f"{number:032x}", {"usage.crash.frames": ["m:f:1"] * 30})
        for number in range(10_000)
    ]
    old = Event("usage.crash", NOON - 366 * DAY, "01" * 16, {"usage.crash.frames": ["m:f:1"]})
    began = time.monotonic()

    listed = report([old, *many, *many[:100]])["crashes"]

    assert [str(UUID(event.id, version=4)) for event in reversed(many[:500])] == [
        crash["crash_id"].partition("_")[2] for crash in listed
    ]
    assert [CRASH.attributes["usage.crash.id"]] == [crash["crash_id"] for crash in report([old, CRASH])["crashes"]]
    assert time.monotonic() - began < 30


def test_what_a_period_keeps_is_what_its_report_needs() -> None:
    """Of each section the newest, of the crashes the newest 500, in order; others are counted, repeats are not."""
    crashes_ = [
        Event("usage.crash", NOON - 400 * DAY + number * DAY, f"{number:032x}", {"usage.crash.frames": ["m:f:1"]})
        for number in range(400)
    ]
    more = [Event("usage.crash", NOON + number, f"{number + 1000:032x}", {}) for number in range(400)]
    states = [state("osd", {"count": 1}, age=9), state("osd", {"count": 2}, age=5), state("mon", {"count": 3})]
    events = [*states, *crashes_, *crashes_, *more]

    running, lost = FORMAT.keep(events, None) if FORMAT.keep else ([], 0)
    assert ([*crashes_[300:], *more, *states[1:]], 300) == (running, lost)

    ended, lost = FORMAT.keep(events[:403], NOON) if FORMAT.keep else ([], 0)
    assert (crashes_[35:], 0) == (ended, lost)


# -- devices ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "model"),
    [("SEAGATE_ST8000NM0055_ZA1", "SEAGATE_ST8000NM0055_"), ("ZA1", ""), ("_ZA1", ""), ("/dev/disk/by-id/x_1", "")],
)
def test_device_keeps_vendor_and_model_only(name: str, model: str) -> None:
    """Everything up to the last underscore, and a random UUID in place of the rest; without a model the UUID alone."""
    found = devices.anonymous(name, ZERO_SALT)

    assert found.startswith(model)
    assert 4 == UUID(found.removeprefix(model)).version
    assert found == devices.anonymous(name, ZERO_SALT) != devices.anonymous(f"{name}2", ZERO_SALT)


WORD = st.from_regex(r"[A-Z][0-9A-Z]{4,11}", fullmatch=True)


@given(WORD, st.recursive(st.booleans() | st.just("{}"), lambda inner: st.lists(inner) | st.dictionaries(WORD, inner)))
def test_no_serial_number_is_left_anywhere(serial: str, shape: Any) -> None:
    """Wherever it stands, alone or inside a longer text, and whatever else the document holds."""

    def fill(value: Any) -> Any:
        if isinstance(value, list):
            return [fill(inner) for inner in value]
        if isinstance(value, dict):
            return {name: fill(inner) for name, inner in value.items()}
        return f"/dev/disk/by-id/ata-{serial}" if value == "{}" else value

    body = {"x": fill(shape), "serial_number": serial, "nvme": [{"eui64": {"oui": 1}, "serial_number": serial}]}

    cleaned = devices.scrub(body)

    assert serial not in json.dumps(cleaned)
    assert ("deleted", [{"serial_number": "deleted"}]) == (cleaned["serial_number"], cleaned["nvme"])


def test_device_report_does_not_lead_to_the_cluster() -> None:
    """Neither report id nor salt, host name or serial number, nor an id that the cluster's report has."""
    data = encode(device("ZA1ABCDE"), ORIGIN, SETTINGS)
    assert data is not None
    body = pack([data], SETTINGS, NOON, 1)[0].body.decode()
    cluster = compile(period(ALL, COUNTS), ORIGIN, SETTINGS, NOON)[0].data.decode()

    assert () == complaints(Item(data))
    assert [] == [word for word in (ORIGIN.installation, ORIGIN.salt, "rack-7", "ZA1ABCDE") if word in body]
    assert set() == set(re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", body)) & set(
        re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", cluster)
    )


def test_two_thousand_devices_leave_in_requests_of_bounded_size() -> None:
    """Each sample once, no request of more than 500 or of several hosts."""
    made = [
        encode(device(f"ZA1{number:05}", host=f"host-{number // 1500}"), ORIGIN, SETTINGS) for number in range(2_000)
    ]
    waiting = [data for data in made if data is not None]
    found: list[dict[str, Any]] = []
    while waiting:
        request, taken = pack(waiting, SETTINGS, NOON, 1)
        found.append(orjson.loads(request.body))
        waiting = waiting[taken:]

    assert [500, 500, 500, 500] == [len(body) for body in found]
    assert 2_000 == len({name for body in found for name in body})


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (Event("usage.device", NOON, "00" * 16, {"usage.device.id": "a_b_c"}, "text"), "rejected"),
        (Event("usage.device", NOON, "00" * 16, {}, {}), "rejected"),
        (Event("usage.device", NOON, "00" * 16, {"usage.device.id": "a_b_c"}, {"x": "y" * 600_000}), "oversize"),
    ],
    ids=["no JSON", "no id", "too long"],
)
def test_a_sample_that_is_none_is_refused(event: Event, reason: str) -> None:
    """It is counted under its reason."""
    with pytest.raises(Unsendable) as refused:
        encode(event, ORIGIN, SETTINGS)

    assert reason == refused.value.reason


# -- verdicts -----------------------------------------------------------------------------------------------------

REPORT, DEVICE = Request("https://telemetry.example/report", b"{}"), Request("https://telemetry.example/device", b"{}")
TRUE = b'{"status": true}'


@pytest.mark.parametrize(
    ("request_", "response", "uncertain", "verdict"),
    [
        (REPORT, Response(200, body=TRUE), False, Delivered()),
        (DEVICE, Response(200, body=TRUE), True, Delivered()),
        (REPORT, Response(200, body=b"null"), False, Retry),
        (REPORT, Response(200, body=b'{"status": false}'), False, Retry),
        (REPORT, Response(200, body=b"<html>please log in"), False, Retry),
        (REPORT, Response(204), False, Retry),
        (REPORT, Response(500), False, Retry),
        (REPORT, Response(500), True, Delivered(repeat=True)),
        (DEVICE, Response(500), True, Retry),
        (REPORT, Response(503), True, Retry),
        (REPORT, Response(None, error="timed out"), True, Retry),
        (REPORT, Response(302), False, Rejected),
        (REPORT, Response(404), False, Rejected),
    ],
)
def test_only_a_stored_report_is_delivered(
    request_: Request, response: Response, uncertain: bool, verdict: Verdict | type[Verdict]
) -> None:
    """200 counts with its body only; 500 after an unclear try means that it had arrived, of a report."""
    found = judge(request_, response, uncertain)

    assert verdict == (found if isinstance(verdict, Delivered) else type(found))


# -- settings and page --------------------------------------------------------------------------------------------


def test_a_word_that_is_no_channel_is_a_fault() -> None:
    """Nothing is guessed about what may leave."""
    from usagewire.config import resolve

    faults = resolve(FORMAT, {"endpoint": "https://telemetry.example", "channels": "basic,crahs"}, {}).faults

    assert ("channels='basic,crahs' (in code or YAML): crahs: not one of basic, crash, device, ident",) == faults


def test_page_lists_every_field_of_the_report() -> None:
    """Header, identification and crash fields each stand in a table."""
    page = (Path(__file__).parents[2] / "docs" / "formats" / "stone.md").read_text(encoding="utf-8")
    found = report(ALL, COUNTS, channels="basic,crash,ident")
    fields = (found.keys() - sections("stone").keys()) | {name for crash in found["crashes"] for name in crash}

    assert set() == {name for name in fields if f"`{name}`" not in page}
