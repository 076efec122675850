"""The courier on a real queue: what it asks for, when, and what becomes of the answers."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.couriers import DOWN, FORMAT, LIMIT, OK, Network, Office, pack, pack_known
from usagewire.delivery.lane import LONGEST_BACK_OFF, TICK, back_off
from usagewire.signals import Request, Response, Stance
from usagewire.state import ledger as ledgers
from usagewire.state.memory import MemoryQueue

FOREVER = LONGEST_BACK_OFF * 1.1


@pytest.fixture(params=[pack, pack_known], ids=["repeats count", "repeats do no harm"])
def office(tmp_path: Path, request: pytest.FixtureRequest) -> Office:
    """A place of its own."""
    return Office(tmp_path, fmt=replace(FORMAT, pack=request.param))


def poison(*bad: Any) -> Any:
    """A network that answers 400 to a request with one of these in it."""
    return lambda items: Response(400) if set(items) & set(bad) else OK


# -- the ordinary ----------------------------------------------------------------------------------------------------


def test_what_waits_leaves_oldest_first_in_full_requests(office: Office) -> None:
    """Items of several programs leave in order, as many per request as the format takes."""
    for first in range(0, 12, 3):
        office.put(*range(first, first + 3))
        office.later(1)

    progress = office.courier().drain()

    assert [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]] == office.network.requests
    assert (12, 0, True) == (progress.delivered, progress.waiting, progress.done)
    assert [] == office.waiting()


@pytest.mark.parametrize(("how", "versions"), [(pack, 6), (pack_known, 3)], ids=["repeats count", "do no harm"])
def test_a_burst_is_settled_when_its_step_ends(tmp_path: Path, how: Any, versions: int) -> None:
    """Request by request, or four at a time after the first where a repeat does no harm; nothing is left unwritten."""
    office = Office(tmp_path, fmt=replace(FORMAT, pack=how))
    courier = office.courier()
    courier.step(hurry=True)
    office.put(*range(6 * LIMIT))
    (before,) = ledgers.versions(office.place, "a1")[-1:] or (0,)
    courier.step(hurry=True)

    assert 6 == len(office.network.requests)
    assert [] == office.waiting()
    assert before + versions == ledgers.versions(office.place, "a1")[-1]


def test_what_is_fresh_waits_a_second_for_company(office: Office) -> None:
    """A request leaves when its oldest item is a second old, or at once when hurried; a time in the future is old."""
    office.put(1)
    courier = office.courier()

    office.later(0.4)
    assert pytest.approx(0.6) == courier.step()
    assert [] == office.network.requests
    office.later(0.6)
    courier.step()
    assert [[1]] == office.network.requests

    office.put(2)
    courier.step(hurry=True)
    assert [2] == office.network.requests[-1]

    office.put(3)
    office.later(-86_400)
    courier.step()
    assert [3] == office.network.requests[-1]
    courier.stop()


def test_one_call_sends_what_waits_and_a_report_that_is_due(office: Office) -> None:
    """`usagewire send` after a program's end: items and the period that is over, both with one call."""
    office.point(3)
    office.point(4)
    office.put("event")
    office.later(2 * 3_600)

    progress = office.courier().drain()

    assert progress.done
    assert {"event", '{"period":1,"sum":7}'} == {
        item if isinstance(item, str) else str(item).replace("'", '"').replace(" ", "")
        for item in office.network.arrived
    }


def test_a_report_that_is_not_due_stays(office: Office) -> None:
    """A period leaves when it is over, hurried or not."""
    office.point(3)

    assert office.courier().drain().done
    assert [] == office.network.requests


def test_only_the_holder_sends(office: Office) -> None:
    """Two couriers of one destination: the second sends nothing while the first holds it, and says so."""
    first, second = office.courier(), office.courier()
    office.put(1)
    assert 0 < first.step()

    assert second.drain().held_elsewhere
    assert [] == office.network.requests
    first.stop()
    assert second.drain().done
    assert [[1]] == office.network.requests


# -- when it is not taken --------------------------------------------------------------------------------------------


def test_waits_double_up_to_five_minutes_and_are_kept_over_a_restart(office: Office) -> None:
    """0.5 s × 2ⁿ, give or take a tenth, at most 300 s; another process goes on where the one before was."""
    office.put(1)
    office.network.otherwise = lambda items: DOWN
    waits: list[float] = []
    for _ in range(14):
        courier = office.courier()  # a new process each time
        while len(waits) == len(office.network.times) - 1 or not office.network.times:
            office.later(courier.step())
        before = len(office.network.times)
        while len(office.network.times) == before:
            office.later(max(0.01, courier.step()))
        waits.append((office.network.times[-1] - office.network.times[-2]) / 1e9)
        courier.stop()

    assert max(waits) <= FOREVER + TICK
    assert sorted(waits[:9], key=int) == waits[:9]
    assert min(waits[-3:]) >= LONGEST_BACK_OFF * 0.9


@pytest.mark.parametrize("failures", range(40))
def test_a_wait_is_never_longer_than_the_longest(failures: int) -> None:
    """Whatever the number of failures."""
    assert 0.9 * min(0.5 * 2**failures, 300) <= back_off(failures) <= 330


def test_a_server_that_asks_for_time_gets_it(office: Office) -> None:
    """Retry-After holds over restarts and for the hurried, not for who uses force; nothing is asked meanwhile."""
    office.put(1)
    office.network.answers = [Response(429, {"retry-after": "120"})]
    progress = office.courier().drain()
    assert ("HTTP 429", 1, False) == (progress.last_error, progress.waiting, progress.done)

    office.later(119)
    office.courier().drain()
    assert 1 == len(office.network.requests)
    assert office.courier().drain(force=True).done
    assert 2 == len(office.network.requests)


def test_our_own_wait_ends_for_the_hurried(office: Office) -> None:
    """The back-off is ours to break."""
    office.put(1)
    office.network.answers = [DOWN]
    courier = office.courier()
    courier.step(hurry=True)
    courier.step()
    assert 1 == len(office.network.requests)
    courier.step(hurry=True)
    assert [1] == office.network.arrived
    courier.stop()


@pytest.mark.parametrize("jump", [-86_400 * 400, -10, 10, 86_400 * 400], ids=["back", "a bit back", "a bit", "forward"])
def test_no_jump_of_the_clock_holds_delivery_up(tmp_path: Path, jump: int) -> None:
    """After a jump, the next try is never further away than the longest back-off."""
    office = Office(tmp_path, queue_ttl_millis=1 << 60)
    office.put(1)
    office.network.answers = [DOWN] * 12
    courier = office.courier()
    while office.network.answers:
        office.later(max(0.01, courier.step()))
    office.later(jump)
    began = office.now
    while not office.network.arrived:
        office.later(max(0.01, courier.step()))
        assert office.now - began < (FOREVER + 2) * 1e9
    courier.stop()


def test_a_call_ends_when_the_endpoint_says_no(office: Office) -> None:
    """A drain does not hammer: one failed request is its last, also when others were taken before, also while a
    poisoned item is being sought."""
    office.put(*range(12))
    office.network.answers = [OK, DOWN]
    progress = office.courier().drain()
    assert (5, 7, "nobody there") == (progress.delivered, progress.waiting, progress.last_error)
    assert 2 == len(office.network.requests)

    office.network.answers = [Response(400), OK, DOWN]
    progress = office.courier().drain()
    assert 5 == len(office.network.requests)
    assert not progress.done
    assert office.courier().drain().done
    assert list(range(12)) == office.network.arrived


def test_an_empty_delivery_is_none(office: Office) -> None:
    """An answer that took nothing is tried again later, not at once for ever."""
    office.put(1, 2)
    office.network.answers = [Response(200, body=b"0")]

    assert "the endpoint took none of it" == office.courier().drain().last_error
    assert 1 == len(office.network.requests)


def test_a_part_that_arrived_is_not_sent_again(office: Office) -> None:
    """`Delivered(2)` of five: the other three follow."""
    office.put(*range(5))
    office.network.answers = [Response(200, body=b"2")]

    assert office.courier().drain().done
    assert [[0, 1, 2, 3, 4], [2, 3, 4]] == office.network.requests
    assert 5 == office.totals().delivered


# -- what is never taken ---------------------------------------------------------------------------------------------


def test_the_items_to_blame_are_found_and_the_others_arrive_in_order(office: Office) -> None:
    """Batches with poisoned items are halved until these stand alone; they are kept in rejected/ and counted."""
    office.put(*range(20))
    office.network.otherwise = poison(3, 11, 12)

    progress = office.courier().drain()

    assert [number for number in range(20) if number not in (3, 11, 12)] == office.network.arrived
    assert (17, 3, 0) == (progress.delivered, progress.rejected, progress.waiting)
    assert {"rejected": 3} == dict(office.totals().lost)
    assert 3 == len(list(office.place.rejected.iterdir()))


def test_the_search_goes_on_when_older_items_turn_up(office: Office) -> None:
    """Mid-search, what a dead process left from before comes to the head of the queue: it is sent, nothing of it is
    rejected, and the item to blame is found all the same."""
    office.later(100)
    office.put(*range(5))
    office.network.otherwise = poison(4)
    courier = office.courier()
    courier.step(hurry=True, until=0.0)  # 400: one of the five is to blame
    assert [[0, 1, 2, 3, 4]] == office.network.requests
    office.later(-50)
    office.put(*range(100, 107))
    office.later(50)

    courier.step(hurry=True)

    assert [*range(100, 107), 0, 1, 2, 3] == office.network.arrived
    assert (11, {"rejected": 1}) == (office.totals().delivered, dict(office.totals().lost))
    courier.stop()


def test_the_search_survives_a_failure_and_a_new_process(office: Office) -> None:
    """Down in the middle of a search, and another process goes on: one item is rejected, the others arrive once."""
    office.put(*range(5))
    office.network.otherwise = poison(1)
    office.network.answers = [Response(400), DOWN]
    courier = office.courier()
    courier.step(hurry=True)
    courier.stop()

    assert office.courier().drain().done
    assert [0, 2, 3, 4] == office.network.arrived
    assert {"rejected": 1} == dict(office.totals().lost)


def test_a_no_that_names_nobody_rejects_the_whole_request(office: Office) -> None:
    """401: what was in the request is rejected and kept; the next request is tried."""
    office.put(*range(LIMIT + 1))
    office.network.answers = [Response(401)]

    progress = office.courier().drain()

    assert (1, LIMIT) == (progress.delivered, progress.rejected)
    assert [LIMIT] == office.network.arrived


def test_an_item_that_cannot_be_packed_does_not_keep_the_others(office: Office) -> None:
    """A fault of the format is one item's fault: found, rejected with the kind of fault, never sent."""
    office.put(*range(4), "choke", *range(4, 9))

    progress = office.courier().drain()

    assert list(range(9)) == office.network.arrived
    assert (9, 1) == (progress.delivered, progress.rejected)
    assert "AssertionError" in next(office.place.rejected.iterdir()).read_text()


def test_an_answer_that_cannot_be_judged_is_asked_for_as_seldom_as_a_failure(office: Office) -> None:
    """A fault of the format while judging does not repeat the request every few seconds."""
    office.put(1)
    office.network.otherwise = lambda items: Response(299)
    courier = office.courier()
    for _ in range(300):
        office.later(max(0.01, courier.step()))
    courier.stop()

    assert 4 <= len(office.network.requests) <= 12
    assert [1] == office.waiting()


# -- consent ---------------------------------------------------------------------------------------------------------


def test_nothing_is_sent_once_the_operator_said_no(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Consent is looked at after packing, just before the request: what is packed by then stays here."""
    office.put(*range(3))
    courier = office.courier()
    monkeypatch.setattr(courier._lanes[0], "_stance", lambda: Stance(False, "b2"))  # since the queue looked
    courier.step(hurry=True)
    courier.stop()

    assert [] == office.network.requests
    assert [] == list(office.place.sent.glob("*"))


def test_an_off_while_a_request_is_made_ready_keeps_it_here(office: Office) -> None:
    """Opening the transport and compressing take time: consent is looked at after both."""
    office.put(*range(3))

    class Slow(Network):
        def pack(self, request: Request) -> Request:
            office.stance = Stance(False, "b2")
            return request

    office.network = Slow()
    courier = office.courier()
    courier.step(hurry=True)
    courier.stop()

    assert [] == office.network.requests
    assert [] == list(office.place.sent.glob("*"))


def test_off_in_flight_ends_with_that_request(office: Office) -> None:
    """Off while a request is under way: it completes, no other follows, the rest is purged and counted."""
    office.put(*range(12))

    def off(items: list[Any]) -> Response:
        office.stance = Stance(False, "b2")
        return OK

    office.network.answers = [off]
    courier = office.courier()
    courier.step(hurry=True)
    courier.step(hurry=True)
    courier.stop()

    assert 1 == len(office.network.requests)
    assert [] == list(office.place.queue.glob("*/*"))


# -- the thread ------------------------------------------------------------------------------------------------------


def until(condition: Any, seconds: float = 10) -> None:
    """Wait for ``condition``."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_wish_is_granted_when_nothing_waits(office: Office) -> None:
    """`hurry` counts; `granted` reaches the number when all has left, also when the first try failed."""
    office.put(1)
    office.network.answers = [DOWN]
    courier = office.courier(clock=time.time_ns)
    courier.start()
    first = courier.hurry()
    until(lambda: courier.granted >= first)
    assert [1] == office.network.arrived

    office.put(2)
    second = courier.hurry()
    until(lambda: courier.granted >= second)
    courier.stop()

    assert first < second
    assert [1, 2] == office.network.arrived


def test_wishes_of_many_threads_are_all_granted(office: Office) -> None:
    """None is lost between two others."""
    courier = office.courier(clock=time.time_ns)
    courier.start()
    granted: list[bool] = []

    def wish() -> None:
        numbers = [courier.hurry() for _ in range(20)]
        until(lambda: courier.granted >= numbers[-1])
        granted.append(numbers == sorted(set(numbers)))

    threads = [threading.Thread(target=wish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    courier.stop()

    assert [True] * 4 == granted


def test_a_request_from_outside_is_left_for_the_holder(office: Office) -> None:
    """`usagewire send` asks whoever holds the queue: a courier that does not hold it leaves the request alone."""
    holder, other = office.courier(asked=office.ask), office.courier(asked=office.ask)
    holder.step()
    office.asked = "send"
    other._safe_step()
    assert office.asked
    holder._safe_step()
    assert not office.asked
    holder.stop()


def test_manual_delivery_sends_when_asked_and_never_else(tmp_path: Path) -> None:
    """DELIVERY=manual: not by age, but by flush or by a request from outside."""
    office = Office(tmp_path, {"delivery": "manual"})
    office.put(1)
    office.later(60)
    courier = office.courier()
    courier._safe_step()
    assert [] == office.network.requests
    courier.hurry()
    courier._safe_step()
    assert [[1]] == office.network.requests
    courier.stop()


def test_stop_does_not_wait_for_a_request(office: Office) -> None:
    """With a request under way that nobody answers, stopping takes no time; the lock is let go of after it."""
    answer, asked = threading.Event(), threading.Event()

    def silent(items: list[Any]) -> Response:
        asked.set()
        answer.wait(20)
        return OK

    office.network.answers = [silent]
    office.put(1)
    courier = office.courier(clock=time.time_ns)
    courier.start()
    courier.hurry()
    assert asked.wait(10)

    began = time.monotonic()
    courier.stop()
    assert time.monotonic() - began < 0.5
    assert courier.holds
    answer.set()
    until(lambda: not courier.holds)
    assert [] == office.waiting()


def test_a_thread_that_died_is_started_again(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ended it, the next batch brings it back."""
    courier = office.courier(clock=time.time_ns)
    monkeypatch.setattr(threading, "excepthook", lambda what: None)
    monkeypatch.setattr(courier, "_quiet", lambda: 1 / 0)
    courier.start()
    died = courier._thread
    assert died is not None
    died.join(10)
    monkeypatch.undo()
    office.put(1)
    courier.start()
    wish = courier.hurry()
    until(lambda: courier.granted >= wish)
    courier.stop()

    assert [1] == office.network.arrived


def test_trouble_with_the_disk_lets_go_and_comes_back(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """The lock file replaced under our hands: nothing in hand is used, the next look begins anew."""
    caplog.set_level(logging.INFO, "usagewire")
    office.put(1)
    courier = office.courier()
    courier._safe_step()
    office.place.lock.unlink()
    office.later(2)
    assert 5 * TICK == courier._safe_step()
    assert not courier.holds
    assert [] == office.network.requests
    courier._safe_step()
    courier.stop()

    assert [1] == office.network.arrived
    assert "removed or replaced" in caplog.text


def test_a_full_outage_in_memory(office: Office) -> None:
    """Without a folder the same rules hold, over a queue in memory."""
    queue = MemoryQueue(lambda: office.stance, office.limits, office.clock)
    courier = office.courier(queue=queue)
    queue.put("events", [b'{"item":1}', b'{"item":2}'])
    office.network.answers = [DOWN]
    courier.step(hurry=True)
    courier.step()
    assert 1 == len(office.network.requests)
    office.later(2)
    courier.step()
    assert [1, 2] == office.network.arrived
    assert queue.ledger.totals.delivered == 2
    courier.stop()
