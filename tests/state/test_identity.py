"""usagewire.state.identity"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from usagewire.errors import StateError
from usagewire.state import identity


def test_identity_is_drawn_once(tmp_path: Path) -> None:
    """It survives, private, and is a random UUID: no part of the machine is in it."""
    first = identity.load(tmp_path)

    assert first == identity.load(tmp_path) == identity.peek(tmp_path)
    assert 4 == uuid.UUID(first.installation).version
    assert 32 == len(first.salt)
    assert 0o600 == (tmp_path / "identity.json").stat().st_mode & 0o777


def test_peek_draws_nothing(tmp_path: Path) -> None:
    """Looking leaves no trace."""
    assert identity.peek(tmp_path) is None
    assert [] == list(tmp_path.iterdir())


def test_forgotten_identity_is_drawn_anew(tmp_path: Path) -> None:
    """Nothing ties the new one to the old one."""
    first = identity.load(tmp_path)
    identity.forget(tmp_path)
    identity.forget(tmp_path)

    second = identity.load(tmp_path)

    assert first.installation != second.installation
    assert first.salt != second.salt


@pytest.mark.parametrize("content", [b"", b"{}", b'{"installation":"x","salt":"00","created":1}', b'["salt"]'])
def test_damaged_identity_is_put_aside(tmp_path: Path, content: bytes) -> None:
    """The program goes on under a new id; the damaged file stays for whoever wants to look."""
    (tmp_path / "identity.json").write_bytes(content)
    with pytest.raises(StateError):
        identity.peek(tmp_path)

    found = identity.load(tmp_path)

    assert found == identity.peek(tmp_path)
    assert [content] == [path.read_bytes() for path in tmp_path.glob("identity.json.*")]


@pytest.mark.slow
@pytest.mark.parametrize("before", [None, b"damaged"])
def test_processes_that_race_agree(tmp_path: Path, before: bytes | None) -> None:
    """Eight processes that start at once get one id, twenty times over."""
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        if before is not None:
            (folder / "identity.json").write_bytes(before)
        read, write = os.pipe()
        children = []
        for _ in range(8):
            pid = os.fork()
            if pid == 0:
                os.write(write, identity.load(folder).installation.encode())
                os._exit(0)
            children.append(pid)
        for pid in children:
            assert (pid, 0) == os.waitpid(pid, 0)
        said = os.read(read, 8 * 36)
        os.close(read)
        os.close(write)

        assert {identity.load(folder).installation.encode()} == {said[at : at + 36] for at in range(0, len(said), 36)}
        assert 8 * 36 == len(said)
