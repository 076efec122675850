"""Nothing personal leaves; nothing ordinary is mangled; nothing a program says can trouble redaction."""

from __future__ import annotations

import enum
import getpass
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.provisional import urls

from usagewire.policy.redact import LONGEST, MEMORABLE, REMEMBERED, Redactor
from usagewire.signals import Event, Point

HERE = Redactor.here()
BOB = Redactor("bob", "wombat.corp.example", "/srv/people/bob")
UUID = "0123abcd-1234-4abc-8def-0123456789ab"
WORDS = st.sampled_from(["", "connection from ", "(", "peer=", "failed: ", "a "])
AFTER = st.sampled_from(["", " failed", ")", ", gone", "\n", " x.y"])


def redact(value: str, name: str = "note") -> str:
    """``value`` as it leaves Bob's machine."""
    return BOB.text(name, value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bob@example.com", "[email]"),
        ("mail bob+x@mail.example.co.uk, now", "mail [email], now"),
        ("jörg@bücher.example", "[email]"),
        ("mailto:bob@163.com", "[email]"),
        ("git@github.com:org/repo.git", "[email]:org/repo.git"),
        ("root@7f3a9c12b4de", "[user]@[host]"),
        ("ops@10.0.0.1", "[user]@[host]"),
        ("bob:hunter2@db", "[credentials]@[host]"),
        ("10.1.2.3:8080", "[ip]:8080"),
        (
            "https://u:p@db.corp.local:5432/prod?token=abc&x=1",
            "https://[credentials]@[host]:5432/prod?token=[token]&x=1",
        ),
        ("postgresql://bob:se@cr@et@h/db", "postgresql://[credentials]@[host]/db"),
        ("redis://bob:half/a@h", "redis://[host]:[credentials]/[user]@[host]"),
        ("http://[2001:db8::1]:80/x", "http://[ip]:80/x"),
        ("http://localhost:8080/v1/items", "http://localhost:8080/v1/items"),
        ("file:///opt/x", "file://[path]"),
        ("/home/alice/my files/x.py", "[path]"),
        ("see /home/alice/x and", "see [path] and"),
        ("-I/home/alice/include", "-I[path]"),
        ("/Users/alice/Library", "[path]"),
        ("/root/x", "[path]"),
        ("/tmp/x", "[path]"),
        ("/private/var/folders/ab/x", "[path]"),
        ("/run/user/1000/bus", "[path]"),
        ("~/x", "[path]"),
        ("C:\\Users\\Bob Smith\\AppData\\x.log", "[path]"),
        ("c:/users/bob", "[path]"),
        ("C:\\\\Users\\\\bob\\\\x", "[path]"),
        ("\\\\fs01\\share\\x", "[path]"),
        ("/srv/people/bob/x", "[path]"),
        ("/srv/data/bob/x", "/srv/data/[user]/x"),
        ("/backup-bob.tar/WOMBAT", "/backup-[user].tar/[host]"),
        ("wombat:8080/x", "[host]:8080/x"),
        ("Bearer abc123def456ghi7", "Bearer [token]"),
        ("AKIAIOSFODNN7EXAMPLE", "[token]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc", "[token]"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "[token]"),
        ("use sk-proj1234567890abcdefg now", "use [token] now"),
        ("https://localhost/x?api_key=1&sort=a", "https://localhost/x?api_key=[token]&sort=a"),
        ("k3J9xQ2mN8vB5cZ1pL7wR4tY", "[token]"),
        ("3f9a2b1c" * 5, "[token]"),
        ("4111111111111111", "[card]"),
        ("4111 1111 1111 1111", "[card]"),
        ("5500-0000-0000-0004", "[card]"),
        ("paid with 378282246310005, thanks", "paid with [card], thanks"),
        ("30569309025904", "[card]"),
        ("6304000000000000000", "[card]"),
        ("+49 170 1234567", "[phone]"),
        ("+491701234567", "[phone]"),
        ("+1 (555) 123-4567", "[phone]"),
        ("555-123-4567", "[phone]"),
        ("call (555) 223-4567 now", "call [phone] now"),
        ("a 555-223-4567 b", "a [phone] b"),
        ("0049 170 1234567", "[phone]"),
        ("tel:+33 1 23 45 67 89", "tel:[phone]"),
        ("030 1234567", "[phone]"),
        ("0170/1234567", "[phone]"),
    ],
)
def test_what_is_replaced(value: str, expected: str) -> None:
    """Each kind of personal text leaves as a marker that says what stood there."""
    assert expected == redact(value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "mysql",
        "1.30.0",
        "1.30.0-rc.1+build.5.sha.5114f85",
        "2024-01-02T03:04:05.123456Z",
        "2024-01-02 03:04:05+01:00",
        f"2024-01-02T03:04:05.123456Z_{UUID}",
        UUID,
        UUID.upper(),
        "3f9a2b1",
        "/v1/items/42",
        "/api/home/items",
        "/users/42/orders",
        "GET /v1/items/{id}",
        "application/json; charset=utf-8",
        "a::b",
        "std::vec::Vec<u8>",
        "cafe::bad",
        "3:1",
        "16:9",
        "12:30",
        "12:30:45",
        "00:00:00.000",
        "ghcr.io/org/app:1.2.3",
        "registry:5000/app:latest",
        "nginx@sha256:" + "ab12" * 16,
        "lodash@4.17.21",
        "lodash@4.17.21-beta.1",
        "@opentelemetry/api",
        "golang.org/x/net@v0.1.2",
        "en_US.UTF-8",
        "Europe/Berlin",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
        "python-requests/2.31.0",
        "app.main:run:12",
        "package.module.sub.deep:Class.method:120",
        "Windows-10-10.0.19041-SP0",
        "Linux-5.15.0-91-generic-x86_64-with-glibc2.35",
        "bob",
        "root",
        "and/or",
        "n/a",
        "50% done: 3/4",
        "SELECT * FROM t WHERE a = ?",
        "OpenTelemetryExporterBatchProcessorFactoryBean",
        "projects-2024-10-12-release-candidate-1",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "4111111111111112",
        "1700000000000000003",
        "1790769600123456",
        "4398046511104",
        "2024-01-02",
        "20240102-030405",
        "2024-01-02 2024-02-03",
        "256 512 1024 2048",
        "10 200 3000 40000",
        "1.30.0+20240102",
        "535.129.03-0ubuntu1",
        "order-555-123-4567",
        "0123456789",
        "00000000000000000000",
        "3.14159265358979323846",
        "/v1/555-123-4567/0170/1234567",
        "-1234567890123",
        "0-1023 1024-8191 8192-65535",
    ],
)
def test_what_stays(value: str) -> None:
    """Versions, ids, times, routes and names that only look suspicious leave as they are."""
    assert value == redact(value)


@pytest.mark.parametrize(
    ("name", "value", "stays"),
    [
        ("server_version", "1.2.3.4", True),
        ("build", "1.2.3.4", False),
        ("os.release", "2:8.39-13+b1.2.3", True),
        ("vcs.revision", "3f9a2b1c" * 5, True),
        ("server_version", "1.2.3.4 on bob@wombat", False),
        ("commit_id", "3f9a2b1c" * 5, True),
        ("image.sha", "3f9a2b1c" * 8, True),
        ("commit", "3f9a2b1c" * 5, False),
        ("container.id", "bob@example.com", False),
        ("anything", UUID, True),
    ],
)
def test_exempt_as_a_whole(name: str, value: str, stays: bool) -> None:
    """A version, digest or UUID stays under a name that says so, and only when it is the whole value."""
    assert stays == (redact(value, name) == value)


@given(st.ip_addresses(v=4).map(str), WORDS, AFTER)
def test_every_ipv4(address: str, before: str, after: str) -> None:
    """No IPv4 address leaves, wherever it stands."""
    assert f"{before}[ip]{after}" == redact(f"{before}{address}{after}")


NETWORKS = ("2000::/3", "fc00::/7", "fe80::/10", "::ffff:0:0/96")


@given(st.sampled_from(NETWORKS).flatmap(lambda n: st.ip_addresses(network=n)), st.booleans(), WORDS, AFTER)
def test_every_ipv6(address: Any, full: bool, before: str, after: str) -> None:
    """No IPv6 address that is given out anywhere leaves, short or in full."""
    text = address.exploded if full else str(address)
    assert f"{before}[ip]{after}" == redact(f"{before}{text}{after}")


@given(st.emails(), WORDS, AFTER)
@example("a=b/c@example.com", "", "")
def test_every_email(email: str, before: str, after: str) -> None:
    """No e-mail address leaves: neither whole, nor its domain (but ``/@scope`` and ``=@name`` are no addresses)."""
    assume(email.rpartition("@")[0][-1] not in "/=")
    clean = redact(f"{before}{email}{after}")
    assert email not in clean
    assert "@" + email.rpartition("@")[2] not in clean


PIECE = st.text("abcXYZ019._-", min_size=1, max_size=12).filter(lambda piece: piece.strip("."))
HOMES = ("/home/{}", "/Users/{}", "C:\\Users\\{}", "C:/Users/{}", "D:\\Documents and Settings\\{}", "/var/home/{}")


@given(st.sampled_from(HOMES), PIECE, st.lists(PIECE, max_size=4), WORDS)
def test_every_home(home: str, user: str, below: list[str], before: str) -> None:
    """No path below a home folder of any of the three systems leaves."""
    separator = "\\" if "\\" in home else "/"
    assert f"{before}[path]" == redact(before + separator.join([home.format(user), *below]))


@given(urls(), PIECE, PIECE)
def test_every_url(url: str, user: str, password: str) -> None:
    """No URL leaves with its host or its credentials."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0].partition(":")[0].partition("#")[0]
    assume(host not in "[credentials]@[host]")
    clean = redact(f"{scheme}://{user}:{password}@{rest}")
    assert clean.startswith(f"{scheme}://[credentials]@[host]")


@given(st.binary(min_size=24, max_size=64))
def test_digests_of_secrets(secret: bytes) -> None:
    """Long hexadecimal text leaves only under a name that says it is an id."""
    digest = secret.hex()
    assume(any(letter.isdigit() for letter in digest))
    assert "[token]" == redact(digest)
    assert digest == redact(digest, "build_id")


def luhn(payload: str) -> str:
    """``payload`` and its check digit, computed the way the standard tells it: from the right, every second doubled."""
    total = sum(sum(divmod(int(digit) * (2 - place % 2), 10)) for place, digit in enumerate(reversed(payload)))
    return payload + str(-total % 10)


CARDS = st.sampled_from(["4", "51", "55", "2221", "6011", "65"]).flatmap(
    lambda begin: st.text("0123456789", min_size=15 - len(begin), max_size=15 - len(begin)).map(begin.__add__)
)


@given(CARDS, st.sampled_from(["", " ", "-"]), WORDS, AFTER)
def test_every_card(payload: str, between: str, before: str, after: str) -> None:
    """No payment card's number leaves, however it is grouped; with another check digit it is just a number."""
    number = luhn(payload)
    grouped = between.join(number[start : start + 4] for start in range(0, 16, 4))
    assert f"{before}[card]{after}" == redact(f"{before}{grouped}{after}")
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert wrong == redact(wrong)


PHONES = st.from_regex(r"\+(1|44|49|86)[ -]?[2-9][0-9]{2}[ -]?[2-9][0-9]{2}[ -]?[0-9]{4}", fullmatch=True)


@given(PHONES, WORDS, AFTER)
def test_every_telephone(number: str, before: str, after: str) -> None:
    """No telephone number that begins with a country's leaves, wherever it stands."""
    assert f"{before}[phone]{after}" == redact(f"{before}{number}{after}")


@given(st.text("0123456789 ()/.-+abcxyz", min_size=1, max_size=19))
def test_short_texts_are_judged_as_long_ones(text: str) -> None:
    """The quick look at short texts lets nothing through that a longer text around them would not."""
    assert redact(text) == redact(f"{text} and much more of it").removesuffix(" and much more of it")


def test_this_machine() -> None:
    """The real names of the machine that runs this test do not leave it."""
    user, host, home = getpass.getuser(), os.uname().nodename, str(Path.home())
    for text in (f"{user}@{host}", f"{home}/project/x.py", f"{Path.home() / 'x'}", f"https://{user}:x@{host}/x"):
        clean = HERE.text("note", text)
        assert text != clean
        assert f"@{host}" not in clean
        assert home not in clean
    for name in {user, host} - {"root", "localhost"}:
        assert name not in HERE.text("note", f"/srv/{name}/data")


def event(attributes: dict[str, Any], body: Any = None) -> Event:
    """An event of the test's own."""
    return Event("done", 1, "0" * 32, attributes, body)


def test_clean_events_pass_as_they_are() -> None:
    """Nothing is copied where nothing is found."""
    clean = event(
        {"db_backend": "mysql", "version": "1.30.0", "n": 1, "l": ("a", "b"), "m": {"a": [1, None]}}, {"a": 1}
    )
    assert BOB.event(clean) is clean
    point = Point("usage.x", "sum", 1, {"a": "b"})
    assert BOB.point(point) is point


def test_structured_values() -> None:
    """Lists, tables and bodies are searched to the bottom; keys inside them are data, attribute names are not."""
    told = event(
        {"10.0.0.7": "x", "hosts": ("10.0.0.7", "a"), "raw": b"bob@example.com"},
        {"peers": {"10.0.0.7": 1, "10.0.0.8": 2}, "os": {"version": "10.0.0.7"}, "path": Path("/home/bob/x")},
    )
    clean = BOB.event(told)
    assert {"10.0.0.7": "x", "hosts": ["[ip]", "a"], "raw": "[email]"} == clean.attributes
    assert {"peers": {"[ip]": 1, "[ip] 2": 2}, "os": {"version": "10.0.0.7"}, "path": "[path]"} == clean.body
    assert {"peer": "[ip]"} == BOB.point(Point("usage.x", "sum", 1, {"peer": "10.0.0.7"})).attributes


def test_values_that_a_plan_lists() -> None:
    """What a plan enumerates was read by people, and stays."""
    told = event({"endpoint": "https://example.com/x", "other": "https://example.com/x"})
    assert {"endpoint": "https://example.com/x", "other": "https://[host]/x"} == BOB.event(
        told, frozenset({"endpoint"})
    ).attributes


class Colour(enum.Enum):
    """An enumeration of the program's own."""

    RED = "red@example.com"


class Hostile:
    """An object of the program's own."""

    def __str__(self) -> str:
        raise RuntimeError


def test_anything_at_all() -> None:
    """What a format would turn into text is searched as text; what cannot be looked at does not leave."""
    loop: list[Any] = []
    loop.append(loop)
    told = event({"a": Colour.RED, "b": Hostile(), "c": loop, "d": {"x@y.example"}, "e": "@" * (LONGEST + 1)})
    clean = BOB.event(told).attributes
    assert ("[email]", "[unreadable]", ["[email]"], "[long text]") == (clean["a"], clean["b"], clean["d"], clean["e"])
    assert "[deep]" in str(clean["c"])


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), ANYTHING), ANYTHING)
def test_nothing_troubles_it(attributes: dict[str, Any], body: Any) -> None:
    """Any value is taken; and what has been redacted stays as it is when redacted again."""
    once = BOB.event(event(attributes, body))
    assert BOB.event(once) is once


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a:",
        "1.",
        "/",
        "a/",
        "a@",
        "key",
        "A1",
        "eyJ",
        "eyJ-",
        "\\",
        "C:\\Users\\",
        "/home/a b",
        "::1",
        "a-",
        "x://",
        "~a",
        "a=b",
        "bearer ",
        "sk-",
        "[1:",
        "é@",
        "_1",
        "1.1.1.",
        "%",
        "mailto:",
        "+1",
        "4111 ",
        "5-",
        "(555",
    ],
)
def test_hostile_texts_take_linear_time(piece: str) -> None:
    """Twenty times the text takes nowhere near four hundred times as long."""

    def cost(length: int) -> float:
        text = (piece * length)[:length] + " /:@.1"
        start = time.process_time()
        redact(text)
        return time.process_time() - start

    small = max(min(cost(5_000) for _ in range(3)), 1e-4)
    assert cost(100_000) < 150 * small


@pytest.mark.parametrize(
    ("name", "value", "left"),
    [
        ("host.name", "vm", "[host]"),
        ("host.id", "fdbf79e8af94cb7f9e8df36789187052", "[host]"),
        ("usage.device.host", "build-7", "[host]"),
        ("user.name", "ann", "[user]"),
        ("usage.crash.entity", "mon.host-a", "mon.[host]"),
        ("usage.crash.entity", "client.rgw.host-a.x", "client.[host]"),
        ("usage.crash.entity", "osd.7", "osd.7"),
        ("kind", "vm", "vm"),
    ],
)
def test_attributes_that_hold_a_name_by_convention(name: str, value: str, left: str) -> None:
    """However ordinary the name looks; a plan that lists it has its way."""
    told = Event("x", 1, "0" * 32, {name: value})

    assert {name: left} == Redactor().event(told).attributes
    assert told is Redactor().event(told, frozenset({name}))


@pytest.mark.parametrize("mac", ["02:fc:00:7a:00:01", "02-FC-00-7A-00-01"])
def test_hardware_addresses(mac: str) -> None:
    """In either spelling, alone and inside a text; what is only like one stays."""
    redactor = Redactor()

    assert ("[mac]", "eth0 is [mac]!") == (redactor.text("x", mac), redactor.text("x", f"eth0 is {mac}!"))
    for longer in (f"{mac}:9", f"{mac}-0a", f"a{mac}"):
        assert "[mac]" not in redactor.text("x", longer)


# -- what is remembered -------------------------------------------------------------------------------------------


class Liar(str):
    """Says of itself that it is another text."""

    __slots__ = ()

    def __hash__(self) -> int:
        return hash("mysql")

    def __eq__(self, other: object) -> bool:
        return other == "mysql"


def test_a_text_that_was_clean_once_is_still_nobodys_name() -> None:
    """That it was let through under one name does not let it through where names are hidden."""
    redactor = Redactor("bob", "wombat")
    found = {"database": "wombat-7", "usage.crash.entity": "mon.a", "x": "mon.a"}
    assert {"database": "wombat-7", "usage.crash.entity": "mon.[host]", "x": "mon.a"} == attributes(redactor, found)

    again = {"host.name": "wombat-7", "user.id": "wombat-7", "usage.crash.entity": "mon.a", "database": "wombat-7"}

    expected = {"host.name": "[host]", "user.id": "[user]", "usage.crash.entity": "mon.[host]", "database": "wombat-7"}
    assert expected == attributes(redactor, again)


def test_a_text_that_only_claims_to_be_a_clean_one_is_looked_at() -> None:
    """A program's own class may say anything when it is compared."""
    redactor = Redactor()
    attributes(redactor, {"database": "mysql"})

    assert "[email]" == str.__str__(attributes(redactor, {"database": Liar("bob@example.com")})["database"])


def test_what_is_remembered_is_bounded() -> None:
    """In number and in length, whatever a program says."""
    redactor = Redactor()
    for number in range(3 * REMEMBERED):
        attributes(redactor, {"number": f"number {number}", "long": "x" * (MEMORABLE + 1 + number % 7)})

    assert 0 < len(redactor._clean) <= REMEMBERED
    assert max(map(len, redactor._clean)) <= MEMORABLE


def attributes(redactor: Redactor, said: dict[str, Any]) -> dict[str, Any]:
    """What leaves of an event's attributes."""
    return dict(redactor.event(Event("e", 1, UUID, said)).attributes)
