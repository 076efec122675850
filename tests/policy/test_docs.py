"""The pages about privacy and the tracking plan say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from usagewire.policy import plan as plans
from usagewire.policy.gate import KINDS
from usagewire.policy.redact import Redactor
from usagewire.signals import Event

DOCS = Path(__file__).parents[2] / "docs"
PRIVACY = (DOCS / "privacy.md").read_text(encoding="utf-8")
PLAN = (DOCS / "tracking-plan.md").read_text(encoding="utf-8")
BOB = Redactor("bob", "wombat", "/srv/people/bob")


def rows(page: str, header: str) -> list[list[str]]:
    """The cells of the table under ``header``, without their back-ticks."""
    table = page[page.index(header) :].split("\n\n", maxsplit=1)[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in table]


@pytest.mark.parametrize(("what", "before", "after"), rows(PRIVACY, "| what | before | after |"))
def test_examples_of_redaction(what: str, before: str, after: str) -> None:
    """Each example of the page is what redaction really does."""
    assert after == BOB.text("note", before), what


@pytest.mark.parametrize(("what", "name", "value"), rows(PRIVACY, "| what | attribute | value |"))
def test_examples_that_stay(what: str, name: str, value: str) -> None:
    """Each value that the page says stays, stays."""
    assert value == BOB.text(name, value), what


def test_every_row_of_the_comparison_is_proved() -> None:
    """Each of the 24 rows links to a test that is there."""
    links = [
        re.fullmatch(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)", row[-1]) for row in rows(PRIVACY, "| what | Go |")
    ]
    missing = [
        f"{link[2]}::{link[1]}"
        for link in links
        if link is not None
        and not re.search(rf"^def {link[1]}\(", (DOCS.parent / link[2]).read_text(encoding="utf-8"), re.MULTILINE)
    ]

    assert 24 == len(links) == len(list(filter(None, links)))
    assert [] == missing


def test_order_of_consent() -> None:
    """The page lists the sources in the order of the code's own list."""
    listed = [row[1] for row in rows(PRIVACY, "| | source | says off |")]
    places = ["DO_NOT_TRACK", "OTEL_SDK_DISABLED", "USAGEWIRE_DISABLED", "flag", "disable()", "/etc/", "usagewire off"]
    found = [next(index for index, source in enumerate(listed) if place in source) for place in places]
    assert sorted(found) == found


def test_the_example_plan() -> None:
    """The page's example is a plan, and uses every key there is."""
    match = re.search(r"```yaml\n(.*?)```", PLAN, re.DOTALL)
    assert match is not None
    plan = plans.parse(match[1].encode())
    assert ("ferry", 3) == (plan.name, plan.version)
    passed, _ = plan.event(Event("import_done", 1, "0" * 32, {"files": 1000, "seconds": 59.9}), b"", 0)
    assert passed is not None
    assert {"files": 512, "seconds": 10} == passed.attributes


def test_every_key_is_described() -> None:
    """Every key and type that a plan may hold is on the page."""
    keys = {*plans.TOP, *plans.FACTS, *plans.ENTRY, *plans.ATTRIBUTE, *plans.SENSITIVITIES, *KINDS, "body"}
    assert set() == {key for key in keys if f"`{key}`" not in PLAN}
