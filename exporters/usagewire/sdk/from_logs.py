"""The SDK's log records → events. With `from_metrics` the only place that knows what the SDK's objects look like."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any, Generic, TypeVar, overload

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource

from usagewire import forks
from usagewire.signals import Event

_Taken = TypeVar("_Taken")


class Events(Sequence[Event], Generic[_Taken]):
    """What was taken from OpenTelemetry, made events of when they are asked for, one by one: all at once they would be
    the garbage collector's to follow."""

    def __init__(self, taken: Sequence[_Taken], make: Callable[[_Taken, str], Event]) -> None:
        """``make`` is given the event's id, too."""
        self._taken, self._make = taken, make
        ids = draw(len(taken))
        self._ids = [ids[at : at + 32] for at in range(0, len(ids), 32)]

    def __len__(self) -> int:
        return len(self._taken)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        if isinstance(index, slice):
            return list(map(self._make, self._taken[index], self._ids[index]))
        return self._make(self._taken[index], self._ids[index])

    def __iter__(self) -> Iterator[Event]:
        return map(self._make, self._taken, self._ids)


def events(batch: Sequence[ReadableLogRecord]) -> list[tuple[Resource | None, Sequence[Event]]]:
    """The records that are events (have an ``event_name``), resource by resource. Plain logs never pass."""
    named = [readable for readable in batch if readable.log_record.event_name]
    groups = groupby(named, lambda readable: id(readable.resource))
    found = [list(group) for _, group in groups]
    return [(group[0].resource, Events(group, _event)) for group in found]


def _event(readable: ReadableLogRecord, made_id: str) -> Event:
    record, scope = readable.log_record, readable.instrumentation_scope
    return Event(
        record.event_name or "",
        record.timestamp or record.observed_timestamp or 0,
        made_id,
        plain(record.attributes),
        record.body,
        scope.name if scope is not None else "",
        record.observed_timestamp or 0,
    )


def draw(count: int) -> str:
    """32 random hex digits for each of ``count`` events, in one piece. They tell events apart, and need not be hard to
    guess, so the system is asked for a seed only: what it takes long over waits for a busy program's lock."""
    return _randbytes(os.getpid())(16 * count).hex()  # a fork may not have been announced to Python


@lru_cache(maxsize=1)
def _randbytes(process: int) -> Callable[[int], bytes]:
    """Seeded once per ``process``: a child must not repeat its parent's ids."""
    with forks.held_up():
        from random import Random
    return Random(os.urandom(32)).randbytes  # noqa: S311 - ids are no secrets


def plain(attributes: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """A record's attributes as a dictionary of one's own."""
    if isinstance(attributes, BoundedAttributes):
        return attributes.copy()  # a plain dict, at a tenth of the price of iterating it from outside
    return dict(attributes) if attributes else {}
