"""`usagewire plan`: what a vendor writes, checks and publishes a tracking plan with."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cogapp import Cog

from tests.golden.stone.cases import ALL, COUNTS
from tests.support.shell import Shell
from usagewire.errors import PlanError
from usagewire.policy.gate import KINDS
from usagewire.policy.page import page
from usagewire.policy.plan import load
from usagewire.policy.schema import schema

ROOT = Path(__file__).parents[2]
PLANS = sorted((ROOT / "examples" / "plans").glob("*.yaml"))
PRODUCTS = ("jetstream", "jina", "readyset", "stone", "tts")
BROKEN = """\
plan: ferry
version: 0
product:
  end_point: https://telemetry.example
  timeout: soon
  variables: [RS_API_KEY, RS_WRITE_KEY]
events:
  start:
    channel: basics
    attributes:
      size: {type: integer, sensitivity: bukket, purpose: How large.}
      size: {type: integer, purpose: How large.}
"""


class AsEditorsRead(yaml.SafeLoader):
    """YAML 1.2's reading of the words that matter here: a date is a text, and so is `on`."""


AsEditorsRead.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in found if not tag.endswith((":timestamp", ":bool"))]
    for letter, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def as_editors_read(text: str) -> Any:
    """A plan's values as the YAML support of an editor hands them to the schema."""
    return yaml.load(text, AsEditorsRead)  # a safe loader's child


def write(folder: Path, text: str) -> str:
    """A plan of the vendor's."""
    path = folder / "plan.yaml"
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


# -- check ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_shipped_plans_are_in_order(shell: Shell, path: Path) -> None:
    """Each example passes, and nothing is created."""
    done = shell.run("plan", "check", str(path))

    assert (0, "") == (done.exit_code, done.stderr)
    assert f"{path}: in order: " in done.stdout
    assert not shell.root.exists()


def test_every_fault_is_named_with_its_line(shell: Shell, tmp_path: Path) -> None:
    """All of them at once, in the order of the file, and the exit code says that there are some."""
    path = write(tmp_path, BROKEN)
    expected = [
        "line 2: version: a whole number, 1 or more, is needed, not 0",
        "line 4: product.end_point: neither a fact (variables, opt_out, consent, packages, deletion) nor a setting of "
        "any format",
        "line 5: product.timeout: 'soon': not a number of milliseconds from 1 to 315360000000",
        "line 6: product.variables: 'RS_WRITE_KEY' is no variable that a format knows as its product's; there are "
        "RS_SEGMENT_WRITE_KEY, RS_API_KEY",
        "line 8: events.start.purpose: text is needed, not nothing",
        "line 9: events.start.channel: 'basics' is no channel; there are basic, crash, device, ident",
        "line 12: size is there twice, before in line 11",
    ]
    done = shell.run("plan", "check", path)

    assert (1, "") == (done.exit_code, done.stdout)
    assert [f"{path}: {fault}" for fault in expected] == done.stderr.splitlines()
    as_json = shell.run("plan", "check", path, "--json")
    assert 1 == as_json.exit_code
    document = json.loads(as_json.stdout)
    assert [2, 4, 5, 6, 8, 9, 12] == [fault["line"] for fault in document["faults"]]
    assert expected == [f"line {fault['line']}: {fault['fault']}" for fault in document["faults"]]


def test_json_of_a_plan_in_order(shell: Shell, tmp_path: Path) -> None:
    """What it is called and how much it lists, and what no longer leaves; an expired entry is no fault."""
    path = write(
        tmp_path, "plan: old\nversion: 7\nevents: {a: {purpose: x, expires: 2020-01-01}, b: {purpose: y}}\nmetrics: {}"
    )

    assert {
        "file": path,
        "plan": "old",
        "version": 7,
        "events": 2,
        "metrics": 0,
        "expired": ["a"],
        "faults": [],
    } == shell.json("plan", "check", path)
    assert "a: expired on 2020-01-01, it no longer leaves" in shell.run("plan", "check", path).stdout


@pytest.mark.parametrize(
    ("text", "mode", "fault"),
    [
        ("a: &x 1\nb: *x", 0o600, "line 2: aliases (*name) are refused"),
        ("#" * ((1 << 20) + 1), 0o600, "1048577 bytes; at most 1048576"),
        ("plan: x", 0o646, "others can write it (mode 0646"),
    ],
)
def test_files_that_are_refused(shell: Shell, tmp_path: Path, text: str, mode: int, fault: str) -> None:
    """For the same reasons as in the program, and before anything is read into it."""
    path = write(tmp_path, text)
    Path(path).chmod(mode)
    done = shell.run("plan", "check", path)

    assert 1 == done.exit_code
    assert fault in done.stderr


def test_a_file_that_is_not_there_is_a_wrong_command(shell: Shell, tmp_path: Path) -> None:
    """Exit code 2, for scripts."""
    assert 2 == shell.run("plan", "check", str(tmp_path / "none.yaml")).exit_code


# -- new --------------------------------------------------------------------------------------------------------------


def test_a_new_plan_is_in_order_and_keeps_the_schema(shell: Shell, tmp_path: Path) -> None:
    """One may start from it, and it shows something of everything."""
    text = shell.run("plan", "new", "ferry").stdout
    path = write(tmp_path, text)

    assert "in order: ferry, version 1" in shell.run("plan", "check", path).stdout
    jsonschema.validate(as_editors_read(text), schema())
    assert set() == {
        word for word in ("owner", "channel", "review", "expires", "values", "buckets") if word not in text
    }
    assert 2 == shell.run("plan", "new", "a: b").exit_code


# -- schema -----------------------------------------------------------------------------------------------------------


def test_the_schema_is_one(shell: Shell) -> None:
    """What is printed is a JSON Schema."""
    printed = json.loads(shell.run("plan", "schema").stdout)

    assert schema() == printed
    jsonschema.Draft7Validator.check_schema(printed)


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_shipped_plans_keep_the_schema(path: Path) -> None:
    """An editor finds nothing wrong with them, by either reading of YAML."""
    text = path.read_text(encoding="utf-8")

    validator = jsonschema.Draft7Validator(schema())
    for read in (as_editors_read(text), yaml.safe_load(text)):
        assert [] == [fault.message for fault in validator.iter_errors(read)]


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (("plan",), 7),
        (("version",), 0),
        (("colour",), "red"),
        (("product", "end_point"), "https://x.example"),
        (("product", "endpoint"), 7),
        (("product", "consent"), "maybe"),
        (("product", "opt_out"), "--no"),
        (("product", "variables"), ["RS_WRITE_KEY"]),
        (("attributes", "commit_id", "type"), "text"),
        (("attributes", "commit_id", "purpose"), " "),
        (("attributes", "commit_id", "sensitivity"), "bukket"),
        (("events", "server_start", "channel"), "basics"),
        (("events", "server_start", "attributes"), "commit_id"),
        (("events", "server_start", "colour"), "red"),
        (("events", "server_start", "purpose"), None),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else repr(value),
)
def test_what_the_schema_refuses_the_check_refuses(at: tuple[str, ...], value: Any) -> None:
    """The shape is the same on both sides."""
    plan = copy.deepcopy(yaml.safe_load((ROOT / "examples" / "plans" / "readyset.yaml").read_text(encoding="utf-8")))
    table = plan
    for step in at[:-1]:
        table = table[step]
    table[at[-1]] = value

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(plan, schema())
    with pytest.raises(PlanError, match=at[-1]):
        load(plan)


# -- docs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRODUCTS)
def test_published_pages_are_current(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/plans/ holds what `plan docs` prints; otherwise run `make docs`."""
    monkeypatch.chdir(ROOT)

    assert 0 == Cog().main(["cog", "--check", f"docs/plans/{name}.md"])


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_a_page_names_everything_that_the_plan_lists(shell: Shell, path: Path) -> None:
    """Every event, metric and attribute with its purpose, and every way to say no."""
    plan, printed = load(path), shell.run("plan", "docs", str(path)).stdout

    assert printed == page(plan) + "\n"
    for name, entry in {**plan.events, **plan.metrics}.items():
        about = printed[printed.index(f"### `{name}`\n\n{entry.purpose}") :].partition("\n### ")[0]
        assert [] == [key for key, one in entry.attributes.items() if f"| `{key}` | {one.kind} | " not in about]
        assert [] == [one.purpose for one in entry.attributes.values() if f"| {one.purpose} |" not in about]
    assert [] == [switch.name for switch in plan.product.opt_out if f"`{switch.name}" not in printed]


def test_a_page_says_what_leaves_of_each_attribute(tmp_path: Path) -> None:
    """Kept, one of some, hashed, in ranges, or not at all; and no secret stands on it."""
    kinds: dict[str, dict[str, Any]] = {
        "plain": {"type": "string"},
        "one": {"type": "integer", "values": [2, 1]},
        "who": {"type": "string", "sensitivity": "hash"},
        "size": {"type": "number", "sensitivity": "bucket", "buckets": [0, 1.5, 10]},
        "power": {"type": "integer", "sensitivity": "bucket"},
        "never": {"type": "string", "sensitivity": "drop"},
    }
    attributes = {name: {**about, "purpose": "a|b <c>\nd"} for name, about in kinds.items()}
    about = {"owner": "us", "channel": "basic", "review": "https://example.com/1", "expires": "2030-12-31"}
    event = {"purpose": "Why.", "attributes": attributes, **about}
    told = page(load({"plan": "p", "version": 1, "product": {"write_key": "k3y"}, "events": {"e": event}}))

    assert [
        "| `plain` | string | as it is | a\\|b &lt;c> d |",
        "| `one` | integer | `1`, `2` | a\\|b &lt;c> d |",
        "| `who` | string | a hash that can be compared with no other installation's | a\\|b &lt;c> d |",
        "| `size` | number | the range it is in, by its lower edge: 0, 1.5, 10 | a\\|b &lt;c> d |",
        "| `power` | integer | the range it is in, by its lower edge: 0, 1, 2, 4, 8 … | a\\|b &lt;c> d |",
        "| `never` | string | nothing | a\\|b &lt;c> d |",
    ] == [line for line in told.splitlines() if line.endswith("d |")]
    assert "owner: us; channel: basic; review: https://example.com/1; leaves until: 2030-12-31" in told
    assert "k3y" not in told


# -- the five plans ---------------------------------------------------------------------------------------------------


def test_stones_plan_lets_everything_pass_that_the_format_sends() -> None:
    """All of a report with everything in it; only a count of what stone does not have stays behind."""
    plan = load(ROOT / "examples" / "plans" / "stone.yaml")

    assert [{}] * len(ALL) == [dict(plan.event(event, b"", 0)[1]) for event in ALL]
    held_back = [dict(plan.point(point, b"", 0)[1]) for point in COUNTS]
    assert 1 == sum(map(bool, held_back))
    assert {entry.channel for entry in (*plan.events.values(), *plan.metrics.values())} == {"basic", "crash", "device"}


def test_every_type_is_in_the_schema() -> None:
    """A plan may use what the code knows, and no more."""
    assert list(KINDS) == schema()["definitions"]["attribute"]["properties"]["type"]["enum"]
