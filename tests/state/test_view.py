"""usagewire.state.view"""

from __future__ import annotations

from pathlib import Path

from tests.support.state import HOUR, ORIGIN, SECOND, Desk, report
from usagewire.signals import Item, Origin, Period, Point, Stance
from usagewire.state import lines, view

MILLI = SECOND // 1_000
START = 1_800_000_000 * SECOND
"""When the desk's clock begins."""


def items(*names: object) -> list[bytes]:
    """A payload for each name."""
    return [lines.item(f'"{name}"'.encode()) for name in names]


def point(desk: Desk, value: float) -> bytes:
    """A point of one series."""
    return lines.point(Point("usage.a", "sum", desk.now, {}, value))


def snapshot(desk: Desk) -> dict[str, bytes]:
    """Every file and its content."""
    return {str(path): path.read_bytes() for path in desk.place.folder.rglob("*") if path.is_file()}


def test_looking_at_nothing(tmp_path: Path) -> None:
    """A destination that has never run."""
    desk = Desk(tmp_path)
    desk.place.queue.rmdir()
    desk.place.folder.rmdir()

    assert ([], None) == (view.peek(desk.place, desk.stance), view.preview(desk.place, desk.stance))
    assert (None, 0) == (view.read_ledger(desk.place, "a1"), view.totals(desk.place).delivered)


def test_everything_that_waits_is_seen(tmp_path: Path) -> None:
    """Sealed, half delivered, and being written right now; nothing is touched."""
    desk = Desk(tmp_path)
    writer, consumer = desk.writer(), desk.consumer()
    writer.put("events", items(1, 2))
    writer.close()
    desk.now += 1
    writer.put("events", items(3))
    writer.put("metrics.signals", [point(desk, 1)])
    consumer.refresh()
    consumer.delivered(consumer.waiting(1, 99))
    before = snapshot(desk)

    assert [b'"2"', b'"3"'] == [entry.data for entry in view.peek(desk.place, desk.stance)]
    assert before == snapshot(desk)
    assert [] == view.peek(desk.place, Stance(False, "a1"))
    assert [] == view.peek(desk.place, Stance(True, "b2"))


def test_preview_is_what_would_be_compiled(tmp_path: Path) -> None:
    """Folded and not yet folded together; nothing is touched."""
    desk = Desk(tmp_path)
    writer, consumer = desk.writer(), desk.consumer()
    writer.put("metrics.signals", [point(desk, 1)])
    writer.close()
    consumer.refresh()
    writer.put("metrics.signals", [point(desk, 2)])
    before = snapshot(desk)

    preview = view.preview(desk.place, desk.stance, desk.clock)

    assert preview is not None
    assert [3] == [point.value for point in preview.points]
    assert before == snapshot(desk)
    writer.close()
    consumer.refresh()
    seen: list[Period] = []

    def compile(period: Period, origin: Origin, now: int) -> list[Item]:
        seen.append(period)
        return report(period, origin, now)

    consumer.compile_due(ORIGIN, compile, force=True)
    (compiled,) = seen
    assert (preview.number, preview.start, preview.points) == (compiled.number, compiled.start, compiled.points)
    assert view.preview(desk.place, desk.stance, desk.clock) is None
    assert 1 == len(view.peek(desk.place, desk.stance))


def test_totals_include_what_nobody_has_counted_yet(tmp_path: Path) -> None:
    """Losses in segments, before the consumer comes by and after; none twice."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.lose("plan", 2)
    writer.close()
    assert {"plan": 2} == view.totals(desk.place).lost
    consumer = desk.consumer()
    for _ in range(4):
        assert {"plan": 2} == view.totals(desk.place).lost
        consumer.refresh()
    consumer.release()

    assert {"plan": 2} == view.totals(desk.place).lost


def test_signals_of_a_command_are_neglected_once_their_period_is_over(tmp_path: Path) -> None:
    """Nobody has ever looked: the period is counted from the first signal, and a helper is wanted at its end."""
    desk = Desk(tmp_path)
    asked = (desk.place, desk.stance, HOUR, desk.clock)
    assert not view.neglected(*asked)
    for _ in range(2):
        writer = desk.writer()
        writer.put("metrics.signals", [point(desk, 1)])
        writer.close()
        desk.now += HOUR * MILLI // 2
        assert (desk.now >= START + HOUR * MILLI) == view.neglected(*asked)

    assert not view.neglected(desk.place, Stance(False, "a1"), HOUR, desk.clock)
    assert not view.neglected(desk.place, Stance(True, "b2"), HOUR, desk.clock)
    assert not view.neglected(desk.place, desk.stance, None, desk.clock)
    before = snapshot(desk)
    assert view.neglected(*asked)
    assert before == snapshot(desk)


def test_what_is_folded_is_neglected_at_the_end_of_its_period(tmp_path: Path) -> None:
    """A consumer has begun the period and is gone; the next period is not over yet."""
    desk = Desk(tmp_path)
    asked = (desk.place, desk.stance, HOUR, desk.clock)
    writer, consumer = desk.writer(), desk.consumer()
    writer.put("metrics.signals", [point(desk, 1)])
    writer.close()
    consumer.refresh()
    consumer.release()
    desk.now = START + HOUR * MILLI - 1
    assert not view.neglected(*asked)
    desk.now += 1
    assert view.neglected(*asked)
    consumer = desk.consumer()
    assert 1 == consumer.compile_due(ORIGIN, report)
    consumer.release()
    assert not view.neglected(*asked)
    writer.put("metrics.signals", [point(desk, 1)])
    writer.close()
    assert not view.neglected(*asked)


def test_many_segments_are_neglected(tmp_path: Path) -> None:
    """A command in a loop leaves a file each time: somebody is to fold them, whatever the interval."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    for number in range(view.MANY):
        assert not view.neglected(desk.place, desk.stance, None, desk.clock), number
        desk.now += 1
        writer.put("metrics.signals", [point(desk, 1)])
        writer.close()

    assert view.neglected(desk.place, desk.stance, None, desk.clock)
    assert view.neglected(desk.place, desk.stance, HOUR, desk.clock)
