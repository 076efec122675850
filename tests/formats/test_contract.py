"""Every registered format keeps every promise; a new format is tested by being registered."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.support.contract import CHECKS
from usagewire.config import rows, variable
from usagewire.formats import BUILT_IN, TAKEN, Format, load, names
from usagewire.pipeline.pipeline import EVENTS, METRICS
from usagewire.signals import Setting
from usagewire.state.listing import REPORTS, SIGNALS
from usagewire.state.segments import LOSSES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_format_keeps_its_promise(name: str, check: Callable[[Format], None]) -> None:
    """Each function of tests/support/contract.py, for each format."""
    assert name == load(name).name
    check(load(name))


@pytest.mark.parametrize("group", ["opentelemetry_logs_exporter", "opentelemetry_metrics_exporter"])
@pytest.mark.parametrize("name", BUILT_IN)
def test_format_is_an_exporter_of_logs_and_of_metrics(name: str, group: str) -> None:
    """A name missing in one group would switch all telemetry of the host program off."""
    assert 1 == len(entry_points(group=group, name=name))


@pytest.mark.parametrize("name", BUILT_IN)
def test_page_mentions_everything_that_can_be_set(name: str) -> None:
    """docs/formats/<name>.md knows every variable, every opt-out and every volatile field."""
    fmt = load(name)
    page = (ROOT / "docs" / "formats" / f"{name}.md").read_text(encoding="utf-8")
    wanted = {variable(fmt, row) for row in rows(fmt)}
    wanted |= {product for row in fmt.settings for product in row.variables}
    wanted |= {switch.name for switch in fmt.switches} | fmt.volatile | ({fmt.license.id} if fmt.license else set())

    assert set() == {word for word in wanted if f"`{word}`" not in page}


@pytest.mark.parametrize("name", [*TAKEN, "Events", "crash.signals", "a/b", ".", "größe", "", "x" * 65])
def test_a_channel_has_a_folder_of_its_own(name: str) -> None:
    """A format cannot have a channel whose folder would be another's, in the setting or as an event's; switched off by
    itself it would take others' data with it."""
    stone = load("stone")
    row = Setting("channels", "Channels.", kind="list", choices=("basic", name))

    for change in ({"settings": (row,)}, {"channels": {"started": name}}):
        with pytest.raises(ValueError, match=f"format stone: no channel can be called {re.escape(repr(name))}: "):
            replace(stone, **change)


def test_the_queues_own_folders_are_taken() -> None:
    """Those that are there where no channel is."""
    assert {EVENTS, METRICS, LOSSES.removesuffix(SIGNALS), REPORTS} == set(TAKEN)


def test_unknown_format_is_a_key_error() -> None:
    """So that callers can name what they were asked for."""
    with pytest.raises(KeyError, match="lunch"):
        load("lunch")
