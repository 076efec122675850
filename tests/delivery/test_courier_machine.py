"""Whatever happens, in whatever order: the books balance, every item leaves once per acceptance, in order.

Programs come and go, processes restart or die, the endpoint answers in every way, the clock jumps, the operator asks.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.couriers import DOWN, FORMAT, LIMIT, OK, Answer, Office
from usagewire.delivery.courier import Courier
from usagewire.delivery.lane import LONGEST_BACK_OFF
from usagewire.signals import Response

MEMORY = Path("/dev/shm")
ANSWERS = st.lists(
    st.sampled_from([DOWN, Response(503), Response(299), Response(200, body=b"0"), 1, 2, LIMIT - 1])
    | st.integers(1, 400).map(lambda wait: Response(429, {"retry-after": str(wait)})),
    max_size=4,
)


class Delivery(RuleBasedStateMachine):
    """The real courier and consumer on a folder, against an oracle that knows every number it put in."""

    @initialize(lane=st.sampled_from(["", "events"]))
    def begin(self, lane: str) -> None:
        # thousands of fsyncs are not what is tried here
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.office = Office(self.folder, fmt=replace(FORMAT, event_lane=lane), queue_ttl_millis=1 << 60)
        self.count = 0
        self.points = 0
        self.bad: set[int] = set()
        self.office.network.otherwise = self.answer
        self.couriers: list[Courier] = [self.office.courier()]
        self.batches: list[range] = []

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        try:
            self.settle()
        finally:
            shutil.rmtree(self.folder)

    def answer(self, items: list[Any]) -> Response:
        """What an endpoint says that finds nothing else wrong than poisoned items."""
        return Response(400) if self.bad & {item for item in items if isinstance(item, int)} else OK

    # -- what may happen ------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 2 * LIMIT), poisoned=st.sets(st.integers(0, 9), max_size=2))
    def a_program_writes_and_ends(self, count: int, poisoned: set[int]) -> None:
        self.bad |= {self.count + number for number in poisoned if number < count}
        self.office.put(*range(self.count, self.count + count))
        self.batches.append(range(self.count, self.count + count))
        self.count += count
        self.office.later(0.001)

    @rule(value=st.integers(1, 5))
    def a_program_counts(self, value: int) -> None:
        self.office.point(value)
        self.points += value

    @rule(seconds=st.sampled_from([0.1, 1.0, 30.0, 400.0, 4_000.0, -1.0, -4_000.0, 1e8]))
    def time_passes_or_jumps(self, seconds: float) -> None:
        self.office.now = max(1_700_000_000 * 10**9, self.office.now + int(seconds * 1e9))

    @rule(answers=ANSWERS, hurry=st.booleans(), force=st.booleans(), short=st.booleans(), which=st.integers(0, 9))
    def a_courier_looks(self, answers: list[Any], hurry: bool, force: bool, short: bool, which: int) -> None:
        self.say(answers)
        courier = self.couriers[which % len(self.couriers)]
        pause = courier.step(hurry=hurry, force=force, until=0.0 if short else None)
        assert 0 < pause <= 1

    @rule()
    def another_process_starts(self) -> None:
        if len(self.couriers) < 2:
            self.couriers.append(self.office.courier())

    @rule(which=st.integers(0, 9), killed=st.booleans())
    def a_process_ends_or_is_killed(self, which: int, killed: bool) -> None:
        courier = self.couriers.pop(which % len(self.couriers))
        courier.after_fork() if killed else courier.stop()
        self.couriers.append(self.office.courier())

    @rule(answers=ANSWERS, force=st.booleans())
    def the_operator_sends(self, answers: list[Any], force: bool) -> None:
        if any(courier.holds for courier in self.couriers):
            return
        self.say(answers)
        before = len(self.office.network.requests)
        progress = self.office.courier().drain(force=force)
        assert progress.done or progress.last_error
        assert len(self.office.network.requests) - before <= 2 * self.count + 10

    def say(self, answers: list[Any]) -> None:
        """What the endpoint will say, in turn; a number is how many items of a request it will take."""

        def part(taken: int) -> Answer:
            def answer(items: list[Any]) -> Response:
                clean = not self.bad & {item for item in items[:taken] if isinstance(item, int)}
                return Response(200, body=str(taken).encode()) if clean and taken < len(items) else self.answer(items)

            return answer

        self.office.network.answers = [part(said) if isinstance(said, int) else said for said in answers]

    # -- what always holds ----------------------------------------------------------------------------------------

    @invariant()
    def the_books_balance(self) -> None:
        if not hasattr(self, "office"):
            return
        arrived = [item for item in self.office.network.arrived if isinstance(item, int)]
        waiting = [item for item in self.office.waiting() if isinstance(item, int)]
        rejected = self.count - len(arrived) - len(waiting)
        assert len(arrived) == len(set(arrived)), "arrived twice"
        for batch in self.batches:
            assert [item for item in batch if item in set(arrived)] == [item for item in arrived if item in batch]
        assert not set(arrived) & self.bad
        assert not set(arrived) & set(waiting)
        lost = dict(self.office.totals().lost)
        assert lost == ({"rejected": rejected} if rejected else {})

    def settle(self) -> None:
        """In the end, all that can be delivered is: within the longest wait, in the order of its writing."""
        self.office.network.answers = []
        for courier in self.couriers:
            courier.stop()
        self.office.later(LONGEST_BACK_OFF * 1.1 + 1)
        assert self.office.courier().drain().done
        self.office.later(7_200)
        assert self.office.courier().drain().done

        numbers = [item for item in self.office.network.arrived if isinstance(item, int)]
        reports = [item for item in self.office.network.arrived if isinstance(item, dict)]
        assert set(range(self.count)) - self.bad == set(numbers)
        assert len(numbers) == len(set(numbers))
        assert self.points == sum(report["sum"] for report in reports)
        assert len(reports) == len({report["period"] for report in reports}), "a period left twice"
        totals = self.office.totals()
        assert len(numbers) + len(reports) == totals.delivered
        assert len(self.bad) == totals.lost["rejected"]


TestDelivery = pytest.mark.slow(Delivery.TestCase)
TestDelivery.settings = settings(
    max_examples=40, stateful_step_count=30, suppress_health_check=list(HealthCheck), deadline=None
)
