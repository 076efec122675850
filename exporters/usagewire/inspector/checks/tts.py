"""The Things Stack: one telemetry message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from usagewire.inspector.received import Answer, Check, Checked, Received, json_object, json_type, mapping

OS = ("operating_system", "arch", "binary_version", "golang_version")
COUNTS = (
    "gateways.total",
    "end_devices.total",
    "end_devices.activate_end_devices.total",
    "end_devices.activate_end_devices.last_day",
    "end_devices.activate_end_devices.last_week",
    "end_devices.activate_end_devices.last_month",
    "applications.total",
    "accounts.users.standard",
    "accounts.users.admin",
    "accounts.organizations.total",
)
PLANS = "gateways.gateways_by_frequency_plan_id"


def _collect(received: Received) -> Checked:
    """``POST /collect``: the message, in its wrapping or, from the released product, without."""
    whole, faults = json_object(received.body)
    if whole is None:
        return Checked((), (*json_type(received), *faults), Answer(400, b"invalid JSON"))
    message = mapping(whole.get("message", whole))
    if message is None:
        return Checked((), (*json_type(received), "message: not an object"))
    complaints = [*json_type(received), *_head(message)]
    cli, counted = message.get("cli"), message.get("entities_count")
    if (mapping(cli) is None) == (mapping(counted) is None):
        complaints.append("cli, entities_count: not an object and null, one of each")
    if mapping(counted) is not None:
        complaints += _counts(counted)
    return Checked((message,), tuple(complaints))


def _head(message: Mapping[str, Any]) -> Sequence[str]:
    faults: list[str] = []
    if not isinstance(message.get("uid"), str) or not message["uid"]:
        faults.append(f"uid: {message.get('uid')!r}, not a non-empty text")
    system = mapping(message.get("os")) or {}
    return faults + [
        f"os.{name}: {system.get(name)!r}, not a text" for name in OS if not isinstance(system.get(name), str)
    ]


def _counts(counted: Any) -> Sequence[str]:
    faults = [
        f"entities_count.{path}: {_at(counted, path)!r}, not a count"
        for path in COUNTS
        if not _is_count(_at(counted, path))
    ]
    plans = mapping(_at(counted, PLANS))
    if plans is None or not all(map(_is_count, plans.values())):
        faults.append(f"entities_count.{PLANS}: {_at(counted, PLANS)!r}, not an object of counts")
    return faults


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = (mapping(value) or {}).get(name)
    return value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


ROUTES: Mapping[tuple[str, str], Check] = {("POST", "/collect"): _collect}
