"""A shell on an empty state folder, and a receiver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.shell import Shell
from usagewire.inspector.receiver import Receiver


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell on a state folder that does not exist yet."""
    return Shell(tmp_path / "state")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A real endpoint."""
    with Receiver() as running:
        yield running
