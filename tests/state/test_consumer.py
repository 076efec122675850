"""usagewire.state.consumer"""

from __future__ import annotations

import os
import time
from pathlib import Path

import orjson
import pytest

from tests.support.state import HOUR, ORIGIN, SECOND, Desk, report
from usagewire.errors import HolderLost
from usagewire.signals import Event, Item, Origin, Period, Point, Stance
from usagewire.state import ledger as ledgers
from usagewire.state import lines
from usagewire.state.consumer import Consumer, Entries
from usagewire.state.listing import segments
from usagewire.state.settling import UNWRITTEN_SECONDS
from usagewire.state.view import peek

MILLI = 1_000_000


def items(*names: object) -> list[bytes]:
    """A payload for each name."""
    return [lines.item(f'"{name}"'.encode()) for name in names]


def waiting(consumer: Consumer) -> list[str]:
    """Names of what waits."""
    return [orjson.loads(entry.data) for entry in consumer.waiting(10_000, 1 << 30)]


def points(desk: Desk, *values: float, kind: str = "sum") -> list[bytes]:
    """A point of one series for each value."""
    return [lines.point(Point("usage.a", kind, desk.now, {}, value)) for value in values]  # type: ignore[arg-type]


# -- who consumes ---------------------------------------------------------------------------------------------------


def test_one_at_a_time(tmp_path: Path) -> None:
    """The second gets it when the first lets go."""
    desk = Desk(tmp_path)
    first = desk.consumer()
    second = Consumer(desk.place, lambda: desk.stance, desk.limits)

    assert (True, False) == (first.held, second.acquire())
    first.release()
    assert (True, False) == (second.acquire(), first.held)


def test_nobody_consumes_without_consent(tmp_path: Path) -> None:
    """And nothing is created."""
    desk = Desk(tmp_path)
    desk.stance = Stance(False, "a1")

    assert not Consumer(desk.place, lambda: desk.stance, desk.limits).acquire()
    assert ["queue"] == [path.name for path in desk.place.folder.iterdir()]


def test_child_does_not_free_the_parents_lock(tmp_path: Path) -> None:
    """Nor keep it after the parent has let go."""
    desk = Desk(tmp_path)
    parent = desk.consumer()
    ready, done = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        parent.after_fork()
        os.write(ready[1], b"%d" % parent.held)
        os.read(done[0], 1)
        os._exit(0)
    assert b"0" == os.read(ready[0], 1)
    other = Consumer(desk.place, lambda: desk.stance, desk.limits)
    assert not other.acquire()
    parent.release()
    assert other.acquire()
    os.write(done[1], b"x")
    os.waitpid(pid, 0)
    for descriptor in (*ready, *done):
        os.close(descriptor)


@pytest.mark.parametrize("again", [False, True])
def test_holder_of_a_removed_lock_lets_go(tmp_path: Path, again: bool) -> None:
    """Another process would lock another file: two would consume."""
    desk = Desk(tmp_path)
    consumer = desk.consumer()
    desk.place.lock.unlink()
    if again:
        desk.place.lock.touch()

    with pytest.raises(HolderLost):
        consumer.refresh()
    assert not consumer.held
    assert consumer.acquire()


# -- items ----------------------------------------------------------------------------------------------------------


def test_weight_is_known_without_a_look_inside(tmp_path: Path) -> None:
    """What is owed, in bytes, and since when: whether a request leaves is asked far more often than one does."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    begun = desk.now
    writer.put("events", items("a", "b", "c"))
    writer.close()
    [path] = (desk.place.queue / "events").iterdir()
    size = path.stat().st_size
    consumer = desk.consumer()
    assert (size, begun) == consumer.weight()

    first = consumer.waiting(1, 1 << 20)
    consumer.delivered(first)
    assert (size - first.ends[0], begun) == consumer.weight()
    consumer.delivered(consumer.waiting(9, 1 << 20))
    assert (0, None) == consumer.weight()


def test_items_wait_oldest_first(tmp_path: Path) -> None:
    """Over segments and processes, in the order in which their segments were begun."""
    desk = Desk(tmp_path)
    for name in ("a", "b", "c"):
        desk.now += SECOND
        writer = desk.writer()
        writer.put("events", items(f"{name}1", f"{name}2"))
        writer.close()

    consumer = desk.consumer()

    assert ["a1", "a2", "b1", "b2", "c1", "c2"] == waiting(consumer)
    assert ["a1", "a2", "b1"] == [orjson.loads(entry.data) for entry in consumer.waiting(3, 1 << 20)]
    assert ["a1", "a2"] == [orjson.loads(entry.data) for entry in consumer.waiting(99, 46)]
    assert ["a1"] == [orjson.loads(entry.data) for entry in consumer.waiting(99, 0)]
    backlog = consumer.backlog()
    assert (6, desk.now - 2 * SECOND) == (backlog.items, backlog.oldest)


def test_open_segment_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    """Until it is sealed, or its writer has died."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.put("events", items(1))
    consumer = desk.consumer()
    assert [] == waiting(consumer)

    writer.after_fork()  # closes without sealing, as dying does
    consumer.refresh()

    assert ["1"] == waiting(consumer)


def test_delivered_items_are_settled(tmp_path: Path) -> None:
    """Not handed out again, counted, and their file gone once it holds nothing more."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.put("events", items(1, 2, 3))
    writer.close()
    consumer = desk.consumer()

    consumer.delivered(consumer.waiting(2, 1 << 20))
    assert (["3"], 1) == (waiting(consumer), consumer.backlog().items)
    assert 1 == len(list(segments(desk.place)))
    consumer.delivered(consumer.waiting(2, 1 << 20))

    assert ([], 0, None) == (waiting(consumer), consumer.backlog().items, consumer.backlog().oldest)
    assert [] == list(segments(desk.place))
    assert (3, desk.now) == (consumer.ledger.totals.delivered, consumer.ledger.outcome.last_success)


def test_next_holder_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    """In the middle of a segment."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.put("events", items(*range(5)))
    writer.close()
    first = desk.consumer()
    first.delivered(first.waiting(3, 1 << 20))
    first.after_fork()  # dies

    second = desk.consumer()

    assert ["3", "4"] == waiting(second)
    assert 3 == second.ledger.totals.delivered


def test_next_holder_doubts_what_the_last_one_did_not_settle(tmp_path: Path) -> None:
    """It saw the answer and died before the ledger said so: some receivers say "I failed" to the repeat."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.put("events", items("a", "b"))
    writer.close()

    def send(consumer: Consumer) -> Entries:
        entries = consumer.waiting(1, 1 << 20)
        consumer.sent(consumer.sending("https://x", b"1", len(entries)), "delivered", 200)
        return entries

    first = desk.consumer()
    first.delivered(send(first))
    send(first)
    first.after_fork()  # dies

    second = desk.consumer()
    assert {""} == set(second.uncertain)
    second.delivered(send(second), repeat=True)
    second.release()
    assert set() == set(desk.consumer().uncertain)


def test_repeats_that_do_no_harm_save_versions(tmp_path: Path) -> None:
    """Four such requests are settled with one version, and so is what is left of them when the burst is over; until
    then nothing of theirs is unlinked, and a crash repeats them."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    for number in range(12):
        writer.put("events", items(number))
        writer.close()
    consumer = desk.consumer()
    consumer.delivered(consumer.waiting(1, 1 << 20))

    def deliver(count: int) -> None:
        for _ in range(count):
            consumer.delivered(consumer.waiting(1, 1 << 20), idempotent=True)

    def written() -> tuple[int, int, int]:
        """The newest version; how many items are owed by what it says; and how many segments there are."""
        newest = ledgers.versions(desk.place, "a1")[-1]
        return newest, len(peek(desk.place, desk.stance)), len(list(segments(desk.place)))

    assert (1, 11, 11) == written()
    deliver(3)
    assert (1, 11, 11) == written()
    deliver(1)
    assert (2, 7, 7) == written()
    deliver(1)
    consumer.settle()
    assert (3, 6, 6) == written()
    deliver(2)
    consumer.rejected(consumer.waiting(1, 1 << 20), "400", b"")
    assert (4, 3, 3) == written()
    deliver(2)
    assert 1 == len(waiting(consumer))
    consumer.after_fork()  # dies

    second = desk.consumer()
    assert 3 == len(waiting(second))
    assert (8, {"rejected": 1}) == (second.ledger.totals.delivered, second.ledger.totals.lost)


def test_what_is_remembered_ends_with_the_holder(tmp_path: Path) -> None:
    """Somebody else took over: what this one has not written is owed again, and not unlinked later on."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.put("events", items(1))
    writer.close()
    consumer = desk.consumer()
    consumer.retry("any", 0, False)
    consumer.delivered(consumer.waiting(9, 1 << 20), idempotent=True)
    desk.place.lock.unlink()
    with pytest.raises(HolderLost):
        consumer.settle()

    assert consumer.acquire()
    consumer.refresh()
    consumer.retry("any", 0, False)
    assert ["1"] == [orjson.loads(entry.data) for entry in peek(desk.place, desk.stance)]
    assert 0 == consumer.ledger.totals.delivered


def test_slow_requests_are_settled_one_by_one(tmp_path: Path) -> None:
    """A second after the last version the next one is due: a crash costs no more repeats than it has to."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.put("events", items(1, 2, 3))
    writer.close()
    consumer = desk.consumer()
    owed: list[int] = []
    for seconds in (0, UNWRITTEN_SECONDS, 0):
        time.sleep(seconds)
        consumer.delivered(consumer.waiting(1, 1 << 20), idempotent=True)
        owed.append(len(peek(desk.place, desk.stance)))

    assert [2, 1, 1] == owed


def test_rejected_items_are_kept_aside(tmp_path: Path) -> None:
    """Readable, with the reason and the request."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.put("events", items(1, 2))
    writer.close()
    consumer = desk.consumer()

    consumer.rejected(consumer.waiting(1, 1 << 20), "400: no such event", b"the body")

    assert ["2"] == waiting(consumer)
    assert {"rejected": 1} == consumer.ledger.totals.lost
    assert {"time": desk.now, "reason": "400: no such event"} == consumer.ledger.outcome.last_error
    (kept,) = desk.place.rejected.iterdir()
    about, item = kept.read_bytes().splitlines()
    assert {"time": desk.now, "reason": "400: no such event", "body": "the body"} == orjson.loads(about)
    assert b'"1"' == item


def test_retry_is_remembered_over_a_restart(tmp_path: Path) -> None:
    """With who asked for it; success forgets it."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.put("events", items(1))
    writer.close()
    consumer = desk.consumer()
    consumer.retry("503", desk.now + 9 * SECOND, True)
    consumer.retry("503", desk.now + 10 * SECOND, True)
    consumer.release()

    consumer = desk.consumer()
    outcome = consumer.ledger.outcome
    assert (2, desk.now + 10 * SECOND, True) == (outcome.failures, outcome.retry_at, outcome.retry_by_server)
    consumer.delivered(consumer.waiting(9, 99))
    outcome = consumer.ledger.outcome
    assert (0, None, False) == (outcome.failures, outcome.retry_at, outcome.retry_by_server)
    assert {"time": desk.now, "reason": "503"} == outcome.last_error


def test_clock_set_back_does_not_prolong_a_wait(tmp_path: Path) -> None:
    """A time further away than any wait is from before the clock was set back, and is over: also for a program that
    never lives as long as a wait."""
    desk = Desk(tmp_path)
    consumer = desk.consumer()
    consumer.retry("503", desk.now + 100 * SECOND, True)
    outcome = consumer.ledger.outcome

    assert 100 * SECOND == outcome.wait(desk.now)
    assert 130 * SECOND == outcome.wait(desk.now - 30 * SECOND)
    assert 0 == outcome.wait(desk.now - 86_400 * SECOND)
    assert 0 == outcome.wait(desk.now + 100 * SECOND)


def test_too_old_items_are_dropped_and_counted(tmp_path: Path) -> None:
    """After the queue's time to live."""
    desk = Desk(tmp_path, queue_ttl_millis=1000)
    old, new = desk.writer(), desk.writer()
    old.put("events", items(1, 2))
    desk.now += 2 * SECOND
    new.put("events", items(3))
    old.close()
    new.close()

    consumer = desk.consumer()

    assert ["3"] == waiting(consumer)
    assert {"ttl": 2} == consumer.ledger.totals.lost


def test_oldest_items_make_room(tmp_path: Path) -> None:
    """By the blocks that the queue takes on disk."""
    desk = Desk(tmp_path, queue_bytes=300_000)
    for number in range(4):
        desk.now += SECOND
        writer = desk.writer()
        writer.put("events", items(str(number) * 100_000))
        writer.close()

    consumer = desk.consumer()

    assert ["2", "3"] == [name[0] for name in waiting(consumer)]
    assert {"quota": 2} == consumer.ledger.totals.lost
    assert 2 == len(list(segments(desk.place)))


def test_partly_delivered_segment_is_dropped_in_part(tmp_path: Path) -> None:
    """Only what was still owed counts as lost."""
    desk = Desk(tmp_path, queue_ttl_millis=1000)
    writer = desk.writer()
    writer.put("events", items(1, 2, 3))
    writer.close()
    consumer = desk.consumer()
    consumer.delivered(consumer.waiting(2, 1 << 20))
    desk.now += 2 * SECOND
    consumer.refresh()

    assert (2, {"ttl": 1}) == (consumer.ledger.totals.delivered, consumer.ledger.totals.lost)


def test_thousand_segments_are_found_and_drained(tmp_path: Path) -> None:
    """A long outage leaves many small ones."""
    desk = Desk(tmp_path)
    folder = desk.place.queue / "events"
    folder.mkdir()
    for number in range(1000):
        (folder / f"a1-{desk.now + number:020d}-ff-{number}.seg").write_bytes(lines.frame(items(number)[0]))
    consumer = desk.consumer()

    assert 1000 == consumer.backlog().items
    taken: list[str] = []
    while entries := consumer.waiting(300, 1 << 20):
        taken += [orjson.loads(entry.data) for entry in entries]
        consumer.delivered(entries)

    assert [str(number) for number in range(1000)] == taken
    consumer.refresh()
    consumer.retry("any", 0, False)
    assert {} == consumer.ledger.offsets


# -- reports --------------------------------------------------------------------------------------------------------


class Reports:
    """A `compile` that remembers what it was given."""

    def __init__(self) -> None:
        self.periods: list[Period] = []

    def __call__(self, period: Period, origin: Origin, now: int) -> list[Item]:
        assert ORIGIN == origin
        assert now == period.end
        self.periods.append(period)
        return report(period, origin, now)


def settle(desk: Desk, consumer: Consumer, compile: Reports) -> None:
    """As many ticks as folding takes until a period can close."""
    for _ in range(4):
        consumer.refresh()
        consumer.compile_due(ORIGIN, compile)


def test_report_is_made_when_the_interval_is_over(tmp_path: Path) -> None:
    """The first period begins with the first signal; its report waits among the items."""
    desk = Desk(tmp_path)
    writer, compile = desk.writer(), Reports()
    began = desk.now
    writer.put("metrics.signals", points(desk, 2, 3))
    writer.close()
    consumer = desk.consumer()
    desk.now += HOUR * MILLI - 1
    settle(desk, consumer, compile)
    assert [] == compile.periods
    desk.now += 1
    settle(desk, consumer, compile)

    (period,) = compile.periods
    assert (1, began, desk.now) == (period.number, period.start, period.end)
    assert [5] == [point.value for point in period.points]
    assert 32 == len(period.nonce)
    assert 1 == len(waiting(consumer))
    consumer.delivered(consumer.waiting(9, 1 << 20))
    consumer.refresh()
    assert [] == [*segments(desk.place), *desk.place.reports.iterdir()]
    assert 1 == consumer.ledger.totals.delivered


def test_nothing_recorded_sends_nothing(tmp_path: Path) -> None:
    """However long it takes."""
    desk = Desk(tmp_path)
    consumer, compile = desk.consumer(), Reports()
    desk.now += 100 * HOUR * MILLI
    settle(desk, consumer, compile)

    assert [] == compile.periods
    assert 0 == consumer.compile_due(ORIGIN, compile, force=True)


def test_periods_follow_each_other(tmp_path: Path) -> None:
    """The second begins where the first one ended, under the next number, with sums of its own."""
    desk = Desk(tmp_path)
    writer, compile, consumer = desk.writer(), Reports(), desk.consumer()
    for value in (1, 2):
        writer.put("metrics.signals", points(desk, value))
        writer.close()
        settle(desk, consumer, compile)
        desk.now += HOUR * MILLI
        settle(desk, consumer, compile)

    first, second = compile.periods
    assert (1, 2) == (first.number, second.number)
    assert first.end == second.start
    assert [1, 2] == [point.value for period in compile.periods for point in period.points]
    assert first.nonce != second.nonce


def test_clock_set_back_holds_up_no_programs_that_end_soon(tmp_path: Path) -> None:
    """Each of them ends long before the period does, and none has anything else to write."""
    desk = Desk(tmp_path)
    writer, compile, consumer = desk.writer(), Reports(), desk.consumer()
    writer.put("metrics.signals", points(desk, 1))
    writer.close()
    settle(desk, consumer, compile)
    settle(desk, consumer, compile)
    consumer.release()
    desk.now -= 1000 * HOUR * MILLI
    for _ in range(3):
        consumer = desk.consumer()
        settle(desk, consumer, compile)
        consumer.release()
        desk.now += HOUR * MILLI // 2

    assert 1 == len(compile.periods)


def test_long_sleep_makes_one_report(tmp_path: Path) -> None:
    """Not one per interval slept through; and the next period begins anew."""
    desk = Desk(tmp_path)
    writer, compile, consumer = desk.writer(), Reports(), desk.consumer()
    writer.put("metrics.signals", points(desk, 1))
    writer.close()
    settle(desk, consumer, compile)
    desk.now += 50 * HOUR * MILLI
    settle(desk, consumer, compile)
    desk.now += 50 * HOUR * MILLI
    settle(desk, consumer, compile)
    assert 1 == len(compile.periods)

    woken = desk.now
    writer.put("metrics.signals", points(desk, 1))
    writer.close()
    settle(desk, consumer, compile)
    assert 1 == len(compile.periods)
    assert (woken, woken + HOUR * MILLI) == (consumer.ledger.period.start, consumer.ledger.period.due)


@pytest.mark.parametrize("jump", [-86_400, -1_800_000_000, 365 * 86_400])
def test_clock_jumps_neither_repeat_nor_stall_a_period(tmp_path: Path, jump: int) -> None:
    """Back a day, to 1970, a year ahead: at most one interval later there is a report, with a number of its own."""
    desk = Desk(tmp_path)
    writer, compile, consumer = desk.writer(), Reports(), desk.consumer()
    for value in (1, 2, 4):
        writer.put("metrics.signals", points(desk, value))
        writer.close()
        settle(desk, consumer, compile)
        desk.now += jump * SECOND
        settle(desk, consumer, compile)
        desk.now += HOUR * MILLI
        settle(desk, consumer, compile)
        desk.now -= jump * SECOND

    numbers = [period.number for period in compile.periods]
    assert sorted(set(numbers)) == numbers
    assert 7 == sum(point.value or 0 for period in compile.periods for point in period.points)
    assert all(period.start <= period.end for period in compile.periods)


def test_compiling_again_gives_the_same(tmp_path: Path) -> None:
    """Killed between compiling and saving: same number, times, nonce and sums, and one report."""
    desk = Desk(tmp_path)
    writer, compile, consumer = desk.writer(), Reports(), desk.consumer()
    writer.put("metrics.signals", points(desk, 1))
    writer.close()

    def dies(period: Period, origin: Origin, now: int) -> list[Item]:
        compile(period, origin, now)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consumer.compile_due(ORIGIN, dies, force=True)
    consumer.after_fork()
    writer.put("metrics.signals", points(desk, 100))
    writer.close()
    desk.now += SECOND
    consumer = desk.consumer()
    assert 1 == consumer.compile_due(ORIGIN, compile)

    assert compile.periods[0] == compile.periods[1]
    assert 1 == len(waiting(consumer))


def test_format_that_fails_costs_one_report(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Later periods close all the same; the loss is counted and said."""
    desk = Desk(tmp_path)
    writer, consumer = desk.writer(), desk.consumer()

    def fails(period: Period, origin: Origin, now: int) -> list[Item]:
        raise ValueError("no")

    for compile, made in ((fails, 0), (report, 1)):
        writer.put("metrics.signals", points(desk, 1))
        writer.close()
        assert made == consumer.compile_due(ORIGIN, compile, force=True)

    assert {"rejected": 1} == consumer.ledger.totals.lost
    assert "period 1 could not be compiled" in caplog.text


def test_events_reach_the_report(tmp_path: Path) -> None:
    """As they were."""
    desk = Desk(tmp_path)
    writer, compile, consumer = desk.writer(), Reports(), desk.consumer()
    event = Event("usage.state", desk.now, "0" * 32, {"usage.state.section": "pools"}, {"a": [1]})
    writer.put("events.signals", [lines.event(event)])
    writer.close()
    consumer.compile_due(ORIGIN, compile, force=True)

    assert [(event,)] == [period.events for period in compile.periods]


def test_events_that_outlive_their_period_are_reported_again(tmp_path: Path) -> None:
    """As long as the format keeps them, beside new ones; by themselves they make no report, and off ends them."""
    desk = Desk(tmp_path, keep=lambda events, ended: (events[-2:], max(0, len(events) - 2)))
    writer, compile, consumer = desk.writer(), Reports(), desk.consumer()
    said = [Event("usage.crash", desk.now + number, "0" * 32) for number in range(4)]
    for events in (said[:3], [], said[3:], []):
        writer.put("events.signals", [lines.event(event) for event in events])
        writer.close()
        settle(desk, consumer, compile)
        desk.now += HOUR * MILLI
        settle(desk, consumer, compile)
        consumer.release()
        consumer = desk.consumer()

    assert [tuple(said[:3]), tuple(said[1:])] == [period.events for period in compile.periods]
    assert {"quota": 2} == consumer.ledger.totals.lost
    desk.stance = Stance(False, "b2")
    consumer.refresh()
    assert [] == [path.name for path in desk.place.folder.iterdir() if "ledger" in path.name]


def test_what_a_report_has_no_place_for_is_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The report leaves without it."""
    caplog.set_level("INFO", "usagewire")
    desk = Desk(tmp_path)
    writer, consumer = desk.writer(), desk.consumer()
    writer.put("metrics.signals", points(desk, 1))
    writer.close()

    made = consumer.compile_due(ORIGIN, lambda *about: [Item(b'"x"', {"osd: not an object": 2})], force=True)

    assert (1, {"unfit": 2}) == (made, consumer.ledger.totals.lost)
    assert "osd: not an object" in caplog.text


def test_losses_are_counted_once(tmp_path: Path) -> None:
    """Over ticks, restarts and several writers."""
    desk = Desk(tmp_path)
    for _ in range(3):
        writer = desk.writer()
        writer.lose("plan", 2)
        writer.close()
        for _ in range(3):
            consumer = desk.consumer()
            consumer.release()

    assert {"plan": 6} == desk.consumer().ledger.totals.lost
    assert [] == list(segments(desk.place))


def test_only_listed_reports_are_sent(tmp_path: Path) -> None:
    """A report that no version of the ledger knows was never finished."""
    desk = Desk(tmp_path)
    consumer = desk.consumer()
    consumer.retry("any", 0, False)
    desk.place.reports.mkdir()
    (desk.place.reports / "a1-r7-abc").write_bytes(lines.frame(items(1)[0]))
    consumer.refresh()

    assert ([], []) == (waiting(consumer), list(desk.place.reports.iterdir()))


# -- what is left behind --------------------------------------------------------------------------------------------


def test_drafts_of_the_dead_are_removed(tmp_path: Path) -> None:
    """Once nobody can be writing them any more."""
    desk = Desk(tmp_path)
    old, new = desk.place.folder / "a1-ledger-3.0.tmp", desk.place.folder / "totals.json.1.tmp"
    old.touch()
    new.touch()
    os.utime(old, (1, 1))
    desk.consumer()

    assert (False, True) == (old.exists(), new.exists())


def test_reserve_is_kept_and_given_back(tmp_path: Path) -> None:
    """64 KiB of real blocks."""
    desk = Desk(tmp_path)
    desk.consumer()

    assert 65_536 <= desk.place.reserve.stat().st_blocks * 512


def test_totals_outlive_the_ledger(tmp_path: Path) -> None:
    """A new epoch's ledger goes on counting, and numbering periods."""
    desk = Desk(tmp_path)
    writer, compile, consumer = desk.writer(), Reports(), desk.consumer()
    writer.put("metrics.signals", points(desk, 1))
    writer.put("events", items(1, 2))
    writer.close()
    consumer.compile_due(ORIGIN, compile, force=True)
    consumer.refresh()
    consumer.delivered(consumer.waiting(9, 1 << 20))
    consumer.release()
    desk.stance = Stance(True, "b2")

    ledger = desk.consumer().ledger

    assert ("b2", 3) == (ledger.epoch, ledger.totals.delivered)
    assert ledger.period.number > compile.periods[0].number
