"""What the log exporters and the metric exporters share.

A constructor takes only optional keywords and never raises: an exception there would silently switch off all
telemetry of the host program. What is wrong is logged once, all of it, and the exporter drops and counts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from opentelemetry.sdk.resources import Resource

from usagewire.sdk.measure import Measure
from usagewire.signals import Event, Point

_log = logging.getLogger("usagewire")
_said: set[str] = set()
_Signal = TypeVar("_Signal", Event, Point)


def keep(
    measure: Measure,
    translated: Callable[[], Sequence[tuple[Resource | None, Sequence[_Signal]]]],
    take: Callable[[Sequence[_Signal], Mapping[str, Any]], bool],
) -> bool:
    """Hand what an export is about to the intake, resource by resource; whether all of it was kept."""
    try:
        groups = [group for group in translated() if group[1]]
    except Exception:
        # Records that are not what the SDK makes: the host must not hear of them.
        _log.info("usagewire: an export that cannot be read is dropped", exc_info=True)
        return False
    count = sum(len(signals) for _, signals in groups)
    began, kept = measure.begin(count), True
    for resource, signals in groups:
        kept &= take(signals, resource.attributes if resource is not None else {})
    measure.end(count, began, "" if kept else "not_kept")
    return kept


def once(message: str) -> None:
    """Log a warning, the first time only."""
    if message not in _said:
        _said.add(message)
        _log.warning("usagewire: %s", message)
