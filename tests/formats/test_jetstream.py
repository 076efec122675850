"""JetStream: the document's keys, ranges and orders, and what a period does with points that do not fit them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.golden.jetstream.cases import ALL, FILES, JSON, samples, sizes, spread, transfers
from tests.support.golden import NOON, ORIGIN, SECOND, Case, items, packed, settings_for
from usagewire.config import resolve
from usagewire.errors import Unsendable
from usagewire.formats import load
from usagewire.formats.jetstream.codec import from_protobuf, to_protobuf
from usagewire.formats.jetstream.data_sets import DOCUMENTED, METRICS, key
from usagewire.formats.ranges import BOUNDARIES, FILE_SIZE, TRANSFER_SIZE
from usagewire.inspector.checks.jetstream import VALUES, complaints
from usagewire.policy.plan import load as load_plan
from usagewire.signals import Delivered, Histogram, Item, Period, Point, Rejected, Request, Response, Retry
from usagewire.state.fold import Gathered

FORMAT = load("jetstream")
ROOT = Path(__file__).parents[2]


def session(points: Sequence[Point], **settings: Any) -> list[Any]:
    """What a period of these points reports, taken in and folded as in real life."""
    resolved = settings_for(FORMAT, {**JSON, **settings})
    gathered = Gathered()
    for number, point in enumerate(points):
        admitted = FORMAT.admit(point, resolved)
        if admitted is not None:
            assert gathered.add(admitted, f"process {number % 2}", 100)
    period = Period(1, NOON - 900 * SECOND, NOON, gathered.points(), (), "5e" * 16)
    assert FORMAT.compile is not None
    found = FORMAT.compile(period, ORIGIN, resolved, NOON)
    if not found:
        return []
    [request], _ = zip(*packed(FORMAT, found, resolved), strict=True)
    sent: list[Any] = orjson.loads(request.body)
    assert [] == list(complaints(sent))
    return sent


def sets(points: Sequence[Point], **settings: Any) -> dict[int, list[Any]]:
    """Key → values."""
    return {data["key"]: data["values"] for data in session(points, **settings)[1:]}


# -- keys ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "documented"),
    [
        ("file sizes", 1418807137),
        ("transfer sizes", 2208889336),
        ("transfer status", 4185460380),
        ("round trip times", 4229049640),
        ("transfer rates", 4160655433),
        ("transmission rates", 3920873570),
    ],
)
def test_keys_are_the_documented_ones(name: str, documented: int) -> None:
    """Six of six, from the names alone."""
    assert documented == key(name) == key(name.upper())
    assert name in DOCUMENTED


# -- ranges -------------------------------------------------------------------------------------------------------

FILE_RANGES = [
    (0, 0), (1, 1023), (1024, 8191), (8192, 65535), (65536, 524287), (524288, 4194303), (4194304, 33554431),
    (33554432, 268435455), (268435456, 2147483647), (2147483648, 17179869183), (17179869184, 137438953471),
    (137438953472, 2**62),
]  # fmt: skip
TRANSFER_RANGES = [
    (0, 1048575), (1048576, 4194303), (4194304, 16777215), (16777216, 67108863), (67108864, 268435455),
    (268435456, 1073741823), (1073741824, 4294967295), (4294967296, 17179869183), (17179869184, 68719476735),
    (68719476736, 274877906943), (274877906944, 1099511627775), (1099511627776, 2**62),
]  # fmt: skip


@pytest.mark.parametrize(("number", "limits"), list(enumerate(FILE_RANGES)))
def test_file_sizes_count_in_the_documented_ranges(number: int, limits: tuple[int, int]) -> None:
    """Both ends of every range of the document, which counts its indices from 1."""
    values = sets([sizes(FILE_SIZE, *limits)])[key("file sizes")]

    assert 13 == len(values)
    assert (2, 2) == (values[0], values[1 + number])
    assert 2 == sum(values[1:])


@pytest.mark.parametrize(("number", "limits"), list(enumerate(TRANSFER_RANGES)))
def test_transfer_sizes_count_in_the_documented_ranges(number: int, limits: tuple[int, int]) -> None:
    """Total bytes, transfers queued, then the ranges."""
    values = sets([sizes(TRANSFER_SIZE, *limits)])[key("transfer sizes")]

    assert 14 == len(values)
    assert (sum(limits), 2, 2) == (values[0], values[1], values[2 + number])
    assert 2 == sum(values[2:])


# -- statistics ---------------------------------------------------------------------------------------------------

STATISTICS = [
    ("round trip times", "usage.transfer.round_trip_time"),
    ("transfer rates", "usage.transfer.rate.samples"),
    ("transmission rates", "usage.transmission.rate.samples"),
]


@pytest.mark.parametrize(("name", "metric"), STATISTICS)
def test_statistics_are_seven_values(name: str, metric: str) -> None:
    """Offsets in microseconds from the timestamp, count, minimum, maximum, mean, variance of the population."""
    start, end, count, low, high, mean, variance = sets([samples(metric, 1e9 - 1, 1e9, 1e9 + 1)])[key(name)]

    assert (0, 900_000_000, 3, 1e9 - 1, 1e9 + 1, 1e9) == (start, end, count, low, high, mean)
    assert pytest.approx(2 / 3, abs=1e-6) == variance


@given(st.lists(st.lists(st.floats(0, 1e12), min_size=1, max_size=9), min_size=1, max_size=6))
def test_statistics_of_many_processes_are_those_of_all_values(batches: list[list[float]]) -> None:
    """Folded in any batches, the mean lies between the extremes and the variance is that of everything together."""
    values = [value for batch in batches for value in batch]
    points = [samples("usage.transfer.round_trip_time", *batch) for batch in batches]
    _, _, count, low, high, mean, variance = sets(points)[key("round trip times")]

    assert (len(values), min(values), max(values)) == (count, low, high)
    assert pytest.approx(statistics.fmean(values), rel=1e-9, abs=1e-6) == mean
    assert pytest.approx(statistics.pvariance(values), rel=1e-6, abs=max(values) ** 2 * 1e-9 + 1e-9) == variance


@pytest.mark.parametrize("rate", ["usage.transfer.rate", "usage.transmission.rate"])
def test_gauge_is_sampled_where_there_are_no_samples(rate: str) -> None:
    """Every collection is a sample of the gauge; the histogram, which has them all, wins."""
    name = rate.removeprefix("usage.").replace(".", " ") + "s"
    gauges = [Point(rate, "gauge", NOON, value=value) for value in (2.0, 4.0)]

    assert [0, 900_000_000, 2, 2.0, 4.0, 3.0, 1.0] == sets(gauges)[key(name)]
    assert [0, 900_000_000, 1, 7.0, 7.0, 7.0, 0.0] == sets([*gauges, samples(f"{rate}.samples", 7.0)])[key(name)]


def test_transmission_rates_count_files() -> None:
    """By the document the third value is the number of files: completed transfers where they are counted."""
    rates = samples("usage.transmission.rate.samples", 1.0, 2.0, 3.0)

    assert 3 == sets([rates])[key("transmission rates")][2]
    assert 5 == sets([rates, transfers("completed", 5), transfers("queued", 9)])[key("transmission rates")][2]


# -- what is sent -------------------------------------------------------------------------------------------------


def test_session_opens_with_the_information_structure() -> None:
    """In the document's order; times in microseconds."""
    information, *data = session([FILES], license="KEY-1", revision=7, server_id="ferry-7")

    assert {
        "license": "KEY-1",
        "platform": "linux",
        "revision": 7,
        "serverId": "ferry-7",
        "startTime": ORIGIN.started // 1_000,
    } == information
    assert ["license", "platform", "revision", "serverId", "startTime"] == list(information)
    assert [(NOON - 900 * SECOND) // 1_000] == [one["timestamp"] for one in data]


def test_idle_data_sets_are_not_sent() -> None:
    """Only what has something new; nothing new, no session."""
    assert {key("transfer status")} == set(sets([transfers("queued", 1)]))
    assert [] == session([transfers("queued", 0)])
    assert set(map(key, DOCUMENTED)) == set(sets(ALL))


def test_totals_stay_whole() -> None:
    """Bytes past 2^53, where a double loses them; counts of a counter that adds floats are whole as well."""
    values = sets([sizes(TRANSFER_SIZE, 2**60, 1), transfers("failed", 3.0)])

    assert 2**60 + 1 == values[key("transfer sizes")][0]
    assert b"[0,0,0,3]" == orjson.dumps(values[key("transfer status")])


def test_attributes_of_ones_own_add_up() -> None:
    """Instruments with more attributes than the conventions name still make one set."""
    points = [
        Point(p.name, p.kind, p.time, {**p.attributes, "tenant": tenant}, p.value, p.histogram)
        for p in (FILES, transfers("queued", 2))
        for tenant in ("a", "b")
    ]
    found = sets(points)

    assert (12, 4) == (found[key("file sizes")][0], found[key("transfer status")][0])


# -- what does not fit --------------------------------------------------------------------------------------------


def unfit(point: Point, **settings: Any) -> str:
    """Why the point cannot be used."""
    with pytest.raises(Unsendable) as caught:
        FORMAT.admit(point, settings_for(FORMAT, {**JSON, **settings}))
    assert "unfit" == caught.value.reason
    return caught.value.detail


def histogram(name: str, found: Histogram) -> Point:
    """A point."""
    return Point(name, "histogram", NOON, histogram=found)


@pytest.mark.parametrize("name", list(BOUNDARIES))
def test_other_boundaries_cannot_be_split(name: str) -> None:
    """The point is named; a total beside ranges that do not add up would be wrong."""
    assert f"{name}: its buckets are not" in unfit(histogram(name, spread(1.0, bounds=(1.0,), buckets=(1, 0))))
    assert f"{name}: its buckets are not" in unfit(histogram(name, spread(1.0)))
    assert f"{name}: a histogram is needed, not a sum" in unfit(Point(name, "sum", NOON, value=1))


def test_statistics_need_an_exact_variance() -> None:
    """Moments that a View, or an SDK that ours does not fit, took away, or that overflowed."""
    for found in (
        Histogram(2, 3.0, 1.0, 2.0, 1.5),
        Histogram(2, 3.0, mean=1.5, m2=0.5),
        Histogram(2, 0.0, -1e200, 1e200, 0.0, float("inf")),
    ):
        assert "variance is not known exactly" in unfit(histogram("usage.transfer.round_trip_time", found))


def test_transfer_states_are_four() -> None:
    """Anything else has no place among the values."""
    assert "usage.transfer.state = queued" in unfit(transfers("paused", 1))
    assert "counter" in unfit(Point("usage.transfer.count", "gauge", NOON, {"usage.transfer.state": "queued"}, 1))


def test_metrics_of_no_data_set_have_no_place() -> None:
    """Neither kept nor sent."""
    settings = settings_for(FORMAT, JSON)

    assert None is FORMAT.admit(Point("usage.capacity", "gauge", NOON, value=1), settings)
    assert not FORMAT.carries_events


# -- data sets of the vendor's own --------------------------------------------------------------------------------


def test_own_data_sets_are_keyed_by_their_names() -> None:
    """A source is one value: sum, newest value, or count; some series or all; 0 where there is nothing."""
    points = [
        Point("usage.entity.count", "gauge", NOON, {"usage.entity.type": "user"}, 12),
        Point("usage.entity.count", "gauge", NOON, {"usage.entity.type": "gateway"}, 3),
        Point("usage.checksum.time", "sum", NOON, value=0.5),
        Point("usage.checksum.time", "sum", NOON, value=0.25),
        samples("usage.wait", 1.0, 2.0),
        transfers("failed", 4),
    ]
    found = sets(
        points,
        data_sets={
            "entities": ["usage.entity.count", "usage.entity.count{usage.entity.type=user}", "usage.gone"],
            "work": ["usage.checksum.time", "usage.wait", "usage.transfer.count { usage.transfer.state = failed }"],
            "idle": ["usage.gone"],
        },
    )

    assert {
        key("transfer status"): [0, 0, 0, 4],
        key("entities"): [15, 12, 0],
        key("work"): [0.75, 2, 4],
    } == found


def test_own_data_sets_may_come_as_text() -> None:
    """From the environment."""
    point = Point("usage.wait", "sum", NOON, value=1)

    assert {key("a b"): [1, 0], key("c"): [1]} == sets([point], data_sets="a b=usage.wait,usage.gone; c=usage.wait")


@pytest.mark.parametrize(
    ("tables", "fault"),
    [
        ({"costarring": ["a"], "liquid": ["b"]}, "'costarring' and 'liquid' have the same key 1582148253: rename one"),
        ({"File Sizes": ["a"]}, "'file sizes' and 'File Sizes' have the same key 1418807137: rename one"),
        ({"mine": ["{a=b}", "c"]}, "mine: '{a=b}' is neither metric nor metric{attribute=value}"),
    ],
)
def test_data_sets_that_cannot_be(tables: Any, fault: str) -> None:
    """Names that a receiver could not tell apart, and sources that cannot be read, are faults of the setting."""
    settings = resolve(FORMAT, {"endpoint": "https://telemetry.example", "data_sets": tables}, {})

    [said] = settings.faults
    assert fault in said


def test_example_plan_is_in_order() -> None:
    """It lists every metric the documented sets are made of, and its own sets resolve."""
    plan = load_plan(ROOT / "examples" / "plans" / "jetstream.yaml")
    settings = settings_for(FORMAT, {**JSON, **plan.product.settings})

    assert set(plan.metrics) >= METRICS
    assert ["accounts", "storage"] == list(settings["data_sets"])


# -- the wire -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf", "http/json"])
def test_every_protocol_says_the_same(protocol: str) -> None:
    """The item decides what is said, the protocol how."""
    given = {"endpoint": "https://telemetry.example", "license": "KEY-1", "protocol": protocol}
    settings = settings_for(FORMAT, given)
    made = items(FORMAT, Case(points=ALL, settings=given), settings)
    [(request, taken)] = packed(FORMAT, made, settings)

    said = orjson.loads(request.body) if protocol == "http/json" else from_protobuf(request.body)
    assert (1, list(said)) == (taken, orjson.loads(request.readable or request.body))
    assert [] == list(complaints(said))
    assert [sorted(VALUES)] == [sorted(name for name in DOCUMENTED if key(name) in [d["key"] for d in said[1:]])]
    assert b"KEY-1" not in made[0].data


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**32 - 1),
            st.lists(st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)),
        )
    ),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.integers(0, 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"])),
)
def test_protobuf_loses_nothing(
    data: list[tuple[int, list[float]]], revision: int | None, started: int | None, text: str
) -> None:
    """There and back."""
    information: dict[str, Any] = {"license": text, "platform": "linux"}
    if revision is not None:
        information["revision"] = revision
    information |= {"serverId": text, "startTime": started}
    said = [information, *({"key": number, "timestamp": 5, "values": values} for number, values in data)]

    assert said == from_protobuf(to_protobuf(orjson.dumps(said)))


def test_whole_numbers_too_large_for_the_wire_become_doubles() -> None:
    """Better their size than an error."""
    said = (
        b'[{"license":"","platform":"","serverId":"","startTime":null},{"key":1,"timestamp":1,"values":[%d]}]' % 2**63
    )

    assert [float(2**63)] == from_protobuf(to_protobuf(said))[1]["values"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0, Delivered()),
        (6, Delivered()),
        (4, Retry("gRPC DEADLINE_EXCEEDED")),
        (8, Retry("gRPC RESOURCE_EXHAUSTED")),
        (13, Retry("gRPC INTERNAL")),
        (14, Retry("gRPC UNAVAILABLE")),
        (3, Rejected("gRPC INVALID_ARGUMENT: the server does not take what this version sends")),
        (16, Rejected("gRPC UNAUTHENTICATED: check the license, the headers and the client certificate")),
        (99, Retry("gRPC UNKNOWN")),
    ],
)
def test_grpc_statuses(code: int, expected: Any) -> None:
    """What can succeed later is kept, what cannot is not asked again."""
    assert expected == FORMAT.judge(Request("", b""), Response(200, {"grpc-status": str(code)}), False)


def test_servers_wish_is_honoured() -> None:
    """A RetryInfo, which the transport hands on as Retry-After, bounded; also beside no answer."""
    exhausted = Response(200, {"grpc-status": "8", "retry-after": "7"})
    unavailable = Response(None, {"grpc-status": "14", "retry-after": "9000"}, error="connection closed by the server")

    assert Retry("gRPC RESOURCE_EXHAUSTED", 7.0) == FORMAT.judge(Request("", b""), exhausted, False)
    assert Retry("connection closed by the server", 300.0) == FORMAT.judge(Request("", b""), unavailable, True)


def test_queued_session_leaves_under_any_protocol() -> None:
    """The protocol may be changed while reports wait."""
    item = Item(b'[{"platform":"linux","serverId":"a","startTime":1},{"key":1,"timestamp":1,"values":[1]}]')
    for protocol in ("grpc", "http/json", "http/protobuf"):
        settings = settings_for(FORMAT, {"endpoint": "https://telemetry.example", "protocol": protocol})
        request, taken = FORMAT.pack([item.data, item.data], settings, NOON, 1)
        assert (1, True) == (taken, bool(request.body))
