"""Events leave through whatever provider the host set up, and never trouble the host."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry._logs import NoOpLoggerProvider
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult, SimpleLogRecordProcessor

from tests.support.otel import Capture
from usagewire_instrumentation import emit_event, events


def test_name_and_properties_arrive_as_given() -> None:
    """An event carries its name as `event_name`, its properties as attributes and the time it happened."""
    capture = Capture()
    before = time.time_ns()

    emit_event("deployment_started", {"db_backend": "mysql", "nodes": 3}, logger_provider=capture.provider)

    (record,) = capture.records()
    assert "deployment_started" == record.log_record.event_name
    assert {"db_backend": "mysql", "nodes": 3} == dict(record.log_record.attributes or {})
    assert record.log_record.timestamp is not None
    assert before <= record.log_record.timestamp <= time.time_ns()


def test_scope_is_the_callers_top_level_package() -> None:
    """Without a scope the event is the calling package's; with one it is whatever the caller says."""
    capture = Capture()
    emit_event("quiet", logger_provider=capture.provider)
    emit_event("said", logger_provider=capture.provider, scope="ferry")

    quiet, said = (record.instrumentation_scope for record in capture.records())

    assert quiet is not None
    assert said is not None
    assert __name__.partition(".")[0] == quiet.name
    assert "ferry" == said.name


@given(
    name=st.text(),
    properties=st.dictionaries(
        st.text() | st.just("\ud800"),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(object()),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.sets(st.integers()),
            max_leaves=10,
        ),
    ),
)
def test_no_property_ever_raises(name: str, properties: dict[str, Any]) -> None:
    """Whatever a program hands over, emitting returns."""
    emit_event(name, properties, logger_provider=Capture().provider)


def test_name_that_cannot_be_printed_does_not_raise() -> None:
    """Even the complaint about a hostile name fails quietly."""

    class Hostile(str):
        def __str__(self) -> str:
            raise OSError

    asked = []

    class Broken(NoOpLoggerProvider):
        def get_logger(self, *arguments: Any, **keywords: Any) -> Any:
            asked.append(arguments)
            raise OSError

    emit_event(Hostile("x"), logger_provider=Broken())

    assert 1 == len(asked)


def test_failing_pipeline_is_said_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that raises would raise in the caller's `emit`: the caller sees one warning instead."""
    monkeypatch.setattr(events, "_complained", set[str]())

    class Broken(SimpleLogRecordProcessor):
        def on_emit(self, log_record: ReadWriteLogRecord) -> None:
            raise OSError("pipe is full")

    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(Broken(Capture().exporter))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            emit_event("anything", logger_provider=provider)

    assert ["event anything was not emitted: OSError (said once)"] == [r.getMessage() for r in caplog.records]


def test_every_thread_gets_through() -> None:
    """Threads emitting at the same time lose nothing."""
    capture = Capture()

    def work() -> None:
        for number in range(200):
            emit_event("tick", {"n": number}, logger_provider=capture.provider, scope=f"scope{number % 3}")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 1600 == len(capture.records())


class Hanging(LogRecordExporter):
    """An exporter that takes as long as the test says."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.entered = threading.Semaphore(0)

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        self.entered.release()
        return self.release.wait(30)

    def shutdown(self) -> None:
        self.release.set()


def test_flush_hands_over_what_the_batch_holds_back() -> None:
    """After a flush the exporter has the event, long before the batch delay is over."""
    capture = Capture(batch_delay_millis=60_000)
    emit_event("last words", logger_provider=capture.provider)
    assert [] == capture.names()

    events.flush(capture.provider)
    capture.wait_for(1)

    assert ["last words"] == capture.names()
    capture.provider.shutdown()


def test_hanging_exporter_holds_nobody_up() -> None:
    """Flushing past an exporter that hangs returns soon, and a few helper threads are all it ever costs."""
    hanging = Hanging()

    class Provider(NoOpLoggerProvider):
        def force_flush(self) -> bool:
            return hanging.force_flush()

    provider = Provider()
    try:
        began = time.monotonic()
        for _ in range(20):
            events.flush(provider)
        spent = time.monotonic() - began
        helpers = [thread for thread in threading.enumerate() if thread.name == "usagewire-flush"]

        assert hanging.entered.acquire(timeout=10)
        assert 0 < len(helpers) <= 4
        assert spent < 5  # 4 × 50 ms, on a machine that may be busy; 20 waits of 30 s otherwise
    finally:
        hanging.release.set()
        for helper in helpers:
            helper.join(10)


def test_failing_flush_is_said_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider whose flush raises is named in the log; the caller and its stderr see nothing."""
    monkeypatch.setattr(events, "_complained", set[str]())
    done = threading.Event()

    class Provider(NoOpLoggerProvider):
        def force_flush(self) -> bool:
            done.set()
            raise ValueError("broken")

    with caplog.at_level(logging.WARNING):
        events.flush(Provider())
        assert done.wait(10)
        for thread in threading.enumerate():
            if thread.name == "usagewire-flush":
                thread.join(10)

    assert ["events were not flushed: ValueError (said once)"] == [r.getMessage() for r in caplog.records]
