"""usagewire.state.purge, usagewire.state.totals"""

from __future__ import annotations

from pathlib import Path

from tests.support.state import ORIGIN, Desk, report
from usagewire.signals import Point, Stance
from usagewire.state import lines, view
from usagewire.state.purge import purge
from usagewire.state.totals import notes


def items(*names: object) -> list[bytes]:
    """A payload for each name."""
    return [lines.item(f'"{name}"'.encode()) for name in names]


def data_files(desk: Desk) -> list[str]:
    """Names of the files that hold data of epoch a1."""
    return sorted(path.name for path in desk.place.folder.rglob("a1-*"))


def furnished(desk: Desk) -> None:
    """Something of everything, of epoch a1: 7 items tried, 2 delivered, 1 rejected, 4 owed; a report of 1; a loss."""
    writer, consumer = desk.writer(), desk.consumer()
    writer.put("metrics.signals", [lines.point(Point("usage.a", "sum", desk.now, {}, 1))])
    writer.put("events", items(1, 2, 3, 4, 5))
    writer.close()
    consumer.refresh()
    consumer.compile_due(ORIGIN, report, force=True)
    consumer.sent(consumer.sending("https://x", b"1", 1), "delivered", 200)
    consumer.delivered(consumer.waiting(2, 1 << 20))
    consumer.rejected(consumer.waiting(1, 1 << 20), "400", b"")
    consumer.sending("https://x", b"2", 1)
    consumer.after_fork()  # dies while sending
    writer.put("events", items(6, 7))
    writer.lose("plan", 3)
    writer.put("metrics.signals", [lines.point(Point("usage.a", "sum", desk.now, {}, 1))])
    writer.close()


def test_off_leaves_no_data_and_counts_it(tmp_path: Path) -> None:
    """Queue, ledger, reports, rejected, half-sent: all gone; the history of what was sent stays."""
    desk = Desk(tmp_path)
    furnished(desk)
    desk.stance = Stance(False, "b2")

    assert 0 < purge(desk.place, lambda: desk.stance)
    assert 0 == purge(desk.place, lambda: desk.stance)
    assert [path.name for path in desk.place.sent.iterdir()] == data_files(desk)
    totals = view.totals(desk.place)
    assert (2, {"consent": 5, "plan": 3, "rejected": 1}) == (totals.delivered, totals.lost)


def test_segment_sealed_under_the_purge_is_counted(tmp_path: Path) -> None:
    """A writer that ends between the listing and the unlinking gives its segment another name."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.put("events", items(1, 2))

    def off() -> Stance:
        for path in desk.place.queue.rglob("*.open"):
            path.rename(path.with_suffix(".seg"))
        return Stance(False, "b2")

    assert 1 == purge(desk.place, off)
    assert [] == data_files(desk)
    assert {"consent": 2} == view.totals(desk.place).lost


def test_totals_go_on_in_the_next_epoch(tmp_path: Path) -> None:
    """The consumer counts each note once, over restarts, then removes it."""
    desk = Desk(tmp_path)
    furnished(desk)
    desk.stance = Stance(False, "b2")
    purge(desk.place, lambda: desk.stance)
    desk.stance = Stance(True, "c3")
    for _ in range(4):
        consumer = desk.consumer()
        consumer.refresh()
        totals = consumer.ledger.totals
        consumer.release()

        assert (2, {"consent": 5, "plan": 3, "rejected": 1}) == (totals.delivered, totals.lost)
    assert {} == notes(desk.place)


def test_on_again_purges_only_what_is_older(tmp_path: Path) -> None:
    """A new epoch's files stay, whoever purges late."""
    desk = Desk(tmp_path)
    furnished(desk)
    desk.stance = Stance(True, "b2")
    writer = desk.writer()
    writer.put("events", items(9))
    writer.close()

    purge(desk.place, lambda: desk.stance)

    assert [b'"9"'] == [entry.data for entry in view.peek(desk.place, desk.stance)]


def test_consent_is_read_after_listing(tmp_path: Path) -> None:
    """Off and on again while it lists: what was collected since must not be taken for old."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.put("events", items(1))

    def late() -> Stance:
        desk.stance = Stance(True, "b2")
        writer.put("events", items(2))
        return desk.stance

    purge(desk.place, late)

    assert [b'"2"'] == [entry.data for entry in view.peek(desk.place, desk.stance)]


def test_silencing_one_process_purges_nothing(tmp_path: Path) -> None:
    """Off by environment is no off for others."""
    desk = Desk(tmp_path)
    furnished(desk)
    before = data_files(desk)

    assert 0 == purge(desk.place, lambda: Stance(False, "a1", erases=False))
    assert before == data_files(desk)


def test_consumer_purges_when_it_looks(tmp_path: Path) -> None:
    """Off while no `usagewire off` could purge: the next tick does, and hands nothing out."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.put("events", items(1))
    writer.close()
    consumer = desk.consumer()
    desk.stance = Stance(False, "b2")
    consumer.refresh()
    assert ([], []) == (data_files(desk), list(consumer.waiting(9, 99)))
    assert 0 == consumer.compile_due(ORIGIN, report, force=True)

    desk.stance = Stance(True, "c3")
    writer.put("events", items(2))
    writer.close()
    consumer.refresh()
    assert [b'"2"'] == [entry.data for entry in consumer.waiting(9, 99)]
    assert {"consent": 1} == consumer.ledger.totals.lost


def test_purge_of_nothing(tmp_path: Path) -> None:
    """There may be no folder at all."""
    desk = Desk(tmp_path)
    desk.place.queue.rmdir()
    desk.place.folder.rmdir()

    assert 0 == purge(desk.place, lambda: Stance(False, "b2"))
