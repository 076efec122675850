"""usagewire.state.fold"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Sequence
from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.state import distribution, events, points
from usagewire.signals import Event, Histogram, Point
from usagewire.state import fold as folding
from usagewire.state import lines
from usagewire.state.fold import Gathered, Keep, fold, merge_histograms

VALUES = st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=30)


@given(VALUES, st.randoms(use_true_random=False))
def test_any_order_and_split_gives_the_same_sum(values: list[int], drawn: random.Random) -> None:
    """Which process saw which point, and which was folded first, does not matter."""
    payloads = [lines.point(Point("usage.a", "sum", time, {"k": 1}, value)) for time, value in enumerate(values)]
    drawn.shuffle(payloads)
    cut = drawn.randint(0, len(payloads))
    gathered = Gathered()

    fold(gathered, payloads[:cut], "one")
    fold(gathered, payloads[cut:], "two")

    assert (Point("usage.a", "sum", len(values) - 1, {"k": 1}, sum(values)),) == gathered.points()


@given(VALUES, st.randoms(use_true_random=False))
def test_merged_moments_are_those_of_all_values(values: list[int], drawn: random.Random) -> None:
    """Mean and variance come out as if one process had seen every value."""
    drawn.shuffle(values)
    cut = drawn.randint(0, len(values))
    empty = Histogram(0, 0, bounds=(0.0,), buckets=(0, 0))
    left, right = (distribution(part) if part else empty for part in (values[:cut], values[cut:]))

    merged = merge_histograms(left, right)

    whole = distribution(values)
    assert (whole.count, whole.sum, whole.min, whole.max) == (merged.count, merged.sum, merged.min, merged.max)
    assert whole.buckets == merged.buckets
    assert merged.mean is not None
    assert merged.m2 is not None
    assert isclose(statistics.fmean(values), merged.mean, rel_tol=1e-9, abs_tol=1e-6)
    assert isclose(statistics.pvariance(values), merged.m2 / merged.count, rel_tol=1e-6, abs_tol=1e-3)


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abc")), min_size=1, unique=True), st.randoms())
def test_newest_gauge_wins_in_any_order(seen: list[tuple[int, str]], drawn: random.Random) -> None:
    """By time, then by the process that saw it."""
    latest = max(seen)
    drawn.shuffle(seen)
    gathered = Gathered()
    for time, token in seen:
        fold(gathered, [lines.point(Point("usage.g", "gauge", time, value=time * 100 + ord(token)))], token)

    assert [latest[0] * 100 + ord(latest[1])] == [point.value for point in gathered.points()]


def test_different_bounds_keep_everything_but_the_buckets() -> None:
    """Counts cannot be moved between buckets that do not match."""
    one = distribution([1, 2])
    two = Histogram(1, 5, 5, 5, 5, 0, bounds=(1.0, 2.0), buckets=(0, 0, 1))

    merged = merge_histograms(one, two)

    assert ((), ()) == (merged.bounds, merged.buckets)
    assert (3, 8, 1, 5) == (merged.count, merged.sum, merged.min, merged.max)


def test_unknown_variance_stays_unknown() -> None:
    """A side without exact moments makes the variance of both unknown, not wrong."""
    merged = merge_histograms(distribution([1, 2]), Histogram(2, 7, mean=3.5))

    assert (None, 2.5) == (merged.m2, merged.mean)


def test_overflow_stays_a_number() -> None:
    """A sum past what a float can be is held at its end: infinity has no JSON form and would break the ledger."""
    gathered = Gathered()
    fold(gathered, [lines.point(Point("usage.a", "sum", 1, value=sys.float_info.max))] * 2, "t")

    assert [sys.float_info.max] == [point.value for point in Gathered.from_json(gathered.to_json()).points()]


def test_series_differ_by_name_kind_unit_and_attributes() -> None:
    """And by nothing else: the order of attributes does not matter."""
    gathered = Gathered()
    for point in (
        Point("usage.a", "sum", 1, {"x": 1, "y": 2}, 1),
        Point("usage.a", "sum", 1, {"y": 2, "x": 1}, 1),
        Point("usage.a", "gauge", 1, {"x": 1, "y": 2}, 1),
        Point("usage.a", "sum", 1, {"x": 1, "y": 2}, 1, unit="By"),
        Point("usage.a", "sum", 1, {"x": 1}, 1),
        Point("usage.b", "sum", 1, {"x": 1, "y": 2}, 1),
    ):
        gathered.add(point, "t", 10)

    assert [2, 1, 1, 1, 1] == [point.value for point in gathered.points()]


def test_period_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """More series or more bytes of events than a ledger should hold are lost as ``quota``."""
    monkeypatch.setattr(folding, "MOST_SERIES", 2)
    monkeypatch.setattr(folding, "MOST_EVENT_BYTES", 100)
    gathered = Gathered()
    series = [lines.point(Point("usage.a", "sum", 1, {"n": number}, 1)) for number in (1, 2, 3, 1)]
    said = [lines.event(Event("e", 1, "0" * 32))] * 2

    assert {"quota": 2} == fold(gathered, [*series, *said], "t")
    assert [2, 1] == [point.value for point in gathered.points()]
    assert 1 == len(gathered.events)


def newest(count: int) -> Keep:
    """The newest so many; the others are a loss, unless they are a minute old when the period has ended."""

    def keep(events: Sequence[Event], ended: int | None) -> tuple[Sequence[Event], int]:
        lost = max(0, len(events) - count)
        kept = events[lost:]
        return [event for event in kept if ended is None or ended - event.time < 60], lost

    return keep


def test_format_makes_room_for_newer_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are too many, those that still count stay, the newest among them; the others are counted."""
    said = [Event("e", time, "0" * 32) for time in range(100)]
    size = len(lines.event(said[10]))
    monkeypatch.setattr(folding, "MOST_EVENT_BYTES", 20 * size)
    gathered = Gathered()

    losses = fold(gathered, map(lines.event, said), "t", newest(5))

    assert said[-len(gathered.events) :] == gathered.events
    assert 5 <= len(gathered.events) <= 20
    assert {"quota": 100 - len(gathered.events)} == losses


def test_no_more_than_half_the_room_is_left_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A format that parts with nothing does not stop the period: the oldest go."""
    said = [Event("e", time, "0" * 32) for time in range(100)]
    size = len(lines.event(said[10]))
    monkeypatch.setattr(folding, "MOST_EVENT_BYTES", 20 * size)
    gathered = Gathered()

    losses = fold(gathered, map(lines.event, said), "t", newest(100))

    assert said[-len(gathered.events) :] == gathered.events
    assert {"quota": 100 - len(gathered.events)} == losses


def test_what_outlives_a_period_is_nothing_to_report() -> None:
    """The next one begins with it and is due only when something is added."""
    gathered = Gathered()
    said = [Event("e", time, "0" * 32) for time in (1, 50, 100)]
    fold(gathered, map(lines.event, said), "t")

    carried, lost = gathered.carry(newest(2), 105)

    assert ([said[1], said[2]], 1, False) == (carried.events, lost, bool(carried))
    assert carried == Gathered.from_json(carried.to_json()) == carried.copy()
    carried.add(said[0], "t", 1)
    assert carried


def test_reported_losses_are_handed_on_and_nonsense_is_counted() -> None:
    """A segment's own losses come out; a payload that is no signal is one more."""
    assert {"plan": 2, "corrupt": 2} == fold(Gathered(), [lines.lost({"plan": 2}), b"[]", b'{"item":1}'], "t")


@given(st.lists(points() | events(), max_size=10))
def test_gathered_survives_json(signals: list[Event | Point]) -> None:
    """What a ledger stores is what it had."""
    gathered = Gathered()
    for signal in signals:
        gathered.add(signal, "t", 10)

    assert gathered == Gathered.from_json(gathered.to_json())
