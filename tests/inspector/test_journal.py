"""What the page remembers of what arrived: bounded, and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from usagewire.formats import BUILT_IN
from usagewire.inspector.charts import Picture, ceiling, columns, over_time, short
from usagewire.inspector.figures import MINUTE, OTHERS
from usagewire.inspector.journal import Filter, Journal, page
from usagewire.inspector.pictures import drawn
from usagewire.inspector.receiver import Receiver
from usagewire.inspector.records import Records
from usagewire.inspector.routes import Received

GOLDEN = Path(__file__).parents[1] / "golden"
PATHS = {"jina": "/jina", "tts": "/collect", "stone": "/report", "jetstream": "/v1/telemetry", "segment": "/v1/batch"}


def arrive(journal: Journal, body: Any, path: str = "/v1/batch", method: str = "POST", minute: int = 1_000) -> None:
    """One request, checked as a receiver does."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    records = Records(watch=journal.take, remember=False)
    records.take(Received(minute * MINUTE, method, path, headers, raw, raw, 1))
    assert [] == records.requests


def golden(name: str, line: int = -1) -> bytes:
    """A body of a golden."""
    return (GOLDEN / f"{name}.out").read_bytes().splitlines()[line]


def segment(*names: str, **properties: Any) -> dict[str, Any]:
    """A batch with events so called."""
    return {"batch": [{"event": name, "properties": properties} for name in names]}


def test_the_newest_are_kept_and_all_are_counted() -> None:
    """Past its bytes the oldest requests go; numbers, counts and pictures still know of them."""
    journal = Journal(most_bytes=20_000)
    for number in range(100):
        arrive(journal, segment(f"event_{number % 3}"))

    kept = journal.arrivals()

    assert (100, 100) == (journal.total, journal.events)
    assert 100 == kept[0].number > kept[-1].number > 90
    assert kept[-1] is journal.find(kept[-1].number)
    assert journal.find(1) is journal.find(101) is None
    assert {"event_0": 34, "event_1": 33, "event_2": 33} == journal.figures.names
    journal.clear()
    assert ([], 0, 0) == (journal.arrivals(), journal.total, journal.events)


def test_filters_and_pages() -> None:
    """Each filter narrows it down, and a page says whether more follow."""
    journal = Journal()
    for _ in range(5):
        arrive(journal, segment("server_start"))
    arrive(journal, golden("stone/full"), "/report", "PUT")
    arrive(journal, b"{", "/jina")

    def numbers(wanted: Filter, number: int = 1, size: int = 3) -> tuple[list[int], bool]:
        rows, more = page(wanted.select(journal.arrivals()), number, size)
        return [one.number for one in rows], more

    assert ([7, 6, 5], True) == numbers(Filter())
    assert ([1], False) == numbers(Filter(), 3)
    assert ([6], False) == numbers(Filter(format="stone"))
    assert ([6], False) == numbers(Filter(channel="crash"))
    assert ([5, 4, 3], True) == numbers(Filter(event="SERVER"))
    assert ([7], False) == numbers(Filter(format="jina", wrong=True))


def test_pictures_of_all_formats() -> None:
    """From the goldens of the five formats every picture has something to draw, with the numbers they hold."""
    journal = Journal()
    arrive(journal, golden("jetstream/grpc", 2), "/v1/telemetry")
    arrive(journal, golden("segment/one"))
    arrive(journal, golden("jina/one"), "/jina")
    arrive(journal, golden("tts/one"), "/collect")
    arrive(journal, golden("stone/full"), "/report", "PUT")

    pictures, rankings = drawn(journal.figures)

    assert [
        "events", "file-sizes", "transfer-sizes", "round-trip-times", "transfer-rates", "transmission-rates",
    ] == [picture.name for picture in pictures]  # fmt: skip
    assert set(BUILT_IN) == set(pictures[0].legend)
    assert [6, 3] == [sum(journal.figures.sizes[name]) for name in ("file sizes", "transfer sizes")]
    assert (0.25, 0.5, 0.75) == tuple(
        getattr(journal.figures.samples["round trip times"][0], name) for name in ("low", "mean", "high")
    )
    assert 480 == journal.figures.entities["end devices"]
    assert 12 == journal.figures.entities["osd · count"]
    assert {"linux": 2, "Linux": 1} == journal.figures.versions["platform"]
    assert ["names", "entities", "versions"] == [ranking.name for ranking in rankings]


def test_metrics_of_segment_are_pictured_too() -> None:
    """The distributions that segment carries fill the same pictures."""
    journal = Journal()
    bounds = [0, 1023, 8191, 65535, 524287, 4194303, 33554431, 268435455, 2147483647, 17179869183, 137438953471]
    buckets = {"bounds": bounds, "counts": [1] * 12}
    arrive(journal, segment("usage.file.size", count=12, buckets=buckets))
    arrive(journal, segment("usage.transfer.round_trip_time", count=2, min=0.1, mean=0.2, max=0.3))
    arrive(journal, segment("usage.entity.count", value=7, **{"usage.entity.type": "host"}))

    assert [1] * 12 == journal.figures.sizes["file sizes"]
    assert 0.2 == journal.figures.samples["round trip times"][0].mean
    assert {"host": 7} == journal.figures.entities


@pytest.mark.parametrize("path", PATHS.values())
@pytest.mark.parametrize(
    "body",
    [
        *(b"null", b"[]", b"{}", b'[{},{"key":{},"values":[{}]}]', b'{"batch":[1,{},[]]}'),
        b'{"event":{},"message":{"os":[],"entities_count":{"a":1e999}},"metadata":[]}',
    ],
)
def test_nothing_that_arrives_breaks_the_figures(path: str, body: bytes) -> None:
    """Whatever is sent to any route is counted as it can be."""
    journal = Journal()

    arrive(journal, body, path, "PUT" if path == "/report" else "POST")
    drawn(journal.figures)

    assert 1 == journal.total


def test_many_different_names_are_told_apart_up_to_a_number() -> None:
    """A client that makes up names fills no memory."""
    journal = Journal()
    for start in range(0, 1_000, 100):
        arrive(journal, segment(*(f"event_{number}" for number in range(start, start + 100))))

    assert 201 == len(journal.figures.names)
    assert 800 == journal.figures.names[OTHERS]
    assert 1_000 == journal.figures.names.total()


def test_columns_of_time_hold_every_event() -> None:
    """However long the time, the columns are few and their sum is what happened."""
    for minutes in ([5], [5, 6], list(range(0, 3_000, 7)), [0, 1 << 40]):
        journal = Journal()
        for minute in minutes:
            arrive(journal, segment("a"), minute=minute)

        [events, *_] = drawn(journal.figures)[0]

        assert len(minutes) == sum(int(row[1]) for row in events.rows)
        assert len(events.bars) <= 4 * 48


def test_numbers_in_few_characters() -> None:
    """Axes end at a round number above the highest, and numbers are short."""
    assert [1, 2, 5, 10, 20, 0.5] == [ceiling(number) for number in (0, 1.5, 3, 7, 11, 0.3)]
    assert ["0", "999", "12k", "1.5M", "3G"] == [short(number) for number in (0, 999, 12_000, 1_500_000, 3e9)]
    assert ["250µ", "2.5m", "0.025"] == [short(number) for number in (0.00025, 0.0025, 0.025)]
    drawn_: Picture = columns("n", "t", "c", ["a", "b"], {"x": [1, 0], "y": [3, 4]})
    assert 3 == len(drawn_.bars)
    assert [("a", "1", "3"), ("b", "0", "4")] == [*drawn_.rows]


def test_a_receiver_that_runs_for_days_keeps_nothing_itself() -> None:
    """What it does not remember is left to who watches."""
    journal = Journal()
    with Receiver(watch=journal.take, remember=False) as receiver:
        assert [] == receiver.requests
        assert over_time("n", "t", "c", journal.figures.minutes, BUILT_IN).rows == []
