"""Any Python value as plain JSON, in bounded time and memory, whatever a program attached to its event.

| value | becomes |
|---|---|
| `None`, bool, str, int of 64 bits, finite float | itself |
| integer beyond 64 bits | its digits, as text; beyond 600 digits `null` |
| NaN, ±Infinity | `null` |
| `Decimal` and other real numbers | the nearest float |
| lone surrogate inside a text | U+FFFD, the replacement character |
| bytes | Base64 text |
| enum | its value |
| datetime (naive: taken as UTC), date, time, UUID | ISO 8601 text, UTC as `Z`; text |
| mapping, sequence | object, array; a key that is no text becomes its own JSON text |
| set | array, sorted |
| a container inside itself, deeper than 20 levels, anything else, anything that raises | `null` |
"""

from __future__ import annotations

import datetime
from base64 import b64encode
from collections.abc import Mapping, Sequence, Set
from decimal import Decimal
from enum import Enum
from math import isfinite
from numbers import Integral, Real
from typing import Any, cast
from uuid import UUID

import orjson

MAX_DEPTH = 20
MAX_BITS = 1_993
"""An integer of so many bits has at most 600 digits; Python refuses to print beyond 640 where it is told to."""
_SCALARS = frozenset((str, int, float, bool, type(None)))


class TooLarge(ValueError):
    """The JSON would be longer than the caller can use; found before it is built."""


def dumps(attributes: Mapping[Any, Any], limit: int) -> bytes:
    """``attributes`` as one line of JSON. Raises `TooLarge`, and nothing else, when that takes over ``limit`` bytes.

    The limit stops the work early and is a lower bound: check the length of the result.
    """
    try:
        # Plain values, few enough: orjson can take them as they are. It refuses odd keys itself, and is done with a
        # long text sooner than asking for its length would be worth it.
        if len(attributes) <= limit // 5 and _SCALARS.issuperset(map(type, attributes.values())):
            return orjson.dumps(attributes if type(attributes) is dict else dict(attributes))
    except Exception:  # noqa: S110 - a lone surrogate, an integer beyond 64 bits, a mapping that raises: the long way
        pass
    return orjson.dumps(_Walk(limit).plain(attributes, 0) or {}, default=lambda odd: None)


def text(value: str) -> str:
    """``value`` with every lone surrogate replaced, so that it has a UTF-8 form."""
    if value.isascii():
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class _Walk:
    """One value on its way to plain JSON. Every step pays at least one byte, so the limit bounds the steps too."""

    def __init__(self, limit: int) -> None:
        self._room = limit
        self._inside: set[int] = set()

    def plain(self, value: Any, depth: int) -> Any:
        try:
            return self._plain(value, depth)
        except TooLarge:
            raise
        except Exception:  # values may be of any class, and their methods may do anything
            return None

    def _pay(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise TooLarge

    def _plain(self, value: Any, depth: int) -> Any:  # noqa: PLR0911 - one line per kind of value
        self._pay(1)
        if depth > MAX_DEPTH or value is None:
            return None
        if isinstance(value, bool):
            return value
        if isinstance(value, Enum):
            return self.plain(value.value, depth + 1)
        if isinstance(value, str):
            self._pay(len(value) + 1)
            return text(str.__str__(value))  # of a subclass: exactly a str
        if isinstance(value, Integral):
            return _whole(int(value))
        if isinstance(value, (Real, Decimal)):
            number = float(value)
            return number if isfinite(number) else None
        if isinstance(value, (bytes, bytearray, memoryview)):
            raw = cast("bytes", value)
            self._pay(len(raw))
            return b64encode(raw).decode()
        if isinstance(value, (datetime.date, datetime.time)):
            return text(_time(value))
        if isinstance(value, UUID):
            return text(str(value))
        if isinstance(value, (Mapping, Sequence, Set)):
            return self._container(cast("Sequence[Any]", value), depth)
        return None

    def _container(self, value: Mapping[Any, Any] | Sequence[Any] | Set[Any], depth: int) -> Any:
        self._look_ahead(len(value))
        if id(value) in self._inside:
            return None
        self._inside.add(id(value))
        try:
            if isinstance(value, Mapping):
                return {self._key(key, depth): self._entry(item, depth) for key, item in value.items()}
            items = [self._entry(item, depth) for item in value]
        finally:
            self._inside.discard(id(value))
        return _sorted(items) if isinstance(value, Set) else items

    def _look_ahead(self, entries: int) -> None:
        """Give up on a million entries before the first."""
        if 2 * entries > self._room + 1:
            raise TooLarge

    def _entry(self, item: Any, depth: int) -> Any:
        self._pay(1)  # the comma
        return self.plain(item, depth + 1)

    def _key(self, key: Any, depth: int) -> str:
        found = self.plain(key, depth + 1)
        return found if isinstance(found, str) else orjson.dumps(found).decode()


def _whole(value: int) -> int | str | None:
    if -(1 << 63) <= value < 1 << 64:
        return value
    return str(value) if value.bit_length() <= MAX_BITS else None


def _time(value: datetime.date | datetime.time) -> str:
    if isinstance(value, datetime.datetime):
        value = value.replace(tzinfo=value.tzinfo or datetime.timezone.utc).astimezone(datetime.timezone.utc)
        return value.isoformat().replace("+00:00", "Z")
    return value.isoformat()


def _sorted(items: list[Any]) -> list[Any]:
    try:
        return sorted(items)
    except TypeError:  # of several kinds
        return sorted(items, key=orjson.dumps)
