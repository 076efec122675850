"""A payload on the page: every token as it is, every field explained, whatever it is."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usagewire.formats import BUILT_IN
from usagewire.formats.stone.schema import sections
from usagewire.inspector.explain import CHANNELS, OWN, SECTIONS, UNKNOWN
from usagewire.inspector.payload import LINES, WIDTH, curl, payload
from usagewire.policy import plan

GOLDEN = Path(__file__).parents[1] / "golden"
BODIES = [
    (path.parent.name, line)
    for path in sorted(GOLDEN.glob("*/*.out"))
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
    if line.startswith(("{", "["))
]
KEYS = st.sampled_from(["batch", "event", "properties", "message", "key", "values", "crashes", "report_id", "0", "a"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize("format", BUILT_IN)
def test_every_field_of_every_golden_is_explained(format: str) -> None:
    """Each member of what the formats really send has its sentence, and it is not that nobody knows."""
    for body in (body for name, body in BODIES if name == format):
        for line in payload(body, format, most=100_000).lines:
            member = line.text.startswith('"') and '": ' in line.text
            assert line.says or not member, line
            assert line.says != UNKNOWN or "kernel" in line.text, line


def test_every_section_and_channel_of_a_report_is_explained() -> None:
    """Also those that no golden has: in one sentence each, for who decides about them."""
    assert set(sections("stone")) == set(SECTIONS)
    assert {"basic", "crash", "device", "ident"} == set(CHANNELS)


def test_the_tracking_plan_speaks_first() -> None:
    """What the vendor says of an event or an attribute is shown; without a plan it is said where that stands."""
    known = plan.load(Path(__file__).parents[2] / "examples" / "plans" / "ferry.yaml")
    body = json.dumps({"batch": [{"event": "server_start", "properties": {"server_version": "1", "other": 2}}]})

    said = {line.text.split(":")[0]: line.says for line in payload(body, "segment", known).lines}

    assert "A server began to take files." == said['"event"']
    assert "Which server versions are in use, to know which may be retired." == said['"server_version"']
    assert OWN == said['"other"']


def test_values_of_a_data_set_are_told_apart() -> None:
    """In JetStream's lists every number is called by what the document says of its place."""
    body = json.dumps([{"platform": "linux"}, {"key": 4185460380, "values": [4, 3, 2, 1]}])

    said = [line.says for line in payload(body, "jetstream").lines]

    assert ["queued: how many", "started: how many", "completed: how many", "failed: how many"] == said[7:11]


@given(JSON, st.sampled_from([*BUILT_IN, ""]))
def test_whatever_it_is_no_token_is_changed(value: Any, format: str) -> None:
    """Any JSON under any format's name: laid out, explained where it can be, and still the same."""
    text = json.dumps(value, ensure_ascii=False)

    shown = payload(text, format)

    assert value == json.loads("\n".join(line.text for line in shown.lines))


@pytest.mark.parametrize(
    "body", ["", "{", b"\x00\xff", '"' + "x" * (5 << 20) + '"', "[" + "1," * 100_000 + "1]", "\ud800"]
)
def test_what_is_large_or_broken_is_bounded(body: str | bytes) -> None:
    """At most so many lines of so many characters, and it says that there is more."""
    shown = payload(body, "segment")

    assert len(shown.lines) <= LINES
    assert all(len(line.text) < WIDTH + 50 for line in shown.lines)
    assert (len(body) == 200_003) == shown.more


def test_curl_keeps_secrets_in_variables_and_long_bodies_in_files() -> None:
    """Quotes survive the shell, a masked header becomes a variable, and what is long or no text is a file."""
    command = curl("POST", "http://h/x?a=1&b=2", {"X-A": "it's", "Authorization": "Basic ****"}, '{"a": "$HOME`"}')

    words = shlex.split(command.replace("\\\n", ""))

    assert ["curl", "-X", "POST", "http://h/x?a=1&b=2", "-H", "X-A: it's"] == words[:6]
    assert ["-H", "Authorization: $AUTHORIZATION", "--data-binary", '{"a": "$HOME`"}'] == words[6:]
    assert curl("POST", "http://h", {}, "x" * 100_000).endswith("--data-binary @body")
    assert curl("POST", "http://h", {}, b"\x00").endswith("--data-binary @body")
