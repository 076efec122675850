"""What would leave next for a destination: its requests, made the way the courier makes them, or why there are none."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from usagewire.cli.choose import Found
from usagewire.cli.consent import way_out
from usagewire.cli.layout import as_json, differing, masked
from usagewire.cli.look import Look
from usagewire.cli.words import iso, plural
from usagewire.delivery import open_transport
from usagewire.delivery.lane import MOST_BYTES, MOST_ITEMS
from usagewire.pipeline.destination import Destination
from usagewire.signals import Item, Request

if TYPE_CHECKING:
    from usagewire.cli.explain import Explainer

HOUR = 3_600_000_000_000


@dataclass(frozen=True)
class Preview:
    """One request that would leave."""

    found: Found
    destination: Destination
    request: Request
    items: int
    volatile: frozenset[str]
    due: int | None
    """``None``: next. Otherwise the end of the report period whose beginning this shows."""
    left_out: Mapping[str, int]
    """What the format has no place for: ``place: why`` → how many values."""


@dataclass(frozen=True)
class Outlook:
    """What would leave for one destination, or why nothing would."""

    found: Found
    previews: Sequence[Preview]
    beyond: int = 0
    """Items that wait behind the requests shown."""
    reason: str = ""
    blank: str = ""
    """While there is no consent: what a report says before anything is recorded, as JSON."""


def outlook(found: Found, limit: int, now: int, lane: str | None = None) -> Outlook:
    """What would leave for ``found``, in at most ``limit`` requests; ``lane``: for this endpoint of its format's."""
    destination = found.destination
    if destination is None:
        return Outlook(found, (), reason=found.fault)
    look = Look(destination)
    decision = look.decision
    if not decision.on:
        kept = f" ({plural(look.backlog.items, 'item')} kept until that changes)" if look.backlog.items else ""
        service = found.place.service_dir.name
        blank = destination.format.blank
        nothing = blank(destination.origin, destination.settings, now) if blank and not lane else b""
        reason = f"{decision.detail}{kept}; {way_out(decision, service)}"
        return Outlook(found, (), reason=reason, blank=destination.settings.mask(nothing).decode())
    if destination.settings.faults:
        return Outlook(found, (), look.backlog.items, f"settings: {'; '.join(destination.settings.faults)}")
    previews: list[Preview] = []
    beyond = 0
    for name in look.lanes if lane is None else (lane,):
        items, failures = [Item(entry.data) for entry in look.of(name)], look.ledger.of(name).failures
        packed, left = _packed(found, destination, items, limit - len(previews), now, failures + 1)
        previews, beyond = previews + packed, beyond + left
    report, cut = ([], 0) if lane else _report(found, destination, look, limit - len(previews), now)
    return Outlook(found, [*previews, *report], beyond + cut, "" if previews or report else "nothing waits")


def _packed(
    found: Found,
    destination: Destination,
    items: Sequence[Item],
    limit: int,
    now: int,
    attempt: int = 1,
    drawn: frozenset[str] = frozenset(),
    due: int | None = None,
) -> tuple[list[Preview], int]:
    """``items`` as the courier would pack them, in at most ``limit`` requests, and how many items are left over."""
    previews: list[Preview] = []
    volatile = destination.format.volatile | drawn
    transport = open_transport(destination.settings)  # connects to nothing; knows the headers that it adds
    while items and len(previews) < limit:
        offered = [item.data for item in _offered(items)]
        request, taken = destination.format.pack(offered, destination.settings, now, attempt)
        wired = request._replace(headers=transport.wire(request).headers)  # the body stays readable
        left_out = Counter[str]()
        for item in items[:taken]:
            left_out.update(item.left_out or {})
        previews.append(Preview(found, destination, wired, taken, volatile, due, left_out))
        items, attempt = items[taken:], 1
    return previews, len(items)


def _offered(items: Sequence[Item]) -> Sequence[Item]:
    """As many as the courier offers a format at once."""
    room, count = MOST_BYTES, 0
    for item in items[:MOST_ITEMS]:
        room -= len(item.data)
        if room < 0 and count:
            break
        count += 1
    return items[:count]


def _report(found: Found, destination: Destination, look: Look, limit: int, now: int) -> tuple[list[Preview], int]:
    """The report of the period so far, as if it ended now."""
    compile, period = destination.format.compile, look.period
    if compile is None or period is None:
        return [], 0
    origin, settings = destination.origin, destination.settings
    items = compile(period, origin, settings, now)
    # Ids and times are drawn when the period really ends: what differs between two drawings is what will differ then.
    later = now + HOUR
    again = compile(
        period._replace(number=period.number + 1, end=later, nonce=secrets.token_hex(16)),
        replace(origin, session=str(uuid4()), started=later),
        settings,
        later,
    )
    drawn = {name for one, two in zip(items, again, strict=False) for name in _differing(one, two)}
    return _packed(found, destination, items, limit, now, drawn=frozenset(drawn), due=look.due)


def _differing(one: Item, two: Item) -> set[str]:
    return differing(orjson.loads(one.data), orjson.loads(two.data))


def document(outlooks: Sequence[Outlook], explainer: Explainer | None = None) -> dict[str, Any]:
    """What ``--json`` prints."""
    requests = [
        {
            "service": preview.found.place.service_dir.name,
            "destination": preview.found.place.name,
            "format": preview.destination.format.name,
            "leaves": "next" if preview.due is None else "at the end of the period",
            "due": iso(preview.due),
            "method": preview.request.method,
            "url": preview.request.url,
            **as_json(*masked(preview.request, preview.destination.settings)),
            "items": preview.items,
            "volatile": sorted(preview.volatile),
            "left_out": dict(preview.left_out),
            **({"why": explainer.fields(preview.destination, _body(preview))} if explainer is not None else {}),
        }
        for one in outlooks
        for preview in one.previews
    ]
    return {
        "requests": requests,
        "volatile": sorted({name for one in outlooks for preview in one.previews for name in preview.volatile}),
        "beyond": sum(one.beyond for one in outlooks),
        "nothing": [
            {
                "service": one.found.place.service_dir.name,
                "destination": one.found.place.name,
                "reason": one.reason,
                "blank": one.blank or None,
            }
            for one in outlooks
            if one.reason
        ],
    }


def _body(preview: Preview) -> str | bytes:
    return masked(preview.request, preview.destination.settings)[1]
