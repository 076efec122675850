"""What every format keeps, whoever wrote it: one function per promise, each taking the `Format`.

A format's author runs them all with `check_all`; tests/formats/test_contract.py runs them one by one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.support.golden import NOON, ORIGIN, SECOND, Case, items, packed, settings_for, strict
from usagewire.config import Resolved, parse, rows
from usagewire.formats import Format, fields
from usagewire.signals import Delivered, Event, Histogram, Item, Point, Rejected, Request, Response, Retry

SAMPLES = Case(
    events=[
        Event("usage.component.start", NOON, "01" * 16, {"usage.component.name": "server"}),
        Event("usage.component.stop", NOON, "02" * 16, {"usage.component.name": "server", "error.type": "OSError"}),
        Event("usage.command", NOON, "03" * 16, {"usage.command.path": "applications list"}),
        Event("usage.crash", NOON, "04" * 16, {"usage.crash.entity": "osd.7", "usage.crash.frames": ("m:f:1",)}),
        Event("usage.state", NOON, "05" * 16, {"usage.state.section": "pools"}, {"pools": [{"size": 3}]}),
        Event(
            "usage.device", NOON, "07" * 16, {"usage.device.id": "x_y_z", "usage.device.host": "a"}, {"serial": ["z"]}
        ),
        Event(
            "the vendor's own", NOON, "06" * 16, {"line\nfeed": "\r\n", "nan": float("nan"), "text": "\ud800"}, "body"
        ),
    ],
    points=[
        Point("usage.transfer.count", "sum", NOON, {"usage.transfer.state": "completed"}, value=7),
        Point("usage.entity.count", "gauge", NOON, {"usage.entity.type": "gateway"}, value=3),
        Point("usage.file.size", "histogram", NOON, histogram=Histogram(1, 5.0, 5.0, 5.0, 5.0, 0.0, (0.0,), (0, 1))),
        Point("usage.transfer.rate", "gauge", NOON, value=float("nan")),
    ],
)
"""What the conventions let a program emit. A format may make nothing of a part of it, but fails on none."""

SECRET = "s3cr3t-marker"


def _ready(fmt: Format) -> tuple[Resolved, list[Item]]:
    settings = settings_for(fmt)
    return settings, items(fmt, SAMPLES, settings)


def check_settings_explain_themselves(fmt: Format) -> None:
    """Rows have a name of their own, a sentence of help, and a default that is one of their values."""
    known = rows(fmt)
    assert len({row.name for row in known}) == len(known)
    for row in known:
        assert row.help.strip().endswith("."), f"the help of {row.name} is no sentence"
        assert row.name == row.name.lower().strip()
        assert row.kind != "choice" or row.choices, f"{row.name} has nothing to choose from"
        assert row.default is None or row.default == parse(row, row.default)


def check_channels_are_those_that_can_be_switched(fmt: Format) -> None:
    """What belongs to a channel belongs to one of the setting's choices; a report without a channel, and without all
    the fields that are listed, holds nothing of it."""
    known = next(row.choices for row in rows(fmt) if row.name == "channels")
    settings, made = _ready(fmt)
    listed = fmt.fields(settings)
    assert {*fmt.channels.values(), *listed.values()} - {""} <= set(known)
    assert (fmt.without is not None) == bool(fmt.channels and fmt.compile)
    for item in made:
        content = json.loads(item.data)
        if (
            fmt.without is None
            or not listed
            or not content.keys() <= {path.split(".")[0].split("[")[0] for path in listed}
        ):
            continue
        assert b"{}" == fields.without(item.data, listed)
        assert fmt.without(item.data, known) is None
        for channel in known:
            left = json.loads(fmt.without(item.data, [channel]) or b"{}")
            assert not {path for path, one in listed.items() if one == channel} & left.keys()


def check_a_licence_has_a_name_and_its_words(fmt: Format) -> None:
    """The one is typed, the other read; and nothing is on before it is accepted."""
    if fmt.license is not None:
        assert fmt.license.id.split() == [fmt.license.id]
        assert "http" in fmt.license.text
        assert not fmt.default_on


def check_it_carries_something(fmt: Format) -> None:
    """A format encodes events, or compiles reports every so often, or both."""
    assert fmt.encode is not None or fmt.compile is not None
    assert (fmt.compile is not None) == (fmt.interval is not None)


def check_items_are_single_lines_of_json(fmt: Format) -> None:
    """An item is stored as a line and read by people: strict JSON, no line feed."""
    _, found = _ready(fmt)
    assert found
    for item in found:
        assert b"\n" not in item.data
        strict(item.data)


def check_same_input_gives_the_same_bytes(fmt: Format) -> None:
    """No clock, no randomness: a report compiled again after a crash, and a request sent again, are the same."""
    settings, found = _ready(fmt)
    assert found == items(fmt, SAMPLES, settings)
    assert packed(fmt, found, settings, 2) == packed(fmt, found, settings, 2)


def check_pack_takes_from_the_front(fmt: Format) -> None:
    """A request holds the first n items and depends on nothing else: taken on, every item leaves once, in order."""
    settings, found = _ready(fmt)
    waiting = [item.data for item in found]
    for request, taken in packed(fmt, found, settings):
        assert (request, taken) == fmt.pack(waiting[:taken], settings, NOON, 1)
        assert taken == 1 or request.body != fmt.pack(waiting[: taken - 1], settings, NOON, 1)[0].body
        waiting = waiting[taken:]
    assert [] == waiting


def check_requests_go_where_the_settings_say(fmt: Format) -> None:
    """The URL begins with the endpoint; headers are plain text on one line."""
    settings, found = _ready(fmt)
    for request, _ in packed(fmt, found, settings):
        assert request.url.startswith(settings["endpoint"])
        assert all((name + value).isprintable() and (name + value).isascii() for name, value in request.headers.items())


def check_every_answer_has_a_verdict(fmt: Format) -> None:
    """Whatever comes back, judging does not fail: every status, no answer, odd headers, odd bodies."""
    asked = Request("https://telemetry.example", b"{}")
    odd: tuple[Mapping[str, str], ...] = ({}, {"retry-after": "soon", "date": "\x00"}, {"retry-after": "9" * 5_000})
    for status in (None, *range(100, 600)):
        for headers in odd:
            for uncertain in (False, True):
                answer = Response(status, headers, b"\xff{", error="connection refused")
                verdict = fmt.judge(asked, answer, uncertain)
                assert isinstance(verdict, (Delivered, Retry, Rejected))
                assert isinstance(verdict, Delivered) or verdict.reason
                assert not isinstance(verdict, Retry) or verdict.after is None or 0 < verdict.after <= 300


def check_no_answer_and_overload_are_tried_again(fmt: Format) -> None:
    """Nothing is thrown away because a network or a server was down for a while."""
    asked = Request("https://telemetry.example", b"{}")
    for status in (None, 429, 503):
        assert isinstance(fmt.judge(asked, Response(status, error="timed out"), False), Retry)


def check_secrets_stay_out_of_the_queue(fmt: Format) -> None:
    """A secret setting joins the request at the earliest: items lie on disk and are shown to the operator."""
    secrets = [row for row in rows(fmt) if row.secret]
    given = {row.name: f"x={SECRET}" if row.kind == "headers" else SECRET for row in secrets}
    settings = settings_for(fmt, given)
    assert set(given) == set(settings.secrets)
    for item in items(fmt, SAMPLES, settings):
        assert SECRET.encode() not in item.data


def check_salt_never_leaves(fmt: Format) -> None:
    """Ids drawn with it could be traced back by whoever has it."""
    _, found = _ready(fmt)
    for item in found:
        assert ORIGIN.salt.encode() not in item.data


def check_volatile_fields_are_all_that_changes(fmt: Format) -> None:
    """What `show` prints is what leaves, but for the fields the format names."""
    settings, found = _ready(fmt)
    now = packed(fmt, found, settings)
    waiting = [item.data for item in found]
    for request, taken in now:
        later, _ = fmt.pack(waiting[:taken], settings, NOON + 3_600 * SECOND, 1)
        assert _without(fmt.volatile, request) == _without(fmt.volatile, later)
        waiting = waiting[taken:]


def _without(volatile: frozenset[str], request: Request) -> tuple[str, Any]:
    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: strip(inner) for name, inner in value.items() if name not in volatile}
        return [strip(inner) for inner in value] if isinstance(value, list) else value

    return request.url, strip(json.loads(request.body)) if volatile else request.body


CHECKS: tuple[Callable[[Format], None], ...] = tuple(
    check for name, check in list(globals().items()) if name.startswith("check_")
)


def check_all(fmt: Format) -> None:
    """Every promise at once."""
    for check in CHECKS:
        check(fmt)
