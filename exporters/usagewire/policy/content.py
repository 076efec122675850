"""What a destination collects, piece by piece, so that a yes to one set of pieces is not taken for a yes to more.

| piece | it is |
|---|---|
| `event server_start` | an event, or a metric, of the tracking plan |
| `event server_start: os (string)` | one of its attributes, |
| … `, any value`, or … ` = "linux"` | with the values that it may have, |
| … `, as it is` | and neither hashed nor put into buckets |
| `any event` | whatever the program emits, where there is no plan |
| `channel basic` | a channel that is on without a word of the operator's |
| `field osd.count` | a field of a format whose document lists them |

What the operator saw when they said yes is kept in ``accepted.json`` beside the queue; what has come since is held
back until they say yes again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from usagewire.errors import StateError, Unsendable
from usagewire.policy.gate import BODY, Attribute, Dropped, Entry, Gate, Plan
from usagewire.signals import Event, Point
from usagewire.state.files import read_json, write_json
from usagewire.state.paths import Place

Content = Mapping[str, str]
"""Piece → what is said of it: its purpose, or its channel."""

_log = logging.getLogger("usagewire")


def of_gate(gate: Gate) -> dict[str, str]:
    """What the tracking plan, or the lack of one, lets through."""
    if not isinstance(gate, Plan):
        return {"any event": "there is no tracking plan", "any metric": "there is no tracking plan"}
    found: dict[str, str] = {}
    for kind, entries in (("event", gate.events), ("metric", gate.metrics)):
        for name, entry in entries.items():
            found[f"{kind} {name}"] = entry.purpose
            for key, attribute in _attributes(entry):
                found.update(dict.fromkeys(_pieces(f"{kind} {name}: {key}", attribute), attribute.purpose))
    return found


def _attributes(entry: Entry) -> Iterator[tuple[str, Attribute]]:
    yield from entry.attributes.items()
    if entry.body is not None:
        yield BODY, entry.body


def _pieces(name: str, attribute: Attribute) -> list[str]:
    if attribute.sensitivity == "drop":
        return []
    name = f"{name} ({attribute.kind})"
    values = ["any value"] if attribute.values is None else []
    told = [f"{name} = {_shown(value)}" for _, value in attribute.values or ()]
    plain = ["as it is"] if attribute.sensitivity == "keep" else []
    return [name, *(f"{name}, {word}" for word in (*values, *plain)), *sorted(told)]


def _shown(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()


def fingerprint(content: Collection[str]) -> str:
    """16 hex digits, the same for the same pieces."""
    import hashlib  # as in `usagewire.policy.gate`

    return hashlib.sha256("\n".join(sorted(content)).encode("utf-8", "replace")).hexdigest()[:16]


def grown(content: Collection[str], accepted: Collection[str]) -> list[str]:
    """The pieces that ``accepted`` does not cover."""
    return [piece for piece in content if not _covers(accepted, piece)]


def _covers(accepted: Collection[str], piece: str) -> bool:
    name, value, _ = piece.partition(" = ")
    if piece in accepted or f"any {piece.partition(' ')[0]}" in accepted:
        return True
    return bool(value) and f"{name}, any value" in accepted


# -- what was accepted ------------------------------------------------------------------------------------------------


class Accepted(NamedTuple):
    """What a yes covered."""

    content: Content
    plan: str = ""
    """Name and version; empty: there was none."""


def recall(place: Place, term: str) -> Accepted | None:
    """What the yes of that epoch covered; ``None``: nothing was known of the destination then.

    A file that cannot be read covers nothing.
    """
    try:
        stored = read_json(place.accepted_json)
        if stored is None or stored["term"] != term:
            return None
        return Accepted({str(piece): str(about) for piece, about in stored["content"].items()}, str(stored["plan"]))
    except (StateError, KeyError, TypeError, AttributeError) as why:
        _log.warning("usagewire: %s: %r; all is held back, say `usagewire on` anew", place.accepted_json, why)
        return Accepted({})


def remember(place: Place, term: str, accepted: Accepted) -> None:
    """Store what a yes covers. Raises `OSError`."""
    said = {"version": 1, "term": term, "plan": accepted.plan, "content": dict(sorted(accepted.content.items()))}
    write_json(place.accepted_json, said)
    if os.geteuid() == 0:  # said by root for another user: that user's program must be able to read it
        owner = place.folder.stat()
        os.chown(place.accepted_json, owner.st_uid, owner.st_gid)


# -- holding back -----------------------------------------------------------------------------------------------------


def narrow(gate: Gate, accepted: Collection[str]) -> Gate:
    """``gate`` itself, or one that lets through no more than was accepted."""
    held = grown(of_gate(gate), accepted)
    return _Narrowed(gate, frozenset(held), accepted) if held else gate


class _Narrowed:
    def __init__(self, gate: Gate, held: frozenset[str], accepted: Collection[str]) -> None:
        if isinstance(gate, Plan):
            events, metrics = _narrowed("event", gate.events, accepted), _narrowed("metric", gate.metrics, accepted)
            gate = replace(gate, events=events, metrics=metrics)
        self._gate, self._held = gate, held
        self.product = gate.product

    def event(self, event: Event, salt: bytes, now: int) -> tuple[Event | None, Dropped]:
        self._check("event", event.name)
        return self._gate.event(event, salt, now)

    def point(self, point: Point, salt: bytes, now: int) -> tuple[Point | None, Dropped]:
        self._check("metric", point.name)
        return self._gate.point(point, salt, now)

    def exempt(self, name: str) -> frozenset[str]:
        return self._gate.exempt(name)

    def _check(self, kind: str, name: str) -> None:
        if f"{kind} {name}" in self._held or f"any {kind}" in self._held:
            raise Unsendable("consent", f"{kind} {name} has come since the last yes; see `usagewire diff`")


def _narrowed(kind: str, entries: Mapping[str, Entry], accepted: Collection[str]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for name, entry in entries.items():
        kept = {key: _narrowed_attribute(f"{kind} {name}: {key}", one, accepted) for key, one in _attributes(entry)}
        body = kept.pop(BODY, None) if entry.body is not None else None
        attributes = {key: one for key, one in kept.items() if one is not None}
        found[name] = replace(entry, attributes=attributes, body=body)
    return found


def _narrowed_attribute(name: str, attribute: Attribute, accepted: Collection[str]) -> Attribute | None:
    """What may leave of it as it was accepted: fewer values, or nothing."""
    held = grown(_pieces(name, attribute), accepted)
    values = attribute.values
    if values is not None:
        values = frozenset(one for one in values if f"{name} ({attribute.kind}) = {_shown(one[1])}" not in held)
        held = [piece for piece in held if " = " not in piece]
    return None if held or values == frozenset() else attribute._replace(values=values)
