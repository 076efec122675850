"""usagewire.state.sent"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.state import Desk
from usagewire.state.sent import Sent, body_of


def sent_by(desk: Desk, most: int = 1 << 20, known: dict[str, str] | None = None) -> Sent:
    """A history that has looked at what was left."""
    found = Sent(desk.place, most, desk.clock)
    found.begin("a1", known or {})
    return found


def kept(desk: Desk) -> list[tuple[str, dict[str, Any]]]:
    """Suffix and content of each file, oldest first."""
    return [(path.suffix, orjson.loads(path.read_bytes())) for path in sorted(desk.place.sent.iterdir())]


def test_copy_is_one_readable_object(tmp_path: Path) -> None:
    """With address, time, body and verdict."""
    desk = Desk(tmp_path)
    sent = sent_by(desk)
    sent.sent(sent.sending("a1", "https://x/y", '{"é":1}'.encode(), 3), "delivered", 200)

    assert [
        (
            ".json",
            {
                "time": desk.now,
                "url": "https://x/y",
                "count": 3,
                "bytes": 8,
                "body": '{"é":1}',
                "verdict": "delivered",
                "status": 200,
                "finished": desk.now,
            },
        )
    ] == kept(desk)
    assert not sent.uncertain


def test_binary_body_is_base64(tmp_path: Path) -> None:
    """JSON has no bytes."""
    desk = Desk(tmp_path)
    sent = sent_by(desk)
    sent.sent(sent.sending("a1", "https://x", b"\xff", 1), "delivered", 200)

    assert ["/w=="] == [content["body_base64"] for _, content in kept(desk)]


def test_packed_body_is_kept_as_it_left(tmp_path: Path) -> None:
    """A body ten times as long as the history is kept where gzip makes it fit, and reads back byte for byte."""
    desk = Desk(tmp_path)
    sent = sent_by(desk, most=5000)
    body = b"0123456789" * 5000
    sent.sent(sent.sending("a1", "https://x", body, 1, gzip.compress(body)), "delivered", 200)

    ((_, copy),) = kept(desk)
    assert (50_000, body) == (copy["bytes"], body_of(copy))


@pytest.mark.parametrize("body", [b"", b'{"a":1}', b"\xff"])
def test_body_reads_back(tmp_path: Path, body: bytes) -> None:
    """Whatever form it is kept in."""
    desk = Desk(tmp_path)
    sent_by(desk).sending("a1", "https://x", body, 1)
    (found,) = desk.place.sent.iterdir()

    assert body == body_of(orjson.loads(found.read_bytes() + b"}"))


def test_copy_is_there_before_the_request(tmp_path: Path) -> None:
    """Whoever comes after a crash knows that the outcome is unknown."""
    desk = Desk(tmp_path)
    sent_by(desk).sending("a1", "https://x", b"1", 1)

    assert [".open"] == [path.suffix for path in desk.place.sent.iterdir()]
    assert sent_by(desk).uncertain


def test_answered_retry_is_certain(tmp_path: Path) -> None:
    """A 503 says that nothing arrived."""
    desk = Desk(tmp_path)
    sent = sent_by(desk)
    sent.sent(sent.sending("a1", "https://x", b"1", 1), "retry: 503", 503)

    assert [".retry"] == [suffix for suffix, _ in kept(desk)]
    assert (set(), set()) == (sent.uncertain, sent_by(desk).uncertain)


def test_doubt_lasts_until_it_is_settled(tmp_path: Path) -> None:
    """No answer, then a 503: the first may still have arrived, also for the next holder."""
    desk = Desk(tmp_path)
    sent = sent_by(desk)
    sent.sent(sent.sending("a1", "https://x", b"1", 1), "retry: timeout", None)
    sent.sent(sent.sending("a1", "https://x", b"1", 1), "retry: 503", 503)
    assert ({""}, {""}) == (sent.uncertain, sent_by(desk).uncertain)

    sent = sent_by(desk)
    sent.sent(sent.sending("a1", "https://x", b"1", 1), "delivered", 200)
    assert (set(), set()) == (sent.uncertain, sent_by(desk, known=sent.known).uncertain)


def test_what_the_ledger_does_not_know_of_is_in_doubt(tmp_path: Path) -> None:
    """Its holder died between the answer and the ledger: the request will be repeated, lane by lane."""
    desk = Desk(tmp_path)
    sent = sent_by(desk)
    for lane in ("", "device"):
        sent.sent(sent.sending("a1", "https://x", b"1", 1, lane=lane), "delivered", 200, lane)
    before = dict(sent.known)
    desk.now -= 5  # the newest is the newest, whatever the clock says
    sent.sent(sent.sending("a1", "https://x", b"2", 1), "delivered", 200)

    assert {""} == sent_by(desk, known=before).uncertain
    assert set() == sent_by(desk, known=sent.known).uncertain
    assert {"", "device"} == sent_by(desk).uncertain


def test_older_copies_are_certain_where_the_newest_is_gone(tmp_path: Path) -> None:
    """Somebody has removed it, or the history was full: what the ledger names is later than what is left."""
    desk = Desk(tmp_path)
    sent = sent_by(desk)
    for body in (b"1", b"2"):
        sent.sent(sent.sending("a1", "https://x", body, 1), "delivered", 200)
    (desk.place.sent / f"{sent.known['']}.json").unlink()
    desk.now -= 5

    again = sent_by(desk, known=sent.known)
    assert set() == again.uncertain
    again.sending("a1", "https://x", b"3", 1)  # dies
    assert {""} == sent_by(desk, known=sent.known).uncertain


def test_files_of_others_are_nothing_to_it(tmp_path: Path) -> None:
    """Somebody has left notes in the folder."""
    desk = Desk(tmp_path)
    name = sent_by(desk).sending("a1", "https://x", b"1", 1)
    for stranger in ("a1-notes.json", "a1-1-2.open", "a1.open"):
        (desk.place.sent / stranger).touch()

    assert set() == sent_by(desk, known={"": name}).uncertain


def test_what_the_ledger_knows_of_is_certain(tmp_path: Path) -> None:
    """A power cut may give a copy its old name back."""
    desk = Desk(tmp_path)
    sent = sent_by(desk)
    name = sent.sending("a1", "https://x", b"1", 1)

    assert {""} == sent_by(desk).uncertain
    assert set() == sent_by(desk, known={"": name}).uncertain


def test_only_the_last_of_many_tries_is_kept(tmp_path: Path) -> None:
    """An outage of a week must not push out the history."""
    desk = Desk(tmp_path)
    sent = sent_by(desk)
    sent.sent(sent.sending("a1", "https://x", b"0", 1), "delivered", 200)
    for status in (503, None, 503):
        desk.now += 1
        sent.sent(sent.sending("a1", "https://x", b"1", 1), "retry", status)

    assert [".json", ".open"] == [suffix for suffix, _ in kept(desk)]


def test_history_is_bounded(tmp_path: Path) -> None:
    """The oldest goes; a body longer than the whole history is left out of its copy."""
    desk = Desk(tmp_path)
    sent = sent_by(desk, most=5000)
    for number in range(10):
        desk.now += 1
        sent.sent(sent.sending("a1", f"https://{number}", b"x" * 1000, 1), "delivered", 200)
    assert ["https://7", "https://8", "https://9"] == [content["url"] for _, content in kept(desk)][-3:]
    assert 5000 >= sum(path.stat().st_size for path in desk.place.sent.iterdir())

    desk.now += 1
    sent.sent(sent.sending("a1", "https://long", b"x" * 5001, 1), "delivered", 200)
    assert ("https://long", False) == (kept(desk)[-1][1]["url"], "body" in kept(desk)[-1][1])


def test_no_room_for_history_keeps_nothing_back(tmp_path: Path) -> None:
    """A file where the folder should be: the request leaves all the same."""
    desk = Desk(tmp_path)
    desk.place.sent.touch()
    sent = sent_by(desk)

    assert "" == sent.sending("a1", "https://x", b"1", 1)
    sent.sent("", "delivered", 200)
