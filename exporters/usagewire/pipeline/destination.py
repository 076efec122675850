"""destination.json: how a destination is remembered, so that `status`, `show` and `send` work from another shell."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from usagewire import formats
from usagewire.config import Resolved, resolve, rows
from usagewire.delivery import Transport, open_transport
from usagewire.delivery.courier import EARLY
from usagewire.errors import StateError
from usagewire.forks import cached_property
from usagewire.formats import fields
from usagewire.pipeline.product import Product, consent_for
from usagewire.policy import content as contents
from usagewire.policy.consent import Consent
from usagewire.policy.content import Accepted, grown
from usagewire.signals import Item, Origin, Period, Stance
from usagewire.state import origin as origins
from usagewire.state.consumer import Limits
from usagewire.state.files import read_json, write_json
from usagewire.state.listing import channel_folder
from usagewire.state.paths import Place


@dataclass(frozen=True)
class Destination:
    """One format, its settings, its folder and the program behind it."""

    place: Place
    format: formats.Format
    settings: Resolved
    origin: Origin
    product: Product = field(default_factory=Product)
    held_back: tuple[str, ...] = ()
    """What has come since the operator said yes."""

    def consent(self, environ: Mapping[str, str], argv: list[str] | None = None) -> Consent:
        """Who decides for this destination; ``argv`` is the host program's, none for another shell's."""
        return consent_for(self.place, self.format, self.product, environ, argv or [])

    def limits(self) -> Limits:
        """What the queue may hold, how long a period is, and what belongs to which channel."""
        return Limits(
            queue_bytes=self.settings["queue_bytes"],
            queue_ttl_millis=self.settings["queue_ttl"],
            sent_bytes=self.settings["sent_bytes"],
            interval_millis=self.settings.get("interval"),
            keep=self.format.keep,
            event_lane=self.format.event_lane,
            channels=self.channel_of,
            without=self.format.without,
        )

    @cached_property
    def channel_of(self) -> Mapping[str, str]:
        """Event or metric → the channel that it belongs to, as its folder is named; the document goes before a plan."""
        named = {**self.product.channels, **self.format.channels}
        return {name: channel_folder(channel) for name, channel in named.items()}

    @cached_property
    def channels(self) -> Mapping[str, bool]:
        """Every channel there is → whether it may leave, as far as the settings say."""
        row = next(row for row in rows(self.format) if row.name == "channels")
        chosen = self.settings["channels"]
        known = row.choices or sorted(set(self.channel_of.values()))
        return {channel: chosen is None or channel in chosen for channel in known}

    @cached_property
    def content(self) -> Mapping[str, str]:
        """All that is collected, piece by piece (`usagewire.policy.content`), as the program says it."""
        listed = self.format.fields(self.settings)
        return {
            **{f"field {path}": f"channel {channel}" if channel else "always" for path, channel in listed.items()},
            **{f"channel {channel}": "on" for channel, on in self.channels.items() if on},
            **self.product.content,
        }

    def under(self, stance: Stance, accepted: Accepted | None = None) -> Destination:
        """With the channels that the operator spoke of switched as they were told to be, and without what has come
        since they ``accepted`` the rest; ``None``: nobody was asked."""
        held = frozenset(grown(self.content, accepted.content) if accepted else ())
        said = {channel: stance.channels[channel].on for channel in self.channels if channel in stance.channels}
        listed = {channel: on and f"channel {channel}" not in held for channel, on in self.channels.items()}
        return self._with_channels({**listed, **said})._without(sorted(held))

    def _with_channels(self, active: Mapping[str, bool]) -> Destination:
        if active == self.channels:
            return self
        chosen = tuple(channel for channel, on in active.items() if on)
        settings = replace(
            self.settings,
            chosen={**self.settings, "channels": chosen},
            sources={**self.settings.sources, "channels": "stored"},
        )
        return replace(self, settings=settings)

    def _without(self, held: Sequence[str]) -> Destination:
        compile = self.format.compile
        paths = [piece.removeprefix("field ") for piece in held if piece.startswith("field ")]
        if compile is None or not paths:
            return replace(self, held_back=tuple(held)) if held else self

        def compile_rest(period: Period, origin: Origin, settings: Mapping[str, Any], now: int) -> tuple[Item, ...]:
            made = compile(period, origin, settings, now)
            return tuple(item._replace(data=fields.without(item.data, paths)) for item in made)

        return replace(self, format=replace(self.format, compile=compile_rest), held_back=tuple(held))

    def ask(self, *, early: bool = False) -> None:
        """Ask whichever process holds the lock to send everything now; ``early``: a report of the period so far as
        well."""
        for name in ("report-now", "send-now")[not early :]:  # the one that is looked for comes last
            os.close(os.open(self.place.folder / name, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600))

    def asked(self) -> str:
        """What somebody has asked for since the last look: nothing, ``send`` or ``report``."""
        try:
            (self.place.folder / "send-now").unlink()
        except OSError:
            return ""
        try:
            (self.place.folder / "report-now").unlink()
        except OSError:
            return "send"
        return EARLY

    def remember(self) -> None:
        """Write destination.json where it says something new."""
        wanted = {
            "version": 1,
            "format": self.format.name,
            "settings": dict(self.settings),
            "sources": dict(self.settings.sources),
            "origin": origins.to_json(self.origin),
            "product": self.product.to_json(),
        }
        try:
            if read_json(self.place.destination_json) == wanted:
                return
        except StateError:
            pass  # unreadable: written anew
        write_json(self.place.destination_json, wanted)

    def newest_origin(self) -> Origin:
        """That of the newest process of the program, as far as destination.json knows: a report is made for all of
        them by whichever holds the lock, often the oldest."""
        try:
            stored = origins.from_json((read_json(self.place.destination_json) or {})["origin"])
        except (StateError, KeyError, TypeError, ValueError):
            return self.origin
        return stored if stored.started > self.origin.started else self.origin


def recall(place: Place, environ: Mapping[str, str]) -> Destination:
    """The destination a program left in ``place``, as the operator's words make it. This shell's environment wins over
    what was stored.

    Raises `StateError` when nothing usable was left.
    """
    found = as_left(place, environ)
    consent = found.consent(environ)
    term = consent.decide().term
    return found.under(consent.stance(), contents.recall(place, term) if term else None)


def as_left(place: Place, environ: Mapping[str, str]) -> Destination:
    """The same as the program would have it, whatever the operator says. Raises `StateError`."""
    stored = read_json(place.destination_json)
    if stored is None:
        raise StateError(f"{place.destination_json}: not there; the program has not run with telemetry on yet")
    try:
        fmt = formats.load(stored["format"])
        product = Product.from_json(stored.get("product") or {})
        origin = origins.from_json(stored["origin"])
        told: Mapping[str, str] = stored.get("sources") or {}
        # config.json speaks for itself, and may have changed since
        values = {name: value for name, value in stored["settings"].items() if told.get(name) != "stored"}
    except (AttributeError, KeyError, TypeError, ValueError) as fault:
        raise StateError(
            f"{place.destination_json}: cannot be read ({fault!r}); remove it, the program rewrites it"
        ) from fault
    settings = resolve(
        fmt, {}, environ, stored=read_json(place.config_json), plan=values, plan_variables=product.variables
    )
    sources = {
        name: told.get(name, source) if source == "plan" else source for name, source in settings.sources.items()
    }
    return Destination(place, fmt, replace(settings, sources=sources), origin, product)


def transport_for(settings: Resolved) -> Callable[[], Transport]:
    """What opens the connection, at the first request and not before."""
    return lambda: open_transport(settings)
