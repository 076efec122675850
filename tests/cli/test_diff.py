"""`usagewire diff`, and `usagewire on` said again: what has come since a yes is held back until it is accepted."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.left import NOWHERE, Left, leave
from tests.support.shell import Shell, only
from usagewire import formats
from usagewire.pipeline.intake import Intake
from usagewire.policy import content
from usagewire.policy.consent import write
from usagewire.signals import Event

RESOURCE = {"service.name": "shop"}


def plan(version: int, **events: Mapping[str, Any]) -> dict[str, Any]:
    """A plan with these events, each a table of attributes."""
    entries = {name: {"purpose": f"why {name}", "attributes": attributes} for name, attributes in events.items()}
    return {"plan": "ferry", "version": version, "events": entries}


OS = {"os": {"type": "string", "purpose": "which systems to test on"}}
CITY = {"city": {"type": "string", "purpose": "where they are"}}


@contextmanager
def program(shell: Shell, plan: Mapping[str, Any]) -> Iterator[Intake]:
    """The program with a plan, whose endpoint is down."""
    said = {"endpoint": NOWHERE, "write_key": "k", "delivery": "manual", "plan": plan}
    intake = Intake(formats.load("segment"), said, {"USAGEWIRE_STATE_DIR": str(shell.root)}, ["program"])
    intake.configure({})
    try:
        yield intake
    finally:
        intake.close()


def emit(intake: Intake, name: str, **attributes: Any) -> None:
    """One event."""
    assert intake.events([Event(name, time.time_ns(), secrets.token_hex(16), attributes)], RESOURCE)


def kept(shell: Shell) -> list[tuple[str, dict[str, Any]]]:
    """Names and attributes of what waits."""
    bodies = [json.loads(request["body"]) for request in shell.json("show")["requests"]]
    return [(event["event"], event["properties"]) for body in bodies for event in body["batch"]]


def test_a_plan_that_grew_is_held_back_until_it_is_accepted(shell: Shell) -> None:
    """The old content goes on; `diff` and `status` say what has come; `on` accepts it, in the running program, too."""
    shell.run("on", "--service", "shop")
    with program(shell, plan(1, started=OS)) as intake:
        emit(intake, "started", os="linux")
    assert "what is collected is what was accepted" in shell.run("diff").stdout

    with program(shell, plan(2, started={**OS, **CITY}, stopped={})) as intake:
        emit(intake, "started", os="mac", city="Ghent")
        emit(intake, "stopped")
        told, status = shell.run("diff"), shell.run("status")
        [found] = shell.json("diff")["destinations"]
        held = only(shell.json("status"))["held_back"]
        before = kept(shell)

        accepted = shell.run("on", "--service", "shop")

        emit(intake, "started", os="mac", city="Ghent")
        emit(intake, "stopped")

    added = {
        "event started: city (string)": "where they are",
        "event started: city (string), any value": "where they are",
        "event started: city (string), as it is": "where they are",
        "event stopped": "why stopped",
    }
    assert added == {piece["name"]: piece["about"] for piece in found["added"]}
    assert ("ferry 2", "ferry 1", []) == (found["plan"], found["accepted"]["plan"], found["removed"])
    assert set(added) == set(held)
    assert "  + event stopped: why stopped\n" in told.stdout
    assert "4 things held back; to accept: usagewire on --service shop\n" in told.stdout
    assert "4 things that came since the last yes: `usagewire diff` names them" in status.stdout
    assert [("started", {"os": "linux"}), ("started", {"os": "mac"})] == before
    assert "accepted: 4 things that segment has begun to collect" in accepted.stdout
    # what waited is under the same yes, and stays; what was held back never comes
    assert [*before, ("started", {"os": "mac", "city": "Ghent"}), ("stopped", {})] == kept(shell)
    end = only(shell.json("status"))
    assert ([], 1) == (end["held_back"], end["totals"]["lost"]["consent"]["count"])
    assert "ferry 2" == end["consent"]["history"][-1]["accepted"]["segment"]["plan"]
    assert "segment: ferry 2, content " in shell.run("status", "-v").stdout
    assert "already on" in shell.run("on", "--service", "shop").stdout


def test_a_plan_that_shrank_asks_nobody(shell: Shell) -> None:
    """What has gone is named, and nothing is held back."""
    shell.run("on", "--service", "shop")
    for version, events in ((1, {"started": {**OS, **CITY}, "stopped": {}}), (2, {"started": OS})):
        with program(shell, plan(version, **events)) as intake:
            emit(intake, "started", os="linux")

    [found] = shell.json("diff")["destinations"]

    assert ([], []) == (found["added"], only(shell.json("status"))["held_back"])
    assert {"event stopped", "event started: city (string)"} < {piece["name"] for piece in found["removed"]}
    assert "  - event stopped: why stopped\n" in shell.run("diff").stdout


def test_nobody_who_was_not_asked_is_held_to_it(shell: Shell) -> None:
    """On by default there is no yes to go beyond; diff says so."""
    for version, events in ((1, {"started": OS}), (2, {"started": OS, "stopped": {}})):
        with program(shell, plan(version, **events)) as intake:
            emit(intake, "started", os="linux")
    with program(shell, plan(2, started=OS, stopped={})) as intake:
        emit(intake, "stopped")

    assert ["started", "started", "stopped"] == [name for name, _ in kept(shell)]
    assert "nothing to compare: nobody has said yes" in shell.run("diff").stdout
    assert [None] == [one["accepted"] for one in shell.json("diff")["destinations"]]


def test_off_and_on_again_is_a_new_yes(shell: Shell) -> None:
    """It covers what the program had told of by then."""
    with program(shell, plan(1, started=OS)) as intake:
        emit(intake, "started", os="linux")
    for command in ("on", "off", "on"):
        shell.run(command, "--service", "shop")
    with program(shell, plan(2, started=OS, stopped={})) as intake:
        emit(intake, "stopped")

    assert ["event stopped"] == only(shell.json("status"))["held_back"]


# -- a format's own fields ------------------------------------------------------------------------------------------

NEW = ("field balancer.mode", "field crashes[].stack_sig", "channel device")
"""What an older version did not collect."""


@pytest.fixture
def left(shell: Shell) -> Left:
    """A cluster whose operator said yes to that older version; and what the newer one has gathered since."""
    write(shell.root / "cluster", True, "test", license="sharing-1-0")
    left = leave(shell.root, service="cluster", name="stone")
    destination = left.destination
    old = {piece: about for piece, about in destination.content.items() if piece not in NEW}
    term = destination.consent({}).decide().term
    content.remember(destination.place, term, content.Accepted({**old, "field balancer.gone": "channel basic"}))
    now = time.time_ns()
    left.keep(
        Event("usage.state", now, "0" * 32, {"usage.state.section": "balancer"}, {"mode": "upmap", "active": True}),
        Event("usage.crash", now, "1" * 32, {"usage.crash.frames": ["module:run:1"]}),
    )
    left.consume()
    return left


def report(shell: Shell) -> dict[str, Any]:
    """The report as it would be sent."""
    [request] = shell.json("show")["requests"]
    found: dict[str, Any] = json.loads(request["body"])
    return found


def test_new_fields_and_channels_of_a_format_are_held_back(shell: Shell, left: Left) -> None:
    """They are in no report until they are accepted; everything that was accepted is."""
    found = report(shell)

    assert ({"active": True}, ["basic", "crash"]) == (found["balancer"], found["channels"])
    assert "stack_sig" not in found["crashes"][0]
    assert "backtrace" in found["crashes"][0]
    [told] = shell.json("diff")["destinations"]
    assert set(NEW) == {piece["name"] for piece in told["added"]} == set(only(shell.json("status"))["held_back"])
    assert [{"name": "field balancer.gone", "about": "channel basic"}] == told["removed"]
    assert "  + field balancer.mode: channel basic\n" in shell.run("diff").stdout


def test_accepting_them_begins_anew(shell: Shell, left: Left) -> None:
    """The channels that got new fields forget what was gathered before the yes; then all of it leaves."""
    result = shell.run("on", "--service", "cluster")

    assert (0, "") == (result.exit_code, result.stderr)
    assert "accepted: 3 things that stone has begun to collect" in result.stdout
    assert "deleted: 2 items from before" in result.stdout
    assert [] == shell.json("show")["requests"]
    left.keep(
        Event("usage.state", time.time_ns(), "2" * 32, {"usage.state.section": "balancer"}, {"mode": "none"}),
        Event("usage.crash", time.time_ns(), "3" * 32, {"usage.crash.frames": ["module:run:2"]}),
    )
    found = report(shell)
    assert ({"mode": "none"}, ["basic", "crash", "device"]) == (found["balancer"], found["channels"])
    assert ["module:run:2"] == found["crashes"][0]["backtrace"]
    assert "stack_sig" in found["crashes"][0]


def test_a_channel_that_the_operator_switched_on_needs_no_other_yes(shell: Shell, left: Left) -> None:
    """Their word on the channel is one."""
    shell.run("on", "--service", "cluster", "--channel", "device")

    assert ["basic", "crash", "device"] == report(shell)["channels"]


def test_an_acceptance_that_cannot_be_read_covers_nothing(shell: Shell, left: Left) -> None:
    """Damage is no yes: all is held back, status says so, and `on` accepts anew."""
    left.place.accepted_json.write_bytes(b"{")

    assert len(only(shell.json("status"))["held_back"]) == len(left.destination.content)
    assert [] == shell.json("show")["requests"]
    assert "accepted: " in shell.run("on", "--service", "cluster").stdout
    assert [] == only(shell.json("status"))["held_back"]
