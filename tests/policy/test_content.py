"""What was accepted, and what has come since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.golden import GOLDEN, settings_for
from usagewire import formats
from usagewire.errors import Unsendable
from usagewire.formats import fields
from usagewire.policy import plan as plans
from usagewire.policy.content import Accepted, fingerprint, grown, narrow, of_gate, recall, remember
from usagewire.signals import Event, Point
from usagewire.state.paths import Place

NAME = {"type": "string", "purpose": "to know"}


def plan(**events: Any) -> plans.Plan:
    """A plan with these events, each a table of attributes."""
    return plans.load(
        {
            "plan": "ferry",
            "version": 1,
            "events": {name: {"purpose": "why", "attributes": attributes} for name, attributes in events.items()},
            "metrics": {"usage.size": {"purpose": "why"}},
        }
    )


def passed(gate: plans.Gate, **attributes: Any) -> dict[str, Any]:
    """The attributes of an event ``started`` that get through."""
    event, _ = gate.event(Event("started", 1, "0" * 32, attributes), b"salt", 0)
    assert event is not None
    return dict(event.attributes)


def test_pieces_are_named_for_people() -> None:
    """Events, metrics and attributes, with what may be in them and what they are for."""
    found = of_gate(
        plan(
            started={
                "os": {**NAME, "values": ["linux", "mac"]},
                "name": {**NAME, "sensitivity": "hash"},
                "secret": {**NAME, "sensitivity": "drop"},
            }
        )
    )

    assert {
        "event started": "why",
        "event started: os (string)": "to know",
        'event started: os (string) = "linux"': "to know",
        'event started: os (string) = "mac"': "to know",
        "event started: os (string), as it is": "to know",
        "event started: name (string)": "to know",
        "event started: name (string), any value": "to know",
        "metric usage.size": "why",
    } == found
    assert fingerprint(found) == fingerprint(list(reversed(list(found))))
    assert fingerprint(found) != fingerprint(list(found)[1:])


@pytest.mark.parametrize(
    ("before", "now", "added"),
    [
        ({}, {"os": NAME}, 3),
        ({"os": NAME}, {}, 0),
        ({"os": {**NAME, "values": ["linux"]}}, {"os": {**NAME, "values": ["linux", "mac"]}}, 1),
        ({"os": {**NAME, "values": ["linux", "mac"]}}, {"os": {**NAME, "values": ["mac"]}}, 0),
        ({"os": {**NAME, "values": ["linux"]}}, {"os": NAME}, 1),
        ({"os": NAME}, {"os": {**NAME, "values": ["linux"]}}, 0),
        ({"os": {**NAME, "sensitivity": "hash"}}, {"os": NAME}, 1),
        ({"os": NAME}, {"os": {**NAME, "sensitivity": "hash"}}, 0),
        ({"os": {**NAME, "sensitivity": "drop"}}, {"os": NAME}, 3),
        ({"os": {"type": "integer", "purpose": "p"}}, {"os": NAME}, 3),
    ],
    ids=str,
)
def test_what_counts_as_more(before: dict[str, Any], now: dict[str, Any], added: int) -> None:
    """New attributes, values and plainer ones do; stricter and fewer ones do not."""
    assert added == len(grown(of_gate(plan(started=now)), of_gate(plan(started=before))))


def test_what_has_come_is_held_back_and_the_rest_goes_on() -> None:
    """Attributes, values and whole events, until they are accepted; nothing else changes."""
    old = plan(started={"os": {**NAME, "values": ["linux"]}, "name": {**NAME, "sensitivity": "hash"}})
    new = plan(
        started={"os": {**NAME, "values": ["linux", "mac"]}, "name": NAME, "city": NAME},
        stopped={},
    )
    gate = narrow(new, of_gate(old))

    assert {"os": "linux"} == passed(gate, os="linux", name="ann", city="x")
    assert {} == passed(gate, os="mac")
    with pytest.raises(Unsendable, match="consent: event stopped has come since the last yes"):
        gate.event(Event("stopped", 1, "0" * 32), b"", 0)
    assert gate.point(Point("usage.size", "sum", 1, value=1), b"", 0)[0] is not None
    assert narrow(new, of_gate(new)) is new
    assert narrow(old, of_gate(new)) is old


def test_a_plan_that_is_taken_away_is_more() -> None:
    """Without its plan a program could send anything: nothing of that was accepted."""
    gate = narrow(plans.Open(), of_gate(plan(started={})))

    with pytest.raises(Unsendable, match="consent"):
        gate.event(Event("started", 1, "0" * 32), b"", 0)
    with pytest.raises(Unsendable, match="consent"):
        gate.point(Point("usage.size", "sum", 1, value=1), b"", 0)
    assert [] == grown(of_gate(plan(started={"os": NAME})), of_gate(plans.Open()))


def test_it_is_remembered_for_as_long_as_the_yes_lasts(tmp_path: Path) -> None:
    """Another yes is another matter; a file that cannot be read covers nothing."""
    place = Place(tmp_path, ".")
    assert recall(place, "a1") is None
    accepted = Accepted({"event x": "why"}, "ferry 1")

    remember(place, "a1", accepted)

    assert accepted == recall(place, "a1")
    assert recall(place, "a2") is None
    place.accepted_json.write_bytes(b"{")
    assert Accepted({}) == recall(place, "a1")


@pytest.mark.parametrize("case", ["full", "crash", "ident", "nested", "odd"])
def test_the_fields_that_a_format_lists_are_all_there_are(case: str) -> None:
    """A report of Stone's without every field that it lists is empty, so that none can leave without being listed."""
    stone = formats.load("stone")
    report = (GOLDEN / "stone" / f"{case}.out").read_bytes().splitlines()[-1]

    assert b"{}" == fields.without(report, stone.fields(settings_for(stone)))


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("a", {"b": [{"c": 1, "d": 2}, {"c": 3}], "e": {"x": {"f": 1}, "y": {"f": 2, "g": 3}}, "n": ["p"]}),
        ("b[].c", {"a": 0, "b": [{"d": 2}], "e": {"x": {"f": 1}, "y": {"f": 2, "g": 3}}, "n": ["p"]}),
        ("e.<name>.f", {"a": 0, "b": [{"c": 1, "d": 2}, {"c": 3}], "e": {"y": {"g": 3}}, "n": ["p"]}),
        ("n[]", {"a": 0, "b": [{"c": 1, "d": 2}, {"c": 3}], "e": {"x": {"f": 1}, "y": {"f": 2, "g": 3}}}),
        ("a.b.c", None),
        ("z", None),
    ],
)
def test_fields_are_taken_out_by_their_path(path: str, left: dict[str, Any] | None) -> None:
    """In objects, lists and tables whose keys are data; what is empty then goes, too."""
    whole = {"a": 0, "b": [{"c": 1, "d": 2}, {"c": 3}], "e": {"x": {"f": 1}, "y": {"f": 2, "g": 3}}, "n": ["p"]}

    assert (left or whole) == orjson.loads(fields.without(orjson.dumps(whole), [path]))
