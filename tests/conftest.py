"""What every test gets: a clean environment, and the option that rewrites goldens."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("shared machine", deadline=None, max_examples=50)
settings.load_profile("shared machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--update-golden`` writes what the code makes now into tests/golden; read the difference before committing."""
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden from what the code makes now")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's shell or the CI reaches a test."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "USAGEWIRE_", "RS_")) or name == "DO_NOT_TRACK":
            monkeypatch.delenv(name)
