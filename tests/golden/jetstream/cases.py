"""What programs measure, for the goldens of the jetstream format."""

from __future__ import annotations

from tests.support.golden import NOON, Case
from usagewire.formats.ranges import BOUNDARIES, FILE_SIZE, TRANSFER_SIZE
from usagewire.signals import Histogram, Point

JSON = {"endpoint": "https://telemetry.example", "protocol": "http/json"}


def sizes(name: str, *values: int) -> Point:
    """A byte histogram with the documented ranges."""
    bounds = BOUNDARIES[name]
    buckets = [0] * (len(bounds) + 1)
    for value in values:
        buckets[sum(value > bound for bound in bounds)] += 1
    return Point(name, "histogram", NOON, histogram=spread(*values, bounds=bounds, buckets=tuple(buckets)), unit="By")


def samples(name: str, *values: float) -> Point:
    """A histogram with exact moments."""
    return Point(name, "histogram", NOON, histogram=spread(*values))


def spread(*values: float, bounds: tuple[float, ...] = (), buckets: tuple[int, ...] = ()) -> Histogram:
    """The distribution of ``values``."""
    count, mean = len(values), sum(values) / len(values)
    m2 = sum((value - mean) ** 2 for value in values)
    return Histogram(count, sum(values), min(values), max(values), mean, m2, bounds, buckets)


def transfers(state: str, count: float) -> Point:
    """How many transfers entered a state."""
    return Point("usage.transfer.count", "sum", NOON, {"usage.transfer.state": state}, value=count)


FILES = sizes(FILE_SIZE, 0, 1, 1023, 1024, 137438953471, 137438953472)
ALL = [
    FILES,
    sizes(TRANSFER_SIZE, 1048575, 1048576, 2**40),
    transfers("queued", 3),
    transfers("started", 3),
    transfers("completed", 2),
    transfers("failed", 1),
    samples("usage.transfer.round_trip_time", 0.25, 0.75),
    samples("usage.transfer.rate.samples", 1e9 - 1, 1e9, 1e9 + 1),
    Point("usage.transfer.rate", "gauge", NOON, value=1e9),
    samples("usage.transmission.rate.samples", 2048.0),
]

CASES = {
    # counters that did not move: no session
    "empty": Case(points=[transfers("queued", 0)], settings=JSON),
    "one": Case(points=[FILES], settings=JSON),
    "two": Case(
        points=[sizes(TRANSFER_SIZE, 2**62, 2**53 + 1), transfers("queued", 2)],
        settings={**JSON, "license": "ABCD-EFGH", "server_id": "ferry-7", "revision": 42},
        attempt=3,
    ),
    # data sets of the vendor's own: of a counter the sum, of a gauge the value, of a histogram the count
    "nested": Case(
        points=[
            transfers("failed", 1),
            Point("usage.entity.count", "gauge", NOON, {"usage.entity.type": "user"}, value=12),
            Point("usage.entity.count", "gauge", NOON, {"usage.entity.type": "gateway"}, value=3),
            Point("usage.checksum.time", "sum", NOON, value=0.5),
            samples("usage.wait", 1.0, 2.0),
        ],
        settings={
            **JSON,
            "data_sets": {
                "entities": ["usage.entity.count", "usage.entity.count{usage.entity.type=user}", "usage.entity.gone"],
                "Checksums": ["usage.checksum.time", "usage.wait", "usage.transfer.count{usage.transfer.state=failed}"],
                "idle": ["usage.entity.gone"],
            },
        },
    ),
    # what no data set can be made of, beside what can
    "odd": Case(
        points=[
            Point(FILE_SIZE, "histogram", NOON, histogram=Histogram(1, 5, 5, 5, 5, 0, (10.0,), (1, 0))),
            Point(TRANSFER_SIZE, "sum", NOON, value=7),
            Point("usage.transfer.round_trip_time", "histogram", NOON, histogram=Histogram(2, 3.0, 1.0, 2.0, 1.5)),
            Point("usage.transfer.rate", "gauge", NOON, value=float("nan")),
            Point("usage.transmission.rate", "gauge", NOON, {"link": "a"}, value=5),
            Point("usage.capacity", "gauge", NOON, value=1),
            Point("usage.mine", "sum", NOON, value=1),
            transfers("lost", 1),
            transfers("queued", 2.0),
        ],
        settings=JSON,
    ),
    # everything, as it goes over the wire by default
    "grpc": Case(points=ALL, settings={"endpoint": "https://telemetry.example", "license": "ABCD-EFGH", "revision": 1}),
    "protobuf": Case(points=[FILES], settings={"endpoint": "https://telemetry.example", "protocol": "http/protobuf"}),
}
