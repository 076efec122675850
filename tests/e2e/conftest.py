"""A receiver and a program, for every end-to-end test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import Program
from usagewire.inspector.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """The endpoint."""
    with Receiver() as started:
        yield started


@pytest.fixture
def program(tmp_path: Path, receiver: Receiver) -> Program:
    """A program whose events go to the receiver."""
    return Program(tmp_path, receiver.url)
