"""The pages about formats tell the truth."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cogapp import Cog

from tests.support.contract import CHECKS, check_all
from tests.support.golden import GOLDEN, ORIGIN, settings_for
from usagewire.formats import BUILT_IN, Format
from usagewire.signals import Event

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.mark.parametrize("name", BUILT_IN)
def test_generated_parts_of_the_page_are_current(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cog would write stands there already; otherwise run `cog -r` on the page."""
    monkeypatch.chdir(ROOT)

    assert 0 == Cog().main(["cog", "--check", f"docs/formats/{name}.md"])


def test_segment_page_lists_every_field_that_is_sent() -> None:
    """Each key of a request stands in the field table, and nothing else does."""
    page = (DOCS / "formats" / "segment.md").read_text(encoding="utf-8")
    table = (
        page.partition("## What an event becomes")[2]
        .partition(
            "\n\n",
        )[2]
        .partition("\n\n")[0]
    )
    listed = {field.partition(".")[0] for field in re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)}
    body = json.loads((GOLDEN / "segment" / "two.out").read_text(encoding="utf-8").splitlines()[-1])

    assert listed == set(body["batch"][0]) | {"sentAt"}


@pytest.fixture
def worked_example() -> Format:
    """The format that docs/adding-a-format.md builds."""
    page = (DOCS / "adding-a-format.md").read_text(encoding="utf-8")
    [source] = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    module: dict[str, object] = {}
    exec(compile(source, "docs/adding-a-format.md", "exec"), module)
    found = module["FORMAT"]
    assert isinstance(found, Format)
    return found


def test_worked_example_keeps_the_contract(worked_example: Format) -> None:
    """Who follows the page arrives at a format that passes."""
    assert CHECKS
    check_all(worked_example)


def test_worked_example_sends_what_it_says(worked_example: Format) -> None:
    """One event, one small object."""
    assert worked_example.encode is not None
    event = Event("lunch", 1_790_769_600_000_000_000, "00" * 16, {"soup": True})

    assert (
        b'{"what":"lunch","who":"0b6f5a1e-6f0e-4a53-9e64-0f6a2f6f3d11","when":1790769600,"facts":{"soup":true}}'
    ) == worked_example.encode(event, ORIGIN, settings_for(worked_example))


def test_every_file_the_page_names_exists() -> None:
    """The list of files follows the repository."""
    page = (DOCS / "adding-a-format.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:exporters|tests|docs)/[^`*]+|pyproject\.toml|CHANGELOG\.md)`", page))

    assert set() == {name for name in named if not (ROOT / name.replace("<name>", "segment")).exists()}
