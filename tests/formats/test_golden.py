"""Every format, every case: the exact requests."""

from __future__ import annotations

import pytest

from tests.support.golden import FIVE, GOLDEN, cases, check, requests
from usagewire.formats import BUILT_IN, load


@pytest.mark.parametrize(("name", "case"), [(name, case) for name in BUILT_IN for case in cases(name)])
def test_requests_are_byte_for_byte_as_recorded(name: str, case: str, pytestconfig: pytest.Config) -> None:
    """What a program emits becomes exactly the recorded requests."""
    actual = requests(load(name), cases(name)[case])

    check(GOLDEN / name / f"{case}.out", actual, update=bool(pytestconfig.getoption("--update-golden")))


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_format_has_the_five_cases_and_no_stray_file(name: str) -> None:
    """Each case has its file and each file its case, and the five common ones are among them."""
    table = cases(name)

    assert set(FIVE) <= set(table)
    assert set(table) == {path.stem for path in (GOLDEN / name).glob("*.out")}
