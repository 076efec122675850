"""usagewire.state.memory"""

from __future__ import annotations

from tests.support.state import HOUR, ORIGIN, SECOND, report
from usagewire.signals import Item, Point, Stance
from usagewire.state import lines
from usagewire.state.consumer import Limits
from usagewire.state.memory import MemoryQueue


class Desk:
    """A queue with consent, a clock and limits that a test may change."""

    def __init__(self) -> None:
        self.stance = Stance(True, "a1")
        self.now = 1_800_000_000 * SECOND
        self.limits = Limits(1000, 30 * 24 * HOUR, 0, HOUR)

    def queue(self) -> MemoryQueue:
        found = MemoryQueue(lambda: self.stance, self.limits, lambda: self.now)
        assert found.acquire()
        return found


def items(*names: object) -> list[bytes]:
    """A payload for each name."""
    return [lines.item(f'"{name}"'.encode()) for name in names]


def waiting(queue: MemoryQueue) -> list[bytes]:
    """What waits."""
    return [entry.data for entry in queue.waiting(99, 1 << 20)]


def test_items_go_in_and_out() -> None:
    """In order, counted."""
    queue = Desk().queue()
    assert "kept" == queue.put("events", items(1, 2, 3))
    assert (3, 9) == (queue.backlog().items, queue.backlog().bytes)

    queue.delivered(queue.waiting(1, 99))
    queue.rejected(queue.waiting(1, 99), "400", b"")

    assert [b'"3"'] == waiting(queue)
    assert (1, {"rejected": 1}) == (queue.ledger.totals.delivered, queue.ledger.totals.lost)
    assert 0 == len(queue.waiting(0, 99))
    assert 1 == len(queue.waiting(9, 0))


def test_oldest_make_room() -> None:
    """What memory does not hold is counted."""
    queue = Desk().queue()
    queue.put("events", items("a" * 600, "b" * 600))

    assert [b'"%b"' % (b"b" * 600)] == waiting(queue)
    assert {"memory": 1} == queue.ledger.totals.lost


def test_too_old_items_are_dropped() -> None:
    """As on disk."""
    desk = Desk()
    desk.limits = desk.limits._replace(queue_ttl_millis=1000)
    queue = desk.queue()
    queue.put("events", items(1))
    desk.now += 2 * SECOND
    queue.put("events", items(2))
    queue.refresh()

    assert ([b'"2"'], {"ttl": 1}) == (waiting(queue), queue.ledger.totals.lost)


def test_points_become_a_report() -> None:
    """When the interval is over."""
    desk = Desk()
    queue = desk.queue()
    for value in (1, 2):
        queue.put("metrics.signals", [lines.point(Point("usage.a", "sum", desk.now, {}, value))])
    queue.put("counts.signals", [lines.lost({"plan": 2})])
    assert 0 == queue.compile_due(ORIGIN, report)
    desk.now += HOUR * 1_000_000

    assert (1, 0) == (queue.compile_due(ORIGIN, report), queue.compile_due(ORIGIN, report))
    assert 1 == len(waiting(queue))
    assert {"plan": 2} == +queue.ledger.totals.lost


def test_off_forgets() -> None:
    """Items and sums, counted; and nothing is taken any more."""
    desk = Desk()
    queue = desk.queue()
    queue.put("events", items(1, 2))
    queue.put("metrics.signals", [lines.point(Point("usage.a", "sum", desk.now, {}, 1))])
    desk.stance = Stance(False, "b2")
    queue.refresh()
    assert ([], "off", False) == (waiting(queue), queue.put("events", items(3)), queue.acquire())
    desk.stance = Stance(True, "c3")

    assert 0 == queue.compile_due(ORIGIN, report, force=True)
    assert {"consent": 2} == +queue.ledger.totals.lost


def test_retry_and_doubt_are_remembered() -> None:
    """While the process lives."""
    queue = Desk().queue()
    queue.sent(queue.sending("https://x", b"", 1), "retry: timeout", None)
    queue.retry("timeout", 5, False)
    assert ({""}, 1, 5) == (queue.uncertain, queue.ledger.outcome.failures, queue.ledger.outcome.retry_at)

    queue.put("events", items(1))
    queue.sent(queue.sending("https://x", b"", 1), "delivered", 200)
    queue.delivered(queue.waiting(9, 99))
    assert (set(), 0) == (queue.uncertain, queue.ledger.outcome.failures)


def test_child_begins_empty() -> None:
    """What waits is the parent's to send."""
    queue = Desk().queue()
    queue.put("events", items(1))
    queue.lose("plan")
    queue.after_fork()

    assert ([], {}) == (waiting(queue), queue.ledger.totals.lost)
    queue.rest()
    queue.close()
    queue.release()
    assert not queue.held


def test_a_channel_that_is_taken_back_goes_alone() -> None:
    """Its items, its signals and its part of reports, counted; nothing more is taken of it, and an on begins anew."""
    desk = Desk()
    desk.limits = desk.limits._replace(
        channels={"usage.a": "a", "usage.b": "b"},
        without=lambda data, channels: data.replace(b"a", b"") if channels == {"a"} else None,
    )
    queue = desk.queue()
    for name in ("a", "b"):
        assert "kept" == queue.put(f"{name}.signals", [lines.point(Point(f"usage.{name}", "sum", desk.now, value=1))])
        assert "kept" == queue.put(name, items(f"item {name}"))
    assert 1 == queue.compile_due(ORIGIN, lambda period, origin, now: [Item(b'"a and b"')], force=True)
    assert "kept" == queue.put("a.signals", [lines.point(Point("usage.a", "sum", desk.now, value=1))])

    desk.stance = Stance(True, "a1", channels={"a": Stance(False, "a1_1")})
    assert not queue.ledger.under(desk.stance)
    queue.refresh()

    assert queue.ledger.under(desk.stance)
    assert [b'"item b"', b'" nd b"'] == waiting(queue)
    assert len(b"".join(waiting(queue))) == queue.backlog().bytes
    assert not queue.ledger.period.gathered
    assert 2 == queue.ledger.totals.lost["consent"]
    assert ("off", "kept") == (queue.put("a", items("late")), queue.put("b", items("late")))
    desk.stance = Stance(True, "a1", channels={"a": Stance(True, "a1_2")})
    assert "kept" == queue.put("a", items("anew"))
    assert [b'"item b"', b'"late"', b'"anew"'] == waiting(queue)[:1] + waiting(queue)[-2:]
