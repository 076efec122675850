"""No format's output holds who runs the program, or where: tried with this machine's real values."""

from __future__ import annotations

import getpass
import os
import re
import uuid
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.golden import packed, settings_for
from usagewire import formats
from usagewire.pipeline.destination import recall
from usagewire.pipeline.intake import Intake
from usagewire.policy.consent import write
from usagewire.signals import Event, Item, Point
from usagewire.state.paths import Place
from usagewire.state.view import peek, preview

NODE = f"{uuid.getnode():012x}"
MAC = ":".join(NODE[at : at + 2] for at in range(0, 12, 2))
HARDWARE = {
    NODE,
    NODE.upper(),
    str(uuid.getnode()),
    "-".join(NODE[at : at + 2] for at in range(0, 12, 2)),
    MAC,
    *(path.read_text().strip() for path in Path("/sys/class/net").glob("*/address")),
} - {"", "00:00:00:00:00:00"}
"""The hardware addresses, as `uuid1` and the documents' own samples tell them."""


def events(user: str, host: str, home: str) -> list[Event]:
    """What programs say that gives them away, in every event of the conventions and one of the vendor's own."""
    said = {
        "path": f"{home}/orders/2026.db",
        "other.path": f"/home/{user}/orders",
        "file.url": f"file://{host}{home}/x",
        "address": f"{user}@{host}",
        "url": f"https://{user}:secret@{host}/orders?x={home}/y",
        "list": (f"{home}/a", f"{user}@{host}:/b"),
        "mac": MAC,
        "other.mac": MAC.replace(":", "-"),
        "text": f"{MAC} could not open {home}/orders on {user}@{host}",
    }
    crash = {
        "usage.crash.id": "2026-09-30T12:00:00.000000Z_0b6f5a1e-6f0e-4a53-9e64-0f6a2f6f3d11",
        "usage.crash.entity": f"mon.{host}",
        "usage.crash.frames": (f"{home}/app.py:main:7", "app:main:7"),
        "exception.type": "OSError",
        "process.executable.name": "app",
    }
    device = {"usage.device.host": host, "usage.device.id": "ACME_X1"}
    smart = {"device": {"name": "/dev/sda"}, "serial_number": "X1", "smartctl": {"argv": [f"{home}/smartctl"]}}
    told: list[tuple[str, Mapping[str, Any], Any]] = [
        ("usage.component.start", {"usage.component.name": "server", **said}, None),
        ("usage.component.stop", {"usage.component.name": "server", "error.type": "OSError", **said}, None),
        ("usage.command", {"usage.command.path": "applications list", **said}, None),
        ("usage.crash", crash, None),
        ("usage.state", {"usage.state.section": "config", **said}, {"active_changed": [f"{home}/x"], "x": said}),
        ("usage.device", device, smart),
        ("order_placed", said, said),
    ]
    return [Event(name, 1, f"{number:032x}", given, body, "shop") for number, (name, given, body) in enumerate(told)]


def points(user: str, host: str, home: str) -> list[Point]:
    """Data points with the same in their attributes."""
    said = {"path": f"{home}/orders", "peer": f"{user}@{host}"}
    return [
        Point("usage.entity.count", "gauge", 1, {"usage.entity.type": "gateway", **said}, value=3),
        Point("usage.transfer.count", "sum", 1, {"usage.transfer.state": "completed", **said}, value=3),
        Point("usage.capacity", "gauge", 1, {"usage.capacity.state": "total", **said}, value=3),
    ]


def output(name: str, dialect: str, state: Path, user: str, host: str, home: str) -> bytes:
    """Every byte that the format would send of all this: URLs, headers, bodies, and what Base64 hides."""
    fmt = formats.load(name)
    settings = settings_for(fmt, {"dialect": dialect, "delivery": "manual"})
    keywords = {key: settings[key] for key, source in settings.sources.items() if source == "code"}
    if fmt.license is not None:
        write(state / "shop", True, "test", license=fmt.license.id)
    intake = Intake(fmt, keywords, {"USAGEWIRE_STATE_DIR": str(state)}, [f"{home}/app.py"])
    intake.configure({})
    resource = {
        "service.name": "shop",
        "service.version": "1.0",
        "host.name": host,
        "process.owner": user,
        "process.command_line": f"{home}/app.py",
    }
    intake.events(events(user, host, home), resource)
    intake.points(points(user, host, home), resource)
    intake.close()
    place = Place(state / "shop", name)
    recalled = recall(place, {})
    stance = recalled.consent({}).stance()
    waiting = [Item(entry.data) for entry in peek(place, stance)]
    period = preview(place, stance)
    if fmt.compile is not None and period is not None:
        waiting += fmt.compile(period, recalled.origin, recalled.settings, period.end)
    whole = b""
    for request, _ in packed(fmt, waiting, settings):
        hidden = re.fullmatch(rb"[\w-]+=*", request.body) is not None
        whole += f"{request.url}\n{dict(request.headers)}\n".encode() + (request.readable or b"") + b"\n"
        whole += (urlsafe_b64decode(request.body) if hidden else request.body) + b"\n"
    return whole


@pytest.mark.parametrize("dialect", ["documented", "upstream"])
@pytest.mark.parametrize("name", formats.names())
def test_nothing_tells_who_or_where(name: str, dialect: str, tmp_path: Path) -> None:
    """Neither this machine's hardware addresses nor its user, host and home occur in a byte of the output, whatever the
    program says and however generic the names are: saying them adds no occurrence to what is there anyway."""
    user, host, home = getpass.getuser(), os.uname().nodename, str(Path.home())
    said = output(name, dialect, tmp_path / "said", user, host, home)
    unsaid = output(name, dialect, tmp_path / "unsaid", "", "", "")

    assert said
    assert [] == [address for address in HARDWARE if address.encode() in said]
    for real in (user, host, home):
        word = re.compile(rb"(?i)(?<![0-9a-z])" + re.escape(real.encode()) + rb"(?![0-9a-z])")
        assert len(word.findall(said)) <= len(word.findall(unsaid)), real


@pytest.mark.parametrize("name", formats.names())
def test_nothing_tells_an_unusual_user_either(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where user and home are so unusual that any occurrence is a leak."""
    for variable, value in {"LOGNAME": "zanzibara", "USER": "zanzibara", "HOME": "/srv/quonset/zanzibara"}.items():
        monkeypatch.setenv(variable, value)
    said = output(name, "documented", tmp_path, "zanzibara", os.uname().nodename, "/srv/quonset/zanzibara")

    assert b"zanzibara" not in said.lower()
    assert b"quonset" not in said.lower()
