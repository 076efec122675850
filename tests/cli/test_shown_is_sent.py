"""What `usagewire show` prints is what leaves: every format, whatever a program says, against a real endpoint."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.left import Left
from tests.support.shell import Shell
from usagewire import formats
from usagewire.formats.jetstream.codec import from_protobuf
from usagewire.inspector.explain import OWN, UNKNOWN
from usagewire.inspector.grpc_receiver import GrpcReceiver
from usagewire.inspector.receiver import Receiver
from usagewire.pipeline.destination import recall
from usagewire.pipeline.intake import Intake
from usagewire.signals import Event, Histogram, Point
from usagewire.state.paths import Place

pytestmark = pytest.mark.slow

FORMATS: Mapping[str, Mapping[str, str]] = {
    "segment": {"write_key": "s3cret-key"},
    "segment-upstream": {"write_key": "s3cret-key", "dialect": "upstream"},
    "jina": {},
    "tts": {},
    "stone": {},
    "jetstream": {"protocol": "http/json"},
    "jetstream-protobuf": {"protocol": "http/protobuf"},
    "jetstream-grpc": {"protocol": "grpc"},
}
"""Destination → its settings. The name begins with the format's."""
PATHS = {"jina": "/jina", "tts": "/collect"}
"""What the receiver knows some formats by."""
PLAN = {
    "plan": "all",
    "version": 1,
    "attributes": {"note": {"type": "any", "purpose": "A note."}, "who": {"type": "any", "purpose": "Who it was."}},
    "events": {
        name: {"purpose": f"That {name} happened.", "attributes": ["note", "who"]}
        for name in ("imported", "server_start", "server.start", "usage.component.start")
    },
}

WORDS = st.text(max_size=20)
VALUES = (
    WORDS | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.booleans() | st.lists(WORDS, max_size=3) | st.none()
)
SIZES = st.integers(0, 1 << 45)


def told(name: str, attributes: Mapping[str, Any], body: Any = None) -> Event:
    """An event that has just happened."""
    now = time.time_ns()
    return Event(name, now, f"{now:032x}", attributes, body, scope="shop")


def sampled(values: Sequence[float]) -> Point:
    """Round trip times."""
    mean = sum(values) / len(values)
    m2 = sum((value - mean) ** 2 for value in values)
    spread = Histogram(len(values), sum(values), min(values), max(values), mean, m2, (), (len(values),))
    return Point("usage.transfer.round_trip_time", "histogram", time.time_ns(), histogram=spread)


EVENTS = st.one_of(
    st.builds(lambda note, who: told("imported", {"note": note, "who": who}), VALUES, VALUES),
    st.builds(lambda note: told("usage.component.start", {"usage.component.name": "server", "note": note}), VALUES),
    st.builds(lambda: told("usage.command", {"usage.command.path": "applications list"})),
    st.builds(
        lambda frame, entity: told(
            "usage.crash", {"usage.crash.entity": entity, "usage.crash.frames": ["main:run:1", frame]}
        ),
        WORDS,
        WORDS,
    ),
    st.builds(
        lambda count, mode: told(
            "usage.state", {"usage.state.section": "osd"}, {"count": count, "require_osd_release": mode}
        ),
        VALUES,
        VALUES,
    ),
    st.builds(
        lambda serial, hours: told(
            "usage.device",
            {"usage.device.id": "ACME_M1_x1", "usage.device.host": "rack"},
            {"model_name": "M1", "serial_number": serial, "power_on_time": {"hours": hours}},
        ),
        WORDS,
        SIZES,
    ),
)
POINTS = st.one_of(
    st.builds(
        lambda count, kind: Point(
            "usage.entity.count", "gauge", time.time_ns(), {"usage.entity.type": kind}, float(count)
        ),
        SIZES,
        st.sampled_from(["gateway", "end_device", "osd", "user"]),
    ),
    st.builds(
        lambda count: Point(
            "usage.transfer.count", "sum", time.time_ns(), {"usage.transfer.state": "completed"}, float(count)
        ),
        st.integers(1, 1000),
    ),
    st.lists(st.floats(0, 1e3), min_size=1, max_size=5).map(sampled),
    st.builds(
        lambda size: Point("usage.capacity", "gauge", time.time_ns(), {"usage.capacity.state": "total"}, float(size)),
        SIZES,
    ),
)


def record(root: Path, name: str, endpoint: str, plan: Any, events: Sequence[Event], points: Sequence[Point]) -> None:
    """What the exporters do with it, in a program that leaves sending to the operator."""
    fmt = formats.load(name.partition("-")[0])
    keywords = {**FORMATS[name], "endpoint": endpoint, "delivery": "manual", "name": name.partition("-")[2] or None}
    intake = Intake(fmt, {**keywords, "plan": plan}, {"USAGEWIRE_STATE_DIR": str(root)}, ["shop"])
    intake.configure({})
    intake.events(events, {"service.name": "shop"})
    intake.points(points, {"service.name": "shop"})
    intake.close()


def without(body: str, volatile: Sequence[str]) -> Any:
    """A body with every token as it was written, and without the fields that may differ."""

    def strip(found: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in found.items() if name not in volatile}

    return json.loads(body, object_hook=strip, parse_float=str, parse_int=str)


def readable(name: str, body: bytes) -> str:
    """What the bytes that arrived say."""
    return (
        body.decode()
        if name not in ("jetstream-protobuf", "jetstream-grpc")
        else orjson.dumps(from_protobuf(body)).decode()
    )


def comparable(shown: Sequence[tuple[str, str]], volatile: Sequence[str]) -> list[str]:
    """Requests by their address and body, in an order of their own."""
    return sorted(f"{url} {without(body, volatile)!r}" for url, body in shown)


@pytest.mark.parametrize("name", FORMATS)
@settings(
    max_examples=6, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(events=st.lists(EVENTS, max_size=4), points=st.lists(POINTS, max_size=4), planned=st.booleans())
def test_what_is_shown_is_what_is_sent(
    name: str, events: Sequence[Event], points: Sequence[Point], planned: bool
) -> None:
    """What waits, and a report while its period runs and when it is over, is shown as the endpoint then receives it;
    what may differ is named beforehand, and of every field it is said why it is there."""
    listening = GrpcReceiver() if name == "jetstream-grpc" else Receiver()
    with tempfile.TemporaryDirectory() as folder, listening as receiver:
        shell = Shell(Path(folder) / "state")
        if name == "stone":
            shell.run("on", "--service", "shop", "--license", "sharing-1-0")
        plan = PLAN if planned and name in ("segment", "jina") else None
        record(shell.root, name, receiver.url + PATHS.get(name, ""), plan, events, points)
        if not (shell.root / "shop" / name / "destination.json").exists():
            assert not (events or points) or name == "stone"
            return
        running = shell.json("show", "--limit", "50", "--explain")
        assert 0 == shell.run("send", "--timeout", "30").exit_code
        early = len(receiver.requests)
        left = Left(shell.root, recall(Place(shell.root / "shop", name), {}))
        if shell.json("show")["requests"]:
            left.consume(report=True)
        ended = shell.json("show", "--limit", "50")
        assert 0 == shell.run("send", "--timeout", "30").exit_code
        sent = [(f"{receiver.url}{one.path}", readable(name, one.body)) for one in receiver.requests]

    before = [(one["url"], one["body"]) for one in running["requests"]]
    after = [(one["url"], one["body"]) for one in ended["requests"]]
    volatile = sorted(left.destination.format.volatile)
    assert volatile == ended["volatile"] or not after
    assert comparable(after, volatile) == comparable(sent[early:], volatile)
    assert comparable(before, running["volatile"]) == comparable(sent, running["volatile"])
    for one in running["requests"]:
        assert UNKNOWN not in one["why"].values()
        assert planned is False or OWN not in one["why"].values() or name not in ("segment", "jina")
        assert one["why"]
