"""Nothing public is left undocumented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import usagewire
import usagewire.sdk
import usagewire_instrumentation

ROOT = Path(__file__).parent.parent
PAGES = "\n".join(path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))))
SOURCES = [*(ROOT / "exporters").rglob("*.py"), *(ROOT / "instrumentation").rglob("*.py")]


@pytest.mark.parametrize(
    "name",
    sorted({*usagewire.__all__, *usagewire.sdk.__all__, *usagewire_instrumentation.__all__} - {"__version__"}),
)
def test_every_public_name_is_in_the_docs(name: str) -> None:
    """What can be imported is on a page."""
    assert re.search(rf"\b{name}\b", PAGES)


def test_every_variable_of_ours_is_in_the_docs() -> None:
    """What the code reads from the environment is on a page."""
    used = {name for path in SOURCES for name in re.findall(r'"(USAGEWIRE_[A-Z]+(?:_[A-Z]+)*)"', path.read_text())}

    assert {"USAGEWIRE_STATE_DIR", "USAGEWIRE_PLAN"} <= used
    assert [] == sorted(name for name in used if name not in PAGES)


def test_every_link_between_pages_leads_somewhere() -> None:
    """No page names a file that is not there."""
    broken = [
        f"{page.name}: {link}"
        for page in sorted((ROOT / "docs").rglob("*.md"))
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text())
        if not link.startswith(("http", "{")) and not (page.parent / link).exists()
    ]

    assert [] == broken
