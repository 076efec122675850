"""The page about reliability names every promise, and only tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("page", ["reliability", "security"])
def test_pages_name_tests_that_exist(page: str) -> None:
    """A promise whose test was renamed or removed is noticed."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", text))
    files = set(re.findall(r"`(tests/[\w/.]+)`", text))

    assert len(named) > 10
    assert [] == sorted(name for name in named if f"def {name}(" not in TESTS)
    assert [] == sorted(path for path in files if not (ROOT / path).exists())


def test_every_promise_has_a_test() -> None:
    """R1 to R14 and the thirteen rules of the state, each with a test or a file of tests."""
    rows = re.findall(r"^\| (R?\d+) \|.*", (ROOT / "docs" / "reliability.md").read_text(), re.MULTILINE)
    proven = re.findall(
        r"^\| (R?\d+) \|.*?\|.*`test.*\|$", (ROOT / "docs" / "reliability.md").read_text(), re.MULTILINE
    )

    assert [*(f"R{number}" for number in range(1, 15)), *map(str, range(1, 14))] == rows == proven
