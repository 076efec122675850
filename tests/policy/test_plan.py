"""A tracking plan is read with care, and nothing that is not in it leaves."""

from __future__ import annotations

import copy
import hashlib
import hmac
import os
import re
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usagewire.errors import PlanError
from usagewire.policy.plan import Open, Plan, find, load, parse
from usagewire.policy.source import LARGEST, line_of
from usagewire.signals import Event, Point, Switch

READYSET = Path(__file__).parents[2] / "examples" / "plans" / "readyset.yaml"

PLAN: dict[str, Any] = {
    "plan": "ferry",
    "version": 3,
    "product": {
        "endpoint": "https://telemetry.example",
        "variables": ["RS_API_KEY"],
        "opt_out": ["--no-telemetry", "FERRY_OPTOUT", "FERRY_TELEMETRY=false"],
        "consent": "off",
        "packages": ["ferry"],
        "deletion": "https://telemetry.example/delete",
    },
    "attributes": {"backend": {"type": "string", "values": ["mysql", "postgres"], "purpose": "Which to support."}},
    "events": {
        "start": {
            "purpose": "Started.",
            "owner": "core",
            "channel": "basic",
            "review": "https://example.com/1",
            "expires": "2030-12-31",
            "attributes": ["backend"],
        },
        "done": {
            "purpose": "Done.",
            "body": {"type": "object", "purpose": "Totals."},
            "attributes": {
                "user": {"type": "string", "purpose": "Distinct users.", "sensitivity": "hash"},
                "files": {"type": "integer", "purpose": "Load.", "sensitivity": "bucket"},
                "seconds": {"type": "number", "purpose": "Speed.", "sensitivity": "bucket", "buckets": [1, 10, 60]},
                "secret": {"type": "string", "purpose": "Seen, never sent.", "sensitivity": "drop"},
                "modes": {"type": "list", "values": ["a", "b"], "purpose": "Modes in use."},
                "ok": {"type": "boolean", "purpose": "Success."},
                "level": {"type": "integer", "values": [1, 2], "purpose": "Level."},
            },
        },
    },
    "metrics": {"usage.size": {"purpose": "Sizes.", "attributes": ["backend"]}},
}
NOW = int(datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()) * 10**9
SALT = b"salt"


def event(name: str, attributes: dict[str, Any] | None = None, body: Any = None, scope: str = "ferry") -> Event:
    """An event of the product's own."""
    return Event(name, 1, "0" * 32, attributes or {}, body, scope)


def faults(text: str) -> tuple[str, ...]:
    """What is wrong with a plan."""
    with pytest.raises(PlanError) as caught:
        parse(text.encode())
    return caught.value.faults


# -- the file ---------------------------------------------------------------------------------------------------------


def test_readyset() -> None:
    """The first real plan: ReadySet's nine events with five properties, its switches, and no key."""
    plan = load(READYSET)
    assert ("readyset", 1, 9) == (plan.name, plan.version, len(plan.events))
    assert {"db_backend", "adapter_version", "server_version", "docker_version", "commit_id"} == {
        name for entry in plan.events.values() for name in entry.attributes
    }
    assert (Switch("--disable-telemetry", "flag"),) == plan.product.opt_out
    assert ("RS_SEGMENT_WRITE_KEY", "RS_API_KEY") == plan.product.variables
    assert ({"endpoint": "https://api.segment.io"}, True) == (dict(plan.product.settings), plan.product.consent)


def test_product_facts() -> None:
    """The product's facts arrive as the settings and consent rooms want them."""
    product = load(PLAN).product
    assert {"endpoint": "https://telemetry.example"} == dict(product.settings)
    assert (False, ("ferry",), ("RS_API_KEY",)) == (product.consent, product.packages, product.variables)
    assert "https://telemetry.example/delete" == product.deletion
    expected = [("--no-telemetry", "flag"), ("FERRY_OPTOUT", "present"), ("FERRY_TELEMETRY", "false")]
    assert expected == [(switch.name, switch.kind) for switch in product.opt_out]
    assert date(2030, 12, 31) == load(PLAN).events["start"].expires


def test_all_faults_with_their_lines() -> None:
    """Everything that is wrong is named at once, each with its line."""
    expected = (
        "line 7: '2025-02-30' is no timestamp",
        "line 1: plan: text is needed, not 7",
        "line 2: version: a whole number, 1 or more, is needed, not True",
        "line 3: shapes: unknown; known are plan, version, product, attributes, events, metrics",
        "line 4: product.consent: on or off is needed, not 'maybe'",
        "line 4: product.opt_out: 'no way' is none of --flag, VARIABLE, VARIABLE=false",
        "line 6: events.start.purpose: text is needed, not nothing",
        "line 8: events.start.attributes: backend is not defined under attributes",
    )
    found = faults(
        """plan: 7
version: true
shapes: 1
product: {consent: maybe, opt_out: [no way]}
events:
  start:
    expires: 2025-02-30
    attributes: [backend]
"""
    )
    assert sorted(expected) == sorted(found)
    assert [1, 2, 3, 4, 4, 6, 7, 8] == [line_of(fault) for fault in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x 1\nb: *x\nc: *x", "line 2: aliases (*name) are refused"),
        ("a: &x 1\nb: *x\nc: *x", "line 3: aliases (*name) are refused"),
        ("a: !!python/object/apply:os.system [id]", "line 1: tag tag:yaml.org,2002:python/object/apply:"),
        ("a: !!python/name:os.system x", "line 1: 'x' is no python/name:os.system"),
        ("a: 1\na: 2", "line 2: a is there twice, before in line 1"),
        ("e:\n  a: 1\n  b: 1\n  a: 2", "line 4: a is there twice, before in line 2"),
        ("a: [1", "not YAML: did not find expected"),
        ("--- 1\n--- 2", "line 2: not YAML: but found another document"),
        ("[" * 40, "line 1: nested more than 16 deep"),
        ("", "a table is needed, not nothing"),
        ("[]", "a table is needed, not []"),
        ("? [a]\n: 1", "line 1: a name is text"),
        ("plan: x\nversion: 1", "neither events nor metrics: nothing would ever leave"),
    ],
)
def test_refused_texts(text: str, expected: str) -> None:
    """What YAML can do beyond plain values is refused, and says where."""
    assert any(expected in fault for fault in faults(text))


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("attributes", "backend", "type"), "text", "attributes.backend.type: one of string, integer"),
        (("attributes", "backend", "values"), [1], "attributes.backend.values: a list of string values"),
        (("attributes", "backend", "sensitivity"), "bucket", "only numbers have buckets"),
        (("attributes", "backend", "buckets"), [1, 2], "with sensitivity: bucket"),
        (("attributes", "backend", "purpose"), "  ", "attributes.backend.purpose: text is needed"),
        (
            ("events", "done", "attributes", "ok"),
            {"type": "boolean", "purpose": "x", "sensitivity": "hash"},
            "are hashed",
        ),
        (("events", "start", "expires"), "soon", "events.start.expires: a date such as 2030-12-31"),
        (("events", "start", "colour"), 1, "events.start.colour: unknown"),
        (("metrics", "usage.size", "body"), {}, "metrics.usage.size.body: unknown"),
        (("product", "endpoint"), None, "product.endpoint: nothing: not a text or a number"),
        (
            ("product", "endpoint"),
            "http://telemetry.example",
            "product.endpoint: .*plain http goes to this machine only",
        ),
        (("product", "end_point"), "https://x.example", "product.end_point: neither a fact .* nor a setting"),
        (("product", "timeout"), "soon", "product.timeout: 'soon': not a number of milliseconds"),
        (("product", "write_key"), ["k3y"], "product.write_key: not a text"),
        (("product", "certificate"), 7, "product.certificate: a path is needed, not 7"),
        (
            ("product", "data_sets"),
            {"costarring": ["a"], "liquid": ["b"]},
            "'costarring' and 'liquid' have the same key",
        ),
        (("product", "data_sets"), {"File Sizes": ["a"]}, "'file sizes' and 'File Sizes' have the same key"),
        (("product", "data_sets"), {"mine": ["a{b"]}, "mine: 'a{b' is neither metric nor metric"),
        (("events", "start", "channel"), "basics", "'basics' is no channel; there are basic, crash, device, ident"),
        (
            ("product", "deletion"),
            "http://telemetry.example/delete",
            "product.deletion: .*plain http goes to this machine",
        ),
        (("product", "deletion"), 7, "product.deletion: text is needed"),
        (("product", "variables"), "RS_API_KEY", "product.variables: a list of texts"),
        (
            ("product", "variables"),
            ["RS_API_KEY", "FERRY_KEY"],
            "product.variables: 'FERRY_KEY' is no variable .*; there are RS_SEGMENT_WRITE_KEY, RS_API_KEY$",
        ),
    ],
)
def test_faults_in_a_mapping(path: tuple[str, ...], value: Any, fault: str) -> None:
    """A plan given in code is checked as a file is."""
    plan = copy.deepcopy(PLAN)
    table = plan
    for step in path[:-1]:
        table = table[step]
    table[path[-1]] = value
    with pytest.raises(PlanError, match=fault):
        load(plan)


@pytest.mark.parametrize("source", [5, True, b"plan.yaml", ["plan.yaml"]], ids=repr)
def test_what_is_neither_path_nor_table_is_named(source: Any) -> None:
    """YAML and code may hold anything where a plan belongs."""
    with pytest.raises(PlanError, match=rf"^plan={re.escape(repr(source))}: a path, or a table"):
        load(source)


def test_files_that_are_refused(tmp_path: Path) -> None:
    """A plan decides what may leave, so nobody else may be able to write it; and it is small."""
    path = tmp_path / "plan.yaml"
    with pytest.raises(PlanError, match="No such file"):
        load(path)
    path.write_bytes(READYSET.read_bytes())
    path.chmod(0o644)
    assert "readyset" == load(path).name
    path.chmod(0o646)
    with pytest.raises(PlanError, match="others can write it"):
        load(path)
    path.chmod(0o600)
    path.write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(PlanError, match="at most 1048576"):
        load(path)
    os.mkfifo(tmp_path / "pipe")
    for impossible in (tmp_path / "pipe", tmp_path, "a\0b"):
        with pytest.raises(PlanError):
            load(impossible)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another owner")
def test_a_strangers_plan_is_refused(tmp_path: Path) -> None:
    """A plan that belongs to somebody else is not the vendor's."""
    path = tmp_path / "plan.yaml"
    path.write_bytes(READYSET.read_bytes())
    os.chown(path, 12345, 12345)
    with pytest.raises(PlanError, match="owner 12345"):
        load(path)


def test_a_plan_among_a_packages_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A product ships its plan with its code; the package is not imported for it."""
    package = tmp_path / "ferry_with_plan"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError")
    (package / "data" / "plan.yaml").write_bytes(READYSET.read_bytes())
    monkeypatch.syspath_prepend(str(tmp_path))

    assert "readyset" == load("ferry_with_plan:data/plan.yaml").name
    for source, why in (
        ("ferry_with_plan:none.yaml", "none.yaml: No such file"),
        ("ferry_without:plan.yaml", "plan=ferry_without:plan.yaml: no package ferry_without is installed"),
        ("ferry_without.a:plan.yaml", "no package ferry_without.a is installed"),
        ("ferry_with_plan.a:plan.yaml", "no package ferry_with_plan.a is installed"),
        ("json.decoder:plan.yaml", "no package json.decoder is installed"),
    ):
        with pytest.raises(PlanError, match=why):
            load(source)
    (tmp_path / "odd:plan.yaml").write_bytes(READYSET.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert "readyset" == load("odd:plan.yaml").name


def test_where_a_plan_is_found() -> None:
    """The keyword, else USAGEWIRE_PLAN, else none."""
    assert ("a", "b", None) == (
        find("a", {"USAGEWIRE_PLAN": "b"}),
        find(None, {"USAGEWIRE_PLAN": " b "}),
        find(None, {"USAGEWIRE_PLAN": ""}),
    )


YAMLISH = st.lists(
    st.sampled_from(
        [
            *"{}[]:,-?&*!|>%@`\"'# \n\t",
            "  ",
            "a",
            "1",
            "plan",
            "version",
            "events",
            ": ",
            "- ",
            "!!int ",
            "<<",
            "~",
            "2025-02-30",
            "!!timestamp ",
            "!!bool ",
            "!!binary ",
            "!!set ",
            "!!omap ",
            "0x",
            "1e",
            "\x85",
            "\ufeff",
        ]
    )
).map("".join)


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes(text: bytes) -> None:
    """Whatever stands in a plan, the only exception is `PlanError`."""
    with pytest.raises(PlanError):
        parse(text)


@given(YAMLISH)
def test_anything_like_yaml(text: str) -> None:
    """So too for text that is nearly YAML."""
    with pytest.raises(PlanError):
        parse(text.encode())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["plan", "version", "product", "attributes", "events", "metrics"]), VALUES)
def test_any_values(key: str, value: Any) -> None:
    """So too for any values in the place of the right ones."""
    outcome: Plan | tuple[str, ...]
    try:
        outcome = load({**PLAN, key: value})
    except PlanError as why:
        outcome = why.faults

    assert isinstance(outcome, Plan) or (outcome and all(outcome))


# -- the gate ---------------------------------------------------------------------------------------------------------


def test_what_is_in_the_plan_passes_as_it_is() -> None:
    """An event that is wholly in the plan is handed on uncopied."""
    told = event("start", {"backend": "mysql"})
    passed, dropped = load(PLAN).event(told, SALT, NOW)
    assert passed is told
    assert {} == dict(dropped)


def test_what_is_not_in_the_plan_stays() -> None:
    """Unknown events, attributes, values and bodies stay behind, and are named."""
    plan = load(PLAN)
    assert (None, {"stop": 1}) == plan.event(event("stop"), SALT, NOW)
    passed, dropped = plan.event(event("start", {"backend": "oracle", "more": 1}, {"a": 1}), SALT, NOW)
    assert (event("start"), {"start.backend": 1, "start.more": 1, "start.body": 1}) == (passed, dropped)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("user", "bob", hmac.new(SALT, b"bob", hashlib.sha256).hexdigest()),
        ("user", 7, None),
        ("files", 0, 0),
        ("files", 1, 1),
        ("files", 1000, 512),
        ("files", 1024, 1024),
        ("files", -1000, -512),
        ("files", True, None),
        ("files", 1.5, None),
        ("seconds", 0.2, 1),
        ("seconds", 59.9, 10),
        ("seconds", 1e9, 60),
        ("seconds", float("nan"), None),
        ("secret", "x", None),
        ("modes", ["a", "b"], ["a", "b"]),
        ("modes", ["a", "c"], None),
        ("modes", [["a"]], None),
        ("ok", True, True),
        ("ok", 1, None),
        ("level", 2, 2),
        ("level", True, None),
        ("level", 3, None),
    ],
)
def test_types_values_and_sensitivity(name: str, value: Any, expected: Any) -> None:
    """A value passes when it has the type and is one of the values; hashed and bucketed where the plan says so."""
    passed, dropped = load(PLAN).event(event("done", {name: value}), SALT, NOW)
    assert passed is not None
    assert ({} if expected is None else {name: expected}) == dict(passed.attributes)
    assert ({f"done.{name}": 1} if expected is None else {}) == dict(dropped)


def test_a_body_in_the_plan_passes() -> None:
    """A structured body leaves where the plan lists it."""
    told = event("done", body={"pools": 3})
    assert told is load(PLAN).event(told, SALT, NOW)[0]
    passed, dropped = load(PLAN).event(event("done", body="text"), SALT, NOW)
    assert (event("done"), {"done.body": 1}) == (passed, dropped)


def test_expiry() -> None:
    """An entry leaves until the end of its last day, UTC, and then stops."""
    plan, told = load(PLAN), event("start")
    midnight = int(datetime(2031, 1, 1, tzinfo=timezone.utc).timestamp()) * 10**9
    assert told is plan.event(told, SALT, midnight - 10**6)[0]
    assert (None, {"start": 1}) == plan.event(told, SALT, midnight)


def test_points() -> None:
    """Sums lose an attribute that is not in the plan; a gauge stays behind, for it would take another's place."""
    plan = load(PLAN)
    known = Point("usage.size", "sum", 1, {"backend": "mysql"}, 1.0)
    assert known is plan.point(known, SALT, NOW)[0]
    more = {"backend": "mysql", "more": "x"}
    passed, dropped = plan.point(Point("usage.size", "sum", 1, more, 1.0), SALT, NOW)
    assert (known, {"usage.size.more": 1}) == (passed, dropped)
    assert plan.point(Point("usage.size", "gauge", 1, more, 1.0), SALT, NOW)[0] is None
    assert (None, {"usage.other": 1}) == plan.point(Point("usage.other", "sum", 1), SALT, NOW)


def test_what_needs_no_redaction() -> None:
    """Values the plan lists or makes are exempt from redaction; free text is not."""
    plan = load(PLAN)
    assert frozenset({"backend"}) == plan.exempt("start")
    assert frozenset({"user", "files", "seconds", "modes", "level"}) == plan.exempt("done")
    assert frozenset() == plan.exempt("unknown")


@given(st.dictionaries(st.sampled_from(["backend", "user", "files", "modes", "x"]) | st.text(), VALUES), VALUES)
def test_nothing_else_ever_passes(attributes: dict[str, Any], body: Any) -> None:
    """Whatever an event holds, only attributes of its entry leave, and each other one is named."""
    plan: Plan = load(PLAN)
    for name, entry in plan.events.items():
        passed, dropped = plan.event(event(name, attributes, body), SALT, NOW)
        assert passed is not None
        assert set(passed.attributes) <= set(entry.attributes)
        assert {f"{name}.{key}" for key in attributes} - set(dropped) == {f"{name}.{key}" for key in passed.attributes}


@pytest.mark.parametrize(
    ("told", "passes"),
    [
        (event("deployment_started"), True),
        (event("deployment_started", scope=""), True),
        (event(""), False),
        (event("gen_ai.user.message"), False),
        (event("x", scope="opentelemetry.instrumentation.flask"), False),
        (event("x", scope="opentelemetry-sdk"), False),
        (event("x", scope="opentelemetrics"), True),
    ],
)
def test_events_without_a_plan(told: Event, passes: bool) -> None:
    """Without a plan the vendor's own events leave; those of libraries and about generative AI do not."""
    assert (told if passes else None) is Open().event(told, SALT, NOW)[0]


def test_metrics_without_a_plan() -> None:
    """Without a plan only metrics under ``usage.`` leave."""
    ours, other = Point("usage.size", "sum", 1), Point("http.server.duration", "sum", 1)
    assert ours is Open().point(ours, SALT, NOW)[0]
    assert Open().point(other, SALT, NOW)[0] is None


def test_attributes_that_have_to_be_planned_stay_behind_without_a_plan() -> None:
    """They are taken off and named; everything else, and an event without them, passes as it is."""
    gate = Open(frozenset({"path", "alias"}))
    told, plain = (
        event("usage.command", {"path": "apps list", "duration": 1.5}),
        event("usage.command", {"duration": 1}),
    )

    assert (event("usage.command", {"duration": 1.5}), {"usage.command.path": 1}) == gate.event(told, SALT, NOW)
    assert plain is gate.event(plain, SALT, NOW)[0]
