"""Fixtures for faults of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import state


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes; needs the right to mount one."""
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(state.small_disk(tmp_path / "disk"))
        except PermissionError as why:
            pytest.skip(str(why))
        yield disk
