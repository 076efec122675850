"""The gate that every event and data point goes through: the tracking plan at run time, or what holds without one.

A gate is pure: the time and the identity's salt come in as values. It answers with what may pass and with what stayed
behind, by name: ``server_start`` (the whole event) or ``server_start.db_backend`` (one attribute of it).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, cast

from usagewire.forks import cached_property
from usagewire.signals import Attributes, Event, Point, Settings, Switch

Dropped = Mapping[str, int]
"""What stayed behind: ``event`` or ``event.attribute`` → how many."""

NOTHING: Dropped = MappingProxyType({})
BODY = "body"
"""The name under which a plan lists an event's body."""

Kind = Literal["string", "integer", "number", "boolean", "list", "object", "any"]
Sensitivity = Literal["keep", "hash", "bucket", "drop"]
_WITHHELD = object()
_SCALAR = (str, bool, int, float)


class Product(NamedTuple):
    """The product's facts."""

    settings: Settings = MappingProxyType({})
    """Setting name → value, weaker than the operator's; see `usagewire.config.resolve`."""
    variables: tuple[str, ...] = ()
    """The product's own environment variables that are honoured."""
    opt_out: tuple[Switch, ...] = ()
    consent: bool | None = None
    """The default while nobody has said anything; ``None`` leaves it to the format."""
    packages: tuple[str, ...] = ()
    """Distributions whose versions may be named."""
    deletion: str = ""
    """URL that takes requests to delete what was sent; empty: the vendor names none."""


class Gate(Protocol):
    """What `Open` and `Plan` have in common."""

    @property
    def product(self) -> Product:
        """The product's facts."""
        ...

    def event(self, event: Event, salt: bytes, now: int) -> tuple[Event | None, Dropped]:
        """The part of a *rendered* event that may leave, or ``None``."""
        ...

    def point(self, point: Point, salt: bytes, now: int) -> tuple[Point | None, Dropped]:
        """The part of a data point that may leave, or ``None``."""
        ...

    def exempt(self, name: str) -> frozenset[str]:
        """Attributes of the event or metric ``name`` that need no redaction: the plan lists their values or made
        them."""
        ...


class Open:
    """The gate where there is no plan: the vendor's own events and the ``usage.*`` metrics pass, as they are but for
    attributes that have to be ``planned``."""

    product = Product()

    def __init__(self, planned: AbstractSet[str] = frozenset()) -> None:
        self._planned = planned

    def event(self, event: Event, salt: bytes, now: int) -> tuple[Event | None, Dropped]:
        """Passed unless nameless, an OpenTelemetry library's own, or about generative AI's content."""
        name, scope = event.name, event.scope
        if not name or name.startswith("gen_ai.") or scope.startswith(("opentelemetry.", "opentelemetry-")):
            return None, NOTHING
        held_back = self._planned & event.attributes.keys() if self._planned else ()
        if not held_back:
            return event, NOTHING
        kept = {key: value for key, value in event.attributes.items() if key not in held_back}
        return event._replace(attributes=kept), {f"{name}.{key}": 1 for key in held_back}

    def point(self, point: Point, salt: bytes, now: int) -> tuple[Point | None, Dropped]:
        """Passed when its name begins with ``usage.``."""
        return (point if point.name.startswith("usage.") else None), NOTHING

    def exempt(self, name: str) -> frozenset[str]:
        """None are."""
        return frozenset()


class Attribute(NamedTuple):
    """One attribute, or a body, that may leave."""

    kind: Kind
    purpose: str
    values: frozenset[Any] | None = None
    """The only values that may leave, each with its type's name so that ``1`` is not ``true``."""
    sensitivity: Sensitivity = "keep"
    buckets: tuple[float, ...] = ()
    """Lower edges, ascending; none: powers of two."""

    def pass_on(self, value: Any, salt: bytes) -> Any:
        """What may leave of ``value``, or `_WITHHELD`."""
        if self.sensitivity == "drop" or not KINDS[self.kind](value):
            return _WITHHELD
        if self.values is not None and not all(tagged(item) in self.values for item in _items(value)):
            return _WITHHELD
        if self.sensitivity == "hash":
            import hmac  # loads OpenSSL, which takes milliseconds and is seldom needed

            return hmac.new(salt, str(value).encode("utf-8", "replace"), "sha256").hexdigest()
        if self.sensitivity == "bucket":
            return _bucket(value, self.buckets)
        return value


@dataclass(frozen=True)
class Entry:
    """One event or metric that may leave."""

    purpose: str
    attributes: Mapping[str, Attribute]
    body: Attribute | None = None
    owner: str = ""
    channel: str = ""
    review: str = ""
    expires: date | None = None
    """The last day (UTC) on which it may leave."""

    @cached_property
    def until(self) -> float:
        """The first nanosecond at which it may no longer leave."""
        if self.expires is None or self.expires == date.max:
            return math.inf
        day = self.expires + timedelta(days=1)
        return datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp() * 1e9

    @cached_property
    def exempt(self) -> frozenset[str]:
        """See `Gate.exempt`."""
        made = ("hash", "bucket")
        return frozenset(n for n, a in self.attributes.items() if a.values is not None or a.sensitivity in made)


@dataclass(frozen=True)
class Plan:
    """A tracking plan that was found to be in order."""

    name: str
    version: int
    product: Product = field(default_factory=Product)
    events: Mapping[str, Entry] = field(default_factory=dict[str, Entry])
    metrics: Mapping[str, Entry] = field(default_factory=dict[str, Entry])

    @property
    def title(self) -> str:
        """Which plan it is: ``ferry 3``."""
        return f"{self.name} {self.version}"

    @property
    def channels(self) -> dict[str, str]:
        """Event or metric → the channel that the plan puts it in."""
        return {name: entry.channel for name, entry in (*self.events.items(), *self.metrics.items()) if entry.channel}

    @property
    def purposes(self) -> dict[str, dict[str, str]]:
        """Event or metric → why it is collected (under the empty name), and why each of its attributes is."""
        return {
            name: {"": entry.purpose, **{key: attribute.purpose for key, attribute in entry.attributes.items()}}
            for name, entry in (*self.events.items(), *self.metrics.items())
        }

    def event(self, event: Event, salt: bytes, now: int) -> tuple[Event | None, Dropped]:
        """``event`` itself when all of it may leave; the allowed part of it; ``None`` when it is not in the plan."""
        entry = self.events.get(event.name)
        if entry is None or now >= entry.until:
            return None, {event.name: 1}
        attributes, dropped = _allowed(event.name, event.attributes, entry.attributes, salt)
        body = event.body
        if body is not None:
            body = _WITHHELD if entry.body is None else entry.body.pass_on(body, salt)
            if body is _WITHHELD:
                body, dropped = None, {**dropped, f"{event.name}.{BODY}": 1}
        if attributes is event.attributes and body is event.body:
            return event, NOTHING
        return event._replace(attributes=attributes, body=body), dropped

    def point(self, point: Point, salt: bytes, now: int) -> tuple[Point | None, Dropped]:
        """``point`` itself when all of it may leave; the allowed part of it; ``None`` when it is not in the plan.

        Sums and distributions of fewer attributes still add up. A gauge without one of its attributes would take
        another's place, so it stays behind as a whole.
        """
        entry = self.metrics.get(point.name)
        if entry is None or now >= entry.until:
            return None, {point.name: 1}
        attributes, dropped = _allowed(point.name, point.attributes, entry.attributes, salt)
        if attributes is point.attributes:
            return point, NOTHING
        if dropped and point.kind == "gauge":
            return None, {point.name: 1, **dropped}
        return point._replace(attributes=attributes), dropped

    def exempt(self, name: str) -> frozenset[str]:
        """See `Gate.exempt`."""
        entry = self.events.get(name) or self.metrics.get(name)
        return entry.exempt if entry is not None else frozenset()


def from_purposes(purposes: Mapping[str, Mapping[str, str]]) -> Plan:
    """As much of a plan as `Plan.purposes` tells: names and why, for explanations."""
    entries = {
        name: Entry(why.get("", ""), {key: Attribute("any", said) for key, said in why.items() if key})
        for name, why in purposes.items()
    }
    return Plan("", 1, events=entries)


def _allowed(
    name: str, attributes: Attributes, listed: Mapping[str, Attribute], salt: bytes
) -> tuple[Attributes, dict[str, int]]:
    """``attributes`` itself when all of them may leave as they are."""
    kept: dict[str, Any] = {}
    dropped: dict[str, int] = {}
    same = True
    for key, value in attributes.items():
        attribute = listed.get(key)
        passed = _WITHHELD if attribute is None else attribute.pass_on(value, salt)
        if passed is _WITHHELD:
            dropped[f"{name}.{key}"] = 1
        else:
            kept[key] = passed
            same = same and passed is value
    return (attributes if same and not dropped else kept), dropped


def tagged(value: Any) -> tuple[str, Any]:
    """``value`` so that equal means equal: ``true`` is not ``1``."""
    return ("boolean" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"), value


def _items(value: Any) -> tuple[Any, ...]:
    return tuple(cast("list[Any]", value)) if isinstance(value, (list, tuple)) else (value,)


def _bucket(value: float, edges: tuple[float, ...]) -> float:
    """The lower edge of the range that holds ``value``; below the first edge, that edge."""
    if edges:
        return edges[max(bisect_right(edges, value) - 1, 0)]
    if value < 0:
        return -_bucket(-value, edges)
    power = 0 if value < 1 else 1 << (int(value).bit_length() - 1)
    return type(value)(power)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


KINDS: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": _number,
    "boolean": lambda value: isinstance(value, bool),
    "list": lambda value: isinstance(value, (list, tuple)) and all(isinstance(i, _SCALAR) for i in _items(value)),
    "object": lambda value: isinstance(value, Mapping),
    "any": lambda value: True,
}
"""What a plan may say of a value, and whether a value is one."""
