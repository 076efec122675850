"""Joins the rooms for one destination in one process: consent, plan, redaction, format, disk, courier."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from operator import attrgetter
from typing import Any, TypeVar

from usagewire.delivery import detached
from usagewire.delivery.courier import Courier
from usagewire.errors import Unsendable
from usagewire.pipeline.current import Current, Words
from usagewire.pipeline.destination import Destination, transport_for
from usagewire.pipeline.quiet import quiet
from usagewire.policy.consent import Consent
from usagewire.policy.plan import Open, Plan
from usagewire.policy.redact import Redactor
from usagewire.signals import Event, Item, Origin, Period, Point, Settings, Stance
from usagewire.state import lines
from usagewire.state import origin as origins
from usagewire.state.consumer import Consumer
from usagewire.state.memory import MemoryQueue
from usagewire.state.segments import Writer
from usagewire.state.view import neglected, peek

_log = logging.getLogger("usagewire")
EVENTS, METRICS = "events", "metrics"
"""Folders of what belongs to no channel. What is folded into a report before it leaves ends in ``.signals``."""
FULL_REQUEST = 2_500
"""Lines kept since the courier last looked that are worth waking it for."""
MOST_NAMES = 1_000
PAUSE = 0.03
"""Seconds between two looks at how a flush is getting on."""
_Signal = TypeVar("_Signal", Event, Point)


class Pipeline:
    """What an open destination does with events and points. Thread-safe; never raises."""

    def __init__(
        self,
        destination: Destination,
        consent: Consent,
        gate: Open | Plan,
        salt: bytes,
        redactor: Redactor,
        keeper: Writer | MemoryQueue,
        queue: Consumer | MemoryQueue,
    ) -> None:
        """``keeper`` takes, ``queue`` hands out; in memory they are one."""
        self.destination, self.durable = destination, keeper is not queue
        self._consent, self._salt, self._redactor, self._keeper = consent, salt, redactor, keeper
        self._words = Words(destination, consent, gate, durable=self.durable)
        self.courier = Courier(
            replace(destination.format, compile=self._compile if destination.format.compile else None),
            destination.settings,
            lambda: self.destination.newest_origin() if self.durable else self.destination.origin,
            queue,
            consent.stance,
            transport_for(destination.settings),
            rest=keeper.rest,
            asked=destination.asked,
            quiet=quiet,
        )
        self.located = True
        """Whether the origin knows its resource: not yet, where an earlier run's queue was taken up at the start."""
        self._fresh = 0
        self._named: set[str] = set()
        self._closed = False
        self.held_back: Counter[str] = Counter()
        """Attributes and values the tracking plan kept from leaving, by name."""

    @property
    def consented(self) -> bool:
        """Whether anything may be kept or leave, right now."""
        return self._consent.decide().on

    @property
    def _current(self) -> Current:
        return self._words.about(self.destination)

    def _compile(self, period: Period, origin: Origin, settings: Settings, now: int) -> tuple[Item, ...]:
        current = self._current.destination
        assert current.format.compile is not None  # noqa: S101 - for the type checker
        return current.format.compile(period, origin, current.settings, now)

    def locate(self, resource: Mapping[str, Any]) -> None:
        """Add the resource to the origin, if it is not known yet."""
        if self.located:
            return
        destination = self.destination
        self.destination = replace(destination, origin=origins.with_resource(destination.origin, resource))
        self.located = True
        if self.durable:
            try:
                self.destination.remember()
            except OSError as why:  # a courtesy to `status`
                _log.info("%s: %s", destination.place.destination_json, why)

    def events(self, events: Sequence[Event]) -> bool:
        """Keep what may leave; False when it could not be kept."""
        current = self._current
        destination = current.destination
        if not destination.format.carries_events:
            return self._no_place(len(events))
        if not destination.channel_of:
            return self._events(EVENTS, events, current)
        render = destination.format.render
        groups = self._by_channel(events, lambda event: render(event).name, destination)
        kept = [self._events(channel or EVENTS, group, current) for channel, group in groups]
        return all(kept)

    def _events(self, channel: str, events: Sequence[Event], current: Current) -> bool:
        destination, gate, salt, now = current.destination, current.gate, self._salt, time.time_ns()
        fmt = destination.format
        render, redact, encode, hashed = fmt.render, self._redactor.event, fmt.encode, fmt.hashed
        origin, settings = destination.origin, destination.settings
        items: list[bytes] = []
        signals: list[bytes] = []

        def take(event: Event) -> bool:
            passed, held_back = gate.event(render(event), salt, now)
            if held_back:
                self._hold_back(held_back)
            if passed is None:
                return False
            exempt = gate.exempt(passed.name)
            clean = redact(passed, exempt | hashed if hashed else exempt)
            item = None if encode is None else encode(clean, origin, settings)
            if item is None:
                signals.append(lines.event(clean))
            else:
                items.append(lines.item(item))
            return True

        # A processor in front of us may have held these since before the yes. As with any no, nothing is counted.
        self._each(_since_yes(current.stance.of(channel), self._readable(events), _OBSERVED), take)
        taken = self._put(channel, items)
        return (not signals or self._put(f"{channel}.signals", signals)) and taken

    def points(self, points: Sequence[Point]) -> bool:
        """Keep what may leave; False when it could not be kept."""
        current = self._current
        destination = current.destination
        if destination.format.compile is None:
            return self._no_place(len(points))
        if not destination.channel_of:
            return self._points(METRICS, points, current)
        groups = self._by_channel(points, lambda point: point.name, destination)
        kept = [self._points(channel or METRICS, group, current) for channel, group in groups]
        return all(kept)

    def _points(self, channel: str, points: Sequence[Point], current: Current) -> bool:
        fmt, settings = current.destination.format, current.destination.settings
        gate, salt, now = current.gate, self._salt, time.time_ns()

        kept: list[bytes] = []

        def take(point: Point) -> bool:
            passed, held_back = gate.point(point, salt, now)
            if held_back:
                self._hold_back(held_back)
            if passed is None:
                return False
            clean = fmt.admit(self._redactor.point(passed, gate.exempt(passed.name)), settings)
            if clean is None:
                raise Unsendable("format", f"{point.name} has no place in it")
            kept.append(lines.point(clean))
            return True

        # What the SDK has gathered since its last collection cannot be parted into before and after a yes.
        self._each(_since_yes(current.stance.of(channel), self._readable(points), _START), take)
        return self._put(f"{channel}.signals", kept)

    def _by_channel(
        self, signals: Sequence[_Signal], name: Callable[[_Signal], str], destination: Destination
    ) -> list[tuple[str, list[_Signal]]]:
        """Signals by channel, empty where they belong to none; those whose channel is off are counted and left out."""
        groups: dict[str, list[_Signal]] = {}
        for signal in self._readable(signals):
            channel = ""
            with suppress(Exception):  # whatever it is, it happens again where it is counted
                channel = destination.channel_of.get(name(signal), "")
            groups.setdefault(channel, []).append(signal)
        for channel in [channel for channel in groups if not destination.channels.get(channel, True)]:
            self.lose("consent", len(groups.pop(channel)))
            self._say(Unsendable("consent", f"channel {channel} is off"))
        return list(groups.items())

    def _readable(self, signals: Sequence[_Signal]) -> Iterator[_Signal]:
        """Signals as they are made, one by one; those that cannot be are counted."""
        made = iter(signals)
        for _ in range(len(signals)):
            try:
                signal = next(made)
            except Exception:
                # A record that is not what the SDK makes.
                self.lose("rejected")
                _log.info("%s: a record that cannot be read is dropped", self.destination.place.name, exc_info=True)
            else:
                yield signal

    def _each(self, signals: Iterable[_Signal], take: Callable[[_Signal], bool]) -> None:
        """``take`` each; what it does not take (False: the plan has no place for it) is counted, and never costs its
        batch."""
        lost: Counter[str] = Counter()
        for signal in signals:
            try:
                if not take(signal):
                    lost["plan"] += 1
            except Unsendable as why:
                lost[why.reason] += 1
                self._say(why)
            except Exception:
                # Hostile input that got past every check.
                lost["rejected"] += 1
                _log.info("%s: %.100r cannot be encoded", self.destination.place.name, signal.name, exc_info=True)
        for reason, count in lost.items():
            self.lose(reason, count)

    def lose(self, reason: str, count: int = 1) -> None:
        """Count what was given up."""
        self._keeper.lose(reason, count)
        if self._closed:
            self._keeper.close()  # closed by another thread meanwhile: nobody else would write it

    def _no_place(self, count: int) -> bool:
        self.lose("format", count)
        return True

    def _say(self, why: Unsendable) -> None:
        """Name a loss, each once; loudly where somebody has set something up in a way that cannot work."""
        sentence = str(why)
        if sentence not in self._named and len(self._named) < MOST_NAMES:
            self._named.add(sentence)
            level = logging.WARNING if why.reason == "unfit" else logging.INFO
            _log.log(level, "usagewire: %s: %s", self.destination.place.name, sentence)

    def _hold_back(self, names: Mapping[str, int]) -> None:
        known = self.held_back
        for name, count in names.items():
            # names may be a program's data: so many are told apart, the rest is one
            known[name if name in known or len(known) < MOST_NAMES else "…"] += count

    def _put(self, channel: str, kept: list[bytes]) -> bool:
        self.courier.start()
        if not kept:
            return True
        outcome = self._keeper.put(channel, kept)
        if self._closed:
            self._keeper.close()  # closed by another thread meanwhile: nobody else would seal it
        if outcome == "kept":
            self._fresh += len(kept)
            if self._fresh >= FULL_REQUEST:
                self._fresh = 0
                self.courier.wake()
        return outcome != "full"

    def seal(self) -> None:
        """What is kept so far may be taken by any process, at once."""
        self._keeper.close()

    # -- the end, and the fork ----------------------------------------------------------------------------------

    def flush(self, until: float) -> bool:
        """Everything kept goes to the endpoint now; whether nothing of it waits any more at ``until`` (monotonic
        seconds): it arrived, or it was rejected and counted, or there is no consent to send it."""
        self._keeper.close(patience=max(0.0, until - time.monotonic()))
        if not self.courier.start():
            return self.courier.drain(timeout=until - time.monotonic()).done
        wish = self.courier.hurry()
        owed: set[tuple[str, int]] | None = None
        while self.consented and self.courier.granted < wish:
            if time.monotonic() >= until:
                return False
            time.sleep(PAUSE)
            if self.durable and not self.courier.holds:  # another process sends
                if owed is None:
                    self.destination.ask()
                waiting = {
                    (entry.source, entry.start) for entry in peek(self.destination.place, self._consent.stance())
                }
                owed = waiting if owed is None else owed & waiting
                if not owed:
                    break
        return True

    def close(self, *, helper: bool = False) -> None:
        """Last write, no network, a few milliseconds: what waits is left to whoever holds the queue next. ``helper``:
        one is started, where it can be of use."""
        holds, backs_off = self.courier.holds, self.courier.backs_off
        self._closed = True
        self._keeper.close()
        self.courier.stop()
        settings, place = self.destination.settings, self.destination.place
        wanted = helper and self.durable and settings["delivery"] == "auto"
        if wanted and self.consented and not backs_off:
            late = neglected(place, self._consent.stance(), settings.get("interval"))
            detached.spawn(place, held=holds, neglected=late)

    def abandon(self) -> None:
        """In a forked child: let go of every descriptor without touching what the parent holds."""
        self._keeper.after_fork()
        self.courier.after_fork()


def _since_yes(stance: Stance, signals: Iterable[_Signal], moment: Callable[[_Signal], object]) -> Iterable[_Signal]:
    """Those of which the ``moment``, whatever the program said it was, is not known to lie before the yes."""
    since = stance.since
    if not 0 < since <= time.time_ns():  # nobody had to say yes, or the clock was set back
        return signals

    def counts(signal: _Signal) -> bool:
        at = moment(signal)
        return not (isinstance(at, int) and 0 < at < since)

    return filter(counts, signals)


_OBSERVED, _START = attrgetter("observed"), attrgetter("start")
