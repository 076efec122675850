"""`usagewire show`: what it prints is what leaves."""

from __future__ import annotations

import json
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.left import Left, leave, make_events
from tests.support.shell import Shell, snapshot
from usagewire.cli.layout import body_lines, differing, indented
from usagewire.inspector.receiver import Receiver
from usagewire.signals import Histogram, Point
from usagewire.state.consumer import Consumer


def test_what_is_shown_is_what_is_sent(shell: Shell, receiver: Receiver) -> None:
    """URL, headers and body of what `show` prints arrive to the letter; only volatile fields may differ."""
    left = leave(shell.root, 3, settings={"endpoint": receiver.url, "headers": "X-Team=blue"})
    left.put(*make_events(2))

    [shown] = shell.json("show")["requests"]
    assert 0 == shell.run("send").exit_code

    [got] = receiver.requests
    assert f"{receiver.url}{got.path}" == shown["url"]
    assert got.method == shown["method"]
    assert ["sentAt"] == shown["volatile"]
    assert without(shown["body"], shown["volatile"]) == without(got.body.decode(), shown["volatile"])
    headers = {name.lower(): value for name, value in shown["headers"].items()}
    assert {"Basic ****", "****"} == {headers.pop("authorization"), headers.pop("x-team")}
    headers.pop("content-encoding", None)
    assert headers.items() <= got.headers.items()


def test_a_report_is_shown_as_far_as_it_has_come(shell: Shell, receiver: Receiver) -> None:
    """Were the period to end now, the report would differ from what is shown in volatile fields only."""
    left = leave(shell.root, settings={"endpoint": receiver.url})
    spread = Histogram(2, 3.0, 1.0, 2.0, 1.5, 0.5, (1.0,), (1, 1))
    left.measure(Point("usage.a", "sum", time.time_ns(), {"k": "v"}, 2.0))
    left.measure(Point("usage.b", "histogram", time.time_ns(), histogram=spread))

    [shown] = shell.json("show")["requests"]
    text = shell.run("show").stdout
    end_period(left)
    assert 0 == shell.run("send").exit_code

    assert "at the end of the period" == shown["leaves"]
    assert "would leave in 24 h, with what is added until then: 2 items" in text
    assert ["anonymousId", "messageId", "sentAt", "timestamp"] == shown["volatile"]
    [got] = receiver.requests
    assert without(shown["body"], shown["volatile"]) == without(got.body.decode(), shown["volatile"])


def test_volatile_fields_are_marked(shell: Shell) -> None:
    """In the text, a ~ stands before every line that may differ, and before no other."""
    leave(shell.root, 1)

    lines = shell.run("show").stdout.splitlines()

    assert "  ~ may differ then: sentAt" in lines
    marked = [line for line in lines if line.startswith("~")]
    assert [True] == ['"sentAt": ' in line for line in marked]


def test_it_creates_and_changes_nothing(shell: Shell) -> None:
    """No file, no id, and no change to what is there."""
    empty = shell.run("show")
    assert "Nothing waits: no program has left anything in" in empty.stdout
    assert not shell.root.exists()
    left = leave(shell.root, 2)
    left.measure(Point("usage.x", "sum", time.time_ns(), value=1.0))
    left.place.identity_json.unlink()
    before = snapshot(shell.root)

    shell.run("show")
    shell.json("show")

    assert before == snapshot(shell.root)


def test_off_says_why_nothing_would_leave(shell: Shell) -> None:
    """Without consent nothing would leave, and who said so is named; what is kept meanwhile is told."""
    leave(shell.root, 2)
    shell.variables["USAGEWIRE_DISABLED"] = "1"
    silenced = shell.run("show")
    del shell.variables["USAGEWIRE_DISABLED"]
    shell.run("off")
    said = shell.json("show")

    assert "nothing would leave: USAGEWIRE_DISABLED=1 in the environment (2 items kept until that" in silenced.stdout
    assert [] == said["requests"]
    [nothing] = said["nothing"]
    assert {"service": "shop", "destination": "segment"}.items() <= nothing.items()
    assert "usagewire off" in nothing["reason"]


def test_settings_that_cannot_be_used(shell: Shell) -> None:
    """A fault in the settings is why nothing would leave."""
    leave(shell.root, 1)
    shell.variables["OTEL_EXPORTER_SEGMENT_TIMEOUT"] = "abc"

    said = shell.run("show").stdout

    assert "nothing would leave: settings: OTEL_EXPORTER_SEGMENT_TIMEOUT='abc': not a number of milliseconds" in said


def test_it_is_bounded(shell: Shell) -> None:
    """--limit bounds the requests, 60 lines a body, and what is left out is said."""
    leave(shell.root, 2_600)

    short = shell.run("show", "--limit", "1").stdout
    document = shell.json("show", "--limit", "1")

    assert len(short.splitlines()) < 100
    assert "--full prints the rest" in short
    assert "more items behind; --limit N shows more requests" in short
    assert 2_600 == document["requests"][0]["items"] + document["beyond"]
    whole = shell.json("show", "--limit", "9")
    assert (2, 0) == (len(whole["requests"]), whole["beyond"])
    assert len(shell.run("show", "--full").stdout.splitlines()) > 2_600 * 10


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


@given(JSON)
def test_laying_out_changes_no_token(value: Any) -> None:
    """However JSON is laid out over lines, every number and string is the one that leaves."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)

    laid_out = "\n".join(indented(text))

    assert exact(text) == exact(laid_out)


@given(JSON)
def test_a_document_does_not_differ_from_itself(value: Any) -> None:
    """What differs between two documents is named by its key, at any depth."""
    assert set() == differing(value, value)
    assert {"a"} == differing({"b": [value, {"a": 1}]}, {"b": [value, {"a": 2}]})


def test_a_body_that_is_not_text() -> None:
    """Bytes are shown as Base64, in lines."""
    assert [(False, "AAECAw==")] == list(body_lines(bytes(range(4)), frozenset()))


def end_period(left: Left) -> None:
    """Compile what there is into a report that waits, as the courier does when the period is over."""
    destination = left.destination
    compile, settings = destination.format.compile, destination.settings
    assert compile is not None
    consumer = Consumer(left.place, destination.consent({}).stance, destination.limits())
    assert consumer.acquire()
    consumer.refresh()
    made = consumer.compile_due(
        destination.origin, lambda period, origin, now: compile(period, origin, settings, now), force=True
    )
    consumer.release()
    assert made > 0


def without(body: str, volatile: list[str]) -> Any:
    """A body's values without the fields that may differ."""

    def strip(found: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in found.items() if name not in volatile}

    return json.loads(body, object_hook=strip, parse_float=str, parse_int=str)


def exact(text: str) -> Any:
    """JSON with numbers as they are written."""
    return json.loads(text, parse_float=str, parse_int=str)
