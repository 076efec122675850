"""Settings: where each comes from, what is wrong with it, and what is never shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.values import SCALARS
from usagewire.config import Resolved, common_variable, is_loopback, parse, resolve, rows, variable, variables
from usagewire.formats import load
from usagewire.signals import Setting

SEGMENT = load("segment")
KEY = {"OTEL_EXPORTER_SEGMENT_WRITE_KEY": "key"}


def resolved(keywords: Mapping[str, Any] | None = None, /, **environ: str) -> Resolved:
    """Segment's settings from keywords and variables, with a write key."""
    return resolve(SEGMENT, keywords or {}, {**KEY, **environ})


def fault(row: Setting, raw: Any) -> str:
    """What is wrong with ``raw``; empty when nothing is."""
    try:
        parse(row, raw)
    except ValueError as found:
        return str(found)
    return ""


URL = Setting("endpoint", "", kind="url")
MILLIS = Setting("timeout", "", kind="millis")
BYTES = Setting("queue_bytes", "", kind="bytes")
HEADERS = Setting("headers", "", kind="headers")
FILE = Setting("certificate", "", kind="path")
INTEGER = Setting("revision", "", kind="integer")
TABLE = Setting("data_sets", "", kind="table")
CHOICE = Setting("compression", "", kind="choice", choices=("gzip", "none"))


# -- the table ----------------------------------------------------------------------------------------------------


def test_a_formats_row_replaces_the_common_one() -> None:
    """Every name once, the format's own first; `interval` only where there are reports."""
    names = [row.name for row in rows(SEGMENT)]

    assert ["write_key", "endpoint", "user_id", "interval"] == names[:4]
    assert len(set(names)) == len(names)
    assert "interval" not in {row.name for row in rows(replace(SEGMENT, compile=None, interval=None))}


def test_variables_are_listed_strongest_first() -> None:
    """The format's own, the product's documented ones, then ours for all formats."""
    table = {row.name: row for row in rows(SEGMENT)}

    assert ("OTEL_EXPORTER_SEGMENT_WRITE_KEY", "RS_SEGMENT_WRITE_KEY") == variables(SEGMENT, table["write_key"])
    assert ("OTEL_EXPORTER_SEGMENT_WRITE_KEY",) == variables(SEGMENT, table["write_key"], frozenset())
    assert ("OTEL_EXPORTER_SEGMENT_ENDPOINT", "USAGEWIRE_ENDPOINT") == variables(SEGMENT, table["endpoint"])
    assert "OTEL_EXPORTER_SEGMENT_INTERVAL" == variable(SEGMENT, table["interval"])
    assert "USAGEWIRE_INTERVAL" == common_variable(table["interval"])


# -- where a value comes from -------------------------------------------------------------------------------------


def test_stronger_sources_win_one_by_one() -> None:
    """Stored > code > the format's variable > the product's > ours for all > plan > default."""
    row = Setting("endpoint", "Base URL.", kind="url", variables=("PRODUCT_URL",), default="https://default")
    fmt = replace(SEGMENT, settings=(row,))
    stored: dict[str, Any] = {"endpoint": "https://stored"}
    code: dict[str, Any] = {"endpoint": "https://code"}
    plan: dict[str, Any] = {"endpoint": "https://plan"}
    environ = {
        "OTEL_EXPORTER_SEGMENT_ENDPOINT": "https://own",
        "PRODUCT_URL": "https://product",
        "USAGEWIRE_ENDPOINT": "https://all",
    }
    found = []
    for source in (stored, code, environ, environ, environ, plan, {"the default": ""}):
        settings = resolve(fmt, code, environ, stored=stored, plan=plan)
        found.append((settings["endpoint"], settings.sources["endpoint"]))
        source.pop(next(iter(source)))

    assert [
        ("https://stored", "stored"),
        ("https://code", "code"),
        ("https://own", "OTEL_EXPORTER_SEGMENT_ENDPOINT"),
        ("https://product", "PRODUCT_URL"),
        ("https://all", "USAGEWIRE_ENDPOINT"),
        ("https://plan", "plan"),
        ("https://default", "default"),
    ] == found


def test_common_variable_reaches_a_row_the_format_brought_itself() -> None:
    """Segment has an endpoint of its own, and USAGEWIRE_ENDPOINT still sets it; its write key has no common one."""
    assert "https://eu.example" == resolved(USAGEWIRE_ENDPOINT="https://eu.example")["endpoint"]
    assert resolve(SEGMENT, {}, {"USAGEWIRE_WRITE_KEY": "key"})["write_key"] is None


def test_products_own_variables_count_unless_a_plan_leaves_them_out() -> None:
    """RS_SEGMENT_WRITE_KEY is an operator's own source: over a plan's key, under ours; ignored if a plan omits it."""
    environ, plan = {"RS_SEGMENT_WRITE_KEY": "operator"}, {"write_key": "vendor"}

    def key(**options: Any) -> Any:
        return resolve(SEGMENT, {}, environ, **options)["write_key"]

    assert "operator" == key()
    assert "operator" == key(plan=plan, plan_variables=["RS_SEGMENT_WRITE_KEY"])
    assert "vendor" == key(plan=plan, plan_variables=["RS_API_KEY"])
    assert "key" == resolve(SEGMENT, {}, {**environ, **KEY})["write_key"]


@pytest.mark.parametrize("empty", ["", "   "])
def test_empty_variable_counts_as_unset(empty: str) -> None:
    """OpenTelemetry's rule for every variable."""
    settings = resolved(OTEL_EXPORTER_SEGMENT_TIMEOUT=empty, USAGEWIRE_TIMEOUT="7")

    assert (7, "USAGEWIRE_TIMEOUT") == (settings["timeout"], settings.sources["timeout"])


def test_yaml_numbers_are_texts_where_a_text_is_meant() -> None:
    """`write_key: 12345` in YAML arrives as an integer."""
    settings = resolve(SEGMENT, {"write_key": 12345, "timeout": 250, "queue_bytes": 1024, "channels": ["a", "b"]}, {})

    assert () == settings.faults
    assert ("12345", 250, 1024, ("a", "b")) == tuple(
        settings[name] for name in ("write_key", "timeout", "queue_bytes", "channels")
    )


# -- what is wrong ------------------------------------------------------------------------------------------------


def test_every_fault_is_reported_at_once() -> None:
    """One look tells all: which setting, where it was said, what it was, what would be right."""
    settings = resolve(
        SEGMENT,
        {"compression": "zip", "wirte_key": "typo"},
        {"OTEL_EXPORTER_SEGMENT_TIMEOUT": "abc", "USAGEWIRE_ENDPOINT": "http://events.example"},
        stored={"queue_bytes": "much"},
        plan={"delivery": "pigeon"},
    )

    assert (
        "USAGEWIRE_ENDPOINT='http://events.example': plain http goes to this machine only; use https://events.example",
        "OTEL_EXPORTER_SEGMENT_TIMEOUT='abc': not a number of milliseconds from 1 to 315360000000",
        "compression='zip' (in code or YAML): not one of gzip, none",
        "delivery='pigeon' (in the plan): not one of auto, thread, manual",
        "queue_bytes='much' (stored by `usagewire config set`): not a number of bytes such as 1048576, 512K or 64M",
        "unknown setting wirte_key: known are certificate, channels, client_certificate, client_key, compression, "
        "delivery, dialect, endpoint, headers, interval, proxy, queue_bytes, queue_ttl, sent_bytes, timeout, user_id, "
        "write_key",
        "no write_key: set OTEL_EXPORTER_SEGMENT_WRITE_KEY or RS_SEGMENT_WRITE_KEY, or give write_key in code or YAML",
    ) == settings.faults


def test_faulty_setting_keeps_its_default() -> None:
    """Whoever goes on despite a fault has values of the right type."""
    settings = resolved(OTEL_EXPORTER_SEGMENT_TIMEOUT="abc")

    assert 5_000 == settings["timeout"]


def test_missing_setting_names_only_ways_that_work() -> None:
    """A product's variable that the plan leaves out is no way out; a faulty value is one fault, not two."""
    [without] = resolve(SEGMENT, {}, {}, plan_variables=[]).faults
    [faulty] = resolve(SEGMENT, {"write_key": "a\nb"}, {}).faults

    assert "no write_key: set OTEL_EXPORTER_SEGMENT_WRITE_KEY, or give write_key in code or YAML" == without
    assert "write_key=**** (in code or YAML): holds control characters, or bytes that are not UTF-8" == faulty


def test_name_and_service_are_no_settings_but_known() -> None:
    """They name the destination and the service; resolve leaves them to others."""
    assert () == resolved({"name": "b", "service": "ferry"}).faults


@given(st.dictionaries(st.text(), SCALARS), st.data())
def test_resolving_never_raises(extra: dict[str, Any], data: st.DataObject) -> None:
    """Whatever stands in code, YAML, environment, store or plan: values of the right kind, or faults."""
    names = [row.name for row in rows(SEGMENT)]
    anything = st.dictionaries(
        st.sampled_from(names), SCALARS | st.lists(SCALARS) | st.dictionaries(st.text(), SCALARS)
    )
    environ = {
        name: data.draw(st.text(st.characters(exclude_categories=())), label=name)
        for row in rows(SEGMENT)
        for name in variables(SEGMENT, row)
        if data.draw(st.booleans())
    }
    keywords = {**extra, **data.draw(anything)}
    settings = resolve(SEGMENT, keywords, environ, stored=data.draw(anything), plan=data.draw(anything))

    assert set(names) == set(settings)
    assert isinstance(settings["timeout"], int)
    assert isinstance(settings["endpoint"], str)
    assert all(isinstance(found, str) for found in settings.faults)
    settings.mask(b"body")
    settings.masked()


# -- kinds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080",
        "http://LOCALHOST",
        "http://127.0.0.1:1/path",
        "http://127.8.9.10",
        "http://[::1]:4318",
        "grpc://localhost:4317",
        "https://events.example:8443/base",
    ],
)
def test_urls_that_pass(url: str) -> None:
    """Plain http for this machine, TLS for every other; a trailing slash makes no difference."""
    assert url == parse(URL, url + "/")


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost.evil.com",
        "http://127.0.0.1.evil.com",
        "http://127.evil.com",
        "http://127.1",
        "http://0.0.0.0",
        "http://[::2]",
        "http://[::ffff:8.8.8.8]",
        "http://localhost.",
        "http://evil.com#localhost",
        "http://evil.com/localhost",
        "http://evil.com?localhost",
        "http://localhost@evil.com",
        "http://localhost:80@evil.com",
        "http://localhost\\@evil.com",
        "http://localhost\\.evil.com",
        "http://127.٠.٠.١",  # noqa: RUF001 - digits of another script
        "grpc://events.example",
        "http://local\nhost",
        "http://local\thost.evil.com",
        "https://user:password@host",
        "https://@host",
        "https://host:99999",
        "https://host:port",
        "https://[::1",
        "https://",
        "//localhost",
        "localhost:8080",
        "ftp://localhost",
        "file:///etc/passwd",
        "https://host/?key=value",
        "https://host/#fragment",
        "https://ho st",
        "https://host\ud800",
        "",
    ],
)
def test_urls_that_do_not(url: str) -> None:
    """Nothing that looks like this machine, and is not, gets data in the clear; nothing unusable waits to fail."""
    assert fault(URL, url)


def test_format_chooses_the_schemes_it_speaks() -> None:
    """Segment has no gRPC."""
    [found] = resolved({"endpoint": "grpcs://events.example"}).faults

    assert found.endswith("not a URL such as https://host:port")


def test_password_in_a_url_is_not_repeated() -> None:
    """The fault names the setting, not the secret that was put into the wrong one."""
    [found] = resolved({"endpoint": "https://me:pass/w@host"}).faults

    assert "pass" not in found.replace("password", "")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.255.0.1", "::1"])
def test_loopback_is(host: str) -> None:
    """Names and addresses that cannot leave the machine."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "localhost.localdomain", "127", "128.0.0.1", "::", "10.0.0.1", "127.0.0.1:80"])
def test_loopback_is_not(host: str) -> None:
    """Everything else."""
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("raw", "value"),
    [("0", 0), ("1048576", 1 << 20), ("512K", 512 << 10), ("64m", 64 << 20), ("2GiB", 2 << 30), ("3 MB", 3 << 20)],
)
def test_bytes_take_suffixes(raw: str, value: int) -> None:
    """Powers of 1024, whichever way they are written."""
    assert value == parse(BYTES, raw)


@pytest.mark.parametrize("raw", ["", "M", "12kk", "-1", "1.5M", "64T", True, None])
def test_bytes_refuse_the_rest(raw: Any) -> None:
    """With an example of what would be right."""
    assert "not a number of bytes such as 1048576, 512K or 64M" == fault(BYTES, raw)


@pytest.mark.parametrize("raw", ["", "0", "-5", "1.5", "5s", "1e3", True, 10**30])
def test_millis_are_whole_and_positive(raw: Any) -> None:
    """Durations are milliseconds, as in OpenTelemetry; ten years at most."""
    assert fault(MILLIS, raw).startswith("not a number of milliseconds")


@pytest.mark.parametrize(("raw", "value"), [("7", 7), (" -3 ", -3), (42, 42)])
def test_integers_are_whole(raw: Any, value: int) -> None:
    """As text or as YAML's own number."""
    assert value == parse(INTEGER, raw)


@pytest.mark.parametrize("raw", ["", "1.5", 2.5, "7a", True, None, [7]])
def test_integers_refuse_the_rest(raw: Any) -> None:
    """Nothing is rounded or guessed."""
    assert "not a " in fault(INTEGER, raw)


@pytest.mark.parametrize(
    "raw",
    [
        "accounts=users,orgs{type=b} ; storage = pools",
        {"accounts": ["users", "orgs{type=b}"], "storage": "pools"},
        {"accounts": ("users", "orgs{type=b}"), "storage": ("pools",)},
    ],
)
def test_tables_are_names_with_lists(raw: Any) -> None:
    """As text, as YAML, and as they were stored."""
    assert {"accounts": ("users", "orgs{type=b}"), "storage": ("pools",)} == parse(TABLE, raw)


@pytest.mark.parametrize("raw", ["a", "a=", "=b", {"a": []}, {"": ["b"]}, {"a": [None]}, 7, True])
def test_tables_refuse_the_rest(raw: Any) -> None:
    """A name needs something behind it."""
    assert "not" in fault(TABLE, raw)


def test_choice_ignores_case() -> None:
    """GZIP is gzip."""
    assert "gzip" == parse(CHOICE, " GZIP ")


def test_headers_are_decoded() -> None:
    """name=value pairs, values percent-encoded; or a mapping in YAML."""
    assert {"X-One": "a,b=c", "two": ""} == parse(HEADERS, "X-One = a%2Cb=c ,two=,")
    assert {"n": "1"} == parse(HEADERS, {"n": 1})


@pytest.mark.parametrize(
    "raw",
    ["novalue", "=x", "a b=c", "x=a%0d%0aInjected: yes", "x=ü", {"x": "a\nb"}, {"": "x"}, {"x\r": "y", "y:": "z"}],
)
def test_headers_that_would_break_a_request_are_faults(raw: Any) -> None:
    """Line breaks and names that are no names never reach the wire."""
    assert fault(HEADERS, raw)


def test_path_is_a_file_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The home folder is filled in; a folder, a missing file and nonsense are faults."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ca.pem").write_text("")

    assert str(tmp_path / "ca.pem") == parse(FILE, "~/ca.pem")
    for raw in (tmp_path, tmp_path / "none", "a\0b", "x" * 10_000, "~nobody-of-that-name/x", "", "\ud800"):
        assert fault(FILE, raw)


# -- secrets ------------------------------------------------------------------------------------------------------


def test_secrets_are_masked_wherever_settings_are_shown() -> None:
    """In the table, in faults and inside bodies; values that are unset stay unset."""
    settings = resolved({"user_id": 'me"ü', "headers": {"Authorization": "hunter2"}})

    assert ("****", "****", "****", None) == tuple(
        settings.masked()[name] for name in ("write_key", "user_id", "headers", "proxy")
    )
    assert b'{"userId":"****"}' == settings.mask('{"userId":"me\\"ü"}'.encode())
    assert "hunter2" not in str(resolved({"headers": "hunter2"}).faults)


def test_short_secret_is_masked_as_a_whole_text_only() -> None:
    """An id such as `me` is hidden, without hiding every `me` of every word."""
    assert b'{"userId":"****","event":"time"}' == resolved({"user_id": "me"}).mask(b'{"userId":"me","event":"time"}')
