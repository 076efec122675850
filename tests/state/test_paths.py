"""usagewire.state.paths"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usagewire.errors import StateError
from usagewire.state.files import write_json
from usagewire.state.paths import LONGEST, Place, destinations, locate, prepare, safe_name, services, state_root

MOUNTS = """22 1 8:1 / / rw - ext4 /dev/a rw
23 22 0:1 / /home rw,nosuid shared:1 - nfs4 server:/home rw
24 23 8:2 / /home/local\\040disk rw - xfs /dev/b rw
25 22 0:2 / /mnt/s rw - fuse.sshfs user@host: rw
"""


def test_state_root_is_what_the_environment_says(tmp_path: Path) -> None:
    """The variable names the folder itself."""
    assert tmp_path / "x" == state_root({"USAGEWIRE_STATE_DIR": str(tmp_path / "x")})
    assert "usagewire" == state_root({}).name


@pytest.mark.parametrize("name", ["a", "my-app_1.0", "A" * LONGEST])
def test_plain_name_stays(name: str) -> None:
    """Readable names are not touched."""
    assert name == safe_name(name)


@given(st.text(max_size=100))
def test_any_text_becomes_a_safe_name(text: str) -> None:
    """Short, of harmless characters, never hidden, never a way up."""
    name = safe_name(text)

    assert 1 <= len(name) <= LONGEST
    assert not name.startswith(".")
    assert all(char.isascii() and (char.isalnum() or char in "._-") for char in name)


def test_altered_names_stay_apart() -> None:
    """Two names that look the same once made safe are still two."""
    assert 4 == len({safe_name(name) for name in ("a/b", "a:b", "a_b", "../a_b")})


def test_prepare_makes_private_folders(tmp_path: Path) -> None:
    """0700 all the way, from the state folder on."""
    place = prepare(Place(tmp_path / "state" / "svc", "segment"), {})

    folders = [place.service_dir.parent, place.service_dir, place.folder, place.queue]
    assert [0o700] * 4 == [stat.S_IMODE(folder.stat().st_mode) for folder in folders]
    assert [] == [path.name for path in place.folder.iterdir() if path.name != "queue"]


def test_prepare_closes_folders_that_others_can_read(tmp_path: Path) -> None:
    """A backup that was restored with wider rights is narrowed."""
    place = Place(tmp_path / "svc", "segment")
    place.service_dir.mkdir()
    place.service_dir.chmod(0o755)

    prepare(place, {})

    assert 0o700 == stat.S_IMODE(place.service_dir.stat().st_mode)


def test_prepare_refuses_what_others_can_write_to(tmp_path: Path) -> None:
    """Somebody may have put something there."""
    place = Place(tmp_path / "svc", "segment")
    place.service_dir.mkdir()
    place.service_dir.chmod(0o777)

    with pytest.raises(StateError, match="others may write to it; run: chmod 700"):
        prepare(place, {})


def test_prepare_takes_the_chosen_state_folder_as_it_is(tmp_path: Path) -> None:
    """It may be shared like /tmp; but not so that anybody could replace what is in it."""
    tmp_path.chmod(0o1777)
    prepare(Place(tmp_path / "svc", "segment"), {})
    assert 0o1777 == stat.S_IMODE(tmp_path.stat().st_mode)

    tmp_path.chmod(0o777)
    with pytest.raises(StateError, match="anybody may replace what is in it; run: chmod o-w"):
        prepare(Place(tmp_path / "svc", "segment"), {})


def test_prepare_refuses_links(tmp_path: Path) -> None:
    """A link in our place may lead anywhere."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "svc").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StateError, match="links are not followed"):
        prepare(Place(tmp_path / "svc", "segment"), {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_prepare_refuses_a_foreign_owner(tmp_path: Path) -> None:
    """What belongs to somebody else is not ours to use."""
    place = Place(tmp_path / "svc", "segment")
    place.service_dir.mkdir(mode=0o700)
    os.chown(place.service_dir, 12345, 12345)

    with pytest.raises(StateError, match="belongs to user 12345"):
        prepare(place, {})


def test_prepare_says_what_a_file_in_the_way_is(tmp_path: Path) -> None:
    """An error of the system names the path and the way out."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StateError, match=r"file.*set USAGEWIRE_STATE_DIR"):
        prepare(Place(tmp_path / "file" / "svc", "segment"), {})


def test_prepare_needs_an_absolute_path() -> None:
    """Without a home folder nothing is strewn into the working directory."""
    with pytest.raises(StateError, match="no home folder is known"):
        prepare(Place(Path("~/svc"), "segment"), {})
    with pytest.raises(StateError, match="not an absolute path; set USAGEWIRE_STATE_DIR to an absolute path"):
        prepare(Place(Path("here/svc"), "segment"), {"USAGEWIRE_STATE_DIR": "here"})


@pytest.mark.parametrize(
    ("path", "moved"),
    [("/srv/x", False), ("/home/u/x", True), ("/home/local disk/x", False), ("/homes/x", False), ("/mnt/s/x", True)],
)
def test_queue_moves_off_network_file_systems(path: str, moved: bool) -> None:
    """By the longest mount point above it; consent and identity stay where they were."""
    place = locate(Place(Path(path), "segment"), {"XDG_RUNTIME_DIR": "/run/user/7"}, MOUNTS)

    assert moved == place.folder.is_relative_to("/run/user/7")
    assert Path(path) / "consent.json" == place.consent_json


def test_queue_moves_to_var_tmp_without_a_runtime_folder() -> None:
    """Two state folders stay two there."""
    there = [locate(Place(Path(path), "segment"), {}, MOUNTS).folder for path in ("/home/a/svc", "/home/b/svc")]

    assert 2 == len(set(there))
    assert all(folder.is_relative_to("/var/tmp") for folder in there)


def test_found_names(tmp_path: Path) -> None:
    """Services and destinations are found by their folders."""
    place = prepare(Place(tmp_path / "svc", "segment"), {})
    prepare(Place(tmp_path / "svc", "unused"), {})
    write_json(place.destination_json, {})

    assert ["svc"] == services(tmp_path)
    assert ["segment"] == destinations(tmp_path / "svc")
    assert [] == services(tmp_path / "absent")
