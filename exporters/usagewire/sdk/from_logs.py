"""The SDK's log records → events. With `from_metrics` the only place that knows what the SDK's objects look like."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource

from usagewire.signals import Event


def events(batch: Sequence[ReadableLogRecord]) -> list[tuple[Resource | None, list[Event]]]:
    """The records that are events (have an ``event_name``), resource by resource. Plain logs never pass."""
    ids = os.urandom(16 * len(batch)).hex()  # one system call for the whole batch
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


def plain(attributes: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """A record's attributes as a dictionary of one's own."""
    if isinstance(attributes, BoundedAttributes):
        return attributes.copy()  # a plain dict, at a tenth of the price of iterating it from outside
    return dict(attributes) if attributes else {}
