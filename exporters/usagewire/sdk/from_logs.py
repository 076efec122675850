"""The SDK's log records → events. With `from_metrics` the only place that knows what the SDK's objects look like."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource

from usagewire import forks
from usagewire.signals import Event


def events(batch: Sequence[ReadableLogRecord]) -> list[tuple[Resource | None, list[Event]]]:
    """The records that are events (have an ``event_name``), resource by resource. Plain logs never pass."""
    ids = draw(len(batch))
    groups: list[tuple[Resource | None, list[Event]]] = []
    group: list[Event] = []
    for number, readable in enumerate(batch):
        record = readable.log_record
        name = record.event_name
        if not name:
            continue
        resource, scope = readable.resource, readable.instrumentation_scope
        if not groups or groups[-1][0] is not resource:
            group = []
            groups.append((resource, group))
        group.append(
            Event(
                name,
                record.timestamp or record.observed_timestamp or 0,
                ids[32 * number : 32 * number + 32],
                plain(record.attributes),
                record.body,
                scope.name if scope is not None else "",
                record.observed_timestamp or 0,
            )
        )
    return groups


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
