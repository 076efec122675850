"""Any value as plain JSON: each row of the table in `usagewire.formats.plain`."""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from pathlib import PurePath
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.values import Hostile, Unreadable, attributes, deep, loop, wide
from usagewire.formats.plain import TooLarge, dumps, text


class Size(IntEnum):
    SMALL = 1


class Shade(Enum):
    DARK = (1, 2)


class Label(str):
    """A text of the program's own class."""


def plain(value: Any) -> Any:
    """What becomes of one value."""
    return json.loads(dumps({"value": value}, 1 << 20))["value"]


FORMS: list[tuple[Any, Any]] = [
    (None, None),
    (True, True),
    ("text", "text"),
    (Label("own class"), "own class"),
    (1.5, 1.5),
    (-(2**63), -(2**63)),
    (2**64 - 1, 2**64 - 1),
    (2**64, "18446744073709551616"),
    (-(2**63) - 1, "-9223372036854775809"),
    (10**599, "1" + "0" * 599),
    (10**600, None),
    (10**100_000, None),
    (float("nan"), None),
    (float("inf"), None),
    ([float("-inf"), "\ud800"], [None, "\ufffd"]),
    (Decimal("1.25"), 1.25),
    (Decimal("NaN"), None),
    (Decimal("sNaN"), None),
    (Decimal("1e999"), None),
    (Fraction(1, 4), 0.25),
    (1j, None),
    ("\ud83d\ude00", "\U0001f600"),  # a pair of surrogates is a character
    ("\ud800a\udfff", "\ufffda\ufffd"),
    (b"\x00\xff", "AP8="),
    (bytearray(b"ab"), "YWI="),
    (memoryview(b"ab"), "YWI="),
    (Size.SMALL, 1),
    (Shade.DARK, [1, 2]),
    (datetime(2026, 9, 30, 12, 0, 0, 5), "2026-09-30T12:00:00.000005Z"),
    (datetime(2026, 9, 30, 14, 0, tzinfo=timezone(timedelta(hours=2))), "2026-09-30T12:00:00Z"),
    (datetime.max.replace(tzinfo=timezone(timedelta(hours=-2))), None),
    (date(2026, 9, 30), "2026-09-30"),
    (time(12, 30), "12:30:00"),
    (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    ((1, (2,)), [1, [2]]),
    (deque([1]), [1]),
    (range(3), [0, 1, 2]),
    ({10, 9, 1}, [1, 9, 10]),
    (frozenset({"b", "a"}), ["a", "b"]),
    ({"a", 1, None}, ["a", 1, None]),
    (OrderedDict(a=1), {"a": 1}),
    (MappingProxyType({"a": {"b": 1}}), {"a": {"b": 1}}),
    ({2: 1, None: 2, 1.5: 4, b"\xff": 5, ("a", 1): 6}, {"2": 1, "null": 2, "1.5": 4, "/w==": 5, '["a",1]': 6}),
    (loop(), [1, {"again": None}]),
    (Hostile("x"), None),
    (PurePath("/home"), None),
    ((number for number in (1, 2)), None),
    (object, None),
]
"""What a program attaches, and what becomes of it."""


@pytest.mark.parametrize("row", range(len(FORMS)))
def test_every_kind_of_value_has_its_form(row: int) -> None:
    """Alone, and inside a list."""
    value, becomes = FORMS[row]

    assert [becomes, [becomes]] == [plain(value), plain([value])]


def test_nesting_ends_at_twenty_levels() -> None:
    """Deeper is null, however deep the program went."""
    found, depth = plain(deep()), 1
    while found[0] is not None:
        found, depth = found[0], depth + 1

    assert 20 == depth


@pytest.mark.parametrize("kind", ["wide", "list", "dict", "key"])
def test_limit_stops_the_walk(kind: str) -> None:
    """Sixty lists with 2⁶⁰ entries end as soon as the limit is passed."""
    huge = {"wide": wide(), "list": ["x" * 100] * 100, "dict": dict.fromkeys(range(10**5)), "key": {"\x00" * 2_000: 1}}
    with pytest.raises(TooLarge):
        dumps({"value": huge[kind]}, 1_000)


@given(attributes())
def test_limit_never_refuses_what_would_fit(found: Mapping[Any, Any]) -> None:
    """The estimate is a lower bound: with exactly the room its JSON takes, a value passes."""
    try:
        data = dumps(found, 1 << 12)
    except TooLarge:
        return
    assert data == dumps(found, len(data) + 32)


@given(st.text(st.characters(exclude_categories=())))
def test_text_loses_nothing_but_lone_surrogates(value: str) -> None:
    """Every other character survives, in place."""
    value = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")

    assert "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in value) == text(value)


def test_unreadable_mapping_is_an_empty_object() -> None:
    """A mapping that raises while it is read is not worth an exception."""
    assert b"{}" == dumps(Unreadable(), 100)
