"""What never leaves, whatever a program says: addresses, people, their folders and machines, their keys.

Always on, for the values of events and points; never for settings, origin, or values that a tracking plan enumerates
(DESIGN §6). Almost every value is a short word, a number or a version, so the cheap questions come first: the patterns
run only on text that has the characters they need. Attribute names are the developer's and stay; the keys *inside* a
structured value may be data (``{"10.0.0.7": …}``) and are treated like values.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any, cast

from usagewire.policy.patterns import Scrubber, exempt
from usagewire.signals import Attributes, Event, Point

LONGEST = 262_144
"""Characters of one text that are looked at. A longer one is replaced: no format could carry it anyway."""
MEMORABLE, REMEMBERED = 64, 1_024
"""Characters of one text that is worth remembering as clean, and how many such texts are remembered."""
DEEPEST, MOST = 32, 100_000
"""Levels, and values, of one structured value that are looked at; what lies beyond is replaced."""

NAMED: Mapping[str, str] = {
    "host.name": "[host]",
    "host.id": "[host]",
    "usage.device.host": "[host]",
    "user.name": "[user]",
    "user.full_name": "[user]",
    "user.id": "[user]",
}
"""Attributes that by convention hold nothing but the name of somebody or of a machine."""
ENTITY = "usage.crash.entity"
_MARKED = frozenset({*NAMED, ENTITY})
_ENTITY = re.compile(r"([\w-]+\.)(?![0-9]+$).+", re.DOTALL)
"""`mon.host-a`: a daemon called after its host, unlike `osd.7`."""

_DIGIT = re.compile(r"[0-9]").search
_NUMERIC = frozenset("0123456789 ()/.-")
_NUMBER = re.compile(r"[0-9][0-9 ()/.-]{9}").search
"""Where a telephone's or a payment card's number may begin; ten characters and a sign are the shortest looked for."""
_BARE = (bool, int, float, type(None))


class Redactor:
    """Replaces what must not leave by readable markers: ``[email]``, ``[ip]``, ``[mac]``, ``[path]``, ``[user]``,
    ``[host]``, ``[credentials]``, ``[token]``, ``[card]``, ``[phone]``. ``user``, ``host`` and ``home`` are this
    machine's, found inside paths and URLs even where nothing else gives them away."""

    def __init__(self, user: str = "", host: str = "", home: str = "") -> None:
        self._scrub = Scrubber(user, host, home)
        self._clean: set[str] = set()
        """Texts in which nothing was found, whatever their attribute is called: most come again and again."""

    @classmethod
    def here(cls) -> Redactor:
        """One that knows this machine's names."""
        import getpass

        try:
            user = getpass.getuser()
        except (OSError, KeyError):  # a container's numeric user without an entry
            user = ""
        home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
        return cls(user, os.uname().nodename, home if home != "~" else "")

    def event(self, event: Event, listed: AbstractSet[str] = frozenset()) -> Event:
        """``event`` itself when there is nothing to redact. ``listed``: attributes whose values a plan enumerates."""
        attributes = self._attributes(event.attributes, listed)
        body = event.body
        if body is not None:
            body = self._value("", body, DEEPEST, [MOST])
        if attributes is event.attributes and body is event.body:
            return event
        return event._replace(attributes=attributes, body=body)

    def point(self, point: Point, listed: AbstractSet[str] = frozenset()) -> Point:
        """``point`` itself when there is nothing to redact."""
        attributes = self._attributes(point.attributes, listed)
        return point if attributes is point.attributes else point._replace(attributes=attributes)

    def text(self, name: str, value: str) -> str:
        """``value`` of the attribute ``name``, redacted."""
        if self._is_plain(value):
            self._remember(value)
            return value
        if exempt(name, value):
            return value
        clean = self._scrub(value) if len(value) <= LONGEST else "[long text]"
        if clean != value:
            return clean
        self._remember(value)
        return value

    def _remember(self, value: str) -> None:
        if type(value) is str and len(value) <= MEMORABLE:
            if len(self._clean) >= REMEMBERED:
                self._clean.clear()
            self._clean.add(value)

    @staticmethod
    def _is_plain(value: str) -> bool:
        """Whether a look at the characters and the length is enough to see that no pattern can match."""
        if (
            "/" not in value
            and ":" not in value
            and "@" not in value
            and "\\" not in value
            and ("." not in value or value.count(".") < 3)
        ):
            length = len(value)
            if length < 11:
                return True
            if length < 20:
                # ten characters in a row, among fewer than twenty: the tenth from either end is one of them
                number = value[9] in _NUMERIC and value[-10] in _NUMERIC and _NUMBER(value)
                return not number and (length < 17 or value.count("-") < 5)
            return not _DIGIT(value) and value.count("-") < 5
        return False

    def _attributes(self, attributes: Attributes, listed: AbstractSet[str]) -> Attributes:
        changed: dict[str, Any] | None = None
        known = self._clean
        for name, value in attributes.items():
            clean: Any
            # of a subclass, what it says of itself need not be what it is
            if type(value) is str and value in known and name not in _MARKED:
                continue
            if isinstance(value, _BARE):
                continue
            if isinstance(value, str):
                if name in NAMED:
                    clean = NAMED[name]
                elif name == ENTITY:
                    clean = _ENTITY.sub(r"\1[host]", value)
                else:
                    clean = self.text(name, value)
            else:
                clean = self._value(name, value, DEEPEST, [MOST])
            if clean is not value and name not in listed:
                if changed is None:
                    changed = dict(attributes)
                changed[name] = clean
        return attributes if changed is None else changed

    def _value(self, name: str, value: Any, depth: int, budget: list[int]) -> Any:
        """``value`` itself when clean. ``budget`` bounds the work on structures that refer to themselves."""
        budget[0] -= 1
        if isinstance(value, str):
            return self.text(name, value)
        if isinstance(value, _BARE):
            return value
        if depth <= 0 or budget[0] <= 0:
            return "[deep]"
        if isinstance(value, Mapping):
            return self._mapping(cast("Attributes", value), depth, budget)
        if isinstance(value, (list, tuple, set, frozenset)):
            items = list(cast("Iterable[Any]", value))
            cleaned = [self._value(name, item, depth - 1, budget) for item in items]
            same = all(new is old for new, old in zip(cleaned, items, strict=True))
            return cast("Any", value) if same else cleaned
        return self._other(name, value, depth, budget)

    def _mapping(self, mapping: Mapping[Any, Any], depth: int, budget: list[int]) -> Mapping[Any, Any]:
        cleaned: dict[Any, Any] = {}
        same = True
        for key, value in mapping.items():
            name = str(key)
            new_key, new_value = self.text("", name), self._value(name, value, depth - 1, budget)
            if new_key == name:
                new_key = key
            same = same and new_key is key and new_value is value
            count = 1
            while new_key in cleaned:  # two addresses are still two entries
                count += 1
                new_key = f"{self.text('', name)} {count}"
            cleaned[new_key] = new_value
        return mapping if same else cleaned

    def _other(self, name: str, value: Any, depth: int, budget: list[int]) -> Any:
        """Anything a format would turn into text: bytes, enums, paths, dates, a program's own classes."""
        if isinstance(value, Enum):
            return self._value(name, value.value, depth - 1, budget)
        try:
            text = bytes(value).decode("utf-8", "replace") if isinstance(value, (bytes, bytearray)) else str(value)
        except Exception:  # the program's own __str__ may raise anything
            return "[unreadable]"
        clean = self.text(name, text)
        return value if clean == text else clean
