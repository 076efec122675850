"""usagewire.sdk.lean: what the SDK's batch processor does, for less."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter, UserDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from usagewire.policy.consent import write
from usagewire.sdk import LeanLogRecordProcessor, SegmentLogExporter
from usagewire.signals import Event
from usagewire.state import lines
from usagewire.state.paths import Place
from usagewire.state.view import totals

SHOP = {"endpoint": "http://127.0.0.1:9", "write_key": "write-key", "delivery": "manual"}


class Slow(SegmentLogExporter):
    """Notes whose events it is given, and waits for ``go`` before it keeps them."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.told: list[tuple[str, int]] = []
        self.go = threading.Event()
        self.go.set()

    def refused(self) -> Counter[str]:
        """What came after everything was closed."""
        return self._intake.dropped

    def keep(self, groups: Sequence[tuple[Resource | None, Sequence[Event]]]) -> bool:
        self.told += [(str(of.attributes["service.name"]), len(events)) for of, events in groups if of is not None]
        assert self.go.wait(30)
        return super().keep(groups)


class Shop:
    """A program with one provider, one lean processor and its state folder."""

    def __init__(self, state: Path, **options: Any) -> None:
        self.state = state
        self.exporter = Slow(**SHOP)
        self.processor = LeanLogRecordProcessor(self.exporter, **options)
        self.provider = self.another("shop")

    def another(self, service: str) -> LoggerProvider:
        """A provider with a resource of its own and the same processor."""
        provider = LoggerProvider(Resource({"service.name": service}), shutdown_on_exit=False)
        provider.add_log_record_processor(self.processor)
        return provider

    def emit(self, *names: str, **said: Any) -> None:
        """Emit events."""
        logger = self.provider.get_logger("shop")
        for name in names:
            logger.emit(event_name=name, **said)

    def kept(self) -> list[str]:
        """What is on disk, in order."""
        found = [line for path in self.segments() for line in path.read_bytes().splitlines()]
        return [lines.item_data(lines.parse(line)).decode() for line in found]

    def segments(self) -> list[Path]:
        """The files that it is in."""
        return sorted(self.state.glob("shop/segment/queue/events/*"))

    def names(self) -> list[str]:
        """Their names."""
        return [item.partition('"event":"')[2].partition('"')[0] for item in self.kept()]

    def lost(self) -> dict[str, int]:
        """What is counted as lost."""
        return dict(totals(Place(self.state / "shop", "segment")).lost)


@pytest.fixture
def open_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Shop]]:
    """Shops that are shut down when the test ends."""
    monkeypatch.setenv("USAGEWIRE_STATE_DIR", str(tmp_path))
    shops: list[Shop] = []

    def opened(**options: Any) -> Shop:
        shops.append(Shop(tmp_path, **options))
        return shops[-1]

    yield opened
    for shop in shops:
        shop.provider.shutdown()


def wait_for(found: Callable[[], bool]) -> None:
    """Wait until ``found``."""
    deadline = time.monotonic() + 30
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_event_is_kept_whole(open_shop: Callable[..., Shop]) -> None:
    """Name, time, attributes, a body's entries: as they would come by way of the SDK's own processor."""
    shop = open_shop()
    shop.emit("sold", attributes={"n": 1, "of": "tea"}, body={"till": 4}, timestamp=1_700_000_000_000_000_000)

    assert shop.processor.force_flush()

    (item,) = shop.kept()
    assert '"properties":{"till":4,"n":1,"of":"tea"},"timestamp":"2023-11-14T22:13:20.000Z"' in item


def test_events_are_written_without_being_asked_for(open_shop: Callable[..., Shop]) -> None:
    """A full batch at once, and what is less when the delay is over."""
    patient = open_shop(max_export_batch_size=3, schedule_delay_millis=3_600_000)
    patient.emit("one", "two", "three")
    wait_for(lambda: ["one", "two", "three"] == patient.names())

    hasty = open_shop(schedule_delay_millis=10)
    hasty.emit("four")
    wait_for(lambda: "four" in hasty.names())

    assert ["four", "one", "three", "two"] == sorted(hasty.names())


@pytest.mark.parametrize("processor", [BatchLogRecordProcessor, LeanLogRecordProcessor])
def test_what_a_processor_held_since_before_a_yes_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processor: Callable[..., LogRecordProcessor]
) -> None:
    """Events wait in memory for a batch: those from before an off, and from then until the next on, are not kept."""
    monkeypatch.setenv("USAGEWIRE_STATE_DIR", str(tmp_path))
    provider = LoggerProvider(Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_log_record_processor(processor(SegmentLogExporter(**SHOP), schedule_delay_millis=3_600_000))
    logger = provider.get_logger("shop")
    logger.emit(event_name="before")
    write(tmp_path / "shop", False, "test")
    logger.emit(event_name="meanwhile")
    write(tmp_path / "shop", True, "test")
    logger.emit(event_name="after", timestamp=1)  # of something that was earlier; it is said now
    hostile: Any = "yesterday"
    logger.emit(event_name="odd", timestamp=1, observed_timestamp=hostile)

    assert provider.force_flush()

    kept = b"".join(path.read_bytes() for path in tmp_path.glob("shop/segment/queue/events/*"))
    provider.shutdown()
    assert ["after", "odd"] == [name for name in ("before", "meanwhile", "after", "odd") if name.encode() in kept]


def test_plain_logs_never_pass(open_shop: Callable[..., Shop]) -> None:
    """A record without a name is no event."""
    shop = open_shop()
    shop.provider.get_logger("shop").emit(body="a log line")
    shop.emit("sold")
    shop.processor.force_flush()

    assert ["sold"] == shop.names()


def test_what_is_too_much_is_counted(open_shop: Callable[..., Shop]) -> None:
    """The queue is bounded; the newest go, and each is in the totals."""
    shop = open_shop(max_export_batch_size=2, max_queue_size=2, schedule_delay_millis=10)
    shop.emit("opens the destination")
    shop.processor.force_flush()
    shop.exporter.go.clear()
    shop.emit("first")
    wait_for(lambda: len(shop.exporter.told) > 1)
    shop.emit(*(f"event {number}" for number in range(7)))
    shop.exporter.go.set()
    shop.processor.force_flush()
    shop.emit("last")
    shop.provider.shutdown()

    assert ["opens the destination", "first", "event 0", "event 1", "last"] == shop.names()
    assert {"memory": 5} == shop.lost()


def test_shutdown_writes_what_waits_and_takes_no_more(open_shop: Callable[..., Shop]) -> None:
    """Everything emitted before it is on disk when it returns."""
    shop = open_shop(schedule_delay_millis=3_600_000)
    shop.emit(*(f"event {number}" for number in range(100)))
    shop.provider.shutdown()
    shop.emit("late")

    assert [f"event {number}" for number in range(100)] == shop.names()
    assert 100 == len({item.partition('"messageId":"')[2].partition('"')[0] for item in shop.kept()})


class Meanwhile(LogRecordProcessor):
    """In front of another: gives records attributes that do something on another thread while they are read."""

    def __init__(self, does: Callable[[], None]) -> None:
        self._does = does

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        does = self._does

        class Attributes(UserDict[str, int]):
            def __iter__(self) -> Iterator[str]:
                thread = threading.Thread(target=does)
                thread.start()
                thread.join()
                return super().__iter__()

        log_record.log_record.attributes = Attributes(n=1)

    def shutdown(self) -> None:
        """Nothing is held here."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


def test_an_event_that_is_taken_while_it_is_shut_down_is_written(open_shop: Callable[..., Shop]) -> None:
    """An emit that began before `shutdown` and ends after it: the event is on disk, where any process can take it."""
    shop = open_shop(schedule_delay_millis=3_600_000)
    late = LoggerProvider(Resource({"service.name": "shop"}), shutdown_on_exit=False)
    late.add_log_record_processor(Meanwhile(shop.provider.shutdown))
    late.add_log_record_processor(shop.processor)
    shop.emit("early")
    late.get_logger("shop").emit(event_name="late")

    assert (["early", "late"], {}) == (sorted(shop.names()), shop.lost())
    assert {".seg"} == {path.suffix for path in shop.segments()}


def test_every_event_of_threads_that_outlive_a_shutdown_is_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever it comes: each is on disk, or counted there, or was refused by what was shut down."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for round in range(20):
            monkeypatch.setenv("USAGEWIRE_STATE_DIR", str(tmp_path / str(round)))
            shop = Shop(tmp_path / str(round), max_export_batch_size=8)
            together = threading.Barrier(5)

            def work(shop: Shop = shop, together: threading.Barrier = together) -> None:
                together.wait(30)
                shop.emit(*(f"event {number}" for number in range(100)))

            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            together.wait(30)
            shop.provider.shutdown()
            for thread in threads:
                thread.join()

            refused = sum(shop.exporter.refused().values())
            assert 400 == len(shop.names()) + sum(shop.lost().values()) + refused, round
    finally:
        sys.setswitchinterval(before)


def test_many_threads_lose_nothing(open_shop: Callable[..., Shop]) -> None:
    """Every event of every thread is kept once, in the order of its thread."""
    shop = open_shop(max_export_batch_size=16)

    def work(thread: int) -> None:
        shop.emit(*(f"{thread}.{number}" for number in range(200)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shop.provider.shutdown()

    found = shop.names()
    for number in range(4):
        assert [f"{number}.{n}" for n in range(200)] == [name for name in found if name.startswith(f"{number}.")]


def test_each_event_keeps_its_providers_resource(open_shop: Callable[..., Shop]) -> None:
    """One processor may serve two providers: the exporter is told which resource is whose."""
    shop = open_shop(schedule_delay_millis=3_600_000)
    till = shop.another("till").get_logger("till")
    shop.emit("one")
    till.emit(event_name="two")
    till.emit(event_name="three")
    shop.emit("four")
    shop.processor.force_flush()

    assert [("shop", 1), ("till", 2), ("shop", 1)] == shop.exporter.told


@pytest.mark.parametrize("hooked", [True, False], ids=["by Python", "as uWSGI does, past Python's hooks"])
def test_a_forked_child_begins_with_nothing(
    open_shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch, hooked: bool
) -> None:
    """What waits is the parent's, once; the child's own events are kept, too."""
    if not hooked:
        monkeypatch.setattr(os, "register_at_fork", lambda **hooks: None)
    shop = open_shop(schedule_delay_millis=3_600_000)
    shop.emit("parent")
    pid = os.fork()
    if pid == 0:
        try:
            shop.emit("child")
            shop.provider.shutdown()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    shop.provider.shutdown()

    assert ["child", "parent"] == sorted(shop.names())


def test_nothing_reaches_the_program(open_shop: Callable[..., Shop]) -> None:
    """A record that is not what the SDK makes is counted, not raised."""
    shop = open_shop()
    shop.emit("opens the destination")
    shop.processor.force_flush()
    shop.processor.on_emit(None)  # type: ignore[arg-type]
    shop.processor.on_emit(ReadWriteLogRecord.__new__(ReadWriteLogRecord))
    shop.provider.shutdown()

    assert {"rejected": 2} == shop.lost()
