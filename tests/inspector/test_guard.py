"""Who may see the page, and who may not."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from usagewire.inspector.guard import HEADERS
from usagewire.inspector.journal import Journal
from usagewire.inspector.serve import Inspector


@pytest.fixture
def inspector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inspector]:
    """One that runs, on a state folder without anything in it."""
    monkeypatch.setenv("USAGEWIRE_STATE_DIR", str(tmp_path))
    with Inspector(Journal()) as running:
        yield running


class Client:
    """Asks without a browser's manners."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.token = parts.netloc, parse_qs(parts.query)["token"][0]
        self.cookie = {"Cookie": f"usagewire-{parts.port}={self.token}"}
        self.origin = {"Origin": f"http://{self.host}"}

    def ask(
        self, path: str = "/", headers: Mapping[str, str] | None = None, method: str = "GET", body: bytes | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of the answer."""
        connection = http.client.HTTPConnection(self.host, timeout=60)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()


def test_the_key_is_in_the_url_and_then_in_a_cookie(inspector: Inspector) -> None:
    """The printed URL gives a cookie that no script reads and no other site sends, and leads to one without the key."""
    client = Client(inspector.url)

    status, headers, _ = client.ask(f"/received?format=tts&token={client.token}")

    assert (303, "/received?format=tts") == (status, headers["location"])
    assert {"HttpOnly", "SameSite=strict"} <= set(headers["set-cookie"].split("; "))
    assert 200 == client.ask("/received", client.cookie)[0]


@pytest.mark.parametrize("path", ["/", "/received", "/static/page.css", "/received/export.json", "/?token=wrong"])
def test_without_the_key_there_is_nothing(inspector: Inspector, path: str) -> None:
    """No view, no export, no file."""
    client = Client(inspector.url)

    assert 403 == client.ask(path)[0]
    assert 403 == client.ask(path, {"Cookie": client.cookie["Cookie"] + "x"})[0]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1:1", "192.168.0.7:{port}", ""])
def test_another_name_for_our_address_is_refused(inspector: Inspector, host: str) -> None:
    """A site that gives its own name this machine's address gets nothing, key or not."""
    client = Client(inspector.url)
    named = {"Host": host.format(port=client.host.partition(":")[2])}

    assert 421 == client.ask("/", {**client.cookie, **named})[0]
    assert 200 == client.ask("/", {**client.cookie, "Host": client.host.replace("127.0.0.1", "localhost")})[0]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "{own}", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "{own}", "Sec-Fetch-Site": "same-site"},
    ],
)
def test_only_our_own_page_changes_something(inspector: Inspector, headers: dict[str, str]) -> None:
    """A change that another page asks for, with the cookie and all, is refused; so is one by GET."""
    client = Client(inspector.url)
    said = {name: value.format(own=client.origin["Origin"]) for name, value in headers.items()}

    assert 403 == client.ask("/received/clear", {**client.cookie, **said}, "POST", b"back=/")[0]
    assert 405 == client.ask("/received/clear", client.cookie)[0]
    assert 303 == client.ask("/received/clear", {**client.cookie, **client.origin}, "POST", b"back=/")[0]


def test_forms_are_bounded_and_lead_back_here(inspector: Inspector) -> None:
    """A large form is refused unread, an odd one is told what is wrong, and no form leads to another site."""
    client = Client(inspector.url)
    ours = {**client.cookie, **client.origin}

    assert 413 == client.ask("/consent", ours, "POST", b"x" * 70_000)[0]
    assert 400 == client.ask("/consent", ours, "POST", b"word=maybe&service=shop")[0]
    assert 400 == client.ask("/misbehave", ours, "POST", b"kind=explode")[0]
    for back in (b"//evil.example", b"https://evil.example", b"/\\evil.example"):
        location = client.ask("/received/clear", ours, "POST", b"back=" + back)[1]["location"]
        assert location.startswith("/?said=")


@pytest.mark.parametrize(
    "path", ["/", "/nowhere", "/received/7", "/programs/a/b", "/programs/a/b/sent/..", "/static/x"]
)
def test_every_answer_has_the_headers_that_forbid(inspector: Inspector, path: str) -> None:
    """Scripts and styles from here only, no frames, no sniffing, no copies: also on faults and files."""
    client = Client(inspector.url)

    for status, headers, _ in (client.ask(path, client.cookie), client.ask(path)):
        assert status in (200, 403, 404)
        assert {name.lower(): value for name, value in HEADERS.items()}.items() <= {
            name.lower(): value for name, value in headers.items()
        }.items()


def test_nothing_in_the_page_needs_an_exception(inspector: Inspector) -> None:
    """No inline script, style or handler, and no address but this page's own."""
    client = Client(inspector.url)

    for path in ("/", "/received", "/pictures"):
        _, _, body = client.ask(path, client.cookie)
        for forbidden in (b"<style", b" style=", b" onclick", b" onload", b"javascript:", b"//cdn", b"https://"):
            assert forbidden not in body, path
