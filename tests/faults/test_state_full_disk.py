"""A disk without room: the program goes on, what is lost is counted, and draining and purging work (R6, R11, R12)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.state import FILLER, ORIGIN, SECOND, Desk, fill, report
from tests.support.storage import compile_report
from usagewire.signals import Point, Stance
from usagewire.state import lines, view
from usagewire.state.consumer import Consumer
from usagewire.state.purge import purge
from usagewire.state.segments import Writer

pytestmark = pytest.mark.slow


def put(writer: Writer, first: int, count: int) -> tuple[set[str], int]:
    """Put batches of ten; the names that were acknowledged, and how many were tried."""
    kept: set[str] = set()
    for start in range(first, first + count, 10):
        names = [str(number) for number in range(start, start + 10)]
        if writer.put("events", [lines.item(f'"{name}"'.encode()) for name in names]) == "kept":
            kept.update(names)
    return kept, count


def drained(consumer: Consumer) -> set[str]:
    """Names of everything that is handed out."""
    found: set[str] = set()
    for _ in range(50):
        consumer.refresh()
        while entries := consumer.waiting(500, 100_000):
            name = consumer.sending("https://x", b"body", len(entries))
            found |= {str(json.loads(entry.data)) for entry in entries}
            consumer.sent(name, "delivered", 200)
            consumer.delivered(entries)
    return found


@pytest.mark.parametrize("early", [True, False], ids=["reserve made before", "no reserve"])
def test_full_disk_is_drained(small_disk: Path, early: bool) -> None:
    """Every acknowledged item arrives though the disk is full all the while; the rest is counted; and then there is
    room again."""
    desk = Desk(small_disk)
    if early:
        desk.consumer().release()
    writer = desk.writer()
    kept, tried = put(writer, 0, 2000)
    fill(small_disk)
    more, again = put(writer, 10_000, 20_000)
    kept |= more
    tried += again
    writer.rest()
    writer.close()
    assert len(kept) < tried
    consumer = desk.consumer()

    found = drained(consumer)

    assert set() == kept - found
    after, tried_after = put(writer, 50_000, 100)
    writer.close()
    assert tried_after == len(after)
    found |= drained(consumer)
    consumer.refresh()
    totals = consumer.ledger.totals
    assert len(found) == totals.delivered
    assert tried + tried_after == totals.delivered + totals.lost["full"]
    assert {"full"} == set(+totals.lost)


def test_points_wait_for_room(small_disk: Path) -> None:
    """What cannot be folded for want of room is folded later, once."""
    desk = Desk(small_disk)
    consumer, writer = desk.consumer(), desk.writer()
    attributes = [{"n": number, "pad": "x" * 200} for number in range(500)]
    points = [lines.point(Point("usage.a", "sum", desk.now, each, 1)) for each in attributes]
    for start in range(0, 500, 100):
        assert "kept" == writer.put("metrics.signals", points[start : start + 100])
    writer.close()
    fill(small_disk)
    for _ in range(3):
        consumer.refresh()
        assert 0 == consumer.compile_due(ORIGIN, report, force=True)
    (small_disk / FILLER).unlink()
    consumer.refresh()

    assert [1] * 500 == [point.value for point in consumer.ledger.period.gathered.points()]


def test_points_that_fill_the_disk_make_room_for_each_other(small_disk: Path) -> None:
    """No other program is to blame: the oldest are folded and reported first, which makes room for more the next time;
    every acknowledged point arrives, once."""
    desk, kept = Desk(small_disk, interval_millis=1_000), 0
    writer, outcome = desk.writer(), "kept"
    desk.consumer().release()
    while outcome == "kept":
        names = [f"{kept + number}" for number in range(40)]
        points = [Point("usage.p", "sum", desk.now, {"id": name, "pad": "x" * 100}, 1) for name in names]
        outcome = writer.put("metrics.signals", list(map(lines.point, points)))
        kept += 40 if outcome == "kept" else 0
        writer.close()
    consumer = desk.consumer()
    arrived: list[str] = []
    for _ in range(60):
        desk.now += 2 * SECOND
        consumer.refresh()
        consumer.compile_due(ORIGIN, compile_report)
        while entries := consumer.waiting(10, 1 << 20):
            arrived += [point["id"] for entry in entries for point in json.loads(entry.data)["points"]]
            consumer.delivered(entries)

    assert kept > 2_000
    assert [f"{number}" for number in range(kept)] == sorted(set(arrived), key=int)[:kept]
    assert len(arrived) == len(set(arrived))


def test_off_works_on_a_full_disk(small_disk: Path) -> None:
    """Unlinking needs no room; only the note of what it cost may be missing."""
    desk = Desk(small_disk)
    consumer, writer = desk.consumer(), desk.writer()
    put(writer, 0, 1000)
    writer.close()
    consumer.refresh()
    consumer.delivered(consumer.waiting(10, 1000))
    put(writer, 1000, 100)
    fill(small_disk)
    desk.stance = Stance(False, "b2")

    assert 0 < purge(desk.place, lambda: desk.stance)
    assert [] == [path for path in desk.place.folder.rglob("a1-*") if path.parent != desk.place.sent]
    consumer.refresh()
    assert "off" == writer.put("events", [lines.item(b"1")])
    assert 10 == view.totals(desk.place).delivered


def test_state_folder_on_a_full_disk(small_disk: Path) -> None:
    """A program that starts there gets a queue or a clear refusal, never anything else."""
    fill(small_disk)
    desk = Desk(small_disk)

    kept, _ = put(desk.writer(), 0, 100)

    assert set() == kept
