"""usagewire.state.lines"""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.state import events, points
from usagewire.errors import Unsendable
from usagewire.signals import Event, Point
from usagewire.state import lines

PAYLOADS = st.lists(st.binary(max_size=40).map(lambda raw: lines.item(b'"%b"' % raw.hex().encode())), max_size=8)


@given(PAYLOADS)
def test_scan_finds_every_framed_payload(payloads: list[bytes]) -> None:
    """What was framed is found, in order, and the lines cover the file."""
    content = b"".join(map(lines.frame, payloads))

    found = lines.scan(content)

    assert payloads == [line.payload for line in found]
    assert [0, *(line.end for line in found)] == [*(line.start for line in found), len(content)]


@given(PAYLOADS, st.data())
def test_scan_loses_at_most_the_record_of_a_damaged_byte(payloads: list[bytes], data: st.DataObject) -> None:
    """One changed byte costs one record, counted once; every other record is found."""
    content = bytearray(b"".join(map(lines.frame, payloads or [b"{}"])))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))

    found = lines.scan(bytes(content))

    good = [line.payload for line in found if line.payload is not None]
    assert len(payloads or [b"{}"]) - 1 == len(good)
    assert 1 == sum(line.records for line in found if line.payload is None)


@given(st.data())
def test_neighbours_that_are_both_damaged_count_as_two(data: st.DataObject) -> None:
    """Wherever in each of two records the one damaged byte is, short of their line feeds."""
    framed = [bytearray(lines.frame(lines.item(b'{"a":%d}' % number))) for number in range(4)]
    for record in framed[1:3]:
        record[data.draw(st.integers(0, len(record) - 2))] ^= data.draw(st.sampled_from((0x80, 0xC0, 0xFF)))

    found = lines.scan(b"".join(framed))

    assert [lines.item(b'{"a":0}'), None, lines.item(b'{"a":3}')] == [line.payload for line in found]
    assert 2 == found[1].records


@given(PAYLOADS, st.integers(0, 1000))
def test_scan_passes_over_a_torn_end(payloads: list[bytes], cut: int) -> None:
    """A segment whose writer died in the middle of a line holds the lines before it, and no damage."""
    content = b"".join(map(lines.frame, payloads))[:cut]

    found = lines.scan(content, torn=True)

    assert payloads[: len(found)] == [line.payload for line in found]
    assert len(found) >= content.count(b"\n")


def test_sealed_segment_without_its_last_line_feed_is_damaged() -> None:
    """A `.seg` never ends in a torn line."""
    whole = lines.frame(lines.item(b"1"))
    content = whole + lines.frame(lines.item(b"2"))[:-3]

    assert [lines.Line(0, len(whole), lines.item(b"1")), lines.Line(len(whole), len(content), None)] == lines.scan(
        content
    )


@given(events())
def test_event_survives_its_payload(event: Event) -> None:
    """An event reads back as it was."""
    assert event == lines.signal(lines.event(event))


@given(points())
def test_point_survives_its_payload(point: Point) -> None:
    """A data point reads back as it was."""
    assert point == lines.signal(lines.point(point))


def test_losses_survive_their_payload() -> None:
    """Losses read back as they were."""
    assert {"plan": 3, "quota": 1} == lines.signal(lines.lost({"plan": 3, "quota": 1}))


def test_item_is_kept_byte_for_byte() -> None:
    """An item's own spacing and number forms survive."""
    data = b'{"a": 1.50, "b":1e3}'

    assert data == lines.item_data(lines.item(data))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_point_without_a_finite_number_is_refused(value: float | None) -> None:
    """It could neither be added nor told."""
    with pytest.raises(Unsendable) as refused:
        lines.point(Point("usage.a", "gauge", 1, value=value))

    assert "rejected" == refused.value.reason


def test_hostile_values_take_a_plain_form() -> None:
    """Values that JSON lacks never raise."""
    hostile: dict[str, Any] = {"big": 1 << 80, "bytes": b"\xff", "surrogate": "\ud800", "set": {1}}

    found = lines.signal(lines.event(Event("e", 1, "0" * 32, hostile)))

    assert isinstance(found, Event)
    assert {"big": str(1 << 80), "bytes": "/w==", "surrogate": "\ufffd", "set": [1]} == found.attributes


def test_too_long_an_event_is_refused() -> None:
    """One event cannot fill the ledger."""
    with pytest.raises(Unsendable) as refused:
        lines.event(Event("e", 1, "0" * 32, {"text": "x" * lines.MOST}))

    assert "oversize" == refused.value.reason


@given(st.binary(max_size=200))
def test_no_bytes_make_scan_raise(content: bytes) -> None:
    """Whatever is in a file."""
    for line in lines.scan(content):
        assert line.payload is None or lines.frame(line.payload).startswith(
            content[line.start : line.end].rstrip(b"\n")
        )
