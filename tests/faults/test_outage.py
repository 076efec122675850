"""R5: a week without the endpoint, under a clock that the test turns; the queue and the courier are the real ones."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.couriers import DOWN, OK, Office
from tests.support.state import HOUR, SECOND
from usagewire.state.ledger import LONGEST_WAIT

pytestmark = pytest.mark.slow

MEMORY = Path("/dev/shm")
PACE = 300
"""Seconds between two looks: as if the machine slept in between, which changes nothing."""
EVERY = 4
"""Looks per event."""
LOOKS = 7 * 24 * 3_600 // PACE


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory, where there is such a thing: a week has thousands of fsyncs."""
    found = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    yield found
    shutil.rmtree(found)


def outage(office: Office) -> list[int]:
    """A week of events without the endpoint; returns the numbers written, oldest first."""
    office.network.otherwise = lambda items: DOWN
    courier = office.courier()
    written: list[int] = []
    for look in range(LOOKS):
        if look % EVERY == 0:
            office.put(look)
            written.append(look)
        if look % 500 == 499:  # a restart now and then
            courier.stop()
            courier = office.courier()
        courier.step()
        if courier.holds:
            assert courier._queue.ledger.outcome.wait(office.now) <= LONGEST_WAIT
        office.later(PACE)
    courier.stop()
    return written


def test_after_a_week_everything_arrives_oldest_first(folder: Path) -> None:
    """The endpoint is asked every five minutes or so, not more, not less; when it is back, all is delivered within the
    longest wait, in the order in which it was written."""
    office = Office(folder)
    written = outage(office)
    gaps = [
        (late - early) / SECOND for early, late in zip(office.network.times, office.network.times[1:], strict=False)
    ]

    assert LOOKS // 3 < len(office.network.requests) < LOOKS
    assert max(gaps) <= LONGEST_WAIT / SECOND + 2 * PACE
    assert written == office.waiting()

    office.network.otherwise = lambda items: OK
    courier = office.courier()
    back = office.now
    while office.waiting():
        assert office.now - back <= LONGEST_WAIT + SECOND
        courier.step()
        office.later(1)
    courier.stop()

    assert written == office.network.arrived
    assert (len(written), {}) == (office.totals().delivered, dict(office.totals().lost))


@pytest.mark.parametrize(
    ("limit", "value", "reason"), [("queue_bytes", 1 << 20, "quota"), ("queue_ttl_millis", 48 * HOUR, "ttl")]
)
def test_what_does_not_fit_is_counted_and_the_newest_stay(folder: Path, limit: str, value: int, reason: str) -> None:
    """Past the quota, or the time to live, the oldest go and are counted; the rest arrives oldest first."""
    office = Office(folder, None, **{limit: value})
    written = outage(office)
    office.network.otherwise = lambda items: OK
    office.later(LONGEST_WAIT / SECOND)
    assert office.courier().drain().done

    arrived = office.network.arrived
    assert 100 < len(arrived) < len(written)
    assert written[-len(arrived) :] == arrived
    assert {reason: len(written) - len(arrived)} == dict(office.totals().lost)
    assert len(arrived) == office.totals().delivered
