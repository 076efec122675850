"""What programs emit, for the goldens of the tts format."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.support.golden import NOON, ORIGIN, Case
from usagewire.signals import Event, Point

ENDPOINT = {"endpoint": "https://telemetry.example/collect"}
LOCAL = ["http://localhost:1885/api/v3"] * 5
"""The base URLs of a development stack, which the document's sample was made with."""


def count(value: float | None, kind: str, **facet: Any) -> Point:
    """How many there are; ``facet`` as in ``frequency_plan_id="EU_863_870"``."""
    attributes = {"usage.entity.type": kind, **{f"usage.entity.{name}": said for name, said in facet.items()}}
    return Point("usage.entity.count", "gauge", NOON, attributes, value=value, unit="{entity}")


def command(path: str | None, **attributes: Any) -> Event:
    """A command that has run."""
    said = {} if path is None else {"usage.command.path": path}
    return Event("usage.command", NOON, "ab" * 16, {**said, **attributes}, scope="ttn-lw-cli")


SAMPLE_ORIGIN = replace(ORIGIN, service="ttn-lw-stack", service_version="3.27.0-dev")
"""The machine of the document's sample messages."""
GO = {"golang_version": "go1.20.7"}
SAMPLE = [
    count(1, "gateway", frequency_plan_id="US_902_928_FSB_1"),
    count(1, "gateway", frequency_plan_id="US_902_928_FSB_2"),
    count(1, "user", role="admin"),
]
"""What the document's sample counts: a gateway under each of two plans, whose total nobody counted."""

CASES = {
    # a command of which no plan lets more than the fact through
    "empty": Case([command(None)], settings=ENDPOINT),
    "one": Case(
        points=[
            count(12, "gateway"),
            count(12, "gateway", frequency_plan_id="EU_863_870"),
            count(3, "gateway", frequency_plan_id="AS_923"),
            count(480, "end_device"),
            count(420, "end_device", activity="any"),
            count(96, "end_device", activity="last_day"),
            count(180, "end_device", activity="last_week"),
            count(411, "end_device", activity="last_month"),
            count(7, "application"),
            count(21, "user", role="standard"),
            count(2, "user", role="admin"),
            count(4, "organization"),
        ],
        settings={**ENDPOINT, "base_urls": LOCAL},
    ),
    # a program that is both: a message as the server and one as the command line, which keeps its random uid
    "two": Case(
        [command("applications list"), command("end-devices create"), command("applications list")],
        [count(5, "application")],
        settings={**ENDPOINT, "uid_elements": ["foo", "bar"]},
    ),
    # what the document has no place for: other types, facets and events; a tenant's numbers add up
    "nested": Case(
        [Event("usage.component.start", NOON, "ab" * 16, {"usage.component.name": "is"})],
        [
            count(3, "application", tenant="a"),
            count(4, "application", tenant="b"),
            count(9, "host", role="manager"),
            count(1, "user", role="auditor"),
            Point("usage.capacity", "gauge", NOON, {"usage.capacity.state": "total"}, value=1.0),
            Point("usage.entity.count", "sum", NOON, {"usage.entity.type": "gateway"}, value=1.0),
        ],
        settings=ENDPOINT,
    ),
    # values that are no counts, names that need escapes, a machine of another kind; upstream's way of escaping
    "odd": Case(
        [command('"<list>" & \u2028\u2029 \ud83d\ude00 \ud800', secret="stays")],
        [
            count(float("nan"), "gateway"),
            count(float("inf"), "end_device"),
            count(None, "application"),
            count(2.9, "organization"),
            count(0, "gateway", frequency_plan_id="<&>\u2028\ud800"),
            count(2**53, "gateway", frequency_plan_id=""),
        ],
        settings={**ENDPOINT, "dialect": "upstream"},
        origin=replace(ORIGIN, architecture="armv7l", os_type="freebsd", service_version="", python_version="3.13.0"),
    ),
    # the document's sample of the Identity Server
    "sample": Case(points=SAMPLE, settings={**ENDPOINT, **GO, "uid_elements": LOCAL}, origin=SAMPLE_ORIGIN),
    # what the released command line sends, to the path that it takes where the endpoint has none
    "upstream": Case(
        [command(None)],
        settings={"endpoint": "https://telemetry.example", **GO, "dialect": "upstream"},
        attempt=2,
        origin=replace(SAMPLE_ORIGIN, installation="xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"),
    ),
}
