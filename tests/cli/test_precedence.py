"""Who decides: every combination of every source, and what `usagewire status --json` says of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.left import leave
from tests.support.shell import Shell, only
from usagewire.pipeline.product import Product
from usagewire.signals import Switch

VARIABLES = {
    "DO_NOT_TRACK": "1",
    "OTEL_SDK_DISABLED": "true",
    "USAGEWIRE_DISABLED": "yes",
    "SHOP_OPT_OUT": "",
    "SHOP_TELEMETRY": "false",
}
"""In the order of precedence; the last two are the product's own, one that is there and one that says false."""
UNTRUSTED = b"garbage"
WORDS: dict[str, bytes | None] = {
    "says nothing": None,
    "says on": b'{"version": 1, "state": "on", "epoch": "a1"}',
    "says off": b'{"version": 1, "state": "off", "epoch": "a2"}',
    "cannot be trusted": UNTRUSTED,
    "is empty": b"",
}


@pytest.fixture
def administrator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The administrator's file, in a place that a test may write to."""
    path = tmp_path / "etc" / "consent.json"
    path.parent.mkdir()
    for module in ("usagewire.policy.consent", "usagewire.cli.consent"):
        monkeypatch.setattr(f"{module}.ADMINISTRATOR", path)
    return path


def said(path: Path, word: bytes | None) -> None:
    """What a file says; ``None``: it is not there."""
    path.unlink(missing_ok=True)
    if word is not None:
        path.write_bytes(word)
        path.chmod(0o600)


def environments() -> Iterator[dict[str, str]]:
    """Every set of the variables, each of them saying no or not set."""
    for chosen in product((False, True), repeat=len(VARIABLES)):
        yield {name: VARIABLES[name] for name, is_set in zip(VARIABLES, chosen, strict=True) if is_set}


@pytest.mark.parametrize("default", [True, False], ids=["default on", "default off"])
@pytest.mark.parametrize("stored", WORDS, ids=lambda word: f"the operator {word}")
@pytest.mark.parametrize("admin", WORDS, ids=lambda word: f"the administrator {word}")
def test_status_names_who_decides(shell: Shell, administrator: Path, admin: str, stored: str, default: bool) -> None:
    """Any off is off, else any on is on, else the default; the first in the order that said so is named, with the
    variable or the file."""
    left = leave(shell.root)
    switches = Switch("SHOP_OPT_OUT", "present"), Switch("SHOP_TELEMETRY", "false")
    replace(left.destination, product=Product(switches=switches, consent=default)).remember()
    said(administrator, WORDS[admin])
    said(left.place.consent_json, WORDS[stored])
    files = ((administrator, admin), (left.place.consent_json, stored))
    off = [str(path) for path, word in files if word not in ("says nothing", "says on")]
    on = [str(path) for path, word in files if word == "says on"]

    for environment in environments():
        shell.variables = environment
        consent: dict[str, Any] = only(shell.json("status"))["consent"]

        no = [*environment, *off]
        expected = (False, no[0]) if no else (True, on[0]) if on else (default, "default")
        assert expected == (consent["on"], consent["by"])
        where = f"{no[0]}={environment[no[0]]} in the environment" if environment else expected[1]
        assert where in consent["detail"]
        assert way_out(expected, environment, administrator) in consent["change"]


def way_out(expected: tuple[bool, str], environment: dict[str, str], administrator: Path) -> str:
    """What is told to do about it."""
    on, by = expected
    if on:
        return "to say no: usagewire off --service shop"
    if by in environment:
        return f"unset {by}, here and where the program is started"
    if by == str(administrator):
        return f"only the administrator can change {administrator}"
    return "to say yes: usagewire on --service shop"


@pytest.mark.parametrize("stored", ["says nothing", "says on"])
@pytest.mark.parametrize("admin", ["says nothing", "says on"])
def test_a_licence_is_part_of_a_yes(shell: Shell, administrator: Path, admin: str, stored: str) -> None:
    """Of a format that demands one, a yes counts only with it, wherever it stands; no default is such a yes."""
    left = leave(shell.root, name="stone")
    replace(left.destination, product=Product(consent=True)).remember()
    files = (administrator, admin), (left.place.consent_json, stored)
    for path, word in files:
        said(path, WORDS[word])
    without = only(shell.json("status"))["consent"]
    yes = [path for path, word in files if word == "says on"]
    for path in yes:
        said(path, orjson.dumps({"version": 1, "state": "on", "licenses": ["sharing-1-0"]}))
    accepted = only(shell.json("status"))["consent"]

    by = str(yes[0]) if yes else "default"
    assert (False, by) == (without["on"], without["by"])
    assert ("without the licence sharing-1-0" in without["detail"]) == bool(yes)
    assert (bool(yes), by) == (accepted["on"], accepted["by"])
