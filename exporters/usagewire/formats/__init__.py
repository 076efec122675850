"""The rooms: one module per documented wire format, each pure, each ending in one `FORMAT` constant.

A format knows no SDK, clock, environment, file or network. Time, ids and randomness come in as values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from usagewire.signals import (
    Event,
    Item,
    Origin,
    Period,
    Point,
    Request,
    Response,
    Setting,
    Settings,
    Switch,
    Verdict,
)

BUILT_IN = ("segment", "jetstream", "jina", "tts", "stone")
"""Names of the formats that come with us; each is the module of the same name. Others come by entry point."""

GROUP = "usagewire_format"
"""Entry-point group for third-party formats: name → a `Format`."""

TAKEN = ("events", "metrics", "counts", "reports")
"""What the queue calls its own folders, beside those of the channels."""
_CHANNEL = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


class Pack(Protocol):
    """Shape of `Format.pack`."""

    def __call__(self, items: Sequence[bytes], settings: Settings, now: int, attempt: int) -> tuple[Request, int]:
        """As many items as one request may hold; of each its `Item.data`."""
        ...


class License(NamedTuple):
    """What a document demands to be accepted before anything is shared."""

    id: str
    """As ``usagewire on --license`` takes it."""
    text: str
    """The document's words: its full name, and where it stands."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One documented wire format."""

    name: str
    title: str
    """The product and its document, for people."""
    settings: tuple[Setting, ...]
    """The format's own rows; the common ones are `usagewire.config.COMMON`."""
    pack: Pack
    """``(items, settings, now, attempt)`` → a request that holds the first *n* items, and *n* ≥ 1.
    ``attempt`` is 1 for the first try."""
    judge: Callable[[Request, Response, bool], Verdict]
    """``(request, response, uncertain)``; ``uncertain``: the outcome of the previous try is unknown."""
    render: Callable[[Event], Event] = lambda event: event
    """An event under the name and attribute names it has in this format (``usage.component.start`` of ``server`` →
    ``server_start``). The tracking plan, redaction and ``encode`` all see the rendered event. Raises
    `usagewire.errors.Unsendable` for one that this format has no place for."""
    encode: Callable[[Event, Origin, Settings], bytes | None] | None = None
    """Event-shaped side: an event → an item's data (`usagewire.signals.Item`); raises `usagewire.errors.Unsendable`.
    ``None``: this format carries no events at once, or not this one: it waits for the report."""
    admit: Callable[[Point, Settings], Point | None] = lambda point, settings: point
    """A data point as a report period takes it; ``None``: no place for it. Raises `usagewire.errors.Unsendable` for
    one that would make a report wrong."""
    compile: Callable[[Period, Origin, Settings, int], tuple[Item, ...]] | None = None
    """Report-shaped side: ``(period, origin, settings, now)``. ``None``: this format carries no reports."""
    blank: Callable[[Origin, Settings, int], bytes] | None = None
    """``(origin, settings, now)`` → a report in which nothing was recorded, as JSON that says so: what ``show`` shows
    while there is no consent to record anything."""
    keep: Callable[[Sequence[Event], int | None], tuple[Sequence[Event], int]] | None = None
    """``(events, ended)`` → those that still count, oldest first, and how many of the others are a loss. While the
    period runs (``ended`` is ``None``) it is asked when there are too many; when it has ended, at that time, for what
    the next one begins with. ``None``: nothing outlives a period."""
    event_lane: str = ""
    """Where what ``encode`` makes goes to an endpoint of its own, the name of that: one of the two that fails holds
    nothing up for the other. Empty: there is one endpoint."""
    channels: Mapping[str, str] = field(default_factory=dict[str, str])
    """Event or metric → the channel that it belongs to. The names of all there are: the choices of ``channels``. Each
    names a folder: ASCII letters, digits, ``_`` and ``-``, and none of `TAKEN`; another raises `ValueError`."""
    fields: Callable[[Settings], Mapping[str, str]] = lambda settings: {}
    """The fields of a report → their channels, where the document lists them all: ``osd.count``, ``pools[].size``. One
    that is new to somebody who has said yes already is taken out of what ``compile`` makes."""
    without: Callable[[bytes, Collection[str]], bytes | None] | None = None
    """A report's item without the part of some channels; ``None``: nothing is left of it."""
    reports_events: bool = True
    """Whether ``compile`` makes something of a period's events, too."""
    sends_early: bool = False
    """The document's command to send makes a report of the period so far; elsewhere reports leave when they are due."""
    spelling: str = ""
    """What the document's own commands write before a setting's name, such as ``mgr mgr/telemetry/``; ``usagewire
    config`` takes that, too."""
    interval: int | None = None
    """Default report period in milliseconds; ``None`` where there is no report."""
    hashed: frozenset[str] = frozenset()
    """Attributes of events that never leave as they are, but as what is drawn from them: redaction would make many of
    them one."""
    planned: frozenset[str] = frozenset()
    """Attributes of events that leave only where a tracking plan lists them."""
    packages: tuple[str, ...] = ()
    """Distributions whose versions the document asks for."""
    volatile: frozenset[str] = frozenset()
    """JSON keys whose values may differ between what ``show`` prints and what is sent."""
    switches: tuple[Switch, ...] = ()
    """The product's own documented opt-outs."""
    default_on: bool = True
    """Consent when nobody has said anything."""
    license: License | None = None
    """Demanded along with every yes; ``None``: the document names none."""
    known_by: Callable[[Origin, Settings], Mapping[str, Any]] = lambda origin, settings: {}
    """By what a receiver tells the installation from others for good, as JSON keys of what leaves: a request to delete
    what was sent names it. Empty: by nothing."""

    def __post_init__(self) -> None:
        choices = next((row.choices for row in self.settings if row.name == "channels"), ())
        found = sorted({*choices, *self.channels.values()})
        wrong = [name for name in found if name.lower() in TAKEN or not _CHANNEL.fullmatch(name)]
        if wrong:
            named = ", ".join(map(repr, wrong))
            raise ValueError(
                f"format {self.name}: no channel can be called {named}: call it by up to 64 ASCII letters, digits, _ "
                f"and -, a letter first, but not {', '.join(TAKEN)}, as the queue's own folders are called"
            )

    @property
    def carries_events(self) -> bool:
        """Whether events leave in any way; otherwise they are dropped and counted."""
        return self.encode is not None or (self.compile is not None and self.reports_events)


def names() -> tuple[str, ...]:
    """All format names, ours first."""
    from importlib.metadata import entry_points

    strangers = sorted({point.name for point in entry_points(group=GROUP)} - set(BUILT_IN))
    return (*BUILT_IN, *strangers)


def load(name: str) -> Format:
    """The format called ``name``. Raises `KeyError` when there is none."""
    if name in BUILT_IN:
        built_in: Format = import_module(f"usagewire.formats.{name}").FORMAT
        return built_in
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP, name=name):
        found = point.load()
        if isinstance(found, Format):
            return found
    raise KeyError(name)
