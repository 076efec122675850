"""The exporter classes as the SDK uses them: never an exception, one destination shared, every count once."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Union

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord
from opentelemetry.metrics import Observation
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExportResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource

from tests.support.programs import shell
from usagewire.config import rows
from usagewire.formats.segment import FORMAT
from usagewire.policy.consent import Channel, write
from usagewire.sdk import SegmentLogExporter, SegmentMetricExporter, StoneLogExporter
from usagewire.signals import Point
from usagewire.state import lines

EXPORTERS = [SegmentLogExporter, SegmentMetricExporter]
SHOP = {"endpoint": "http://127.0.0.1:9", "write_key": "write-key", "delivery": "manual"}
RESOURCE = Resource({"service.name": "shop"})
SUCCESS, FAILURE = LogRecordExportResult.SUCCESS, LogRecordExportResult.FAILURE
Exporter = Union[SegmentLogExporter, SegmentMetricExporter]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of this test, which exists only when something was written."""
    monkeypatch.setenv("USAGEWIRE_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def made(state: Path) -> Iterator[list[Exporter]]:
    """Exporters to be shut down at the end of the test: the process would share them with the next."""
    kept: list[Exporter] = []
    yield kept
    for exporter in kept:
        exporter.shutdown()


def records(*names: str) -> list[ReadableLogRecord]:
    """Log records that are events."""
    return [ReadableLogRecord(LogRecord(timestamp=1, event_name=name, body="x"), RESOURCE) for name in names]


def metrics(value: int = 1) -> MetricsData:
    """What one collection of a counter gives."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader], resource=RESOURCE, shutdown_on_exit=False)
    provider.get_meter("shop").create_counter("usage.sold").add(value)
    data = reader.get_metrics_data()
    provider.shutdown()
    assert data is not None
    return data


def kept(state: Path) -> list[str]:
    """The names of the events on disk."""
    found = [line for path in sorted(state.glob("shop/*/queue/events/*")) for line in path.read_bytes().splitlines()]
    return [name for line in found for name in ("first", "second", "third") if f'"event":"{name}"'.encode() in line]


def points(state: Path) -> list[Point]:
    """The data points on disk, in the order of time."""
    signals = [
        lines.signal(lines.parse(line))
        for path in state.glob("shop/*/queue/metrics.signals/*")
        for line in path.read_bytes().splitlines()
    ]
    return sorted((signal for signal in signals if isinstance(signal, Point)), key=lambda point: point.time)


def test_what_a_counter_gathered_before_a_yes_stays(state: Path) -> None:
    """A collection that began before the operator's yes holds counts from before it; a gauge tells how it is now."""
    exporter = SegmentMetricExporter(**SHOP)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], resource=RESOURCE, shutdown_on_exit=False)
    meter = provider.get_meter("shop")
    sold = meter.create_counter("usage.sold")
    sizes = meter.create_histogram("usage.size")
    meter.create_observable_gauge("usage.open", [lambda options: [Observation(7)]])
    sold.add(1)
    write(state / "shop", False, "test")
    sold.add(10)
    sizes.record(10)
    write(state / "shop", True, "test")
    sold.add(100)
    provider.force_flush()
    sold.add(1000)
    sizes.record(1000)
    provider.force_flush()
    provider.shutdown()

    found = [(point.name, point.value if point.histogram is None else point.histogram.sum) for point in points(state)]
    assert {("usage.open", 7), ("usage.sold", 1000), ("usage.size", 1000)} == set(found)


def test_what_a_processor_held_before_a_channels_yes_stays(state: Path) -> None:
    """Emitted while the channel was off and handed over after its on: not kept, and other channels' is."""
    write(state / "shop", True, "test", license="sharing-1-0")
    provider = LoggerProvider(RESOURCE, shutdown_on_exit=False)
    exporter = StoneLogExporter(endpoint="http://127.0.0.1:9", delivery="manual")
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, schedule_delay_millis=3_600_000))
    logger = provider.get_logger("shop")

    def crash(module: str) -> None:
        logger.emit(event_name="usage.crash", attributes={"usage.crash.frames": [f"{module}:run:1"]})

    crash("mod_before")
    write(state / "shop", False, "test", channel=Channel("stone", "crash"))
    crash("mod_while_off")
    logger.emit(
        event_name="usage.state", attributes={"usage.state.section": "balancer"}, body={"active": True, "mode": "upmap"}
    )
    write(state / "shop", True, "test", channel=Channel("stone", "crash"))
    crash("mod_after")
    provider.shutdown()

    on_disk = b"".join(path.read_bytes() for path in state.glob("shop/stone/queue/*/*"))
    found = [word for word in (b"mod_before", b"mod_while_off", b"upmap", b"mod_after") if word in on_disk]
    assert [b"upmap", b"mod_after"] == found


# -- construction ---------------------------------------------------------------------------------------------------


class Hostile:
    """An object whose every use raises."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise ValueError("no truth")

    def __eq__(self, other: object) -> bool:
        raise ValueError("no equal")

    __hash__ = object.__hash__


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from(["http://127.0.0.1:9", "https://[", "/dev/null", "abc", object(), Hostile(), float("nan"), int]),
)
NAMES = st.sampled_from([*(row.name for row in rows(FORMAT)), "name", "service", "plan", "writekey"])


@pytest.mark.parametrize("exporter", EXPORTERS)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keywords=st.dictionaries(NAMES, VALUES, max_size=4), shared=st.booleans())
def test_a_constructor_never_raises(
    state: Path,
    caplog: pytest.LogCaptureFixture,
    exporter: type[Exporter],
    keywords: dict[str, Any],
    shared: bool,
) -> None:
    """Whatever the keywords, alone or beside a well-configured exporter: at most a line in the log, no file, no
    exception, and an exporter that can be used and shut down."""
    caplog.set_level(logging.CRITICAL)
    beside = SegmentLogExporter(**SHOP, service="shop") if shared else None

    made = exporter(**keywords)

    assert not state.exists()
    assert made.force_flush()
    made.shutdown()
    if beside is not None:
        beside.shutdown()


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another"])
def test_an_unknown_keyword_is_named(
    state: Path,
    made: list[Any],
    caplog: pytest.LogCaptureFixture,
    exporter: type[Exporter],
    beside: bool,
) -> None:
    """A misspelt setting is one line that names it and what is known."""
    if beside:
        made.append(SegmentLogExporter(**SHOP))
    made.append(exporter(**SHOP, writekey="k"))

    (line,) = [record.getMessage() for record in caplog.records]
    assert "unknown setting writekey: known are " in line
    assert "write_key" in line


# -- sharing --------------------------------------------------------------------------------------------------------


def test_the_exporters_of_a_destination_share_it(state: Path, made: list[Any]) -> None:
    """One writer, one lock: both exporters work after the other's shutdown, and the last one closes."""
    logs, measures = SegmentLogExporter(**SHOP), SegmentMetricExporter(**SHOP)
    made += [logs, measures]

    assert SUCCESS == logs.export(records("first"))
    logs.shutdown()
    assert MetricExportResult.SUCCESS is measures.export(metrics(3))
    open_segments = list(state.glob("shop/segment/queue/*/*.open"))
    measures.shutdown()

    assert 2 == len(open_segments)
    assert [] == list(state.glob("shop/segment/queue/*/*.open"))
    assert (["first"], [3]) == (kept(state), [point.value for point in points(state)])


def test_settings_of_both_exporters_count(state: Path, made: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    """In YAML each exporter has properties of its own: what only one of them says holds for the destination."""
    made.append(SegmentLogExporter(**SHOP))
    made.append(SegmentMetricExporter(**SHOP, interval=1_000))
    made[0].export(records("first"))

    destination = (state / "shop" / "segment" / "destination.json").read_text()
    assert '"interval":1000' in destination.replace(" ", "")
    assert [] == caplog.records


def test_a_contradiction_is_refused(state: Path, made: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    """A second exporter with another endpoint and no name of its own keeps nothing, and says so; the first goes on,
    and one with a name has a folder of its own."""
    other = {**SHOP, "endpoint": "http://127.0.0.1:10"}
    made += [SegmentLogExporter(**SHOP), SegmentLogExporter(**other), SegmentLogExporter(**other, name="two")]

    assert [SUCCESS] * 3 == [
        made[number].export(records(name)) for number, name in enumerate(("first", "second", "third"))
    ]

    (line,) = [record.getMessage() for record in caplog.records]
    assert "segment is configured twice, differently: give one of the exporters a name=" in line
    assert ["first", "third"] == kept(state)
    assert ["segment", "segment-two"] == sorted(path.name for path in (state / "shop").iterdir() if path.is_dir())


@pytest.mark.parametrize("settings", [SHOP, {"endpoint": "nonsense"}], ids=["right", "wrong"])
def test_in_the_helper_exporters_do_nothing(
    state: Path,
    made: list[Any],
    settings: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """USAGEWIRE_CHILD: the process that delivers must not make telemetry of its own, nor complain."""
    monkeypatch.setenv("USAGEWIRE_CHILD", "1")
    made += [SegmentLogExporter(**settings), SegmentMetricExporter(**settings)]

    assert SUCCESS == made[0].export(records("first"))
    assert MetricExportResult.SUCCESS is made[1].export(metrics())
    assert not state.exists()
    assert [] == caplog.records


# -- the end --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [False, True], ids=["nobody has said anything", "a stored yes"])
def test_a_record_that_cannot_be_read_is_counted(state: Path, made: list[Any], said: bool) -> None:
    """No SDK makes it; what stands beside it is kept, with a stored yes, too."""

    class Unreadable(Mapping[str, Any]):
        def __getitem__(self, name: str) -> Any:
            raise RuntimeError

        def __iter__(self) -> Iterator[str]:
            raise RuntimeError

        def __len__(self) -> int:
            return 1

    if said:
        write(state / "shop", True, "test")
    exporter = SegmentLogExporter(**SHOP)
    made.append(exporter)
    batch = records("first", "second", "third")
    for readable in batch:
        readable.log_record.observed_timestamp = time.time_ns()
    batch[1].log_record.attributes = Unreadable()

    exporter.export(batch)
    exporter.shutdown()

    assert ["first", "third"] == kept(state)
    (found,) = state.glob("shop/segment/queue/counts.signals/*")
    assert lines.lost({"rejected": 1}) in found.read_bytes()


def test_shutdown_may_come_twice_and_ends_it(state: Path) -> None:
    """The second shutdown is nothing; what is exported later fails and leaves no trace."""
    logs, measures = SegmentLogExporter(**SHOP), SegmentMetricExporter(**SHOP)
    for exporter in (logs, measures, logs, measures):
        exporter.shutdown()

    assert FAILURE is logs.export(records("first"))
    assert MetricExportResult.FAILURE is measures.export(metrics())
    assert (True, True) == (logs.force_flush(), measures.force_flush())
    assert not state.exists()


# -- metrics --------------------------------------------------------------------------------------------------------


def test_gauges_are_repeated_and_the_rest_is_not(state: Path) -> None:
    """Two collections, and one at the end: counters and histograms give what came since the last one, a gauge that
    nobody set again gives its value again (under DELTA it would be forgotten, and day two would report nothing).
    Before 1.45 the SDK forgets a gauge in any case, unless it is an observable one."""
    reader = PeriodicExportingMetricReader(SegmentMetricExporter(**SHOP), export_interval_millis=3_600_000)
    provider = MeterProvider(metric_readers=[reader], resource=RESOURCE, shutdown_on_exit=False)
    meter = provider.get_meter("shop")
    sold, level, size = (
        meter.create_counter("usage.sold"),
        meter.create_gauge("usage.level"),
        meter.create_histogram("usage.size"),
    )
    level.set(7)
    for amount in (5, 2):
        sold.add(amount)
        size.record(amount)
        provider.force_flush()
    provider.shutdown()

    found = points(state)
    assert [5, 2] == [point.value for point in found if point.name == "usage.sold"]
    repeats = tuple(map(int, version("opentelemetry-sdk").split(".")[:2])) >= (1, 45)
    assert [7] * (3 if repeats else 1) == [point.value for point in found if point.name == "usage.level"]
    assert [5, 2] == [point.histogram.sum for point in found if point.histogram is not None]


FORKING = """
    import os, warnings
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from usagewire.sdk import SegmentMetricExporter
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    exporter = SegmentMetricExporter(endpoint="http://127.0.0.1:9", write_key="k", delivery="manual")
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider(metric_readers=[reader], resource=Resource({"service.name": "shop"}))
    sold = provider.get_meter("shop").create_counter("usage.sold")
    sold.add(100, {"who": "parent"})
    sold.add(30, {"who": "both"})
    child = os.fork()
    sold.add(1, {"who": "both"})
    provider.force_flush()
    if child:
        assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.slow
def test_a_forked_child_reports_its_own_counts_only(state: Path) -> None:
    """What the parent counted before the fork is the parent's to report: 131 in all, not 260."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORKING)],
        env=shell(state),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    found = [(point.attributes["who"], point.value) for point in points(state)]
    assert [("both", 1), ("both", 31), ("parent", 100)] == sorted(found)
