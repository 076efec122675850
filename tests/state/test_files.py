"""usagewire.state.files"""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from usagewire.errors import StateError
from usagewire.state.files import read_json, write_file, write_json


def test_json_file_is_private_whole_and_readable(tmp_path: Path) -> None:
    """What was written is read; nothing else is left behind."""
    write_json(tmp_path / "a.json", {"a": 1})
    write_json(tmp_path / "a.json", {"a": 2})

    assert {"a": 2} == read_json(tmp_path / "a.json")
    assert 0o600 == stat.S_IMODE((tmp_path / "a.json").stat().st_mode)
    assert ["a.json"] == [path.name for path in tmp_path.iterdir()]


def test_absent_json_file_is_none(tmp_path: Path) -> None:
    """Nothing said yet is not an error."""
    assert read_json(tmp_path / "a.json") is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff"])
def test_damaged_json_file_is_a_state_error(tmp_path: Path, content: bytes) -> None:
    """The message names the file."""
    (tmp_path / "a.json").write_bytes(content)

    with pytest.raises(StateError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


def test_json_behind_a_link_is_not_read(tmp_path: Path) -> None:
    """Links are not followed."""
    (tmp_path / "real").write_text("{}")
    (tmp_path / "a.json").symlink_to("real")

    with pytest.raises(StateError):
        read_json(tmp_path / "a.json")


def test_linked_file_never_replaces(tmp_path: Path) -> None:
    """The second of two writers is told."""
    write_file(tmp_path / "a", b"1", link=True)

    with pytest.raises(FileExistsError):
        write_file(tmp_path / "a", b"2", link=True)
    assert (b"1", ["a"]) == ((tmp_path / "a").read_bytes(), [path.name for path in tmp_path.iterdir()])
