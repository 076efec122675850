"""The views of folders that are not as they should be: each answers, and says what it found."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import requests

from tests.support.golden import cases, items, packed, settings_for
from tests.support.left import Left, leave, make_events
from tests.support.shell import Shell
from usagewire import formats
from usagewire.inspector.journal import Journal
from usagewire.inspector.received import Received
from usagewire.inspector.records import Records
from usagewire.inspector.serve import Inspector

SECRET = "s3cret-key"


class Reader:
    """Who has the page's URL."""

    def __init__(self, url: str, state: Path, journal: Journal) -> None:
        self.state, self.shell, self.journal = state, Shell(state), journal
        self._base, self._session = url.partition("/?")[0], requests.Session()
        assert self._session.get(url, timeout=60).ok

    def load(self, path: str) -> bytes:
        """A file, as it is."""
        return self._session.get(self._base + path, timeout=60).content

    def read(self, path: str = "/", status: int = 200) -> str:
        """What a view says."""
        answer = self._session.get(self._base + path, timeout=60)
        assert status == answer.status_code, answer.text
        return html.unescape(answer.text)


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """One, on a state folder that is not there yet."""
    monkeypatch.setenv("USAGEWIRE_STATE_DIR", str(tmp_path / "state"))
    journal = Journal()
    with Inspector(journal) as inspector:
        yield Reader(inspector.url, tmp_path / "state", journal)


def test_a_service_that_was_only_decided_about(reader: Reader) -> None:
    """It has a switch, and nothing else yet."""
    reader.shell.run("off", "--service", "shop")

    said = reader.read()

    assert "nothing has run yet" in said
    assert 'id="switch-shop" aria-checked="false"' in said


def test_settings_that_cannot_be_used(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are named on both views, as `usagewire status` names them."""
    leave(reader.state, 1)
    monkeypatch.setenv("OTEL_EXPORTER_SEGMENT_TIMEOUT", "abc")

    for view in ("/", "/programs/shop/segment"):
        assert "OTEL_EXPORTER_SEGMENT_TIMEOUT='abc': not a number of milliseconds" in reader.read(view)


def test_who_says_no_is_named(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A no that is not the operator's stands there with the way out of it; every word of the operator's is listed."""
    leave(reader.state, 1)
    reader.shell.run("on")
    monkeypatch.setenv("DO_NOT_TRACK", "1")

    said = reader.read("/programs/shop/segment")

    assert "DO_NOT_TRACK=1 in the environment" in said
    assert "unset DO_NOT_TRACK" in said
    assert "usagewire on (uid" in said


def test_a_report_is_shown_before_anybody_has_said_yes(reader: Reader) -> None:
    """While a format is off until it is agreed to, its view shows what a report would begin with, explained."""
    leave(reader.state, service="cluster", name="stone")

    said = reader.read("/programs/cluster/stone")

    assert "A report would begin with" in said
    assert "the licence under which the report is shared" in said
    assert "Community Data License Agreement" in said
    assert "unknown time" not in said


def test_the_programs_own_plan_explains(reader: Reader) -> None:
    """What the plan of the program that ran said of an event and its attributes stands beside them."""
    left = leave(reader.state, 1)
    told = json.loads(left.place.destination_json.read_bytes())
    told["product"]["purposes"] = {"event_0": {"": "Why there is an event.", "number": "Why it is numbered."}}
    left.place.destination_json.write_text(json.dumps(told))

    said = reader.read("/programs/shop/segment")

    assert "Why there is an event." in said
    assert "Why it is numbered." in said


def damaged(left: Left) -> None:
    """A file that is no JSON."""
    left.place.destination_json.write_bytes(b"{")


def newer(left: Left) -> None:
    """One of a format that this version does not know."""
    told = json.loads(left.place.destination_json.read_bytes())
    left.place.destination_json.write_text(json.dumps({**told, "format": "telepathy"}))


def untrusted(left: Left) -> None:
    """Consent that nobody can have said."""
    left.place.consent_json.write_bytes(b"nonsense")


def littered(left: Left) -> None:
    """Copies that are none, among others that are not whole."""
    left.place.sent.mkdir(exist_ok=True)
    for name, content in (("0-1-a.json", b"{"), ("0-2-b.open", b'{"time":"x"'), ("c.json", b"[]"), ("d", b"\xff")):
        (left.place.sent / name).write_bytes(content)
    for folder in (left.place.rejected, left.place.corrupt):
        folder.mkdir(exist_ok=True)
        (folder / "0-odd").write_bytes(b"\x00")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damaged, "cannot be read"),
        (newer, "telepathy"),
        (untrusted, "cannot be trusted"),
        (littered, "nobody knows: the program ended before the answer came"),
    ],
)
def test_damage_is_said_and_never_in_the_way(reader: Reader, damage: Callable[[Left], None], says: str) -> None:
    """Whichever file is damaged: every view and export still answers."""
    left = leave(reader.state, 2)
    damage(left)

    said = [reader.read("/"), reader.read("/programs/shop/segment"), reader.read("/programs/shop/segment/export.json")]

    assert says in "".join(said)


def test_no_view_holds_a_secret(reader: Reader) -> None:
    """Neither a preview nor an export, nor the history."""
    left = leave(reader.state, 2, settings={"headers": "X-Team=t0p-secret", "user_id": "user-id-7"})
    reader.shell.run("send")
    left.put(*make_events(1))
    [past, *_] = sorted(left.place.sent.iterdir())
    views = (
        "/",
        "/programs/shop/segment",
        "/programs/shop/segment/export.json",
        f"/programs/shop/segment/sent/{past.name}",
    )

    for view in views:
        said = reader.read(view)
        assert not [secret for secret in (SECRET, "t0p-secret", "user-id-7") if secret in said], view
    assert "$AUTHORIZATION" in reader.read("/programs/shop/segment")


def test_a_long_history_has_pages(reader: Reader) -> None:
    """Fifty requests to a page, newest first, all of them in the export."""
    left = leave(reader.state)
    left.place.sent.mkdir()
    now = time.time_ns()
    for number in range(120):
        content = {"time": now + number, "url": "http://h", "count": number, "bytes": 2, "body": "{}"}
        content |= {"verdict": "delivered", "status": 200, "finished": now}
        (left.place.sent / f"0-{now + number:020d}-aa.json").write_text(json.dumps(content))

    first, last = (reader.read(f"/programs/shop/segment?page={number}") for number in (1, 3))

    assert (50, 20) == tuple(page.count('class="tag t-delivered"') for page in (first, last))
    assert 'rel="next"' in first
    assert 'rel="next"' not in last
    assert 120 == len(json.loads(reader.read("/programs/shop/segment/export.json"))["sent"])


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("jetstream/protobuf", "file sizes: a number made of its name"),
        ("jina/upstream", "how protobuf is implemented"),
    ],
)
def test_a_wrapped_body_is_shown_as_what_it_says(reader: Reader, case: str, says: str) -> None:
    """Protobuf and Base64 are unpacked and explained, on the view and in the export; the body as it came is kept."""
    name, _, which = case.partition("/")
    format, made = formats.load(name), cases(name)[which]
    settings = settings_for(format, made.settings)
    [(request, _), *_] = packed(format, items(format, made, settings), settings)
    headers = {key.lower(): value for key, value in request.headers.items()}
    path = urlsplit(request.url).path
    Records(watch=reader.journal.take).take(Received(1, "POST", path, headers, request.body, request.body, 1))

    said = reader.read("/received/1")
    [exported] = json.loads(reader.read("/received/export.json"))["requests"]

    assert "None: it is as the format’s document says." in said
    assert says in said
    assert json.loads(request.readable or exported["says"]) == json.loads(exported["says"])
    assert request.body == reader.load("/received/1/body")


@pytest.mark.parametrize(
    "path", ["/programs/shop/other", "/programs/none/segment", "/programs/shop/segment/sent/x.json", "/received/1"]
)
def test_what_is_not_there(reader: Reader, path: str) -> None:
    """404, and a sentence."""
    leave(reader.state)

    assert "That is not possible" in reader.read(path, 404)


@pytest.mark.parametrize(
    "name", ["../../consent.json", "..%2F..%2Fconsent.json", "%2e%2e/destination.json", "\x00.json"]
)
def test_no_path_leads_out_of_the_history(reader: Reader, name: str) -> None:
    """The name of a copy is the name of a copy."""
    leave(reader.state)
    reader.shell.run("on")

    assert "usagewire on (uid" not in reader.read(f"/programs/shop/segment/sent/{quote(name, safe='%/')}", 404)
