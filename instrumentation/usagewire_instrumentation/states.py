"""How the product is made up: ``usage.state`` by sections; how many: ``usage.entity.count``, ``usage.capacity``."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import LoggerProvider
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

from usagewire_instrumentation.events import caller_scope, complain, emit_event

if TYPE_CHECKING:
    from typing_extensions import Self

HOUR = 3_600.0


@dataclass
class _Section:
    name: str
    ask: Callable[[], Any]
    interval: float
    due: float


class StateReporter:
    """Asks the product for each section every so often, on a thread of its own, and emits ``usage.state`` with the
    answer as its body.

    A forked child reports nothing by itself. ``scope`` and ``logger_provider`` as in `emit_event`.
    """

    def __init__(self, *, scope: str | None = None, logger_provider: LoggerProvider | None = None) -> None:
        self._scope = caller_scope() if scope is None else scope
        self._provider = logger_provider
        self._sections: dict[str, _Section] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def register(self, section: str, callback: Callable[[], Any], interval: float = HOUR) -> Self:
        """Ask ``callback`` now, and again every ``interval`` seconds; ``None`` is nothing to say. It runs on the
        reporter's thread and returns what JSON can hold. Registering a section again replaces it."""
        with self._changed:
            self._sections[section] = _Section(section, callback, interval, time.monotonic())
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="usagewire-states", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # the interpreter goes down
                    self._thread = None
            self._changed.notify()
        return self

    def report(self) -> None:
        """Ask every section now, on the calling thread."""
        with self._changed:
            sections = list(self._sections.values())
        for section in sections:
            self._emit(section)

    def close(self) -> None:
        """Ask no more."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                section = min(self._sections.values(), key=lambda one: one.due)
                wait = section.due - time.monotonic()
                if wait > 0:
                    self._changed.wait(wait)
                    continue
                section.due = time.monotonic() + max(section.interval, 0.01)
            self._emit(section)

    def _emit(self, section: _Section) -> None:
        try:
            # a batch may leave long after: by then the product may have changed its own tables
            body = copy.deepcopy(section.ask())
        except Exception as error:
            complain("state %s was not reported: %s", section.name, type(error).__name__)
            return
        if body is not None:
            about = {"usage.state.section": section.name}
            emit_event("usage.state", about, body=body, scope=self._scope, logger_provider=self._provider)


class EntityCounts:
    """How many there are of what: the gauge ``usage.entity.count``, and ``usage.capacity`` in bytes, asked for whenever
    metrics are collected. ``scope`` and ``meter_provider`` as in `emit_event`."""

    def __init__(self, *, scope: str | None = None, meter_provider: MeterProvider | None = None) -> None:
        meter = get_meter(caller_scope() if scope is None else scope, meter_provider=meter_provider)
        self._entities: list[_Asked] = []
        self._capacities: list[_Asked] = []
        meter.create_observable_gauge(
            "usage.entity.count", [_observing(self._entities)], "{entity}", "How many there are now."
        )
        meter.create_observable_gauge("usage.capacity", [_observing(self._capacities)], "By", "Room there is now.")

    def count(self, entity: str, callback: Callable[[], float | None], /, **facet: str) -> Self:
        """``callback`` says how many there are of ``entity`` (``osd``, ``host``, ``user`` …), ``None`` when it does not
        know. At most one ``facet``: ``role``, ``activity``, ``kind`` or ``frequency_plan_id``."""
        if len(facet) > 1:
            complain("entity %s is counted by one facet at a time, not by %s", entity, " and ".join(facet))
        else:
            facets = {f"usage.entity.{name}": value for name, value in facet.items()}
            self._entities.append(({"usage.entity.type": entity, **facets}, callback))
        return self

    def capacity(self, state: str, callback: Callable[[], float | None], /) -> Self:
        """``callback`` says how many bytes are ``total``, ``used`` or ``available``, whichever ``state`` is."""
        self._capacities.append(({"usage.capacity.state": state}, callback))
        return self


_Asked = tuple[dict[str, str], Callable[[], "float | None"]]
"""Attributes, and who knows the number."""


def _observing(asked: list[_Asked]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(options: CallbackOptions) -> Iterable[Observation]:
        for attributes, callback in list(asked):
            try:
                number = callback()
            except Exception as error:
                complain("%s was not counted: %s", " ".join(attributes.values()), type(error).__name__)
                continue
            if number is not None:
                yield Observation(number, attributes)

    return observe
