"""Two endpoints of one destination: what happens at one of them is nothing to the other."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.couriers import DOWN, FORMAT, OK, Office
from tests.support.state import HOUR
from usagewire.delivery.courier import EARLY
from usagewire.delivery.lane import TICK
from usagewire.signals import Point, Request, Response, Verdict
from usagewire.state import lines
from usagewire.state.memory import MemoryQueue

BUSY = Response(503)
TWO = replace(FORMAT, event_lane="events")
"""Items leave for one endpoint, reports for another."""


class TwoEndpoints(Office):
    """A place whose network answers ``items`` to items and ``reports`` to reports."""

    def __init__(self, base: Path) -> None:
        super().__init__(base, fmt=TWO)
        self.items = self.reports = OK
        self.network.otherwise = lambda items: self.reports if isinstance(items[0], dict) else self.items

    @property
    def arrived(self) -> tuple[int, int]:
        """Items and reports."""
        reports = sum(isinstance(item, dict) for item in self.network.arrived)
        return len(self.network.arrived) - reports, reports


@pytest.fixture
def office(tmp_path: Path) -> TwoEndpoints:
    """With seven items and a report that is due."""
    office = TwoEndpoints(tmp_path)
    office.put(*range(7))
    office.point(3)
    office.courier().drain()
    office.network.arrived.clear()
    office.put(*range(7))
    office.later(2 * HOUR / 1000)
    return office


def run(office: TwoEndpoints, seconds: int) -> None:
    """A courier's life of so long."""
    courier = office.courier()
    for _ in range(seconds):
        courier.step()
        office.later(1)
    courier.stop()


@pytest.mark.parametrize("failing", ["items", "reports"])
@pytest.mark.parametrize("answer", [DOWN, BUSY, Response(429, {"retry-after": "300"}), Response(299)], ids=str)
def test_an_endpoint_that_fails_holds_nothing_up_for_the_other(
    office: TwoEndpoints, failing: str, answer: Response
) -> None:
    """What is for the other one arrives at once, also after a restart; what is not waits, and arrives once."""
    setattr(office, failing, answer)
    run(office, 3)
    if failing == "items":
        office.point(4)
        office.later(2 * HOUR / 1000)
    else:
        office.put(7, 8)
    run(office, 3)

    assert office.arrived == ((0, 2) if failing == "items" else (9, 0))
    setattr(office, failing, OK)
    office.later(400)
    run(office, 3)
    assert office.arrived == ((7, 2) if failing == "items" else (9, 1))
    assert [] == office.waiting()
    assert {} == dict(office.totals().lost)


def test_each_endpoint_keeps_its_own_back_off_over_a_restart(office: TwoEndpoints) -> None:
    """The one that fails is asked ever more seldom; the other's successes do not change that."""
    office.reports = BUSY
    for number in range(60):
        office.put(number)
        run(office, 1)
    run(office, 2)

    tries = [items for items in office.network.requests if isinstance(items[0], dict)]
    assert 4 <= len(tries) <= 8
    assert (67, 0) == office.arrived


def test_a_long_queue_for_one_endpoint_lets_the_other_have_its_turn(office: TwoEndpoints) -> None:
    """Requests leave in turn: the second is never behind all of the first's."""
    office.put(*range(100))
    office.point(1)
    office.courier().drain()

    first = [isinstance(items[0], dict) for items in office.network.requests[-23:]].index(True)
    assert first <= 1


def test_operator_s_send_asks_each_endpoint_until_it_says_no(office: TwoEndpoints) -> None:
    """One that is busy gets one request; the other everything; what is left, and why, is told."""
    office.put(*range(90))
    office.reports = BUSY
    before = len(office.network.requests)

    progress = office.courier().drain()

    assert (97, 1, "HTTP 503", False) == (progress.delivered, progress.waiting, progress.last_error, progress.done)
    reports = [items for items in office.network.requests[before:] if isinstance(items[0], dict)]
    assert 1 == len(reports)


def test_an_endpoint_that_takes_long_to_fail_does_not_end_the_operator_s_send(office: TwoEndpoints) -> None:
    """Longer than the drain looks at a time: the other's things are sent all the same."""

    def slowly(items: list[Any]) -> Response:
        if isinstance(items[0], dict):
            time.sleep(TICK + 0.1)
            return DOWN
        return OK

    office.network.otherwise = slowly
    progress = office.courier().drain()

    assert (7, 1) == (progress.delivered, progress.waiting)


def test_one_endpoint_s_things_can_be_sent_alone(office: TwoEndpoints) -> None:
    """By the lane's name."""
    office.courier().drain(only=[TWO.event_lane])
    assert (7, 0) == office.arrived
    office.courier().drain(only=[""])
    assert (7, 1) == office.arrived


def test_doubt_about_one_endpoint_outlives_answers_of_the_other(office: TwoEndpoints) -> None:
    """A report that may have arrived is judged as such when it is tried again, whatever came between, also after a
    restart; and a doubt about the items is no doubt about a report."""
    judged: list[tuple[bool, bool]] = []

    def judge(request: Request, response: Response, uncertain: bool) -> Verdict:
        judged.append((request.body.startswith(b"[{"), uncertain))
        return FORMAT.judge(request, response, uncertain)

    fmt = replace(TWO, judge=judge)
    office.reports = DOWN
    office.courier(fmt=fmt).drain()
    assert [(True, False), (False, False), (False, False)] == sorted(judged, reverse=True)
    judged.clear()

    office.put(1)
    office.items = DOWN
    office.reports = OK
    office.courier(fmt=fmt).drain()
    office.items = OK
    office.courier(fmt=fmt).drain()

    assert [(True, True), (False, False), (False, True)] == judged
    assert (8, 1) == office.arrived


def test_in_memory_too(office: TwoEndpoints) -> None:
    """Where no folder can be had: the same."""
    queue = MemoryQueue(lambda: office.stance, office.limits, office.clock)
    queue.put("metrics.signals", [lines.point(Point("usage.a", "sum", office.now, value=3))])
    queue.put("events", [lines.item(b"%d" % number) for number in range(3)])
    office.later(2 * HOUR / 1000)
    office.reports = BUSY

    progress = office.courier(queue=queue).drain()

    assert (3, 1, "HTTP 503") == (progress.delivered, progress.waiting, progress.last_error)
    assert (0, 1) == (queue.backlog(TWO.event_lane).items, queue.backlog("").items)
    assert (0, 1) == (queue.ledger.of(TWO.event_lane).failures, queue.ledger.of("").failures)


def test_another_process_can_have_a_report_made_early(office: TwoEndpoints) -> None:
    """Asked for a report, the holder closes the period that runs, and sends."""
    office.courier().drain()
    office.point(5)
    courier = office.courier(asked=office.ask)
    courier._safe_step()
    assert (7, 1) == office.arrived

    office.asked = "send"
    courier._safe_step()
    assert (7, 1) == office.arrived
    office.asked = EARLY
    courier._safe_step()
    assert (7, 2) == office.arrived
    courier.stop()
    assert 5 == office.network.arrived[-1]["sum"]
