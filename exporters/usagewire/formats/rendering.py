"""What formats need to say an event in their own document's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from usagewire.signals import Event

_HAPPENINGS = {"usage.component.start": "start", "usage.component.stop": "stop"}


def flat(event: Event) -> Event:
    """``event`` with a mapping body among its attributes, which win."""
    body = event.body
    if body is None or not isinstance(body, Mapping):
        return event
    return event._replace(attributes={**cast("Mapping[str, Any]", body), **event.attributes}, body=None)


def component(event: Event) -> tuple[str, str] | None:
    """``("server", "start")`` of an event that says that a component has started or stopped."""
    happening = _HAPPENINGS.get(event.name)
    if happening is None:
        return None
    name = event.attributes.get("usage.component.name")
    return (name, happening) if isinstance(name, str) and name else None


def renamed(event: Event, name: str, attributes: Mapping[str, str]) -> Event:
    """``event`` called ``name``, with other names for some ``attributes`` and without the component's name, which is in
    its own now."""
    kept = {attributes.get(key, key): value for key, value in event.attributes.items() if key != "usage.component.name"}
    return event._replace(name=name, attributes=kept)
